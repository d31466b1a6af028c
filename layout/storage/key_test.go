package storage_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/ckptd/ckptd/crc32c"
	"github.com/ckptd/ckptd/layout/storage"
)

func TestValidateKey(t *testing.T) {
	for _, key := range []string{"a", "a/b", "_ckptd", "a/..b", "a/...", "ü", "a b", strings.Repeat("n", 255)} {
		if err := storage.ValidateKey(key); err != nil {
			t.Errorf("key %q: %v, want no error", key, err)
		}
		if err := storage.ValidatePrefix(key + "/"); err != nil {
			t.Errorf("prefix of key %q: %v, want no error", key, err)
		}
		if err := storage.ValidatePrefix(key); err == nil {
			t.Errorf("prefix %q is valid, want an error", key)
		}
	}
	for _, key := range []string{"", "/", "/a", "a/", "a//b", ".", "a/./b", "..", "a/..", "_tmp", "a/_tmp/b", "a\x00", "\n", "a\x7f", "\xff", strings.Repeat("n", 256)} {
		if err := storage.ValidateKey(key); err == nil {
			t.Errorf("key %q is valid, want an error", key)
		}
	}
	if err := storage.ValidatePrefix(""); err != nil {
		t.Error(err)
	}
}

func TestVerifier(t *testing.T) {
	data := []byte("some bytes")
	sum := crc32c.Sum(data)
	for _, c := range []struct {
		opts storage.CreateOptions
		ok   bool
	}{
		{storage.CreateOptions{}, true},
		{storage.CreateOptions{HasSize: true, Size: 10, HasCRC32C: true, CRC32C: sum}, true},
		{storage.CreateOptions{HasSize: true, Size: 9}, false},
		{storage.CreateOptions{HasSize: true, Size: 11}, false},
		{storage.CreateOptions{HasCRC32C: true, CRC32C: sum + 1}, false},
		{storage.CreateOptions{Size: 3, CRC32C: 3}, true},
	} {
		v := storage.NewVerifier(c.opts)
		err := errors.Join(v.Add(data[:4]), v.Add(data[4:]), v.Check())
		if (err == nil) != c.ok || err != nil && !errors.Is(err, storage.ErrMismatch) || v.Size() != 10 {
			t.Errorf("%+v: %v, size %d; want success: %v, size 10", c.opts, err, v.Size(), c.ok)
		}
	}
}

package stores

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ckptd/ckptd/crc32c"
	"github.com/ckptd/ckptd/layout/storage"
)

// random returns n bytes that depend only on seed.
func random(seed uint64, n int) []byte {
	data := make([]byte, n)
	var key [32]byte
	key[0], key[1], key[2] = byte(seed), byte(seed>>8), byte(seed>>16)
	_, _ = rand.NewChaCha8(key).Read(data)
	return data
}

func sum(data []byte) uint32 { return crc32c.Sum(data) }

// announced returns options with everything that can be known of data before it is written.
func announced(data []byte) storage.CreateOptions {
	return storage.CreateOptions{Size: int64(len(data)), HasSize: true, CRC32C: sum(data), HasCRC32C: true}
}

// create writes data in pieces and commits.
func create(ctx context.Context, s storage.Store, key string, data []byte, opts storage.CreateOptions) error {
	w, err := s.Create(ctx, key, opts)
	if err != nil {
		return err
	}
	defer w.Abort()
	for piece := range slices.Chunk(data, 512<<10) {
		if n, err := w.Write(piece); err != nil || n != len(piece) {
			return errors.Join(err, errIf(err == nil, "short write without an error"))
		}
	}
	return w.Commit()
}

func errIf(cond bool, text string) error {
	if cond {
		return errors.New(text)
	}
	return nil
}

// read returns a range, or the first error.
func read(ctx context.Context, s storage.Store, key string, offset, length int64) ([]byte, error) {
	r, err := s.Open(ctx, key, offset, length)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	return data, errors.Join(err, r.Close())
}

// results deletes keys and returns one result per key, also when the store returns nil for "all deleted".
func results(ctx context.Context, s storage.Store, keys ...string) ([]error, error) {
	errs := s.Delete(ctx, keys)
	switch {
	case errs == nil:
		return make([]error, len(keys)), nil
	case len(errs) != len(keys):
		wrong := fmt.Errorf("deleting %d keys gave %d results; want one per key, in their order, or a nil slice when all were deleted",
			len(keys), len(errs))
		return nil, errors.Join(append(errs, wrong)...)
	}
	return errs, nil
}

// remove deletes keys and returns the joined errors.
func remove(ctx context.Context, s storage.Store, keys ...string) error {
	errs, err := results(ctx, s, keys...)
	return errors.Join(append(errs, err)...)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantError wants an error that names operation and key, has target in its chain (nil: any error), and is not an
// unknown outcome.
func wantError(t *testing.T, err error, key string, target error) {
	t.Helper()
	if err == nil {
		t.Fatalf("%s: no error, want one", key)
	}
	if errors.Is(err, storage.ErrUnknown) {
		t.Errorf("%s: %v, want an error that is not an unknown outcome", key, err)
	}
	if target != nil && !errors.Is(err, target) {
		t.Errorf("%s: error %v, want one with %q in the chain", key, err, target)
	}
	var named *storage.Error
	if !errors.As(err, &named) || named.Key != key || named.Op == "" {
		t.Errorf("error %v, want one that names the operation and the key %q", err, key)
	}
}

// wantObject wants an object with these bytes from Stat, Open and List.
func wantObject(t *testing.T, s storage.Store, key string, data []byte) {
	t.Helper()
	got, err := read(t.Context(), s, key, 0, -1)
	must(t, err)
	if !bytes.Equal(got, data) {
		t.Fatalf("%s: read %d other bytes, want the %d that were written", key, len(got), len(data))
	}
	info, err := s.Stat(t.Context(), key)
	must(t, err)
	if info.Key != key || info.Size != int64(len(data)) || info.ModTime.IsZero() {
		t.Errorf("Stat(%s) = %+v, want %d bytes and a time", key, info, len(data))
	}
	if !slices.Contains(list(t, s, ""), key) {
		t.Errorf("List does not show %s, want it", key)
	}
}

// wantAbsent wants that Stat, Open and List find no object under key.
func wantAbsent(t *testing.T, s storage.Store, key string) {
	t.Helper()
	_, err := s.Stat(t.Context(), key)
	wantError(t, err, key, storage.ErrNotFound)
	_, err = read(t.Context(), s, key, 0, -1)
	wantError(t, err, key, storage.ErrNotFound)
	if slices.Contains(list(t, s, ""), key) {
		t.Errorf("List shows %s, want it absent", key)
	}
}

// list returns the keys below prefix, sorted.
func list(t *testing.T, s storage.Store, prefix string) []string {
	t.Helper()
	var keys []string
	for info, err := range s.List(t.Context(), prefix) {
		must(t, err)
		keys = append(keys, info.Key)
	}
	slices.Sort(keys)
	return keys
}

func wantList(t *testing.T, s storage.Store, prefix string, want ...string) {
	t.Helper()
	slices.Sort(want)
	if diff := cmp.Diff(want, list(t, s, prefix)); diff != "" {
		t.Errorf("List(%q), -want +got:\n%s", prefix, diff)
	}
}

// gone returns a context that is already cancelled.
func gone(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

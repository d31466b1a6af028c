package stores

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/ckptd/ckptd/layout/storage"
)

func reads() []check {
	return []check{
		{"open: a range gives exactly the bytes asked for, or an error", openRanges},
		{"open: an absent object is not found", openAbsent},
		{"open: a reader may be closed early", openEarly},
		{"stat: an absent object is not found", statAbsent},
		{"an already cancelled context reads nothing", readCancelled},
		{"keys: weird but legal ones work", weirdKeys},
		{"keys: illegal ones are refused and change nothing", illegalKeys},
		{"facts: the driver names itself", facts},
	}
}

func openRanges(t *testing.T, r *root) {
	const size = 300_000
	data := random(1, size)
	must(t, create(t.Context(), r, "a/f", data, announced(data)))
	for _, c := range []struct{ offset, length int64 }{
		{0, -1}, {0, size}, {0, 1}, {size - 1, 1}, {size - 1, -1}, {1, -1}, {4096, 4096}, {123, 200_000}, {0, 0}, {5, 0}, {size, 0}, {size, -1},
	} {
		end := int64(size)
		if c.length >= 0 {
			end = c.offset + c.length
		}
		got, err := read(t.Context(), r, "a/f", c.offset, c.length)
		if err != nil || !bytes.Equal(got, data[c.offset:end]) {
			t.Errorf("range %+v: %d bytes, %v; want the %d bytes that were written there", c, len(got), err, end-c.offset)
		}
		// io.Copy calls the reader's WriteTo, if it has one.
		rd, err := r.Open(t.Context(), "a/f", c.offset, c.length)
		must(t, err)
		var copied bytes.Buffer
		n, err := io.Copy(&copied, rd)
		must(t, errors.Join(err, rd.Close()))
		if n != int64(copied.Len()) || !bytes.Equal(copied.Bytes(), data[c.offset:end]) {
			t.Errorf("range %+v: copied %d bytes, said %d; want the %d bytes that were written there", c, copied.Len(), n, end-c.offset)
		}
	}
	for _, c := range []struct{ offset, length int64 }{
		{size, 1}, {size + 1, 0}, {size + 1, -1}, {0, size + 1}, {size - 1, 2}, {1 << 62, 1 << 62}, {-1, 5},
	} {
		got, err := read(t.Context(), r, "a/f", c.offset, c.length)
		wantError(t, err, "a/f", nil)
		if c.offset >= 0 && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("range %+v beyond the end: %d bytes, %v; want io.ErrUnexpectedEOF", c, len(got), err)
		}
	}
}

func openAbsent(t *testing.T, r *root) {
	must(t, r.Publish(t.Context(), "a/b/c", nil))
	for _, key := range []string{"x", "a/x", "a/b", "a", "a/b/x", "x/y/z"} {
		for _, length := range []int64{-1, 0, 1} {
			_, err := read(t.Context(), r, key, 0, length)
			wantError(t, err, key, storage.ErrNotFound)
		}
	}
}

func openEarly(t *testing.T, r *root) {
	data := random(1, 9<<20)
	must(t, create(t.Context(), r, "a/f", data, announced(data)))
	for range 50 {
		rd, err := r.Open(t.Context(), "a/f", 1, -1)
		must(t, err)
		_, err = io.ReadFull(rd, make([]byte, 10))
		must(t, err)
		must(t, rd.Close())
	}
}

func statAbsent(t *testing.T, r *root) {
	must(t, r.Publish(t.Context(), "a/b/c", nil))
	for _, key := range []string{"x", "a", "a/b", "a/b/c/d"} {
		_, err := r.Stat(t.Context(), key)
		wantError(t, err, key, storage.ErrNotFound)
	}
}

func readCancelled(t *testing.T, r *root) {
	must(t, r.Publish(t.Context(), "a/f", []byte("x")))
	_, err := r.Open(gone(t), "a/f", 0, -1)
	wantError(t, err, "a/f", context.Canceled)
	_, err = r.Stat(gone(t), "a/f")
	wantError(t, err, "a/f", context.Canceled)
	shown := 0
	for _, listErr := range r.List(gone(t), "a/") {
		shown++
		err = listErr
	}
	if shown != 1 || !errors.Is(err, context.Canceled) {
		t.Errorf("List showed %d elements, the last with %v; want the context's error alone", shown, err)
	}
}

func weirdKeys(t *testing.T, r *root) {
	keys := []string{
		"plain", "with space", "a/ leading", "a/trailing ", "ü/é/日本語", "a/%2F", "a/%", "a/~", "a/~b~c", "a/...", "a/.hidden", "a/..b", "-x",
		"a/x+y", "a/q?x=1&y=2#z", `a/back\slash`, `a/"quoted'`, "a/*", "a/[x]", "a/{x}", "a/x:y", "a/_", "a/_metadata", "a/_tmp2",
		"a/b/c/d/e/f/g/h", "a/" + strings.Repeat("n", 200), "A/Case", "A/case",
	}
	for _, key := range keys {
		data := []byte("of " + key)
		must(t, r.Publish(t.Context(), key, data))
		must(t, create(t.Context(), r, "created/"+key, data, announced(data)))
	}
	all := append([]string(nil), keys...)
	for _, key := range keys {
		wantObject(t, r, key, []byte("of "+key))
		wantObject(t, r, "created/"+key, []byte("of "+key))
		all = append(all, "created/"+key)
	}
	wantList(t, r, "", all...)
	if err := remove(t.Context(), r, all...); err != nil {
		t.Errorf("Delete of all keys: %v, want no error", err)
	}
	wantList(t, r, "")
}

func illegalKeys(t *testing.T, r *root) {
	for _, key := range []string{
		"", "/", "/abs", "a//b", "a/", "./a", "a/.", "..", "../a", "a/../b", "a/_tmp/b", "_tmp", "_tmp/a", "a\x00b", "a\nb", "a/\xff",
		strings.Repeat("n", 256),
	} {
		wantError(t, r.Publish(t.Context(), key, nil), key, nil)
		w, err := r.Create(t.Context(), key, storage.CreateOptions{})
		wantError(t, err, key, nil)
		if w != nil {
			t.Errorf("Create(%q) returned a writer beside its error, want nil", key)
		}
		_, err = r.Open(t.Context(), key, 0, -1)
		wantError(t, err, key, nil)
		_, err = r.Stat(t.Context(), key)
		wantError(t, err, key, nil)
		errs, err := results(t.Context(), r, key)
		must(t, err)
		wantError(t, errs[0], key, nil)
	}
	for _, prefix := range []string{"a", "/", "a//", "../", "a/../", "_tmp/"} {
		for _, err := range r.List(t.Context(), prefix) {
			wantError(t, err, prefix, nil)
		}
	}
	wantList(t, r, "")
}

func facts(t *testing.T, r *root) {
	if r.facts.Kind == "" || r.facts.Location == "" {
		t.Errorf("facts %+v, want a kind and a location", r.facts)
	}
}

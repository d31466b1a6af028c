package stores

import (
	"context"
	"testing"

	"github.com/ckptd/ckptd/layout/storage"
)

func creates() []check {
	return []check{
		{"create: the object is whole and durable once Commit returned nil", createWhole},
		{"FS-22 create: before Commit nothing is listed", createUnlisted},
		{"FS-17 create: Commit fails, not done, if another number of bytes was written", createSize},
		{"create: Commit fails, not done, if the bytes have another sum", createSum},
		{"FS-16 create: abort leaves nothing whole behind", createAbort},
		{"create: abort after commit does nothing", createAbortAfterCommit},
		{"FS-18 create: commit after abort is an error", createCommitAfterAbort},
		{"FS-21 create: cancelling the context leaves nothing whole behind", createCancelled},
		{"create: giving up needs no context", createAbortCancelled},
		{"FS-11 create: with IfAbsent an existing object is kept", createIfAbsent},
		{"create: a key is never used twice", createTwice},
	}
}

func createWhole(t *testing.T, r *root) {
	for name, size := range map[string]int{"empty": 0, "one": 1, "small": 20 << 10, "blocks": 4<<20 + 17, "large": 17 << 20} {
		data := random(uint64(size), size)
		must(t, create(t.Context(), r, "job/shared/known-"+name, data, announced(data)))
		must(t, create(t.Context(), r, "job/shared/unknown-"+name, data, storage.CreateOptions{}))
		must(t, create(t.Context(), r, "job/chk-1/absent-"+name, data, storage.CreateOptions{IfAbsent: true}))
		for _, s := range []storage.Store{r, r.again()} {
			wantObject(t, s, "job/shared/known-"+name, data)
			wantObject(t, s, "job/shared/unknown-"+name, data)
			wantObject(t, s, "job/chk-1/absent-"+name, data)
		}
	}
}

// begun returns a writer that was given data and is not committed. data may be the whole object or a part.
func begun(t *testing.T, s storage.Store, key string, data []byte, opts storage.CreateOptions) storage.Writer {
	t.Helper()
	w, err := s.Create(t.Context(), key, opts)
	must(t, err)
	_, err = w.Write(data)
	must(t, err)
	return w
}

func createUnlisted(t *testing.T, r *root) {
	w := begun(t, r, "job/chk-1/file", random(1, 6<<20), storage.CreateOptions{})
	defer w.Abort()
	wantList(t, r, "")
	wantList(t, r.again(), "job/chk-1/")
	must(t, w.Commit())
	wantList(t, r, "", "job/chk-1/file")
}

func createSize(t *testing.T, r *root) {
	data := random(1, 1000)
	for key, size := range map[string]int64{"a/more": 999, "a/fewer": 1001, "a/none": 0} {
		opts := storage.CreateOptions{Size: size, HasSize: true}
		wantError(t, create(t.Context(), r, key, data, opts), key, storage.ErrMismatch)
		wantAbsent(t, r, key)
	}
	wantList(t, r, "")
}

func createSum(t *testing.T, r *root) {
	data := random(1, 5<<20)
	for key, hasSize := range map[string]bool{"a/sized": true, "a/unsized": false} {
		opts := announced(data)
		opts.CRC32C ^= 1 << 7
		opts.HasSize = hasSize
		wantError(t, create(t.Context(), r, key, data, opts), key, storage.ErrMismatch)
		wantAbsent(t, r, key)
	}
}

func createAbort(t *testing.T, r *root) {
	for key, size := range map[string]int{"job/chk-1/empty": 0, "job/chk-1/small": 10, "job/chk-2/large": 9 << 20} {
		w := begun(t, r, key, random(1, size), storage.CreateOptions{})
		w.Abort()
		w.Abort()
		wantAbsent(t, r, key)
		wantAbsent(t, r.again(), key)
	}
	wantList(t, r, "")
}

func createAbortAfterCommit(t *testing.T, r *root) {
	data := random(1, 100)
	w := begun(t, r, "job/chk-1/f", data, announced(data))
	must(t, w.Commit())
	w.Abort()
	wantObject(t, r, "job/chk-1/f", data)
}

func createCommitAfterAbort(t *testing.T, r *root) {
	w := begun(t, r, "job/chk-1/f", []byte("x"), storage.CreateOptions{})
	w.Abort()
	wantError(t, w.Commit(), "job/chk-1/f", nil)
	_, err := w.Write([]byte("y"))
	wantError(t, err, "job/chk-1/f", nil)
	wantAbsent(t, r, "job/chk-1/f")

	w = begun(t, r, "job/chk-1/g", []byte("x"), storage.CreateOptions{})
	must(t, w.Commit())
	wantError(t, w.Commit(), "job/chk-1/g", nil)
	wantObject(t, r, "job/chk-1/g", []byte("x"))
}

func createCancelled(t *testing.T, r *root) {
	_, err := r.Create(gone(t), "job/chk-1/before", storage.CreateOptions{})
	wantError(t, err, "job/chk-1/before", context.Canceled)

	ctx, cancel := context.WithCancel(t.Context())
	w, err := r.Create(ctx, "job/chk-1/amid", storage.CreateOptions{})
	must(t, err)
	defer w.Abort()
	_, err = w.Write(random(1, 6<<20))
	must(t, err)
	cancel()
	wantError(t, w.Commit(), "job/chk-1/amid", context.Canceled)
	wantAbsent(t, r, "job/chk-1/amid")
	wantList(t, r, "")
}

func createAbortCancelled(t *testing.T, r *root) {
	ctx, cancel := context.WithCancel(t.Context())
	w, err := r.Create(ctx, "job/chk-1/f", storage.CreateOptions{})
	must(t, err)
	_, err = w.Write(random(1, 6<<20))
	must(t, err)
	cancel()
	w.Abort()
	wantAbsent(t, r, "job/chk-1/f")
}

func createIfAbsent(t *testing.T, r *root) {
	first, second := random(1, 100), random(2, 100)
	absent := storage.CreateOptions{IfAbsent: true}
	must(t, create(t.Context(), r, "job/chk-1/_metadata", first, absent))
	wantError(t, create(t.Context(), r, "job/chk-1/_metadata", second, absent), "job/chk-1/_metadata", storage.ErrExists)
	wantError(t, create(t.Context(), r.again(), "job/chk-1/_metadata", second, absent), "job/chk-1/_metadata", storage.ErrExists)
	wantObject(t, r, "job/chk-1/_metadata", first)
}

// createTwice: a driver that notices the second use of a key refuses it. In no case the object is a mixture.
func createTwice(t *testing.T, r *root) {
	first, second := random(1, 100), random(2, 200)
	must(t, create(t.Context(), r, "job/shared/f", first, announced(first)))
	err := create(t.Context(), r, "job/shared/f", second, announced(second))
	if err == nil {
		first = second
	}
	wantObject(t, r, "job/shared/f", first)
}

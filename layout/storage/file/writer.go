package file

import (
	"context"
	"errors"

	"github.com/ckptd/ckptd/layout/storage"
)

// A writer passes bytes on to a temporary file as they come; callers write large chunks.
type writer struct {
	store    *store
	ctx      context.Context // the context of Create; it also ends the writer
	key      string
	temp     *temp // nil after Commit or Abort
	verifier storage.Verifier
	flushed  int64 // bytes that flush has been called for
	err      error // why the object cannot be committed any more
}

// flushEvery is the number of bytes after which the disk is told to begin writing, so that it works while the next
// bytes come.
//
// Measured on ext4, relative to a plain write and fsync: a file of 4 MiB reaches 0.85 of the speed with 8 MiB, 1.04
// with 2 MiB and 1.05 with 1 MiB. A file of 32 MiB reaches 1.13, 1.27 and 0.97.
const flushEvery = 2 << 20

var errOver = errors.New("the writer was committed or aborted before")

func (w *writer) Write(p []byte) (int, error) {
	n, err := 0, w.ready()
	if err == nil {
		err = w.verifier.Add(p)
	}
	if err == nil {
		n, err = w.store.sys.write(w.temp.f, p)
	}
	if size := w.verifier.Size(); err == nil && size-w.flushed >= flushEvery {
		err = w.store.sys.flush(w.temp.f, w.flushed, size-w.flushed)
		w.flushed = size
	}
	if err != nil {
		w.err = err
		return n, w.store.failed("write", w.key, err)
	}
	return n, nil
}

func (w *writer) Commit() error {
	err := w.ready()
	if err == nil {
		err = w.verifier.Check()
	}
	if err == nil {
		err = w.store.finish(w.ctx, w.temp, w.key)
	}
	w.end(err == nil)
	if err != nil {
		return w.store.failed("commit", w.key, err)
	}
	return nil
}

func (w *writer) Abort() { w.end(false) }

func (w *writer) ready() error {
	switch {
	case w.temp == nil:
		return errOver
	case w.err != nil:
		return w.err
	}
	return w.ctx.Err()
}

func (w *writer) end(done bool) {
	if w.temp != nil {
		w.store.discard(w.temp, w.key, done)
		w.temp = nil
	}
}

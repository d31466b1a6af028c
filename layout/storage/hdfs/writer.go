package hdfs

import (
	"context"
	"errors"

	"github.com/ckptd/ckptd/layout/storage"
)

// smallSize is the number of bytes that a writer holds until Commit. Such a small object can be written again.
const smallSize = 64 << 10

// A writer writes an object below _tmp. A small one is held until Commit.
type writer struct {
	store    *store
	ctx      context.Context // the context of Create; it also ends the writer
	key      string
	opts     storage.CreateOptions
	verifier storage.Verifier
	held     []byte
	staged   *staged // nil while all bytes are held
	over     bool
	err      error // why the object cannot be committed any more
}

var _ storage.Writer = (*writer)(nil)

var errOver = errors.New("the writer was committed or aborted before")

// Write implements io.Writer.
func (w *writer) Write(p []byte) (int, error) {
	err := w.ready()
	if err == nil {
		err = w.verifier.Add(p)
	}
	if err == nil {
		err = w.take(p)
	}
	if err != nil {
		w.err = err
		return 0, &storage.Error{Op: "write", Key: w.key, Err: err}
	}
	return len(p), nil
}

func (w *writer) take(p []byte) (err error) {
	if w.staged == nil && len(w.held)+len(p) <= smallSize {
		w.held = append(w.held, p...)
		return nil
	}
	if w.staged == nil {
		if w.staged, err = w.store.begin(w.ctx, w.key, w.opts.IfAbsent); err != nil {
			return plain(err)
		}
		if err := w.staged.write(w.ctx, w.held); err != nil {
			return plain(err)
		}
		w.held = nil
	}
	if err := w.staged.write(w.ctx, p); err != nil {
		return plain(err)
	}
	return nil
}

// Commit implements storage.Writer.
func (w *writer) Commit() error {
	err := w.ready()
	if err == nil {
		err = w.verifier.Check()
	}
	if err == nil {
		err = w.finish()
	}
	w.Abort()
	if err != nil {
		return &storage.Error{Op: "commit", Key: w.key, Err: err}
	}
	return nil
}

func (w *writer) finish() (err error) {
	st := w.staged
	w.staged = nil
	if st == nil {
		st, err = w.store.stageBytes(w.ctx, w.key, w.opts.IfAbsent, w.held)
	} else if err = st.finish(w.ctx); err != nil {
		err = plain(err)
	}
	if err != nil {
		return err
	}
	return w.store.place(w.ctx, st)
}

// Abort implements storage.Writer.
func (w *writer) Abort() {
	if w.over {
		return
	}
	w.over, w.held = true, nil
	if w.staged != nil {
		w.staged.abandon(w.ctx)
		w.staged = nil
	}
}

func (w *writer) ready() error {
	switch {
	case w.over:
		return errOver
	case w.ctx.Err() != nil:
		return w.ctx.Err()
	}
	return w.err
}

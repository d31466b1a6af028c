package limit

import (
	"context"
	"errors"
	"io"
	"iter"

	"github.com/ckptd/ckptd/layout/storage"
)

// store is the access of one class of work to a store.
type store struct {
	inner storage.Store
	l     *Limiter
	class Class
}

var _ storage.Store = store{}

// Store returns the access of a class of work to a store.
//
// A caller that holds a writer, a reader or a listing of a class must not wait for another of the same class: all
// turns of the class may be held by callers like it.
func (l *Limiter) Store(inner storage.Store, c Class) storage.Store { return store{inner, l, c} }

// do runs f when its turn has come.
func (s store) do(ctx context.Context, op, key string, f func() error) error {
	round, err := s.l.enter(ctx, s.class)
	if err != nil {
		return &storage.Error{Op: op, Key: key, Err: err}
	}
	err = f()
	s.l.leave(s.class, round, err)
	return err
}

// Create implements storage.Store. The turn ends with Commit or Abort.
func (s store) Create(ctx context.Context, key string, opts storage.CreateOptions) (storage.Writer, error) {
	round, err := s.l.enter(ctx, s.class)
	if err != nil {
		return nil, &storage.Error{Op: "create", Key: key, Err: err}
	}
	w, err := s.inner.Create(ctx, key, opts)
	if err != nil {
		s.l.leave(s.class, round, err)
		return nil, err
	}
	return &writer{Writer: w, turn: turn{s: s, round: round}}, nil
}

// Publish implements storage.Store.
func (s store) Publish(ctx context.Context, key string, data []byte) error {
	return s.do(ctx, "publish", key, func() error { return s.inner.Publish(ctx, key, data) })
}

// Open implements storage.Store. The turn ends with Close.
func (s store) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	round, err := s.l.enter(ctx, s.class)
	if err != nil {
		return nil, &storage.Error{Op: "open", Key: key, Err: err}
	}
	r, err := s.inner.Open(ctx, key, offset, length)
	if err != nil {
		s.l.leave(s.class, round, err)
		return nil, err
	}
	return &reader{ReadCloser: r, turn: turn{s: s, round: round}}, nil
}

// Stat implements storage.Store.
func (s store) Stat(ctx context.Context, key string) (info storage.Info, err error) {
	err = s.do(ctx, "stat", key, func() error { info, err = s.inner.Stat(ctx, key); return err })
	return info, err
}

// List implements storage.Store.
func (s store) List(ctx context.Context, prefix string) iter.Seq2[storage.Info, error] {
	return inTurn(ctx, s, prefix, s.inner.List(ctx, prefix))
}

// Folders implements storage.FolderLister.
func (s store) Folders(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return inTurn(ctx, s, prefix, storage.Folders(ctx, s.inner, prefix))
}

// inTurn begins a list when its turn has come. The turn ends with the loop.
func inTurn[T any](ctx context.Context, s store, prefix string, list iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		round, err := s.l.enter(ctx, s.class)
		if err != nil {
			var none T
			yield(none, &storage.Error{Op: "list", Key: prefix, Err: err})
			return
		}
		defer func() { s.l.leave(s.class, round, err) }()
		for element, e := range list {
			err = e
			if !yield(element, e) {
				return
			}
		}
	}
}

// Delete implements storage.Store.
func (s store) Delete(ctx context.Context, keys []string) (errs []error) {
	if len(keys) == 0 {
		return nil
	}
	var inner []error
	err := s.do(ctx, "delete", keys[0], func() error { inner = s.inner.Delete(ctx, keys); return errors.Join(inner...) })
	if err == nil || inner != nil {
		return inner
	}
	errs = make([]error, len(keys)) // the turn did not come
	for i, key := range keys {
		errs[i] = &storage.Error{Op: "delete", Key: key, Err: errors.Unwrap(err)}
	}
	return errs
}

// AbortUnfinished implements storage.Store.
func (s store) AbortUnfinished(ctx context.Context, prefix string, dead func(key string) bool) (n int, err error) {
	err = s.do(ctx, "abort unfinished", prefix, func() error { n, err = s.inner.AbortUnfinished(ctx, prefix, dead); return err })
	return n, err
}

// turn is the turn of a writer or a reader. Only one goroutine may use it.
type turn struct {
	s     store
	round int
	over  bool
	err   error // the last error
}

func (t *turn) note(err error) error {
	if err != nil && !errors.Is(err, io.EOF) {
		t.err = err
	}
	return err
}

func (t *turn) end() {
	if !t.over {
		t.over = true
		t.s.l.leave(t.s.class, t.round, t.err)
	}
}

type writer struct {
	storage.Writer
	turn
}

// Write implements storage.Writer.
func (w *writer) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	return n, w.note(err)
}

// Commit implements storage.Writer.
func (w *writer) Commit() error {
	defer w.end()
	return w.note(w.Writer.Commit())
}

// Abort implements storage.Writer.
func (w *writer) Abort() {
	defer w.end()
	w.Writer.Abort()
}

type reader struct {
	io.ReadCloser
	turn
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	return n, r.note(err)
}

// WriteTo implements io.WriterTo with the inner reader's own WriteTo, if it has one: a file goes into a socket
// without a copy.
func (r *reader) WriteTo(w io.Writer) (int64, error) {
	n, err := io.Copy(w, r.ReadCloser)
	return n, r.note(err)
}

// Close ends the turn.
func (r *reader) Close() error {
	defer r.end()
	return r.ReadCloser.Close()
}

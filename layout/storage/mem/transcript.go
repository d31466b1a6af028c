package mem

import (
	"context"
	"errors"
	"io"
	"iter"

	"github.com/ckptd/ckptd/layout/storage"
)

// Transcript writes down every call and its outcome, one line each ("publish a/b 12 bytes: exists"). Tests use it to
// show what reached the store.
type Transcript struct {
	inner  storage.Store
	printf func(format string, args ...any)
}

var _ storage.Store = (*Transcript)(nil)

// NewTranscript writes the calls of inner with printf. printf must be safe for concurrent use if the store is used
// so.
func NewTranscript(inner storage.Store, printf func(format string, args ...any)) *Transcript {
	return &Transcript{inner: inner, printf: printf}
}

// Create implements storage.Store. Commit or Abort writes the line; Create writes it only after an error.
func (t *Transcript) Create(ctx context.Context, key string, opts storage.CreateOptions) (storage.Writer, error) {
	inner, err := t.inner.Create(ctx, key, opts)
	if err != nil {
		t.printf("create %s: %s", key, verdict(err))
		return nil, err
	}
	return &transcriptWriter{Writer: inner, transcript: t, key: key}, nil
}

// Publish implements storage.Store.
func (t *Transcript) Publish(ctx context.Context, key string, data []byte) error {
	err := t.inner.Publish(ctx, key, data)
	t.printf("publish %s %d bytes: %s", key, len(data), verdict(err))
	return err
}

// Open implements storage.Store.
func (t *Transcript) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	r, err := t.inner.Open(ctx, key, offset, length)
	if offset == 0 && length < 0 {
		t.printf("open %s: %s", key, verdict(err))
	} else {
		t.printf("open %s from %d, %d bytes: %s", key, offset, length, verdict(err))
	}
	return r, err
}

// Stat implements storage.Store.
func (t *Transcript) Stat(ctx context.Context, key string) (storage.Info, error) {
	info, err := t.inner.Stat(ctx, key)
	t.printf("stat %s: %s", key, verdict(err))
	return info, err
}

// List implements storage.Store. The line is written when the iteration ends.
func (t *Transcript) List(ctx context.Context, prefix string) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		shown := 0
		var failed error
		defer func() { t.printf("list %s %d objects: %s", prefix, shown, verdict(failed)) }()
		for info, err := range t.inner.List(ctx, prefix) {
			if err != nil {
				failed = err
			} else {
				shown++
			}
			if !yield(info, err) {
				return
			}
		}
	}
}

// Delete implements storage.Store.
func (t *Transcript) Delete(ctx context.Context, keys []string) []error {
	errs := t.inner.Delete(ctx, keys)
	for i, key := range keys {
		var err error
		if errs != nil {
			err = errs[i]
		}
		t.printf("delete %s: %s", key, verdict(err))
	}
	return errs
}

// AbortUnfinished implements storage.Store.
func (t *Transcript) AbortUnfinished(ctx context.Context, prefix string, dead func(key string) bool) (int, error) {
	n, err := t.inner.AbortUnfinished(ctx, prefix, dead)
	t.printf("abort unfinished %s %d: %s", prefix, n, verdict(err))
	return n, err
}

// verdict returns one word per meaning; the causes would differ between drivers.
func verdict(err error) string {
	switch {
	case err == nil:
		return "done"
	case errors.Is(err, storage.ErrUnknown):
		return "unknown"
	case errors.Is(err, storage.ErrExists):
		return "exists"
	case errors.Is(err, storage.ErrNotFound):
		return "not found"
	}
	return "not done"
}

type transcriptWriter struct {
	storage.Writer
	transcript *Transcript
	key        string
	size       int64
	over       bool
}

func (w *transcriptWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	w.size += int64(n)
	return n, err
}

func (w *transcriptWriter) Commit() error {
	err := w.Writer.Commit()
	w.over = true
	w.transcript.printf("create %s %d bytes: %s", w.key, w.size, verdict(err))
	return err
}

func (w *transcriptWriter) Abort() {
	w.Writer.Abort()
	if !w.over {
		w.over = true
		w.transcript.printf("abort %s", w.key)
	}
}

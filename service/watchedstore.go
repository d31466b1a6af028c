package service

import (
	"context"
	"errors"
	"io"
	"iter"

	"github.com/ckptd/ckptd/layout/storage"
)

// watchedStore calls fatal when the store returns storage.ErrAbandoned: this process can no longer learn what is
// durable. fatal ends the process, which gives up the ownership of its jobs. The next owner reads the journals anew.
type watchedStore struct {
	storage.Store
	fatal func(error)
}

// watch returns err, and calls fatal if it is storage.ErrAbandoned.
func (s watchedStore) watch(err error) error {
	if errors.Is(err, storage.ErrAbandoned) {
		s.fatal(err)
	}
	return err
}

// Create implements storage.Store.
func (s watchedStore) Create(ctx context.Context, key string, opts storage.CreateOptions) (storage.Writer, error) {
	w, err := s.Store.Create(ctx, key, opts)
	if err != nil {
		return nil, s.watch(err)
	}
	return watchedWriter{w, s}, nil
}

// Publish implements storage.Store.
func (s watchedStore) Publish(ctx context.Context, key string, data []byte) error {
	return s.watch(s.Store.Publish(ctx, key, data))
}

// Stat implements storage.Store.
func (s watchedStore) Stat(ctx context.Context, key string) (storage.Info, error) {
	info, err := s.Store.Stat(ctx, key)
	return info, s.watch(err)
}

// Delete implements storage.Store.
func (s watchedStore) Delete(ctx context.Context, keys []string) []error {
	errs := s.Store.Delete(ctx, keys)
	for _, err := range errs {
		s.watch(err)
	}
	return errs
}

// AbortUnfinished implements storage.Store.
func (s watchedStore) AbortUnfinished(ctx context.Context, prefix string, dead func(key string) bool) (int, error) {
	n, err := s.Store.AbortUnfinished(ctx, prefix, dead)
	return n, s.watch(err)
}

// watchedFacts returns facts with a watched Settle. Settle makes writes durable, so it can fail with
// storage.ErrAbandoned as well.
func watchedFacts(facts storage.Facts, fatal func(error)) storage.Facts {
	if settle := facts.Settle; settle != nil {
		facts.Settle = func(ctx context.Context, prefix string) error {
			return watchedStore{fatal: fatal}.watch(settle(ctx, prefix))
		}
	}
	return facts
}

// Open implements storage.Store.
func (s watchedStore) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	r, err := s.Store.Open(ctx, key, offset, length)
	return r, s.watch(err)
}

// List implements storage.Store.
func (s watchedStore) List(ctx context.Context, prefix string) iter.Seq2[storage.Info, error] {
	return watchedList(s, s.Store.List(ctx, prefix))
}

// Folders implements storage.FolderLister.
func (s watchedStore) Folders(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return watchedList(s, storage.Folders(ctx, s.Store, prefix))
}

// watchedList watches the errors of a list.
func watchedList[T any](s watchedStore, list iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for element, err := range list {
			if !yield(element, s.watch(err)) {
				return
			}
		}
	}
}

// watchedWriter watches the errors of one file's writer.
type watchedWriter struct {
	storage.Writer
	s watchedStore
}

// Write implements storage.Writer.
func (w watchedWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	return n, w.s.watch(err)
}

// Commit implements storage.Writer.
func (w watchedWriter) Commit() error { return w.s.watch(w.Writer.Commit()) }

var _ storage.Store = watchedStore{}

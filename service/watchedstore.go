package service

import (
	"context"
	"errors"
	"io"
	"iter"

	"github.com/ckptd/ckptd/layout/storage"
)

// watchedStore calls fatal when the store says that this process can no longer learn what is durable: it gives up the
// ownership of its jobs by ending, and whoever takes over reads the truth anew.
type watchedStore struct {
	storage.Store
	fatal func(error)
}

func (s watchedStore) watch(err error) error {
	if errors.Is(err, storage.ErrAbandoned) {
		s.fatal(err)
	}
	return err
}

// Create is storage.Store's.
func (s watchedStore) Create(ctx context.Context, key string, opts storage.CreateOptions) (storage.Writer, error) {
	w, err := s.Store.Create(ctx, key, opts)
	if err != nil {
		return nil, s.watch(err)
	}
	return watchedWriter{w, s}, nil
}

// Publish is storage.Store's.
func (s watchedStore) Publish(ctx context.Context, key string, data []byte) error {
	return s.watch(s.Store.Publish(ctx, key, data))
}

// Stat is storage.Store's.
func (s watchedStore) Stat(ctx context.Context, key string) (storage.Info, error) {
	info, err := s.Store.Stat(ctx, key)
	return info, s.watch(err)
}

// Delete is storage.Store's.
func (s watchedStore) Delete(ctx context.Context, keys []string) []error {
	errs := s.Store.Delete(ctx, keys)
	for _, err := range errs {
		s.watch(err)
	}
	return errs
}

// AbortUnfinished is storage.Store's.
func (s watchedStore) AbortUnfinished(ctx context.Context, prefix string, dead func(key string) bool) (int, error) {
	n, err := s.Store.AbortUnfinished(ctx, prefix, dead)
	return n, s.watch(err)
}

// watchedFacts are facts whose Settle is watched as the store is: it makes things durable, too.
func watchedFacts(facts storage.Facts, fatal func(error)) storage.Facts {
	if settle := facts.Settle; settle != nil {
		facts.Settle = func(ctx context.Context, prefix string) error {
			return watchedStore{fatal: fatal}.watch(settle(ctx, prefix))
		}
	}
	return facts
}

// Open is storage.Store's.
func (s watchedStore) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	r, err := s.Store.Open(ctx, key, offset, length)
	return r, s.watch(err)
}

// List is storage.Store's.
func (s watchedStore) List(ctx context.Context, prefix string) iter.Seq2[storage.Info, error] {
	return watchedList(s, s.Store.List(ctx, prefix))
}

// Folders is storage.FolderLister's.
func (s watchedStore) Folders(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return watchedList(s, storage.Folders(ctx, s.Store, prefix))
}

func watchedList[T any](s watchedStore, list iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for element, err := range list {
			if !yield(element, s.watch(err)) {
				return
			}
		}
	}
}

type watchedWriter struct {
	storage.Writer
	s watchedStore
}

// Write is storage.Writer's.
func (w watchedWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	return n, w.s.watch(err)
}

// Commit is storage.Writer's.
func (w watchedWriter) Commit() error { return w.s.watch(w.Writer.Commit()) }

var _ storage.Store = watchedStore{}

package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"reflect"
	"testing"

	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/mem"
)

// failingStore fails every call with err. Create succeeds unless creates is true, so that the writer can fail.
type failingStore struct {
	err     error
	creates bool
}

var _ storage.Store = failingStore{}

func (s failingStore) Create(context.Context, string, storage.CreateOptions) (storage.Writer, error) {
	if s.creates {
		return nil, s.err
	}
	return failingWriter(s), nil
}

func (s failingStore) Publish(context.Context, string, []byte) error { return s.err }

func (s failingStore) Open(context.Context, string, int64, int64) (io.ReadCloser, error) {
	return nil, s.err
}

func (s failingStore) Stat(context.Context, string) (storage.Info, error) {
	return storage.Info{}, s.err
}

func (s failingStore) List(context.Context, string) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) { yield(storage.Info{}, s.err) }
}

// Delete fails for the last key only.
func (s failingStore) Delete(_ context.Context, keys []string) []error {
	errs := make([]error, len(keys))
	errs[len(keys)-1] = s.err
	return errs
}

func (s failingStore) AbortUnfinished(context.Context, string, func(string) bool) (int, error) {
	return 0, s.err
}

type failingWriter failingStore

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }
func (w failingWriter) Commit() error             { return w.err }
func (w failingWriter) Abort()                    {}

// storeCalls has a function for each method of a store and of its writer. Each calls the method and returns its error.
// Only "Create" needs a store whose Create fails.
var storeCalls = map[string]func(context.Context, storage.Store) error{
	"Create": func(ctx context.Context, s storage.Store) error {
		_, err := s.Create(ctx, "j/x", storage.CreateOptions{})
		return err
	},
	"Writer.Write": func(ctx context.Context, s storage.Store) error {
		return written(ctx, s, func(w storage.Writer) error { _, err := w.Write([]byte("x")); return err })
	},
	"Writer.Commit": func(ctx context.Context, s storage.Store) error { return written(ctx, s, storage.Writer.Commit) },
	"Publish":       func(ctx context.Context, s storage.Store) error { return s.Publish(ctx, "j/x", nil) },
	"Open": func(ctx context.Context, s storage.Store) error {
		_, err := s.Open(ctx, "j/x", 0, -1)
		return err
	},
	"Stat": func(ctx context.Context, s storage.Store) error { _, err := s.Stat(ctx, "j/x"); return err },
	"List": func(ctx context.Context, s storage.Store) error { return lastOf(s.List(ctx, "j/")) },
	"Folders": func(ctx context.Context, s storage.Store) error {
		return lastOf(storage.Folders(ctx, s, "j/"))
	},
	"Delete": func(ctx context.Context, s storage.Store) error {
		return errors.Join(s.Delete(ctx, []string{"j/x", "j/y"})...)
	},
	"AbortUnfinished": func(ctx context.Context, s storage.Store) error {
		_, err := s.AbortUnfinished(ctx, "j/", func(string) bool { return true })
		return err
	},
}

func written(ctx context.Context, s storage.Store, f func(storage.Writer) error) error {
	w, err := s.Create(ctx, "j/x", storage.CreateOptions{})
	if err != nil {
		return err
	}
	defer w.Abort()
	return f(w)
}

func lastOf[T any](list iter.Seq2[T, error]) (last error) {
	for _, err := range list {
		last = err
	}
	return last
}

// When any call of the store returns storage.ErrAbandoned, the daemon ends. No other error ends it.
func TestAbandonedDurabilityEndsTheDaemon(t *testing.T) {
	for name, contract := range map[string]reflect.Type{"": reflect.TypeFor[storage.Store](), "Writer.": reflect.TypeFor[storage.Writer]()} {
		for i := range contract.NumMethod() {
			if m := contract.Method(i); storeCalls[name+m.Name] == nil && m.Type.NumOut() > 0 {
				t.Errorf("the test does not call %s%s of the contract, want each method called", name, m.Name)
			}
		}
	}
	abandoned := fmt.Errorf("fsync: %w: %w", storage.ErrUnknown, storage.ErrAbandoned)
	for name, call := range storeCalls {
		for _, way := range []string{"commit", "restore", "upload", "collect"} {
			t.Run(name+" on the way to "+way, func(t *testing.T) {
				for _, err := range []error{abandoned, storage.ErrMismatch} {
					var heard []error
					got := call(t.Context(), wayOf(t, failingStore{err: err, creates: name == "Create"}, way, &heard))
					wantFatal(t, got, err, heard)
				}
			})
		}
	}
	t.Run("Settle", func(t *testing.T) {
		for _, err := range []error{abandoned, storage.ErrMismatch} {
			var heard []error
			root := mem.Open()
			root.Facts.Settle = func(context.Context, string) error { return err }
			s := serverWith(t, root, Options{Fatal: func(err error) { heard = append(heard, err) }})
			wantFatal(t, s.facts.Settle(t.Context(), "j/"), err, heard)
		}
	})
}

// wayOf returns one of a server's stores. Errors that end the daemon are added to heard.
func wayOf(t *testing.T, store storage.Store, way string, heard *[]error) storage.Store {
	t.Helper()
	root := mem.Open()
	root.Store = store
	s := serverWith(t, root, Options{Fatal: func(err error) { *heard = append(*heard, err) }})
	return map[string]storage.Store{
		"commit": s.stores.commit, "restore": s.stores.restore, "upload": s.stores.upload, "collect": s.stores.collect,
	}[way]
}

// wantFatal checks that the caller got the store's error, and that only an abandoned store ends the daemon.
func wantFatal(t *testing.T, got, want error, heard []error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("the caller got %v, want %v", got, want)
	}
	ends := errors.Is(want, storage.ErrAbandoned)
	if (len(heard) > 0) != ends || ends && !errors.Is(heard[0], storage.ErrAbandoned) {
		t.Errorf("after %v fatal was called with %v; want it called: %v", want, heard, ends)
	}
}

package file

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/ckptd/ckptd/layout/storage"
)

// Delete implements storage.Store. It syncs nothing: after a power cut a deleted file may be back, and the next sweep
// finds it. Folders that became empty are removed too, except the root.
func (s *store) Delete(ctx context.Context, keys []string) []error {
	errs := make([]error, len(keys))
	remove := func(i int) {
		if err := s.delete(ctx, keys[i]); err != nil {
			errs[i] = s.failed("delete", keys[i], err)
		}
	}
	if at := min(deleters, 1+len(keys)/deletersEvery); at > 1 {
		var g errgroup.Group
		g.SetLimit(at)
		for i := range keys {
			g.Go(func() error { remove(i); return nil })
		}
		_ = g.Wait() // each key has a result of its own
	} else {
		for i := range keys {
			remove(i)
		}
	}
	if err := s.present(); err != nil { // then perhaps nothing was deleted in the root that was opened
		for i, key := range keys {
			errs[i] = s.failed("delete", key, fmt.Errorf("%w: %w", storage.ErrUnknown, err))
		}
		return errs
	}
	failed := false
	emptied := map[string]struct{}{}
	for i, key := range keys {
		if errs[i] != nil {
			failed = true
		} else {
			emptied[filepath.Dir(s.path(key))] = struct{}{}
		}
	}
	for folder := range emptied {
		s.dirs.prune(folder)
	}
	if failed {
		return errs
	}
	return nil
}

// An unlink waits for the file system's journal while other files are being synced. Beside other writers, 512 files
// of 256 KiB took 600 ms one by one, and 110 ms with several unlinks at once.
const (
	deleters      = 8
	deletersEvery = 16 // keys for each further goroutine
)

func (s *store) delete(ctx context.Context, key string) error {
	if err := s.writable(ctx); err != nil {
		return err
	}
	if err := storage.ValidateKey(key); err != nil {
		return err
	}
	s.dirs.forget(s.split(key))
	err := s.sys.unlink(s.path(key))
	s.dirs.forget(s.split(key)) // a list may have seen the file after the first time
	switch {
	case err == nil, absent(err), errors.Is(err, unix.EISDIR):
		return nil // a folder is not an object
	case neverHappened(err):
		return err
	}
	return fmt.Errorf("%w: %w", storage.ErrUnknown, err)
}

package file

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/ckptd/ckptd/layout/storage"
)

// Delete implements storage.Store. Nothing is synced: after a power cut a deleted file may be back, and the next sweep finds it.
// Every folder that thereby became empty goes too, except the root.
func (s *store) Delete(ctx context.Context, keys []string) []error {
	var errs []error
	emptied := map[string]struct{}{}
	for i, key := range keys {
		err := s.delete(ctx, key)
		if err == nil {
			emptied[filepath.Dir(s.path(key))] = struct{}{}
			continue
		}
		if errs == nil {
			errs = make([]error, len(keys))
		}
		errs[i] = &storage.Error{Op: "delete", Key: key, Err: err}
	}
	for folder := range emptied {
		s.dirs.prune(folder)
	}
	return errs
}

func (s *store) delete(ctx context.Context, key string) error {
	if err := s.writable(ctx); err != nil {
		return err
	}
	if err := storage.ValidateKey(key); err != nil {
		return err
	}
	s.dirs.forget(s.split(key))
	err := s.sys.unlink(s.path(key))
	switch {
	case err == nil, absent(err), errors.Is(err, unix.EISDIR):
		return nil // a folder is not an object
	case neverHappened(err):
		return err
	}
	return fmt.Errorf("%w: %w", storage.ErrUnknown, err)
}

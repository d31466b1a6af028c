package file

import (
	"errors"
	"fmt"
	"os"

	"github.com/ckptd/ckptd/layout/storage"
)

// The root's path may come to lead elsewhere while we run: the folder is moved or removed, its disk unmounted. What would be written then
// is not where everything else is, and what is not found there may well exist.

// rootIdentity tells the folder that is at the root's path now from all others.
func rootIdentity(path string) (identity, error) {
	f, err := os.Open(path)
	if err != nil {
		return identity{}, err
	}
	defer f.Close()
	id, _, err := identify(f)
	return id, err
}

// moveUp is for a root that lies in the image of a container, on overlayfs: with the first change in it, it becomes another folder, in the
// container's own layer, with a new time of birth. A file without a name makes that happen before the root's identity is taken, and
// leaves nothing; where there are none, the probe of an empty folder does. What fails here fails there, or at the first mutation.
func (s *store) moveUp() {
	if s.kind != overlay {
		return
	}
	if f, err := s.sys.openUnnamed(s.root); err == nil {
		f.Close()
	}
}

// present says why the root's path does not lead to the folder that was opened; nil if it does. The error never has ErrNotFound in its
// chain. It can be mended: everything goes on when the folder is back.
func (s *store) present() error {
	switch id, err := rootIdentity(s.root); {
	case absent(err):
		return fmt.Errorf("the root %s is gone: moved, removed, or its disk unmounted; put it back, or stop what uses it", s.root)
	case err != nil:
		return fmt.Errorf("the root: %w", err)
	case id != s.identity:
		return fmt.Errorf("%s is another folder than when it was opened: the root was moved or replaced, or its disk mounted or unmounted; "+
			"put it back, or stop what uses it", s.root)
	}
	return nil
}

// wherever judges a creation that reported err, by where it may have happened.
func (s *store) wherever(err error) error {
	elsewhere := s.present()
	switch {
	case elsewhere == nil:
		return err
	case err == nil:
		return fmt.Errorf("%w: %w", storage.ErrUnknown, elsewhere)
	case errors.Is(err, storage.ErrExists):
		return elsewhere // what exists is not where we want it
	}
	return fmt.Errorf("%w; %w", err, elsewhere)
}

package file

import (
	"errors"
	"fmt"

	"github.com/ckptd/ckptd/layout/storage"
)

// The root's path may come to lead elsewhere while the process runs: the folder is moved or removed, or its disk is
// unmounted. A file written then is not where the other files are, and a file that is not found then may well exist.

// rootIdentity returns the identity of the folder that the root's path leads to now. Every mutation asks for it, so it
// must be cheap: it opens nothing.
func rootIdentity(path string) (identity, error) {
	id, _, err := identifyPath(path)
	return id, err
}

// moveUp is for a root in a container's image, on overlayfs. With its first change such a folder becomes another
// folder, in the container's own layer, with a new time of birth.
//
// An unnamed file causes that change before the root's identity is taken, and leaves nothing. If the file system has
// no unnamed files, the probe of an empty folder causes it. An error here shows up again in the probe or in the first
// mutation.
func (s *store) moveUp() {
	if s.kind != overlay {
		return
	}
	if f, err := s.sys.openUnnamed(s.root); err == nil {
		f.Close()
	}
}

// errElsewhere is in the chain of every error of present.
var errElsewhere error = elsewhere{}

// elsewhere is storage.ErrMoved with advice as its text.
type elsewhere struct{}

// Error implements error.
func (elsewhere) Error() string { return "put it back, or stop what uses it" }

// Is implements the interface of errors.Is.
func (elsewhere) Is(target error) bool { return target == storage.ErrMoved }

// present returns an error if the root's path does not lead to the folder that was opened. ErrNotFound is never in
// its chain. The error is not final: everything works again when the folder is back.
func (s *store) present() error {
	switch id, err := rootIdentity(s.root); {
	case absent(err):
		return fmt.Errorf("the root %s is gone: moved, removed, or its disk unmounted; %w", s.root, errElsewhere)
	case err != nil:
		return fmt.Errorf("look at the root: %w", err)
	case id != s.identity:
		return fmt.Errorf("%s is another folder than when it was opened: the root was moved or replaced, or its disk mounted or unmounted; %w",
			s.root, errElsewhere)
	}
	return nil
}

// wherever adjusts the outcome of a creation, err, if the root's path leads elsewhere by now.
func (s *store) wherever(err error) error {
	if errors.Is(err, errElsewhere) {
		return err
	}
	elsewhere := s.present()
	switch {
	case elsewhere == nil:
		return err
	case err == nil:
		return fmt.Errorf("%w: %w", storage.ErrUnknown, elsewhere)
	case errors.Is(err, storage.ErrExists):
		return elsewhere // the existing object is in another folder than the root
	}
	return fmt.Errorf("%w; %w", err, elsewhere)
}

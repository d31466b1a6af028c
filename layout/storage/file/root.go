package file

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ckptd/ckptd/layout/storage"
)

// openRoot returns the root's real path. Unless readOnly, it makes the root and makes every folder above it durable.
func openRoot(path string, readOnly bool, sys *system) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	made := false
	if !readOnly {
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			made = true
			if err := makeRoot(path, sys); err != nil {
				return "", err
			}
		}
	}
	root, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(root)
	if err != nil {
		return "", err
	}
	if !info.IsDir() {
		return "", errors.New("not a folder")
	}
	if readOnly {
		return root, nil
	}
	return root, syncAbove(root, made, sys)
}

// makeRoot makes the folder and all missing folders above it.
func makeRoot(path string, sys *system) error {
	err := sys.mkdir(path)
	if above := filepath.Dir(path); errors.Is(err, os.ErrNotExist) && above != path {
		if err = makeRoot(above, sys); err == nil {
			err = sys.mkdir(path)
		}
	}
	if errors.Is(err, os.ErrExist) {
		return nil // openRoot reports a path that is no folder
	}
	return err
}

// existing returns the path, or the nearest folder above it that exists.
func existing(path string) string {
	for {
		_, err := os.Stat(path)
		above := filepath.Dir(path)
		if err == nil || above == path {
			return path
		}
		path = above
	}
}

// syncAbove syncs the folders above root, up to the top of its file system. If the root existed before (made is
// false), a folder that cannot be read or synced is no reason to refuse the root.
func syncAbove(root string, made bool, sys *system) error {
	var st unix.Stat_t
	if err := unix.Stat(root, &st); err != nil {
		return &os.PathError{Op: "stat", Path: root, Err: err}
	}
	device := st.Dev
	for path := root; path != filepath.Dir(path); {
		path = filepath.Dir(path)
		if err := unix.Stat(path, &st); err != nil || st.Dev != device {
			return nil
		}
		f, err := sys.openDir(path)
		if err == nil {
			err = sys.syncDir(f)
			f.Close()
		}
		if err == nil {
			continue
		}
		if !made && (errors.Is(err, os.ErrPermission) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EROFS)) {
			return nil
		}
		return err
	}
	return nil
}

// probeIfEmpty probes a root that holds nothing yet.
func (s *store) probeIfEmpty() error {
	entries, err := os.ReadDir(s.root)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Name() != storage.TempElement && entry.Name() != "lost+found" {
			return nil
		}
	}
	if s.kind == ext4 {
		spread(s.root)
	}
	return s.probe()
}

// probe finds out once how a file gets its name here, and that folders can be synced. If a passing trouble (a full
// disk) prevents an answer, the next call probes again.
func (s *store) probe() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.probed {
		return nil
	}
	folder := filepath.Join(s.root, storage.TempElement)
	defer s.dirs.prune(folder)
	var err error
	for range tries {
		if err = s.dirs.mkdirAll(folder); err == nil {
			s.removeProbes(folder)
			s.named, err = s.probeLinks(folder)
		}
		if err == nil {
			s.probed = true
			return nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			break // otherwise another process's probe removed our files, or the folder
		}
	}
	return err
}

// removeProbes removes the files of a probe that was killed.
func (s *store) removeProbes(folder string) {
	entries, _ := os.ReadDir(folder)
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), probeName) {
			_ = s.sys.unlink(filepath.Join(folder, entry.Name()))
		}
	}
}

// probeName begins the names of a probe's files. No temporary of an object has such a name: it has a "~" before the
// unique part.
const probeName = "probe-"

func (s *store) probeLinks(folder string) (named bool, err error) {
	at, err := s.dirs.open(folder)
	if err != nil {
		return false, err
	}
	defer at.f.Close()
	path := ""
	f, err := s.sys.openUnnamed(folder)
	if err == nil {
		err = s.probeLink(f, path, at)
		f.Close()
		if err == nil {
			return false, nil
		}
		if !noHardLinks(err) && !errors.Is(err, os.ErrNotExist) {
			return false, err
		}
		// Without /proc an unnamed file cannot get a name; a named file can.
	} else if !errors.Is(err, errUnnamed) {
		return false, err
	}
	path = filepath.Join(folder, probeName+s.next())
	if f, err = s.sys.createTemp(path); err != nil {
		return true, err
	}
	defer func() {
		f.Close()
		_ = s.sys.unlink(path)
	}()
	return true, s.probeLink(f, path, at)
}

// probeLink links a file and syncs the folder.
func (s *store) probeLink(f *os.File, path string, at *dir) error {
	name := probeName + s.next()
	if err := s.sys.link(f, path, at.f, name); err != nil {
		if noHardLinks(err) {
			return fmt.Errorf("%w: the file system (%s) has no hard links, without which nothing can be published safely; "+
				"use a folder on ext4, xfs, btrfs or the like: %w", storage.ErrUnfit, s.kind, err)
		}
		return err
	}
	defer func() { _ = s.sys.unlink(filepath.Join(at.path, name)) }()
	if _, err := os.Lstat(filepath.Join(at.path, strings.ToUpper(name))); err == nil {
		return fmt.Errorf("%w: the folder (on %s) does not tell upper case from lower case, so that two keys could be one file; "+
			"use a folder that does, on ext4, xfs, btrfs or the like", storage.ErrUnfit, s.kind)
	}
	if err := s.sys.syncDir(at.f); err != nil {
		return fmt.Errorf("folders cannot be synced here, so that nothing can be made durable: %w", err)
	}
	return nil
}

package file

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ckptd/ckptd/layout/storage"
)

// A temp is a file that has not got its key's name yet.
type temp struct {
	f    *os.File
	path string // its temporary name; "" if the file is unnamed
}

// tries bounds how often a creation begins again because a Delete removed the empty folder that it was about to use.
const tries = 100

// newTemp makes the file that is to become key.
func (s *store) newTemp(key string) (*temp, error) {
	if err := s.probe(); err != nil {
		return nil, err
	}
	folder, _ := s.split(key)
	if err := s.dirs.broken(folder); err != nil {
		return nil, err
	}
	var path string
	create := func() (*os.File, error) { return s.sys.openUnnamed(folder) }
	if s.named {
		path = s.tempPath(key)
		folder = filepath.Dir(path)
		create = func() (*os.File, error) { return s.sys.createTemp(path) }
	}
	for range tries {
		f, err := create()
		if err == nil {
			return &temp{f: f, path: path}, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		if err := s.dirs.mkdirAll(folder); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	return nil, s.removedAgain(folder)
}

// finish makes a written temporary the object key: it syncs the file, links it and syncs the folders. The error tells
// the outcome as for every mutation.
func (s *store) finish(ctx context.Context, t *temp, key string) error {
	return s.wherever(s.link(ctx, t, key))
}

func (s *store) link(ctx context.Context, t *temp, key string) error {
	folder, name := s.split(key)
	here := s.dirs.expect(folder)
	defer here.leave()
	if err := s.sys.sync(t.f); err != nil {
		return fmt.Errorf("fsync failed, file abandoned: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	for range tries {
		if err := s.dirs.broken(folder); err != nil {
			return err
		}
		at, err := s.dirs.open(folder)
		if elsewhere := s.present(); elsewhere != nil { // asked now: the open folder cannot come to lie elsewhere
			if err == nil {
				at.f.Close()
			}
			return elsewhere
		}
		if err == nil {
			var linked bool
			linked, err = s.place(t, at, name, here)
			at.f.Close()
			if linked || !errors.Is(err, os.ErrNotExist) {
				return err
			}
			if t.path != "" {
				if _, err := os.Lstat(t.path); err != nil {
					return fmt.Errorf("another process removed the temporary file: %w", err)
				}
			}
		}
		if !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := s.dirs.mkdirAll(folder); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return s.removedAgain(folder)
}

func (s *store) removedAgain(folder string) error {
	if err := s.present(); err != nil {
		return err
	}
	return fmt.Errorf("other processes remove folder %s again and again; %d tries failed", folder, tries)
}

// place links the temporary into the folder and makes the link durable. If linked is true, err is the outcome. If
// not, and the folder is absent, the caller tries again.
func (s *store) place(t *temp, at *dir, name string, here *arrival) (linked bool, err error) {
	err = s.sys.link(t.f, t.path, at.f, name)
	if err != nil && !t.hasGainedLink() {
		switch {
		case errors.Is(err, os.ErrExist):
			// A caller that gets ErrExists may rely on the existing object, so it is made durable, whichever process
			// made it.
			switch err := s.dirs.settle(at, here); {
			case errors.Is(err, os.ErrNotExist):
				return false, err // the object was deleted meanwhile, with its folder
			case err != nil:
				return true, fmt.Errorf("object exists, but is not known to be durable: %w", err)
			}
			return true, storage.ErrExists
		case noHardLinks(err):
			return false, fmt.Errorf("the file system has no hard links here: %w", err)
		case neverHappened(err):
			return false, err
		}
		return true, fmt.Errorf("%w: %w", storage.ErrUnknown, err)
	}
	if err := s.dirs.settle(at, here); err != nil {
		return true, fmt.Errorf("%w: %w", storage.ErrUnknown, err)
	}
	return true, nil
}

// hasGainedLink reports whether a link that returned an error happened all the same. NFS repeats a request whose
// reply was lost; the second request then finds the link that the first one made.
func (t *temp) hasGainedLink() bool {
	var st unix.Stat_t
	if unix.Fstat(int(t.f.Fd()), &st) != nil {
		return false
	}
	had := uint64(0)
	if t.path != "" {
		had = 1
	}
	return uint64(st.Nlink) > had
}

func noHardLinks(err error) bool {
	return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EMLINK) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS)
}

// discard closes and removes a temporary after any outcome. If it did not become an object, its folder may now be
// empty.
func (s *store) discard(t *temp, key string, done bool) {
	t.f.Close()
	if t.path != "" {
		_ = s.sys.unlink(t.path) // AbortUnfinished finds a file that stays
	}
	if !done {
		folder, _ := s.split(key)
		s.dirs.prune(folder)
	}
}

// tempPath returns a new temporary name for key: `<job>/_tmp/<target>~<unique>-<sequence>`.
func (s *store) tempPath(key string) string {
	first, rest, ok := strings.Cut(key, "/")
	if !ok {
		first, rest = "", key
	}
	return filepath.Join(s.root, first, storage.TempElement, encodeTarget(rest)+"~"+s.next())
}

// encodeTarget makes one path element of a key; "/" becomes "~".
func encodeTarget(key string) string {
	return strings.NewReplacer("%", "%25", "~", "%7E", "/", "~").Replace(key)
}

// parseTemp is the inverse of tempPath. target is the key relative to the folder that holds "_tmp".
func parseTemp(name string) (target string, ok bool) {
	i := strings.LastIndexByte(name, '~')
	if i <= 0 {
		return "", false
	}
	return strings.NewReplacer("%25", "%", "%7E", "~", "~", "/").Replace(name[:i]), true
}

// AbortUnfinished implements storage.Store. Unnamed files need no clean-up: they disappear with their process.
func (s *store) AbortUnfinished(ctx context.Context, prefix string, dead func(key string) bool) (int, error) {
	n, err := s.abortUnfinished(ctx, prefix, dead)
	if err != nil {
		return n, s.failed("abort unfinished", prefix, err)
	}
	return n, nil
}

func (s *store) abortUnfinished(ctx context.Context, prefix string, dead func(key string) bool) (int, error) {
	if err := s.writable(ctx); err != nil {
		return 0, err
	}
	if err := storage.ValidatePrefix(prefix); err != nil {
		return 0, err
	}
	if err := s.present(); err != nil {
		return 0, err
	}
	if first, _, ok := strings.Cut(prefix, "/"); ok {
		return s.abortBelow(ctx, first+"/", prefix, dead)
	}
	total, err := s.abortBelow(ctx, "", prefix, dead)
	if err != nil {
		return total, err
	}
	root, err := os.ReadDir(s.root)
	if err != nil {
		return total, err
	}
	for _, entry := range root {
		if !entry.IsDir() || entry.Name() == storage.TempElement {
			continue
		}
		n, err := s.abortBelow(ctx, entry.Name()+"/", prefix, dead)
		total += n
		if err != nil && !errors.Is(err, os.ErrPermission) {
			return total, err
		}
	}
	return total, nil
}

// abortBelow removes the temporaries of one job; job is "" for the root's own, or ends with "/".
func (s *store) abortBelow(ctx context.Context, job, prefix string, dead func(key string) bool) (n int, err error) {
	if job != "" {
		if err := s.pruneBelow(s.path(strings.TrimSuffix(job, "/"))); err != nil {
			return 0, err
		}
	}
	folder := s.path(job + storage.TempElement)
	entries, err := os.ReadDir(folder)
	if absent(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	for _, entry := range entries {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		target, ok := parseTemp(entry.Name())
		if !ok || !strings.HasPrefix(job+target, prefix) || !dead(job+target) {
			continue
		}
		if err := s.sys.unlink(filepath.Join(folder, entry.Name())); err != nil {
			if absent(err) {
				continue
			}
			return n, err
		}
		n++
	}
	s.dirs.prune(folder)
	return n, nil
}

// pruneBelow removes the empty folders in a job's folder, left by a process that was killed before it linked a file.
// A creation that is about to use such a folder makes it again.
func (s *store) pruneBelow(job string) error {
	entries, err := os.ReadDir(job)
	if err != nil && !absent(err) {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			s.dirs.prune(filepath.Join(job, entry.Name()))
		}
	}
	return nil
}

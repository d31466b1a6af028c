package file

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// A system is the calls that change or sync something, or that depend on the kind of file system. Tests replace
// single calls to make them fail or to count them.
type system struct {
	// openUnnamed makes a file without a name on the file system of folder dir, or returns errUnnamed.
	openUnnamed func(dir string) (*os.File, error)
	// createTemp makes a file with a new name.
	createTemp func(path string) (*os.File, error)
	write      func(f *os.File, p []byte) (int, error)
	// flush lets the disk begin to write some of a file's bytes. It makes nothing durable; sync is still needed.
	flush func(f *os.File, offset, length int64) error
	// openDir opens a folder. identify tells the folder from every other that ever had its path.
	openDir  func(path string) (*os.File, error)
	identify func(f *os.File) (id identity, ok bool, err error)
	// link gives f the name in folder dir; path is the name that f has, or "". It never replaces a file.
	link func(f *os.File, path string, dir *os.File, name string) error
	// sync makes a file's bytes durable, syncDir makes a folder's names durable.
	sync    func(f *os.File) error
	syncDir func(f *os.File) error
	mkdir   func(path string) error
	unlink  func(path string) error
	rmdir   func(path string) error
	// fileSystem names the kind of file system and reports whether it is a network file system.
	fileSystem func(path string) (kind string, network bool)
	// mountOptions returns the options of the mount that holds path; room returns what is left there for new files.
	mountOptions func(path string) []string
	room         func(path string) room
}

const (
	ext4    = "ext4"
	overlay = "overlayfs" // a container's own files are on it
)

// errUnnamed says that the file system has no files without names.
var errUnnamed = errors.New("the file system has no unnamed files")

func realSystem() *system {
	return &system{
		openUnnamed: openUnnamed,
		createTemp:  func(path string) (*os.File, error) { return os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666) },
		write:       func(f *os.File, p []byte) (int, error) { return f.Write(p) },
		flush:       flush,
		openDir:     openDir,
		identify:    identify,
		link:        link,
		sync:        func(f *os.File) error { return f.Sync() },
		syncDir:     syncDir,
		mkdir:       func(path string) error { return os.Mkdir(path, 0o777) },
		unlink:      unix.Unlink,
		rmdir:       unix.Rmdir,
		fileSystem:  fileSystem,

		mountOptions: mountOptions,
		room:         roomAt,
	}
}

// openDir opens a folder for reading. os.Open would also ask the kernel's poller to watch it, which costs five more calls and
// fails for every folder.
func openDir(path string) (*os.File, error) {
	var fd int
	err := ignoringEINTR(func() (err error) {
		fd, err = unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// statIn returns what is known of the name in an open folder; a symbolic link is not followed. Relative to the folder, the
// kernel need not walk the whole path for each name.
func statIn(dir *os.File, name string) (st unix.Stat_t, err error) {
	err = ignoringEINTR(func() error { return unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	if err != nil {
		return st, &os.PathError{Op: "stat", Path: dir.Name() + "/" + name, Err: err}
	}
	return st, nil
}

// ignoringEINTR repeats a call that a signal interrupted.
func ignoringEINTR(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// absent reports whether err says that a file, or a folder above it, does not exist.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR)
}

// neverHappened reports whether err, of a link or unlink, is a refusal by the system: the call did nothing and will
// do nothing later. Other errors (EIO, a server that did not answer) leave the outcome open.
func neverHappened(err error) bool {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return false
	}
	switch errno {
	case unix.ENOENT, unix.ENOTDIR, unix.EEXIST, unix.ENOSPC, unix.EDQUOT, unix.EROFS, unix.EMLINK, unix.EPERM, unix.EACCES,
		unix.EXDEV, unix.ENAMETOOLONG, unix.ELOOP, unix.EOPNOTSUPP, unix.ENOSYS, unix.EINVAL, unix.EBADF, unix.EMFILE, unix.ENFILE,
		unix.ENOMEM, unix.EBUSY, unix.EISDIR:
		return true
	}
	return false
}

// newUnique returns 26 characters that no other store ever uses in a name.
func newUnique() string { return strings.ToLower(rand.Text()) }

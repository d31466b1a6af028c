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
	// mountOptions returns the options of the mount that holds path; space returns its free and total bytes.
	mountOptions func(path string) []string
	space        func(path string) (free, total uint64)
}

// overlay is the kind of file system that a container's own files are on.
const overlay = "overlayfs"

// errUnnamed says that the file system has no files without names.
var errUnnamed = errors.New("the file system has no unnamed files")

func realSystem() *system {
	return &system{
		openUnnamed: openUnnamed,
		createTemp:  func(path string) (*os.File, error) { return os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666) },
		write:       func(f *os.File, p []byte) (int, error) { return f.Write(p) },
		flush:       flush,
		openDir:     os.Open,
		identify:    identify,
		link:        link,
		sync:        func(f *os.File) error { return f.Sync() },
		syncDir:     syncDir,
		mkdir:       func(path string) error { return os.Mkdir(path, 0o777) },
		unlink:      unix.Unlink,
		rmdir:       unix.Rmdir,
		fileSystem:  fileSystem,

		mountOptions: mountOptions,
		space:        space,
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

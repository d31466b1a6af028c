package file

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// A system is the calls that change or sync something, or depend on the kind of file system. Tests replace single ones, to fail them or to count them.
type system struct {
	// openUnnamed makes a file without a name on the file system of folder dir; errUnnamed if that cannot be there.
	openUnnamed func(dir string) (*os.File, error)
	// createTemp makes a file of a new name.
	createTemp func(path string) (*os.File, error)
	write      func(f *os.File, p []byte) (int, error)
	// flush lets the disk begin with some of a file's bytes. It makes nothing durable; sync comes all the same.
	flush func(f *os.File, offset, length int64) error
	// openDir opens a folder, identify tells it from every other that ever had its path.
	openDir  func(path string) (*os.File, error)
	identify func(f *os.File) (id identity, ok bool, err error)
	// link gives f (at path; "": unnamed) the name in folder dir. It never replaces.
	link func(f *os.File, path string, dir *os.File, name string) error
	// sync makes a file's bytes durable, syncDir a folder's names.
	sync    func(f *os.File) error
	syncDir func(f *os.File) error
	mkdir   func(path string) error
	unlink  func(path string) error
	rmdir   func(path string) error
	// fileSystem names the kind of file system and tells whether it is one of the network.
	fileSystem func(path string) (kind string, network bool)
	// mountOptions of the mount that a path lies on, and the space there.
	mountOptions func(path string) []string
	space        func(path string) (free, total uint64)
}

// overlay is the kind of file system that containers have of their own.
const overlay = "overlayfs"

// errUnnamed says that the file system has no files without names.
var errUnnamed = errors.New("no files without names here")

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

// absent tells whether err says that a file, or a folder above it, does not exist.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR)
}

// neverHappened tells whether err of a link or unlink is the system's refusal, after which nothing happens any more. Other errors
// (EIO, a server that did not answer) leave it open.
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

// newUnique is 26 characters that no other store ever uses in a name.
func newUnique() string { return strings.ToLower(rand.Text()) }

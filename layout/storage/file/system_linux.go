package file

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

func openUnnamed(dir string) (*os.File, error) {
	f, err := openUnnamedAt(unix.AT_FDCWD, dir, dir)
	if !errors.Is(err, unix.EPERM) {
		return f, err
	}
	// Either nobody may create files here, or the folder was removed just now: try again in the folder that is there
	// now.
	at, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(at)
	return openUnnamedIn(at, dir)
}

// openUnnamedIn translates EPERM: ext4 returns it for a removed folder, where other file systems return ENOENT.
func openUnnamedIn(at int, dir string) (*os.File, error) {
	f, err := openUnnamedAt(at, ".", dir)
	var st unix.Stat_t
	if errors.Is(err, unix.EPERM) && unix.Fstat(at, &st) == nil && st.Nlink == 0 {
		return nil, &os.PathError{Op: "open unnamed file in", Path: dir, Err: unix.ENOENT}
	}
	return f, err
}

// openUnnamedAt makes an unnamed file relative to the open folder at. dir is the folder's name for error messages.
func openUnnamedAt(at int, path, dir string) (*os.File, error) {
	for {
		fd, err := unix.Openat(at, path, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o666)
		switch {
		case err == nil:
			return os.NewFile(uintptr(fd), dir+"/(unnamed)"), nil
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EISDIR), errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS):
			return nil, errUnnamed
		}
		return nil, &os.PathError{Op: "open unnamed file in", Path: dir, Err: err}
	}
}

func link(f *os.File, path string, dir *os.File, name string) error {
	flags := 0
	if path == "" {
		// linkat with AT_EMPTY_PATH would need a capability on older kernels.
		path, flags = "/proc/self/fd/"+strconv.Itoa(int(f.Fd())), unix.AT_SYMLINK_FOLLOW
	}
	if err := unix.Linkat(unix.AT_FDCWD, path, int(dir.Fd()), name, flags); err != nil {
		return &os.LinkError{Op: "link", Old: f.Name(), New: dir.Name() + "/" + name, Err: err}
	}
	return nil
}

func flush(f *os.File, offset, length int64) error {
	err := unix.SyncFileRange(int(f.Fd()), offset, length, unix.SYNC_FILE_RANGE_WRITE)
	if err == nil || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	return &os.PathError{Op: "sync_file_range", Path: f.Name(), Err: err}
}

// syncDir asks after the fsync whether the file system is still up. XFS shuts itself down after a disk error in its
// journal and forgets what it could not write. Then it reports a folder without pending writes as synced (seen on
// Linux 6.18). A file's fsync, and the stat made here, do report the error.
func syncDir(f *os.File) error {
	if err := f.Sync(); err != nil {
		return err
	}
	_, err := f.Stat()
	return err
}

// identify tells a folder from every other that ever had its path. Inode numbers are used again at once, so the
// identity includes the time of birth. Without a time of birth (ok is false) nothing may be concluded from earlier
// syncs.
func identify(f *os.File) (id identity, ok bool, err error) {
	return identifyAt(int(f.Fd()), "", unix.AT_EMPTY_PATH, f.Name())
}

// identifyPath is identify for the file or folder that a path leads to now.
func identifyPath(path string) (id identity, ok bool, err error) {
	return identifyAt(unix.AT_FDCWD, path, 0, path)
}

func identifyAt(at int, path string, flags int, name string) (id identity, ok bool, err error) {
	var st unix.Statx_t
	err = ignoringEINTR(func() error { return unix.Statx(at, path, flags, unix.STATX_INO|unix.STATX_BTIME, &st) })
	if err != nil {
		return identity{}, false, &os.PathError{Op: "statx", Path: name, Err: err}
	}
	id = identity{dev: unix.Mkdev(st.Dev_major, st.Dev_minor), ino: st.Ino, birth: st.Btime.Sec*1e9 + int64(st.Btime.Nsec)}
	return id, st.Mask&unix.STATX_BTIME != 0, nil
}

// fileSystem names the kind of file system and reports whether it is a network file system.
func fileSystem(path string) (kind string, network bool) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return "unknown file system", false
	}
	return kindOf(int64(st.Type))
}

func kindOf(magic int64) (kind string, network bool) {
	switch uint32(magic) {
	case unix.EXT4_SUPER_MAGIC:
		return ext4, false
	case unix.XFS_SUPER_MAGIC:
		return "xfs", false
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs", false
	case unix.F2FS_SUPER_MAGIC:
		return "f2fs", false
	case 0x2fc12fc1:
		return "zfs", false
	case unix.TMPFS_MAGIC:
		return "tmpfs: in memory, gone at power-off", false
	case unix.OVERLAYFS_SUPER_MAGIC:
		return overlay, false
	case unix.NFS_SUPER_MAGIC:
		return "NFS", true
	case unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC:
		return "SMB", true
	case unix.CEPH_SUPER_MAGIC:
		return "CephFS", false
	case unix.FUSE_SUPER_MAGIC:
		return "FUSE", false
	case unix.MSDOS_SUPER_MAGIC:
		return "FAT", false
	}
	return fmt.Sprintf("file system of type %#x", uint32(magic)), false
}

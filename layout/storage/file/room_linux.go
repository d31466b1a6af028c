package file

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// roomAt asks the file system of path for its room.
func roomAt(path string) (r room) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return room{}
	}
	r.bytes = share{st.Bavail * uint64(st.Bsize), st.Blocks * uint64(st.Bsize)}
	r.inodes = share{st.Ffree, st.Files}
	f, err := os.Open(path)
	if err != nil {
		return r
	}
	defer f.Close()
	for kind, id := range []int{os.Geteuid(), os.Getegid()} {
		if d, err := getQuota(f, kind, id); err == nil {
			r.quotas = append(r.quotas, d.quotas(fmt.Sprintf("%s %d", [...]string{"user", "group"}[kind], id))...)
		}
	}
	return r
}

// diskQuota is the kernel's struct if_dqblk. Limits of space are in KiB, space in use in bytes; a limit of 0 is none.
type diskQuota struct {
	hardSpace, softSpace, space    uint64
	hardInodes, softInodes, inodes uint64
	spaceTime, inodeTime           uint64
	valid                          uint32
	_                              uint32
}

// getQuota reads a quota of the file system of f: of a user (kind 0) or a group (kind 1). Most file systems have none.
// The quota of a project needs no question: statfs answers within it.
func getQuota(f *os.File, kind, id int) (d diskQuota, err error) {
	const get = 0x800007 // Q_GETQUOTA
	_, _, errno := unix.Syscall6(unix.SYS_QUOTACTL_FD, f.Fd(), uintptr(get<<8|kind), uintptr(id), uintptr(unsafe.Pointer(&d)), 0, 0)
	if errno != 0 {
		return d, errno
	}
	return d, nil
}

// quotas gives the limits that are set, as one quota, or none.
func (d diskQuota) quotas(of string) []quota {
	const block = 1024
	q := quota{of: of, bytes: left(d.hardSpace*block, d.space), inodes: left(d.hardInodes, d.inodes)}
	if q.bytes.total == 0 && q.inodes.total == 0 {
		return nil
	}
	return []quota{q}
}

func left(limit, used uint64) share { return share{limit - min(used, limit), limit} }

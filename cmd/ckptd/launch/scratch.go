package launch

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"syscall"

	"github.com/ckptd/ckptd/proto/address"
)

const (
	// lockName is the file in a temporary folder that its launcher has locked. The system unlocks it when the launcher dies.
	lockName = "lock"
	// keptName is the same file in the folder of a run that has failed, which is kept for a look.
	keptName = "kept"
)

// scratchForm is the form of the names of temporary folders.
var scratchForm = regexp.MustCompile(`^ckptd-[0-9]+$`)

// NewScratch makes a temporary folder whose path is short enough for sockets, and locks it. The lock lasts until the file
// is closed. Before that, NewScratch removes the folders of launchers that were killed.
func NewScratch() (dir string, lock *os.File, err error) {
	clearScratch(lockName)
	if dir, err = os.MkdirTemp(scratchParent(), "ckptd-"); err != nil {
		return "", nil, err
	}
	// The file gets its name when it is locked: another launcher must not take the new folder for one that nobody owns.
	unnamed := filepath.Join(dir, lockName+".new")
	lock, err = os.Create(unnamed)
	if err == nil {
		err = errors.Join(syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB), os.Rename(unnamed, filepath.Join(dir, lockName)))
	}
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	return dir, lock, nil
}

// scratchParent is the system's folder for temporary files, or /tmp if its path is too long for sockets.
func scratchParent() string {
	const longest = address.MaxSocketPath - len("/ckptd-0123456789/x-0123456789.sock")
	if dir := os.TempDir(); len(dir) <= longest {
		return dir
	}
	return "/tmp"
}

// clearScratch removes this user's temporary folders that hold a file of this name which nobody has locked. What cannot
// be removed stays.
func clearScratch(name string) {
	parent := scratchParent()
	entries, _ := os.ReadDir(parent)
	for _, e := range entries {
		if dir := filepath.Join(parent, e.Name()); scratchForm.MatchString(e.Name()) && ours(e) && unlocked(filepath.Join(dir, name)) {
			_ = os.RemoveAll(dir)
		}
	}
}

// ours tells whether an entry is a folder of this user. A link is none.
func ours(e fs.DirEntry) bool {
	info, err := e.Info()
	if err != nil || !info.IsDir() {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Getuid()
}

// unlocked tells whether a file is there and nobody has locked it.
func unlocked(path string) bool {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
}

// KeepScratch has later launchers leave the folder alone. ClearAll removes it.
func KeepScratch(dir string) error {
	return os.Rename(filepath.Join(dir, lockName), filepath.Join(dir, keptName))
}

// ClearAll removes the temporary folders of launchers that do not run any more, also those that were kept.
func ClearAll() {
	clearScratch(lockName)
	clearScratch(keptName)
}

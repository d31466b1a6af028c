package file

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptd/ckptd/conformance/stores"
	"github.com/ckptd/ckptd/layout/storage"
)

// openAt opens a root with its own system, which a test may have changed.
func openAt(t *testing.T, dir string, sys *system) storage.Opened {
	t.Helper()
	opened, err := open(t.Context(), dir, nil, sys)
	if err != nil {
		t.Fatal(err)
	}
	return opened
}

// withoutUnnamed is a file system without O_TMPFILE.
func withoutUnnamed() *system {
	sys := realSystem()
	sys.openUnnamed = func(string) (*os.File, error) { return nil, errUnnamed }
	return sys
}

// The suite in memory, where no test waits for a disk.
func TestStore(t *testing.T) { conform(t, memoryDir(t), realSystem, 10, true) }

func TestStoreNamed(t *testing.T) { conform(t, memoryDir(t), withoutUnnamed, 10, true) }

// The suite on a disk with its syncs, for differences between file systems.
func TestStoreOnDisk(t *testing.T) {
	races, faulty := 1, false
	if os.Getenv("CKPTD_NIGHTLY") != "" {
		races, faulty = 10, true
	}
	conform(t, t.TempDir(), realSystem, races, faulty)
}

// unsynced is sys without syncs, for tests that do not depend on them; syncs take most of the time.
func unsynced(sys *system) *system {
	nothing := func(*os.File) error { return nil }
	sys.sync, sys.syncDir = nothing, nothing
	return sys
}

// withoutBirth is a file system that does not tell when a folder was made.
func withoutBirth() *system {
	sys := realSystem()
	sys.identify = func(f *os.File) (identity, bool, error) {
		id, _, err := identify(f)
		return identity{dev: id.dev, ino: id.ino}, false, err
	}
	return sys
}

func conform(t *testing.T, base string, newSystem func() *system, races int, faulty bool) {
	h := stores.Harness{
		Races: races,
		Open: func(t *testing.T, root string) storage.Opened {
			return openAt(t, filepath.Join(base, root), newSystem())
		},
	}
	if faulty {
		h.Faulty = func(t *testing.T, root string, step int) (storage.Opened, func(), func() bool) {
			sys := newSystem()
			f := &failing{step: int64(step / len(causes)), cause: causes[step%len(causes)]}
			f.wrap(sys)
			opened := openAt(t, filepath.Join(base, root), sys)
			if err := opened.Store.(*store).probe(); err != nil {
				t.Fatal(err)
			}
			return opened, func() { f.armed.Store(true) }, func() bool { return f.injected.Load() }
		}
	}
	stores.Run(t, h)
}

// A cause is a way in which a system call can fail.
type cause struct {
	err   error
	after bool // the call happens all the same
}

var causes = []cause{{unix.EIO, false}, {unix.EIO, true}, {unix.ENOSPC, false}}

// failing makes the step-th call after arming fail.
type failing struct {
	step     int64
	cause    cause
	armed    atomic.Bool
	calls    atomic.Int64
	injected atomic.Bool
}

func (f *failing) call(do func() error) error {
	if !f.armed.Load() || f.calls.Add(1)-1 != f.step {
		return do()
	}
	f.injected.Store(true)
	if f.cause.after {
		_ = do()
	}
	return f.cause.err
}

func (f *failing) wrap(sys *system) {
	around(sys, func(_ string, do func() error) error { return f.call(do) })
}

// around passes every call that changes or syncs something, or opens a folder, through hook.
func around(sys *system, hook func(call string, do func() error) error) {
	real := *sys
	open := func(call string, do func(string) (*os.File, error)) func(string) (*os.File, error) {
		return func(path string) (file *os.File, err error) {
			err = hook(call, func() (err error) { file, err = do(path); return err })
			if err != nil && file != nil {
				file.Close()
			}
			return file, err
		}
	}
	path := func(call string, do func(string) error) func(string) error {
		return func(path string) error { return hook(call, func() error { return do(path) }) }
	}
	handle := func(call string, do func(*os.File) error) func(*os.File) error {
		return func(file *os.File) error { return hook(call, func() error { return do(file) }) }
	}
	sys.openUnnamed, sys.createTemp = open("open unnamed", real.openUnnamed), open("create", real.createTemp)
	sys.openDir = open("open folder", real.openDir)
	sys.sync, sys.syncDir = handle("sync", real.sync), handle("sync folder", real.syncDir)
	sys.mkdir, sys.unlink, sys.rmdir = path("mkdir", real.mkdir), path("unlink", real.unlink), path("rmdir", real.rmdir)
	sys.link = func(file *os.File, path string, dir *os.File, name string) error {
		return hook("link", func() error { return real.link(file, path, dir, name) })
	}
	sys.write = func(file *os.File, p []byte) (n int, err error) {
		err = hook("write", func() (err error) { n, err = real.write(file, p); return err })
		return n, err
	}
	sys.flush = func(file *os.File, offset, length int64) error {
		return hook("flush", func() error { return real.flush(file, offset, length) })
	}
}

// memoryDir returns a new folder on a file system in memory, if there is one. Tests that do not depend on a disk
// would mostly wait for it.
func memoryDir(t testing.TB) string {
	t.Helper()
	const memory = "/dev/shm"
	if kind, _ := fileSystem(memory); !strings.HasPrefix(kind, "tmpfs") {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(memory, "ckptd-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// Open does not wait for a pipe in a foreign folder.
func TestOpenPipe(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mkfifo(filepath.Join(dir, "pipe"), 0o666); err != nil {
		t.Fatal(err)
	}
	s := openAt(t, dir, realSystem()).Store
	done := make(chan error, 1)
	go func() {
		_, err := s.Open(t.Context(), "pipe", 0, -1)
		done <- err
	}()
	select {
	case err := <-done:
		if err == nil || errors.Is(err, storage.ErrNotFound) || !strings.Contains(err.Error(), "no file") {
			t.Errorf("open: %v, want an error that says that the pipe is no file", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Open of a pipe waits for a writer, want an error at once")
	}
}

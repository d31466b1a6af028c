package file

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ckptd/ckptd/layout/storage"
)

// A trace is the calls that matter for durability, in order, with paths relative to the root ("." is the root).
type trace struct {
	mu    sync.Mutex
	root  string
	calls []string
}

func (tr *trace) add(call, path string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if rel, err := filepath.Rel(tr.root, path); err == nil {
		path = rel
	}
	tr.calls = append(tr.calls, call+" "+path)
}

// take returns the calls since the last take.
func (tr *trace) take() []string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	calls := tr.calls
	tr.calls = nil
	return calls
}

// traced opens a root and records the calls after that.
func traced(t *testing.T, root string, sys *system) (storage.Store, *trace) {
	t.Helper()
	opened := openAt(t, root, sys)
	if err := opened.Store.(*store).probe(); err != nil {
		t.Fatal(err)
	}
	tr := &trace{root: opened.Store.(*store).root}
	real := *sys
	sys.sync = func(f *os.File) error {
		tr.calls = append(tr.calls, "sync file")
		return real.sync(f)
	}
	sys.syncDir = func(f *os.File) error {
		tr.add("sync", f.Name())
		return real.syncDir(f)
	}
	sys.link = func(f *os.File, path string, dir *os.File, name string) error {
		tr.add("link", filepath.Join(dir.Name(), name))
		return real.link(f, path, dir, name)
	}
	return opened.Store, tr
}

func wantCalls(t *testing.T, tr *trace, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, tr.take()); diff != "" {
		t.Errorf("calls, -want +got:\n%s", diff)
	}
}

func publish(t *testing.T, s storage.Store, key string) {
	t.Helper()
	if err := s.Publish(t.Context(), key, []byte("of "+key)); err != nil {
		t.Fatal(err)
	}
}

func listed(t *testing.T, s storage.Store, prefix string) []string {
	t.Helper()
	var keys []string
	for info, err := range s.List(t.Context(), prefix) {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	slices.Sort(keys)
	return keys
}

// A folder counts as durable only once this process has synced the folder above it, up to the root. Later it is not
// synced again, unless the path leads to another folder.
func TestFoldersAreSyncedOnceByEachProcess(t *testing.T) {
	root := t.TempDir()
	s, tr := traced(t, root, realSystem())
	publish(t, s, "job/_journal/1")
	wantCalls(t, tr, "sync file", "link job/_journal/1", "sync .", "sync job", "sync job/_journal")
	publish(t, s, "job/_journal/2")
	wantCalls(t, tr, "sync file", "link job/_journal/2", "sync job/_journal")
	publish(t, s, "job/shared/f")
	wantCalls(t, tr, "sync file", "link job/shared/f", "sync job", "sync job/shared")
	publish(t, s, "top")
	wantCalls(t, tr, "sync file", "link top", "sync .")

	other, otherTrace := traced(t, root, realSystem())
	publish(t, other, "job/_journal/3")
	wantCalls(t, otherTrace, "sync file", "link job/_journal/3", "sync .", "sync job", "sync job/_journal")

	// The other process empties the folder and makes a new one with the same name. This process has not synced the
	// new one.
	if errs := other.Delete(t.Context(), []string{"job/shared/f"}); errs != nil {
		t.Fatal(errs)
	}
	publish(t, other, "job/shared/g")
	publish(t, s, "job/shared/h")
	wantCalls(t, tr, "sync file", "link job/shared/h", "sync job", "sync job/shared")
}

// If folders have no time of birth, nothing is concluded from earlier syncs.
func TestFoldersWithoutBirthAreSyncedEachTime(t *testing.T) {
	s, tr := traced(t, t.TempDir(), withoutBirth())
	publish(t, s, "job/_journal/1")
	wantCalls(t, tr, "sync file", "link job/_journal/1", "sync .", "sync job", "sync job/_journal")
	publish(t, s, "job/_journal/2")
	wantCalls(t, tr, "sync file", "link job/_journal/2", "sync .", "sync job", "sync job/_journal")
}

// Opening also makes a new root itself durable.
func TestOpenSyncsTheFoldersAboveTheRoot(t *testing.T) {
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	sys := realSystem()
	var synced []string
	sys.syncDir = func(f *os.File) error {
		synced = append(synced, f.Name())
		return f.Sync()
	}
	openAt(t, filepath.Join(base, "a", "b"), sys)
	for _, path := range []string{filepath.Join(base, "a"), base, filepath.Dir(base)} {
		if !slices.Contains(synced, path) {
			t.Errorf("%s was not synced, want it among the synced %v", path, synced)
		}
	}
}

// Another process may have linked a file and not synced it, so a list syncs before it shows the file. A file that
// this process published, or has shown before, needs no sync.
func TestListShowsNothingThatIsNotDurable(t *testing.T) {
	root := t.TempDir()
	s, tr := traced(t, root, realSystem())
	publish(t, s, "job/_journal/1")
	tr.take()
	listed(t, s, "job/_journal/")
	wantCalls(t, tr)

	other, otherTrace := traced(t, root, realSystem())
	listed(t, other, "job/_journal/")
	wantCalls(t, otherTrace, "sync .", "sync job", "sync job/_journal")
	listed(t, other, "job/_journal/")
	wantCalls(t, otherTrace)
	publish(t, s, "job/_journal/2")
	listed(t, other, "job/_journal/")
	wantCalls(t, otherTrace, "sync job/_journal")
	publish(t, other, "job/_journal/3")
	otherTrace.take()
	listed(t, other, "job/_journal/")
	wantCalls(t, otherTrace)
	if errs := other.Delete(t.Context(), []string{"job/_journal/1"}); errs != nil {
		t.Fatal(errs)
	}
	publish(t, s, "job/_journal/1") // a late duplicate of a trimmed slot
	listed(t, other, "job/_journal/")
	wantCalls(t, otherTrace, "sync job/_journal")
	if errs := s.Delete(t.Context(), []string{"job/_journal/3"}); errs != nil {
		t.Fatal(errs)
	}
	publish(t, s, "job/_journal/3") // a new file under a name that other has shown
	listed(t, other, "job/_journal/")
	wantCalls(t, otherTrace, "sync job/_journal")
}

// A caller that is told that an object exists may rely on the object.
func TestExistsMeansDurable(t *testing.T) {
	root := t.TempDir()
	s, _ := traced(t, root, realSystem())
	publish(t, s, "job/_journal/1")
	other, tr := traced(t, root, realSystem())
	if err := other.Publish(t.Context(), "job/_journal/1", nil); !errors.Is(err, storage.ErrExists) {
		t.Fatal(err)
	}
	wantCalls(t, tr, "sync file", "link job/_journal/1", "sync .", "sync job", "sync job/_journal")
}

// Callers that wait for the same folder share one sync.
func TestWaitingCallersShareOneSync(t *testing.T) { synctest.Test(t, waitingCallersShareOneSync) }

func waitingCallersShareOneSync(t *testing.T) {
	const writers = 32
	sys := realSystem()
	s := openAt(t, t.TempDir(), sys).Store
	publish(t, s, "job/_journal/0")
	var linked, syncs atomic.Int64
	real := *sys
	sys.link = func(f *os.File, path string, dir *os.File, name string) error {
		defer linked.Add(1)
		return real.link(f, path, dir, name)
	}
	sys.syncDir = func(f *os.File) error {
		if syncs.Add(1) == 1 {
			for linked.Load() < writers {
				time.Sleep(time.Millisecond)
			}
			time.Sleep(20 * time.Millisecond) // passes when the others wait for a sync that begins after their link
		}
		return real.syncDir(f)
	}
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() { publish(t, s, fmt.Sprintf("job/_journal/%d", i+1)) })
	}
	wg.Wait()
	if n := syncs.Load(); n != 2 {
		t.Errorf("%d syncs of the folder for %d callers, want 2: one for the first caller, and one for all callers that came meanwhile", n, writers)
	}
	d := s.(*store).dirs
	if len(d.groups) != 0 {
		t.Errorf("%d groups left, want 0", len(d.groups))
	}
}

// Files whose bytes are synced at the same time share one sync of the folder, the first of them too.
func TestFilesThatComeTogetherShareOneSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const writers = 8
		sys := realSystem()
		s := openAt(t, t.TempDir(), sys).Store
		real := *sys
		syncs := 0
		sys.syncDir = func(f *os.File) error {
			syncs++
			time.Sleep(3 * time.Millisecond)
			return real.syncDir(f)
		}
		publish(t, s, "job/_journal/0") // makes the folders above durable, and measures a sync
		write := func(late time.Duration) int {
			var began atomic.Int64
			sys.sync = func(f *os.File) error {
				n := began.Add(1)
				time.Sleep(10*time.Millisecond + late*time.Duration(n-1)/(writers-1))
				return real.sync(f)
			}
			var wg sync.WaitGroup
			syncs = 0
			for i := range writers {
				wg.Go(func() { publish(t, s, fmt.Sprintf("job/_journal/%d-%d", late, i)) })
			}
			wg.Wait()
			return syncs
		}
		if n := write(time.Millisecond); n != 1 {
			t.Errorf("%d syncs of the folder for files within 1 ms, want 1 for all", n)
		}
		if n := write(time.Second); n != writers {
			t.Errorf("%d syncs of the folder for files within 1 s, want %d: no file waits for long", n, writers)
		}
		if d := s.(*store).dirs; len(d.coming) != 0 || len(d.groups) != 0 {
			t.Errorf("left: %v, %v; want nothing", d.coming, d.groups)
		}
		began := time.Now()
		publish(t, s, "job/_journal/alone")
		if took := time.Since(began); took != 3*time.Millisecond+10*time.Millisecond+time.Second*writers/(writers-1) {
			t.Errorf("a single file took %v, want no wait for others", took)
		}
	})
}

// A file whose sync failed is abandoned: the sync is not repeated, and the file is not linked.
func TestFailedSyncAbandonsTheFile(t *testing.T) {
	for _, named := range []bool{false, true} {
		sys := realSystem()
		if named {
			sys = withoutUnnamed()
		}
		root := t.TempDir()
		s, tr := traced(t, root, sys)
		syncs := 0
		sys.sync = func(*os.File) error { syncs++; return unix.EIO }
		err := s.Publish(t.Context(), "job/_journal/1", []byte("x"))
		if err == nil || errors.Is(err, storage.ErrUnknown) || !errors.Is(err, unix.EIO) || syncs != 1 {
			t.Errorf("after %d syncs: %v; want 1 sync, and EIO that is not unknown", syncs, err)
		}
		wantCalls(t, tr)
		if keys := listed(t, s, ""); keys != nil {
			t.Errorf("left behind: %v, want nothing", keys)
		}
		left, _ := filepath.Glob(filepath.Join(root, "*", "_tmp", "*"))
		if len(left) > 0 {
			t.Errorf("left behind: %v, want nothing", left)
		}
	}
}

// A context that is cancelled while the file is synced changes nothing: the file is not linked.
func TestCancelledBeforeTheLink(t *testing.T) {
	sys := realSystem()
	s, tr := traced(t, t.TempDir(), sys)
	ctx, cancel := context.WithCancel(t.Context())
	sys.sync = func(*os.File) error { cancel(); return nil }
	if err := s.Publish(ctx, "job/_journal/1", nil); !errors.Is(err, context.Canceled) || errors.Is(err, storage.ErrUnknown) {
		t.Error(err)
	}
	wantCalls(t, tr)
}

// A folder whose sync failed is lost for this process: the outcome is unknown, and nothing in the folder is relied on
// or tried again. Other folders, and other processes, continue.
func TestFailedSyncAbandonsTheFolder(t *testing.T) {
	root := t.TempDir()
	sys := realSystem()
	s, tr := traced(t, root, sys)
	publish(t, s, "job/_journal/1")
	publish(t, s, "other/_journal/1")
	syncDir := sys.syncDir
	failed := 0
	sys.syncDir = func(f *os.File) error {
		if strings.HasSuffix(f.Name(), "/job/_journal") && failed == 0 {
			failed++
			return unix.EIO
		}
		return syncDir(f)
	}
	err := s.Publish(t.Context(), "job/_journal/2", []byte("x"))
	if !errors.Is(err, storage.ErrUnknown) || !errors.Is(err, storage.ErrAbandoned) || !errors.Is(err, unix.EIO) {
		t.Fatalf("publish with a failed sync of the folder: %v, want ErrUnknown and ErrAbandoned", err)
	}
	tr.take()
	for _, key := range []string{"job/_journal/2", "job/_journal/3"} {
		err := s.Publish(t.Context(), key, []byte("x"))
		if !errors.Is(err, storage.ErrAbandoned) || errors.Is(err, storage.ErrUnknown) || errors.Is(err, storage.ErrExists) {
			t.Errorf("publish into an abandoned folder: %v, want ErrAbandoned", err)
		}
	}
	for _, err := range s.List(t.Context(), "job/_journal/") {
		if !errors.Is(err, storage.ErrAbandoned) {
			t.Errorf("list of an abandoned folder: %v, want ErrAbandoned", err)
		}
	}
	wantCalls(t, tr)
	publish(t, s, "other/_journal/2")
	fresh := openAt(t, root, realSystem()).Store
	publish(t, fresh, "job/_journal/3")
}

// A link that returned an error but happened is found by the file's number of links.
func TestLinkThatHappenedAllTheSame(t *testing.T) {
	for _, sys := range []*system{realSystem(), withoutUnnamed()} {
		s, _ := traced(t, t.TempDir(), sys)
		link := sys.link
		sys.link = func(f *os.File, path string, dir *os.File, name string) error {
			if err := link(f, path, dir, name); err != nil {
				return err
			}
			return unix.EEXIST // as NFS says when it repeats a request whose reply was lost
		}
		publish(t, s, "job/_journal/1")
	}
}

// Errors of the system after which nothing can happen are "not done". Other errors of a link or unlink are unknown.
func TestWhichErrorsAreUnknown(t *testing.T) {
	for _, c := range []struct {
		errno   unix.Errno
		unknown bool
		text    string
	}{
		{unix.ENOSPC, false, "no space left"},
		{unix.EDQUOT, false, "quota"},
		{unix.EROFS, false, "read-only file system"},
		{unix.EPERM, false, "no hard links here"},
		{unix.EMLINK, false, "no hard links here"},
		{unix.EIO, true, "input/output error"},
		{unix.ESTALE, true, "stale"},
		{unix.ETIMEDOUT, true, "timed out"},
	} {
		sys := realSystem()
		s, _ := traced(t, t.TempDir(), sys)
		publish(t, s, "job/chk-1/g")
		sys.link = func(*os.File, string, *os.File, string) error { return c.errno }
		err := s.Publish(t.Context(), "job/chk-1/f", nil)
		if errors.Is(err, storage.ErrUnknown) != c.unknown || !strings.Contains(err.Error(), c.text) {
			t.Errorf("link with %v: %v; want unknown: %v, and %q", c.errno, err, c.unknown, c.text)
		}
		sys.unlink = func(string) error { return c.errno }
		errs := s.Delete(t.Context(), []string{"job/chk-1/g"})
		if len(errs) != 1 || c.errno != unix.EMLINK && errors.Is(errs[0], storage.ErrUnknown) != c.unknown {
			t.Errorf("unlink with %v: %v; want unknown: %v", c.errno, errs, c.unknown)
		}
	}
}

// The disk is full while bytes are written, or while they are synced: the outcome is not done, and nothing is left.
// With space, work continues.
func TestFullDisk(t *testing.T) {
	sys := realSystem()
	root := t.TempDir()
	s, _ := traced(t, root, sys)
	real := *sys
	sys.write = func(f *os.File, p []byte) (int, error) {
		n, _ := f.Write(p[:len(p)/2])
		return n, unix.ENOSPC
	}
	full := func() {
		t.Helper()
		w, err := s.Create(t.Context(), "job/shared/f", storage.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.Write(make([]byte, 1<<20))
		if err == nil {
			err = w.Commit()
		} else if again := w.Commit(); !errors.Is(again, unix.ENOSPC) {
			t.Errorf("commit after a failed write: %v, want ENOSPC", again)
		}
		if !errors.Is(err, unix.ENOSPC) || errors.Is(err, storage.ErrUnknown) {
			t.Errorf("full disk: %v, want ENOSPC that is not unknown", err)
		}
		if keys := listed(t, s, ""); keys != nil {
			t.Errorf("left behind: %v, want nothing", keys)
		}
		if _, err := os.Stat(filepath.Join(root, "job")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("an empty folder is left behind, want none")
		}
	}
	full()
	sys.write = real.write
	sys.sync = func(*os.File) error { return unix.ENOSPC }
	full()
	sys.sync = real.sync
	publish(t, s, "job/shared/f")
}

// The disk's first error ends a file, even before the sync.
func TestFailedFlushAbandonsTheFile(t *testing.T) {
	sys := realSystem()
	s, tr := traced(t, t.TempDir(), sys)
	flushes := 0
	sys.flush = func(*os.File, int64, int64) error { flushes++; return unix.EIO }
	w, err := s.Create(t.Context(), "job/shared/f", storage.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for written := 0; written < flushEvery && err == nil; written += 1 << 20 {
		_, err = w.Write(make([]byte, 1<<20))
	}
	if !errors.Is(err, unix.EIO) || flushes != 1 {
		t.Errorf("after %d flushes: %v; want EIO at the first flush", flushes, err)
	}
	if err := w.Commit(); !errors.Is(err, unix.EIO) || errors.Is(err, storage.ErrUnknown) {
		t.Errorf("commit: %v, want EIO that is not unknown", err)
	}
	wantCalls(t, tr)
}

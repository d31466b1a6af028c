package service_test

import (
	"fmt"
	"log/slog"
	"runtime"
	"testing"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service"
)

// used returns the bytes in the heap and in the goroutines' stacks.
func used() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// TestMemoryOfAJob: the budget of an attached job without a worker is 16 KiB. The test fails at twice that, since the
// figure includes what other tests in the process leave behind, and the job's two objects in the store.
func TestMemoryOfAJob(t *testing.T) {
	const jobs, budget = 300, 16 << 10
	d := startDaemonWith(t, newRoot(), "", service.Options{Log: slog.New(slog.DiscardHandler)})
	attach := func(from, to int) {
		for i := from; i < to; i++ {
			d.attach(t, fmt.Sprint("j", i), onePlan(), nil)
		}
	}
	attach(0, 20) // what is there once
	before := used()
	attach(20, 20+jobs)
	each := (used() - before) / jobs
	t.Logf("%d bytes for each attached job without a worker; the budget is %d", each, budget)
	if each > 2*budget {
		t.Errorf("%d bytes a job, want at most twice the budget, %d", each, budget)
	}
	runtime.KeepAlive(d)
}

// TestMemoryOfAKnownFile: the budget of a shared file that an owner knows is 256 bytes, and 4 for each block of 4 MiB.
// The test fails at twice that.
func TestMemoryOfAKnownFile(t *testing.T) {
	const files, budget = 50_000, 256
	root := newRoot()
	d := startDaemonWith(t, root, "", service.Options{Log: slog.New(slog.DiscardHandler)})
	w := oneWorker(t, d, "j", nil)
	w.checkpoint(func(id uint64) []*ckptdv1.SnapshotHandle {
		// The files are only named, not uploaded. An acknowledgement does not look for them.
		one := w.put(shared, id, "abc").GetKey()
		var handles []*ckptdv1.SnapshotHandle
		for i := range files {
			handles = append(handles, uploaded("q5bshxvkjmlp3ynwz6dta2cefo", fmt.Sprintf("%06d.sst", i), &ckptdv1.FileHandle{Key: sibling(t, one, uint64(1000+i)), Length: 3}))
		}
		return handles
	})
	d.kill()
	d = startDaemonWith(t, root, "", service.Options{Log: slog.New(slog.DiscardHandler)})
	before := used()
	d.attach(t, "j", onePlan(), nil)
	fresh := d.register(t, "j", "fresh", 0, w.subtasks...)
	fresh.begin()
	fresh.open() // all files are read then
	each := (used() - before) / files
	t.Logf("%d bytes for each known file; the budget is %d", each, budget)
	if each > 2*budget {
		t.Errorf("%d bytes a file, want at most twice the budget, %d", each, budget)
	}
	runtime.KeepAlive(d)
}

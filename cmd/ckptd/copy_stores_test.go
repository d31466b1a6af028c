package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/ckptd/ckptd/cmd/ckptd/demo"
	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/storage"
)

// moveAround runs a job on the first store. The checkpoints there are copied to the next store, where a new job goes on from them, and so on
// to the last. Each copy and its source are whole, and the counts of all jobs together are exact. Then the verbs of people
// empty each store: nothing but journals, histories and the audit log is left.
func moveAround(t *testing.T, roots ...string) {
	r := newRig(t, demo.Options{Root: roots[0], Records: 40_000, Rate: 10_000})
	r.begin()
	for _, root := range roots[1:] {
		r = r.movedTo(root, r.interrupt(), r.Root)
		r.begin()
	}
	r.must(r.Follow(r.ctx))
	r.must(r.Cancel(r.ctx))
	r.must(r.Stop(r.ctx))
	exact, err := r.Verdict()
	r.must(err)
	if !exact || !strings.Contains(r.out.String(), "lines of earlier runs") {
		t.Error("the counts of all runs together are not exact, or there were no earlier runs")
	}
	for _, root := range roots {
		r.emptied(t, root)
	}
}

// emptied lists the jobs below a root, removes what they keep, and collects a file that a killed daemon left.
func (r *rig) emptied(t *testing.T, root string) {
	t.Helper()
	opened, err := drivers.Open(r.ctx, root, false)
	r.must(err)
	defer opened.Close()
	jobs, err := catalog.New(opened.Store).Jobs(r.ctx)
	r.must(err)
	shown := ckptd(t, exit.Done, "ls", root)
	for _, job := range jobs.GetJobs() {
		contains(t, shown, job.GetJobId())
		ckptd(t, exit.Done, "rm", drivers.Below(root, job.GetJobId()), "--now", "--yes")
		orphan := layout.FileName{Epoch: 1, Checkpoint: 1, Nonce: layout.NewNonce()}
		w, err := opened.Store.Create(r.ctx, layout.SharedKey(job.GetJobId(), orphan.String()), storage.CreateOptions{})
		r.must(err)
		defer w.Abort()
		_, err = w.Write([]byte("orphan"))
		r.must(errors.Join(err, w.Commit()))
	}
	if len(jobs.GetJobs()) == 0 {
		t.Errorf("no jobs in %s", root)
	}
	ckptd(t, exit.Done, "gc", root, "--yes")
	for _, key := range listed(r.ctx, t, opened.Store) {
		if key != layout.RootMarkerKey && !strings.Contains(key, "/_journal/") && !strings.Contains(key, "/_history/") && !strings.HasPrefix(key, "_audit/") {
			t.Errorf("left in %s: %s", root, key)
		}
	}
}

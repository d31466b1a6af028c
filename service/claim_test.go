package service_test

import (
	"testing"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

func claiming(r *ckptdv1.AttachJobRequest) { r.ClaimMode = ckptdv1.ClaimMode_CLAIM_MODE_CLAIM }

// heir is a job that claims a checkpoint of job a, which was canceled, with its worker.
func heir(t *testing.T, root storage.Opened, d *daemon, change func(*ckptdv1.JobConfig)) (w *worker, from string, source uint64) {
	t.Helper()
	a := oneWorker(t, d, "a", nil)
	source = a.checkpoint(a.ofAll)
	d.cancel(t, "a")
	d.waitReleased(t)
	from = "a/" + layout.CheckpointDir(source)
	req := restoreRequest("b", from)
	if change != nil {
		change(req.Config)
	}
	claiming(req)
	if _, err := d.engineService().AttachJob(t.Context(), req); err != nil {
		t.Fatal("attach:", err)
	}
	w = d.register(t, "b", "w-b", 0, subtask("count"))
	w.begin()
	wantStates(t, w, "a")
	if lent := head(t, root, "a").Lent; len(lent) != 1 || lent[0].Mode != journal.Claim {
		t.Fatalf("job a lends %+v, want one claim of job b", lent)
	}
	return w, from, source
}

// restoredAs asks about the shared file of job a as a backend does that has restored it.
func (w *worker) restoredAs(id uint64, f *ckptdv1.FileHandle) uint32 {
	w.t.Helper()
	res, err := w.d.engineService().BeginSnapshot(w.t.Context(), &ckptdv1.BeginSnapshotRequest{
		JobId: w.job, Epoch: w.epoch, Attempt: w.attempt, CheckpointId: id, Subtasks: w.subtasks,
		Files: []*ckptdv1.LocalFile{{InstanceNonce: "another", Name: "s", Size: f.GetLength(), RestoredKey: f.GetKey()}},
	})
	if err != nil {
		w.t.Fatal("begin snapshot:", err)
	}
	return res.GetKnown()[0]
}

// sharedOf is the restored file with a name.
func (w *worker) sharedOf(name string) *ckptdv1.FileHandle {
	w.t.Helper()
	res, err := w.d.engineService().Assignment(w.t.Context(), &ckptdv1.AssignmentRequest{JobId: w.job, Attempt: w.attempt, Subtasks: w.subtasks})
	if err != nil {
		w.t.Fatal("assignment:", err)
	}
	for _, s := range res.GetStates() {
		for _, h := range s.GetHandles() {
			if h.GetName() == name {
				return h.GetFile()
			}
		}
	}
	w.t.Fatalf("no piece %s is restored", name)
	return nil
}

// TestClaim: a job reuses the files that it has claimed. When its own checkpoints do not name them any more, they go, and job a
// keeps nothing (subtest ids: Flink's CLAIM).
func TestClaim(t *testing.T) {
	t.Run("SR-14", func(t *testing.T) {
		root := newRoot()
		d := startDaemon(t, root, "")
		b, from, source := heir(t, root, d, nil)
		f := b.sharedOf("s")
		reusing := func(id uint64) []*ckptdv1.SnapshotHandle {
			n := b.restoredAs(id, f)
			if n == 0 {
				t.Fatal("the claimed file is not known: CLAIM reuses it")
			}
			if m, err := b.ask(id, "i", "e", "exclusive of a"); m != 0 || err != nil {
				t.Errorf("the exclusive file is known as %d, %v; want it unknown", m, err)
			}
			return []*ckptdv1.SnapshotHandle{known("s", n), uploaded("i", "e", b.put(exclusive, id, "exclusive of a")), inline("n", "inline of a")}
		}
		b.checkpoint(reusing)
		b.checkpoint(reusing)
		if e := head(t, root, "a"); len(e.Lent) != 1 || e.Retained[0].State != journal.StateKept {
			t.Errorf("job a lends %+v and retains %+v, want both: a checkpoint of job b names its file", e.Lent, e.Retained)
		}
		// A new owner reads what is claimed from the _metadata.
		d.kill()
		d = startDaemon(t, root, "")
		d.attach(t, "b", nil, nil)
		b = d.register(t, "b", "w-b2", 0, subtask("count"))
		b.begin()
		wantStates(t, b, "a")
		f = b.sharedOf("s")
		b.checkpoint(reusing)
		_, err := d.engineService().AttachJob(t.Context(), func() *ckptdv1.AttachJobRequest { r := restoreRequest("c", from); claiming(r); return r }())
		wantCode(t, err, connect.CodeFailedPrecondition, "job b has claimed the checkpoint", "NO_CLAIM")
		last := b.checkpoint(b.ofAll)
		eventually(t, "the end of the claimed checkpoint", func() bool {
			e := head(t, root, "a")
			return len(e.Lent)+len(e.Retained)+len(head(t, root, "b").Borrowed) == 0 && e.Owner.IsZero()
		})
		if e := head(t, root, "b"); len(e.Retained) != 1 || e.Retained[0].ID != last {
			t.Errorf("job b retains %+v, want %d alone", e.Retained, last)
		}
		d.cancel(t, "b")
		d.waitReleased(t)
		atRest(t, root, "a")
		atRest(t, root, "b")
		if left := contents(t, root.Store, layout.CheckpointPrefix("a", source)); len(left) != 0 {
			t.Errorf("of the claimed checkpoint %v is left", left)
		}
	})
	t.Run("the claimed checkpoint counts as one of the job's", func(t *testing.T) {
		root := newRoot()
		d := startDaemon(t, root, "")
		b, _, _ := heir(t, root, d, twoRetained)
		b.checkpoint(b.ofAll)
		if e := head(t, root, "b"); len(e.Retained) != 2 || len(e.Borrowed) != 1 {
			t.Errorf("job b retains %+v and borrows %+v, want the import and its own checkpoint", e.Retained, e.Borrowed)
		}
		b.checkpoint(b.ofAll)
		eventually(t, "the end of the claimed checkpoint", func() bool { return len(head(t, root, "a").Retained) == 0 })
	})
	t.Run("the job ends before it has a checkpoint", func(t *testing.T) {
		root := newRoot()
		d := startDaemon(t, root, "")
		_, _, source := heir(t, root, d, func(c *ckptdv1.JobConfig) { c.Retention = ckptdv1.Retention_RETENTION_DELETE_ON_CANCELLATION })
		d.cancel(t, "b")
		d.waitReleased(t)
		if e := head(t, root, "a"); len(e.Retained) != 1 || e.Retained[0].ID != source || e.Retained[0].State != journal.StateKept || len(e.Lent) != 0 {
			t.Errorf("job a retains %+v and lends %+v, want the checkpoint back: job b has completed none", e.Retained, e.Lent)
		}
		atRest(t, root, "b")
	})
	t.Run("the job's end keeps its import", func(t *testing.T) {
		root := newRoot()
		d := startDaemon(t, root, "")
		heir(t, root, d, nil)
		d.cancel(t, "b")
		d.waitReleased(t)
		if a, b := head(t, root, "a"), head(t, root, "b"); len(a.Lent) != 1 || len(b.Borrowed) != 1 || len(b.Retained) != 1 {
			t.Errorf("job a lends %+v, job b borrows %+v and retains %+v; want one of each", a.Lent, b.Borrowed, b.Retained)
		}
	})
}

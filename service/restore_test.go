package service_test

import (
	"bytes"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// restoring attaches a job that begins from a checkpoint, and starts its worker.
func restoring(t *testing.T, d *daemon, id, from string) (*worker, *ckptdv1.Start) {
	t.Helper()
	if _, err := d.engineService().AttachJob(t.Context(), restoreRequest(id, from)); err != nil {
		t.Fatal("attach:", err)
	}
	w := d.register(t, id, "w-"+id, 0, subtask("count"))
	return w, w.begin()
}

func restoreRequest(id, from string) *ckptdv1.AttachJobRequest {
	cfg := defaultConfig(0)
	cfg.RestartStrategy.Delay = nil
	return &ckptdv1.AttachJobRequest{JobId: id, Plan: onePlan(), Config: cfg, RestoreFrom: from}
}

// states returns the contents of the pieces that a worker restores, by name.
func (w *worker) states() map[string]string {
	w.t.Helper()
	res, err := w.d.engineService().Assignment(w.t.Context(), &ckptdv1.AssignmentRequest{JobId: w.job, Attempt: w.attempt, Subtasks: w.subtasks})
	if err != nil {
		w.t.Fatal("assignment:", err)
	}
	all := map[string]string{}
	for _, s := range res.GetStates() {
		for _, h := range s.GetHandles() {
			all[h.GetName()] = string(h.GetInline())
			if h.GetFile() != nil {
				b, err := w.d.get(w.t, w.job, h.GetFile())
				if err != nil {
					w.t.Fatal("get state:", err)
				}
				all[h.GetName()] = b
			}
		}
	}
	return all
}

func (d *daemon) get(t testing.TB, job string, f *ckptdv1.FileHandle) (string, error) {
	t.Helper()
	stream, err := d.state().GetState(t.Context(), &ckptdv1.GetStateRequest{JobId: job, File: f})
	if err != nil {
		return "", err
	}
	defer stream.Close()
	var b bytes.Buffer
	for stream.Receive() {
		b.Write(stream.Msg().GetChunk())
	}
	return b.String(), stream.Err()
}

// ofAll returns pieces of each kind: a shared file, an exclusive one and inline state.
func (w *worker) ofAll(id uint64) []*ckptdv1.SnapshotHandle {
	return []*ckptdv1.SnapshotHandle{
		uploaded("i", "s", w.put(shared, id, "shared of "+w.job)), uploaded("i", "e", w.put(exclusive, id, "exclusive of "+w.job)),
		inline("n", "inline of "+w.job),
	}
}

func wantStates(t *testing.T, w *worker, job string) {
	t.Helper()
	got := w.states()
	if len(got) != 3 || got["s"] != "shared of "+job || got["e"] != "exclusive of "+job || got["n"] != "inline of "+job {
		t.Fatalf("job %s restores %q, want the state of job %s", w.job, got, job)
	}
}

// TestRestore: a job begins from a checkpoint of another one that was canceled, with its state. With its first own
// checkpoint it needs the other job no more (subtest ids: Flink's NO_CLAIM).
func TestRestore(t *testing.T) {
	root := newRoot()
	d, other := startDaemon(t, root, ""), startDaemon(t, root, "")
	a := oneWorker(t, d, "a", nil)
	first := a.checkpoint(a.ofAll)
	d.cancel(t, "a")
	d.waitReleased(t)

	b, start := restoring(t, d, "b", "a/"+layout.CheckpointDir(first))
	if got := start.GetRestoreCheckpointId(); got <= first || start.GetAttempt() != 1 {
		t.Fatalf("attempt %d restores checkpoint %d, want attempt 1 and an id above %d", start.GetAttempt(), got, first)
	}
	wantStates(t, b, "a")
	foreign := filesOf(t, read(t, root.Store, layout.MetadataKey("b", start.GetRestoreCheckpointId())))[0]
	if got, err := other.get(t, "b", &ckptdv1.FileHandle{Key: foreign.Key, JobId: "a", Length: foreign.Length}); err != nil {
		t.Errorf("another daemon answers %q, %v; want the lent file", got, err)
	}
	if lent := head(t, root, "a").Lent; len(lent) != 1 || lent[0].Holder != "b" {
		t.Errorf("job a lends %+v, want one pin of job b", lent)
	}
	id := b.checkpoint(func(id uint64) []*ckptdv1.SnapshotHandle {
		if n, err := b.ask(id, "i", "s", "shared of a"); n != 0 || err != nil {
			t.Errorf("the foreign file is known as %d, %v; want it unknown: NO_CLAIM reuses no foreign file", n, err)
		}
		return b.ofAll(id)
	})
	eventually(t, "the pin's return", func() bool { return len(head(t, root, "a").Lent)+len(head(t, root, "b").Borrowed) == 0 })
	if e := head(t, root, "b"); len(e.Retained) != 1 || e.Retained[0].ID != id {
		t.Errorf("job b retains %+v, want only its own checkpoint %d", e.Retained, id)
	}
	eventually(t, "the import's deletion", func() bool {
		return len(contents(t, root.Store, layout.CheckpointPrefix("b", start.GetRestoreCheckpointId()))) == 0
	})
	d.cancel(t, "b")
	d.waitReleased(t)
	atRest(t, root, "a")
	atRest(t, root, "b")
	_, err := startDaemon(t, root, "").get(t, "b", &ckptdv1.FileHandle{Key: foreign.Key, JobId: "a", Length: foreign.Length})
	wantCode(t, err, connect.CodePermissionDenied, "which has lent it nothing")
}

// TestRestoreFromARunningJob: the lender subsumes the checkpoint while another job needs it. The files go when the other
// job has a checkpoint of its own.
func TestRestoreFromARunningJob(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	a := oneWorker(t, d, "a", nil)
	first := a.checkpoint(a.ofAll)
	b, start := restoring(t, d, "b", root.Facts.Location+"/a/"+layout.CheckpointDir(first)+"/_metadata")
	c, cStart := restoring(t, d, "c", "b/"+layout.CheckpointDir(start.GetRestoreCheckpointId())) // its files lie in job a's folder
	second := a.checkpoint(a.ofAll)
	wantStates(t, b, "a")
	wantStates(t, c, "a")
	if cStart.GetRestoreCheckpointId() <= start.GetRestoreCheckpointId() {
		t.Error("the ids do not go on above the source's")
	}
	b.checkpoint(b.ofAll)
	wantStates(t, c, "a")
	c.checkpoint(c.ofAll)
	eventually(t, "the returns to job b", func() bool { return len(head(t, root, "b").Lent)+len(head(t, root, "c").Borrowed) == 0 })
	b.checkpoint(b.ofAll) // drops what was hidden
	eventually(t, "the returns to job a", func() bool { return len(head(t, root, "a").Lent)+len(head(t, root, "b").Borrowed) == 0 })
	third := a.checkpoint(a.ofAll)
	for _, id := range []string{"a", "b", "c"} {
		d.cancel(t, id)
	}
	d.waitReleased(t)
	for _, id := range []string{"a", "b", "c"} {
		atRest(t, root, id)
	}
	if e := head(t, root, "a"); len(e.Retained) != 1 || e.Retained[0].ID != third {
		t.Errorf("job a retains %+v, want %d alone, neither %d nor %d", e.Retained, third, first, second)
	}
}

// TestDueJob: a job has ended and was released while another one borrowed from it. After the return, a janitor deletes
// what was hidden.
func TestDueJob(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	a := oneWorker(t, d, "a", func(c *ckptdv1.JobConfig) { c.Retention = ckptdv1.Retention_RETENTION_DELETE_ON_CANCELLATION })
	first := a.checkpoint(a.ofAll)
	b, _ := restoring(t, d, "b", "a/"+layout.CheckpointDir(first))
	d.cancel(t, "a")
	eventually(t, "job a's release", func() bool { return head(t, root, "a").Owner.IsZero() })
	wantStates(t, b, "a")
	b.checkpoint(b.ofAll)
	eventually(t, "the janitor", func() bool { e := head(t, root, "a"); return len(e.Retained) == 0 && e.Owner.IsZero() })
	atRest(t, root, "a")
}

// TestRestoreOfAJobThatExists: the same call again changes nothing, also when the source is gone. Another source is
// refused.
func TestRestoreOfAJobThatExists(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	a := oneWorker(t, d, "a", nil)
	from := "a/" + layout.CheckpointDir(a.checkpoint(a.ofAll))
	b, _ := restoring(t, d, "b", from)
	b.checkpoint(b.ofAll)
	a.checkpoint(a.ofAll)
	if _, err := d.engineService().AttachJob(t.Context(), restoreRequest("b", from)); err != nil {
		t.Errorf("the same call again: %v, want the job", err)
	}
	_, err := d.engineService().AttachJob(t.Context(), restoreRequest("b", "a/chk-77"))
	wantCode(t, err, connect.CodeFailedPrecondition, "needs a new job id", from)
	_, err = d.engineService().AttachJob(t.Context(), restoreRequest("a", "b/chk-3"))
	wantCode(t, err, connect.CodeFailedPrecondition, "began without state", "needs a new job id")
}

// TestRestoreRefused: nothing is written for a request that cannot be carried out.
func TestRestoreRefused(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	a := oneWorker(t, d, "a", nil)
	id := a.checkpoint(a.ofAll)
	from := "a/" + layout.CheckpointDir(id)
	plan := func(change func(*ckptdv1.Operator)) func(*ckptdv1.AttachJobRequest) {
		return func(r *ckptdv1.AttachJobRequest) { change(r.GetPlan().GetOperators()[0]) }
	}
	for name, test := range map[string]struct {
		from   string
		change func(*ckptdv1.AttachJobRequest)
		code   connect.Code
		words  []string
	}{
		"FS-8 a job":         {"a", nil, connect.CodeInvalidArgument, []string{"<job id>/chk-<number>"}},
		"another root":       {"s3://elsewhere/a/chk-1", nil, connect.CodeInvalidArgument, []string{"copy"}},
		"FS-8 a path upward": {"../a/chk-1", nil, connect.CodeInvalidArgument, []string{"want"}},
		"its own":            {"new/chk-1", nil, connect.CodeInvalidArgument, []string{"new job id"}},
		"too long":           {strings.Repeat("x", 1025), nil, connect.CodeInvalidArgument, []string{"1024"}},
		"FS-8 no such job":   {"nobody/chk-1", nil, connect.CodeNotFound, []string{"there is no job nobody"}},
		"FS-8 not retained":  {"a/chk-999", nil, connect.CodeNotFound, []string{"does not retain checkpoint 999", "ckptd ls a"}},
		"claim":              {from, claiming, connect.CodeFailedPrecondition, []string{"job a has not ended", "cancel the job first"}},
		"unknown mode":       {from, func(r *ckptdv1.AttachJobRequest) { r.ClaimMode = 9 }, connect.CodeInvalidArgument, []string{"unknown"}},
		"no plan":            {from, func(r *ckptdv1.AttachJobRequest) { r.Plan = nil }, connect.CodeInvalidArgument, []string{"needs a plan"}},
		"no such operator":   {from, plan(func(o *ckptdv1.Operator) { o.Id = "sum" }), connect.CodeFailedPrecondition, []string{"operator count has state and is not in the plan"}},
		"RR-19 rescaled":     {from, plan(func(o *ckptdv1.Operator) { o.Parallelism = 2 }), connect.CodeFailedPrecondition, []string{"operator count: parallelism was 1, the plan has 2"}},
	} {
		t.Run(name, func(t *testing.T) {
			req := restoreRequest("new", test.from)
			if test.change != nil {
				test.change(req)
			}
			unchanged(t, root.Store, func() {
				_, err := d.engineService().AttachJob(t.Context(), req)
				wantCode(t, err, test.code, test.words...)
			})
		})
	}
	eventually(t, "only job a is left at the daemon", func() bool {
		res, err := d.jobService().GetStatus(t.Context(), &ckptdv1.GetStatusRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return len(res.GetJobs()) == 1
	})
}

// TestRestoreFillsThePlan: an operator without max parallelism gets the checkpoint's, a new one the default. State without
// an operator is left out if the caller allows that.
func TestRestoreFillsThePlan(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	wide := onePlan()
	wide.Operators[0].MaxParallelism = 512
	d.attach(t, "a", wide, nil)
	a := d.register(t, "a", "w-a", 0, subtask("count"))
	a.begin()
	from := "a/" + layout.CheckpointDir(a.checkpoint(a.ofAll))
	req := restoreRequest("b", from)
	req.Plan = twoPlan()
	req.Plan.Operators[0].Id, req.Plan.Operators[0].MaxParallelism, req.Plan.Operators[1].MaxParallelism = "count", 0, 0
	if _, err := d.engineService().AttachJob(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	p := head(t, root, "b").Plan
	if p.Operator("count").MaxParallelism != 512 || p.Operator("sink").MaxParallelism != 128 {
		t.Errorf("plan %+v, want 512 of the checkpoint and 128 by default", p.Operators)
	}
	req = restoreRequest("c", from)
	req.Plan = twoPlan()
	req.AllowNonRestoredState = true
	if _, err := d.engineService().AttachJob(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	w := d.register(t, "c", "w-c", 0, subtask("source"), subtask("sink"))
	w.begin()
	if got := w.states(); len(got) != 0 {
		t.Errorf("restored %q, want nothing: the operator is not in the plan", got)
	}
}

// TestRestoreByUID: a new job finds the state of an operator by its uid, whatever its id is. Without uid the id decides, and the answer
// of the attach warns.
func TestRestoreByUID(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	named := onePlan()
	named.Operators[0].Uid = "the counts"
	d.attach(t, "a", named, nil)
	a := d.register(t, "a", "w-a", 0, subtask("count"))
	a.begin()
	id := a.checkpoint(a.ofAll)
	for _, c := range []struct {
		job, id, uid string
		warnings     int
	}{{"b", "another", "the counts", 0}, {"c", "count", "", 1}} {
		req := restoreRequest(c.job, "a/"+layout.CheckpointDir(id))
		req.Plan.Operators[0].Id, req.Plan.Operators[0].Uid = c.id, c.uid
		res, err := d.engineService().AttachJob(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		if len(res.GetWarnings()) != c.warnings {
			t.Errorf("job %s: warnings %q, want %d", c.job, res.GetWarnings(), c.warnings)
		}
		w := d.register(t, c.job, "w-"+c.job, 0, subtask(c.id))
		w.begin()
		if got := w.states(); len(got) == 0 {
			t.Errorf("job %s restored nothing", c.job)
		}
	}
}

// TestRestoreFromDamage: a source that cannot be read is refused. One that is lost after the job's first entry ends the
// job as FAILED, with the cause.
func TestRestoreFromDamage(t *testing.T) {
	root := newRoot()
	lost := &lostSource{Store: root.Store, key: layout.MetadataKey("a", 1), job: "b"}
	d := startDaemon(t, storage.Opened{Store: lost, Facts: root.Facts, Close: root.Close}, "")
	a := oneWorker(t, d, "a", nil)
	id := a.checkpoint(a.ofAll)
	from, key := "a/"+layout.CheckpointDir(id), layout.MetadataKey("a", id)
	if key != lost.key {
		t.Fatalf("the first checkpoint is %s, want %s", key, lost.key)
	}
	good := read(t, root.Store, key)
	overwrite(t, root.Store, key, flip)
	_, err := d.engineService().AttachJob(t.Context(), restoreRequest("b", from))
	wantCode(t, err, connect.CodeDataLoss, from)
	overwrite(t, root.Store, key, func([]byte) []byte { return []byte(good) })
	if _, err := d.engineService().AttachJob(t.Context(), restoreRequest("b", from)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the failed job's release", func() bool {
		e := head(t, root, "b")
		return e.Status.Terminal() && e.Owner.IsZero()
	})
	if e := head(t, root, "b"); !strings.Contains(e.Ended.Why, "its _metadata is gone, damaged") || len(e.Retained) != 0 {
		t.Errorf("job b ended with %+v, want the cause", e.Ended)
	}
	if lent := head(t, root, "a").Lent; len(lent) != 0 {
		t.Errorf("job a still lends %+v", lent)
	}
	atRest(t, root, "b")
}

// TestRestoreTheLatest: a job's newest checkpoint, and that of the jobs with a label. The same call again finds the job,
// though another checkpoint is the latest by then.
func TestRestoreTheLatest(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	labeled := func(id, from string) *ckptdv1.AttachJobRequest {
		req := restoreRequest(id, from)
		req.Labels = map[string]string{"name": "clicks"}
		return req
	}
	if _, err := d.engineService().AttachJob(t.Context(), labeled("a", "")); err != nil {
		t.Fatal(err)
	}
	a := d.register(t, "a", "w-a", 0, subtask("count"))
	a.begin()
	a.checkpoint(a.ofAll)
	second := a.checkpoint(a.ofAll)
	_, err := d.engineService().AttachJob(t.Context(), labeled("b", "name=clicks"))
	wantCode(t, err, connect.CodeFailedPrecondition, "job a with that label runs")
	allowed := labeled("d", "name=clicks")
	allowed.AllowRunning = true
	if _, err := d.engineService().AttachJob(t.Context(), allowed); err != nil {
		t.Errorf("by a label of a job that runs, allowed: %v", err)
	}
	if e := head(t, root, "d"); e.Import.Job != "a" || e.Import.Checkpoint != second {
		t.Errorf("job d began from %+v, want checkpoint %d of job a", e.Import, second)
	}
	d.cancel(t, "d")
	for _, from := range []string{"nobody/latest", "name=views"} {
		_, err = d.engineService().AttachJob(t.Context(), labeled("b", from))
		wantCode(t, err, connect.CodeNotFound, from)
	}
	if _, err := d.engineService().AttachJob(t.Context(), labeled("c", "a/latest")); err != nil {
		t.Fatal(err)
	}
	if e := head(t, root, "c"); e.Import.Checkpoint != second || e.Import.Request != "a/latest" {
		t.Errorf("job c began from %+v, want checkpoint %d", e.Import, second)
	}
	eventually(t, "the import, before job a drops the checkpoint", func() bool { return len(head(t, root, "c").Borrowed) == 1 })
	third := a.checkpoint(a.ofAll)
	if _, err := d.engineService().AttachJob(t.Context(), labeled("c", "a/latest")); err != nil {
		t.Errorf("the same call again: %v, want the job", err)
	}
	_, err = d.engineService().AttachJob(t.Context(), labeled("c", "name=clicks"))
	wantCode(t, err, connect.CodeFailedPrecondition, "needs a new job id")
	d.cancel(t, "c")
	d.cancel(t, "a")
	d.waitReleased(t)
	_, err = d.engineService().AttachJob(t.Context(), labeled("b", "name=clicks")) // c keeps its import of the second
	wantCode(t, err, connect.CodeNotFound, "two branches of one lineage")
	if _, err := d.engineService().AttachJob(t.Context(), labeled("b", root.Facts.Location+"/a/latest")); err != nil {
		t.Fatal(err)
	}
	if e := head(t, root, "b"); e.Import.Checkpoint != third {
		t.Errorf("job b began from %+v, want checkpoint %d", e.Import, third)
	}
}

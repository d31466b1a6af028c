package service_test

import (
	"context"
	"errors"
	"io"
	"path"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/mem"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service"
	"github.com/ckptd/ckptd/service/coordinator"
)

// The subtests of this file have the ids of the catalogue of Flink's behaviours: conformance/coverage.

// twoWorkers run a job of two subtasks.
func twoWorkers(t testing.TB, d *daemon, id string, change func(*ckptdv1.JobConfig)) (a, b *worker) {
	t.Helper()
	d.attach(t, id, twoPlan(), change)
	a, b = d.register(t, id, "a-"+id, 0, subtask("source")), d.register(t, id, "b-"+id, 0, subtask("sink"))
	a.begin()
	b.begin()
	return a, b
}

func tolerant(c *ckptdv1.JobConfig) { c.TolerableFailedCheckpoints = 10 }

func (w *worker) decline(id uint64, reason string) error {
	_, err := w.d.engineService().Decline(w.t.Context(), &ckptdv1.DeclineRequest{
		JobId: w.job, Epoch: w.epoch, Attempt: w.attempt, CheckpointId: id, Subtasks: w.subtasks, Reason: reason,
	})
	return err
}

func TestOneCheckpointOfTwoWorkers(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	a, b := twoWorkers(t, d, "j", nil)
	id := a.open()
	t.Run("CO-1", func(t *testing.T) {
		if got := b.triggered(); got != id {
			t.Errorf("the other worker hears %d, want %d", got, id)
		}
		if p := d.status(t, "j").GetPending(); len(p) != 1 || p[0].GetCheckpointId() != id || p[0].GetAcknowledged() != 0 || p[0].GetSubtasks() != 2 {
			t.Errorf("pending %v, want %d with 0 of 2", p, id)
		}
	})
	t.Run("CO-4", func(t *testing.T) {
		a.mustAck(id, uploaded("i", "s", a.put(shared, id, "abc")), inline("n", "x"))
		b.mustAck(id)
		for _, w := range []*worker{a, b} {
			if got := expect[complete](w).Complete.GetCheckpointId(); got != id {
				t.Errorf("worker %s hears that %d is complete, want %d", w.nonce, got, id)
			}
		}
		if p := d.status(t, "j").GetPending(); len(p) != 0 {
			t.Errorf("pending %v, want nothing", p)
		}
	})
	t.Run("CO-5, PC-4, PC-5", func(t *testing.T) {
		next := a.open()
		a.mustAck(next, inline("n", "y"))
		b.mustAck(next)
		expect[complete](a)
		if e := head(t, root, "j"); len(e.Retained) != 1 || e.Retained[0].ID != next {
			t.Errorf("retained %+v, want %d alone", e.Retained, next)
		}
		handles := map[string]int{}
		r, err := layout.NewMetadataReader(strings.NewReader(read(t, root.Store, layout.MetadataKey("j", next))))
		for err == nil {
			var record any
			if record, err = r.Next(); err == nil {
				if s, ok := record.(*layout.Subtask); ok {
					handles[s.OperatorID] += len(s.Handles)
				}
			}
		}
		if err != io.EOF || len(handles) != 2 || handles["source"] != 1 || handles["sink"] != 0 {
			t.Errorf("handles %v, %v; want one of the source, and an entry of the sink without any", handles, err)
		}
	})
}

func TestDeclinesWithTheirReasons(t *testing.T) {
	for name, reason := range map[string]string{"CO-12": "CHECKPOINT_DECLINED", "CO-13": "CHECKPOINT_ASYNC_EXCEPTION"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				root := newRoot()
				d := startDaemon(t, root, inMemory)
				a, b := twoWorkers(t, d, "j", tolerant)
				id := a.open()
				f := a.put(shared, id, "abc")
				a.mustAck(id, uploaded("i", "s", f))
				for range 2 { // the second changes nothing
					if err := b.decline(id, reason); err != nil {
						t.Fatal(err)
					}
				}
				for _, w := range []*worker{a, b} {
					completes, aborts := w.heard()
					if len(completes) != 0 || len(aborts) != 1 || aborts[0].GetCheckpointId() != id || aborts[0].GetReason() != reason {
						t.Errorf("worker %s hears %v and %v, want one abort with %s", w.nonce, completes, aborts, reason)
					}
				}
				wantRefused(t, b.ack(id), ckptdv1.Refused_REASON_NOT_OPEN)
				next := a.open()
				a.mustAck(next)
				b.mustAck(next)
				expect[complete](a)
				eventually(t, "the end of what was acknowledged", func() bool { return len(contents(t, root.Store, layout.SharedPrefix("j"))) == 0 })
			})
		})
	}
}

func TestMessagesOfNobody(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	w, other := oneWorker(t, d, "j", nil), oneWorker(t, d, "k", nil)
	id := w.open()
	f := w.put(shared, id, "abc")
	t.Run("CO-20", func(t *testing.T) {
		stranger := *w
		stranger.job = "nobody"
		wantCode(t, stranger.ack(id, uploaded("i", "s", f)), connect.CodeFailedPrecondition, "nobody")
		wantRefused(t, w.ack(id+50, uploaded("i", "s", f)), ckptdv1.Refused_REASON_NOT_OPEN)
		stranger = *w
		stranger.subtasks = []*ckptdv1.Subtask{subtask("nothing")}
		wantCode(t, stranger.ack(id, uploaded("i", "s", f)), connect.CodeInvalidArgument, "nothing")
	})
	t.Run("CO-22", func(t *testing.T) {
		foreign := *w
		foreign.job, foreign.epoch, foreign.attempt = other.job, other.epoch, other.attempt
		touch := func() {
			unchanged(t, root.Store, func() {
				if err := foreign.ack(id, uploaded("i", "s", f)); err == nil {
					t.Error("accepted for another job, want it refused")
				}
				if err := foreign.decline(id, ""); err != nil && connect.CodeOf(err) == connect.CodeInternal {
					t.Error(err)
				}
			})
		}
		touch()
		w.mustAck(id, uploaded("i", "s", f))
		expect[complete](w)
		touch()
		if got := contents(t, root.Store, layout.SharedPrefix("j")); len(got) != 1 {
			t.Errorf("files %v, want the one of job j", got)
		}
	})
}

func TestSavepointsWaitForNoTurn(t *testing.T) {
	t.Run("RD-1, RD-6, RD-9, CO-35, CO-36", func(t *testing.T) {
		d := startDaemonWith(t, newRoot(), "", service.Options{Savepoints: farSavepoints(newRoot())})
		w := oneWorker(t, d, "j", func(c *ckptdv1.JobConfig) { c.MinPause = durationpb.New(time.Hour) })
		w.checkpoint(inlineState) // the pause begins
		running := w.open()       // the only place is taken
		waits := make(chan error, 1)
		go func() { waits <- d.trigger(t.Context(), "j") }()
		var saved []uint64
		for range 5 {
			s := d.savepoint(t, "j", "")
			if got := w.triggered(); got != s.GetCheckpointId() {
				t.Fatalf("%d is triggered, want savepoint %d", got, s.GetCheckpointId())
			}
			saved = append(saved, s.GetCheckpointId())
		}
		for _, id := range saved {
			w.mustAck(id, inlineState(id)...)
			eventually(t, "the savepoint", func() bool { return d.outcome(t, "j", id) == done })
		}
		w.mustAck(running, inlineState(running)...)
		next := w.triggered() // the checkpoint that waited, which every savepoint has overtaken
		w.mustAck(next, inlineState(next)...)
		if err := <-waits; err != nil {
			t.Errorf("the checkpoint that waited: %v, want it complete", err)
		}
	})
}

func TestWhatLiesInTheStore(t *testing.T) {
	t.Run("CO-51", func(t *testing.T) {
		root := newRoot()
		d := startDaemon(t, root, "")
		oneWorker(t, d, "j", nil)
		for key := range contents(t, root.Store, layout.JobPrefix("j")) {
			if !strings.HasPrefix(key, layout.JournalPrefix("j")) {
				t.Errorf("%s is there before the first checkpoint, want the journal alone", key)
			}
		}
	})
	t.Run("FS-4, FS-13, FS-19", func(t *testing.T) {
		root := newRoot()
		d := startDaemon(t, root, "")
		w := oneWorker(t, d, "j", nil)
		id := w.checkpoint(func(id uint64) []*ckptdv1.SnapshotHandle { return w.ofAll(id) })
		if s, e := len(contents(t, root.Store, layout.SharedPrefix("j"))), len(contents(t, root.Store, layout.CheckpointPrefix("j", id))); s != 1 || e != 2 {
			t.Errorf("%d shared files, and %d objects of the checkpoint; want 1, and the exclusive one with _metadata", s, e)
		}
		if got := len(filesOf(t, read(t, root.Store, layout.MetadataKey("j", id)))); got != 2 {
			t.Errorf("the _metadata names %d files, want 2: the third piece is inline", got)
		}
		if _, err := d.engineService().NewAttempt(t.Context(), &ckptdv1.NewAttemptRequest{JobId: "j", Attempt: w.attempt}); err != nil {
			t.Fatal(err)
		}
		w.begin()
		wantStates(t, w, "j")
		last := w.checkpoint(func(uint64) []*ckptdv1.SnapshotHandle { return nil }) // nothing to store: no handle, no file
		eventually(t, "the end of the first one's files", func() bool {
			return len(contents(t, root.Store, layout.SharedPrefix("j")))+len(contents(t, root.Store, layout.CheckpointPrefix("j", id))) == 0
		})
		if got := contents(t, root.Store, layout.CheckpointPrefix("j", last)); len(got) != 1 {
			t.Errorf("the last checkpoint has %d objects, want _metadata alone", len(got))
		}
	})
	t.Run("FS-10", func(t *testing.T) {
		root := newRoot()
		d := startDaemon(t, root, "")
		j, k := oneWorker(t, d, "j", nil), oneWorker(t, d, "k", nil)
		if a, b := j.checkpoint(j.ofAll), k.checkpoint(k.ofAll); a != b {
			t.Fatalf("the checkpoints are %d and %d, want the same id", a, b)
		}
		before := contents(t, root.Store, layout.JobPrefix("k"))
		j.checkpoint(inlineState)
		d.cancel(t, "j")
		for key := range before {
			if !strings.HasPrefix(key, layout.JournalPrefix("k")) {
				read(t, root.Store, key)
			}
		}
		if _, err := d.engineService().NewAttempt(t.Context(), &ckptdv1.NewAttemptRequest{JobId: "k", Attempt: k.attempt}); err != nil {
			t.Fatal(err)
		}
		k.begin()
		wantStates(t, k, "k")
	})
	t.Run("SR-13", func(t *testing.T) {
		root := newRoot()
		d := startDaemon(t, root, "")
		w := oneWorker(t, d, "j", nil)
		w.checkpoint(func(id uint64) []*ckptdv1.SnapshotHandle {
			return []*ckptdv1.SnapshotHandle{uploaded("i", "s", w.put(shared, id, "12345"))}
		})
		w.checkpoint(func(id uint64) []*ckptdv1.SnapshotHandle {
			n, err := w.ask(id, "i", "s", "12345")
			if err != nil {
				t.Fatal(err)
			}
			return []*ckptdv1.SnapshotHandle{known("s", n), uploaded("i", "t", w.put(shared, id, "678"))}
		})
		if c := head(t, root, "j").Retained[0]; c.StateBytes != 8 || c.NewBytes != 3 {
			t.Errorf("%d bytes of state and %d new ones, want 8 and 3", c.StateBytes, c.NewBytes)
		}
	})
}

func TestRestoredStates(t *testing.T) {
	t.Run("RS-1", func(t *testing.T) {
		root := newRoot()
		d := startDaemon(t, root, "")
		a, b := twoWorkers(t, d, "j", nil)
		id := a.open()
		b.triggered()
		a.mustAck(id, uploaded("i", "s", a.put(shared, id, "of a")))
		b.mustAck(id, uploaded("k", "s", b.put(shared, id, "of b")))
		expect[complete](a)
		d.kill()
		d = startDaemon(t, root, "")
		d.attach(t, "j", twoPlan(), nil)
		a2, b2 := d.register(t, "j", "a2", 0, subtask("source")), d.register(t, "j", "b2", 0, subtask("sink"))
		for w, want := range map[*worker]string{a2: "of a", b2: "of b"} {
			if got := w.begin().GetRestoreCheckpointId(); got != id {
				t.Errorf("worker %s restores %d, want %d", w.nonce, got, id)
			}
			if got := w.states(); len(got) != 1 || got["s"] != want {
				t.Errorf("worker %s restores %q, want %q", w.nonce, got, want)
			}
		}
		next := a2.open()
		b2.triggered()
		for w, instance := range map[*worker]string{a2: "i", b2: "k"} {
			if n, err := w.ask(next, instance, "s", "of a"); n == 0 || err != nil {
				t.Errorf("the shared file of worker %s is known as %d, %v; want it known", w.nonce, n, err)
			}
		}
	})
	t.Run("SR-17", func(t *testing.T) {
		root := newRoot()
		d := startDaemon(t, root, "")
		w := oneWorker(t, d, "j0", nil)
		first := w.checkpoint(w.ofAll)
		for i, next := range []string{"j1", "j2", "j3"} {
			d.cancel(t, w.job)
			from := w.job
			w, _ = restoring(t, d, next, from+"/"+layout.CheckpointDir(first))
			if got := w.states(); got["s"] != "shared of j0" {
				t.Fatalf("round %d restores %q, want the state of the first job", i, got)
			}
			again := func(id uint64) []*ckptdv1.SnapshotHandle {
				return []*ckptdv1.SnapshotHandle{uploaded("i", "s", w.put(shared, id, "shared of j0")), inline("n", "x")}
			}
			first = w.checkpoint(again) // full
			if i == 1 {
				continue
			}
			first = w.checkpoint(func(id uint64) []*ckptdv1.SnapshotHandle { // incremental
				n, err := w.ask(id, "i", "s", "shared of j0")
				if n == 0 || err != nil {
					t.Fatalf("known as %d, %v; want it known", n, err)
				}
				return []*ckptdv1.SnapshotHandle{known("s", n), inline("n", "x")}
			})
		}
	})
	t.Run("RR-16 and RR-24", func(t *testing.T) { // two operators without state are new, one has gone
		root := newRoot()
		d := startDaemon(t, root, "")
		old := onePlan()
		old.Operators = append([]*ckptdv1.Operator{{Id: "map", Parallelism: 3, MaxParallelism: 128}}, old.Operators...)
		d.attach(t, "a", old, nil)
		a := d.register(t, "a", "w-a", 0, subtask("count"), subtask("map"), &ckptdv1.Subtask{OperatorId: "map", Index: 1}, &ckptdv1.Subtask{OperatorId: "map", Index: 2})
		a.begin()
		req := restoreRequest("b", "a/"+layout.CheckpointDir(a.checkpoint(a.ofAll)))
		req.Plan = &ckptdv1.Plan{Operators: append(twoPlan().GetOperators(), onePlan().GetOperators()...)}
		if _, err := d.engineService().AttachJob(t.Context(), req); err != nil {
			t.Fatal(err)
		}
		w := d.register(t, "b", "w-b", 0, subtask("source"), subtask("sink"), subtask("count"))
		w.begin()
		wantStates(t, w, "a")
		res, err := d.engineService().Assignment(t.Context(), &ckptdv1.AssignmentRequest{JobId: "b", Attempt: w.attempt, Subtasks: w.subtasks})
		if err != nil || len(res.GetStates()) != 3 {
			t.Fatalf("states %v, %v; want one for each subtask, also without handles", res.GetStates(), err)
		}
		for _, s := range res.GetStates() {
			if want := s.GetSubtask().GetOperatorId() == "count"; want != (len(s.GetHandles()) == 3) || !want && len(s.GetHandles()) != 0 {
				t.Errorf("subtask %v has %d handles", s.GetSubtask(), len(s.GetHandles()))
			}
		}
	})
	t.Run("PC-11, FT-9, RR-14", func(t *testing.T) { // the first subtask of two has finished, and the only one of the sink
		root := newRoot()
		d := startDaemon(t, root, "")
		plan := twoPlan()
		plan.Operators[0].Parallelism = 2
		d.attach(t, "j", plan, nil)
		all := []*ckptdv1.Subtask{subtask("source"), {OperatorId: "source", Index: 1}, subtask("sink")}
		w := d.register(t, "j", "w", 0, all...)
		w.begin()
		id := w.open()
		w.mustAckAll(id, &ckptdv1.SubtaskSnapshot{Subtask: all[0], Finished: true},
			&ckptdv1.SubtaskSnapshot{Subtask: all[1], Handles: []*ckptdv1.SnapshotHandle{inline("n", "x")}}, &ckptdv1.SubtaskSnapshot{Subtask: all[2], Finished: true})
		expect[complete](w)
		if _, err := d.engineService().NewAttempt(t.Context(), &ckptdv1.NewAttemptRequest{JobId: "j", Attempt: w.attempt}); err != nil {
			t.Fatal(err)
		}
		w.begin()
		res, err := d.engineService().Assignment(t.Context(), &ckptdv1.AssignmentRequest{JobId: "j", Attempt: w.attempt, Subtasks: all})
		if err != nil || len(res.GetStates()) != 3 {
			t.Fatalf("states %v, %v; want three", res.GetStates(), err)
		}
		for _, s := range res.GetStates() {
			runs := s.GetSubtask().GetIndex() == 1
			if s.GetFinished() == runs || len(s.GetHandles()) != map[bool]int{true: 1}[runs] {
				t.Errorf("subtask %v: finished %v, %d handles; want it marked as it was acknowledged", s.GetSubtask(), s.GetFinished(), len(s.GetHandles()))
			}
		}
	})
	t.Run("RS-4", func(t *testing.T) { // the order of the operators has changed, and one with state has gone
		root := newRoot()
		d := startDaemon(t, root, "")
		a, b := twoWorkers(t, d, "a", nil)
		id := a.open()
		b.triggered()
		a.mustAck(id, inline("n", "of the source"))
		b.mustAck(id, inline("n", "of the sink"))
		expect[complete](a)
		req := restoreRequest("b", "a/"+layout.CheckpointDir(id))
		req.Plan = &ckptdv1.Plan{Operators: []*ckptdv1.Operator{{Id: "sink", Parallelism: 1}, {Id: "new", Parallelism: 1}}}
		_, err := d.engineService().AttachJob(t.Context(), req)
		wantCode(t, err, connect.CodeFailedPrecondition, "operator source has state and is not in the plan")
		req.AllowNonRestoredState = true
		if _, err := d.engineService().AttachJob(t.Context(), req); err != nil {
			t.Fatal(err)
		}
		w := d.register(t, "b", "w-b", 0, subtask("new"), subtask("sink"))
		w.begin()
		if got := w.states(); len(got) != 1 || got["n"] != "of the sink" {
			t.Errorf("restored %q, want the state of the sink alone", got)
		}
	})
}

// slowMetadata is a store on which a _metadata can be opened only when open is closed.
type slowMetadata struct {
	storage.Store
	open chan struct{}
}

func (s slowMetadata) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if strings.HasSuffix(key, layout.MetadataName) {
		select {
		case <-s.open:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return s.Store.Open(ctx, key, offset, length)
}

func TestCallersOfASlowRecovery(t *testing.T) {
	t.Run("CS-23", func(t *testing.T) {
		root := newRoot()
		d := startDaemon(t, root, "")
		id := oneWorker(t, d, "j", nil).checkpoint(inlineState)
		d.kill()
		slow := slowMetadata{root.Store, make(chan struct{})}
		d = startDaemon(t, storage.Opened{Store: slow, Facts: root.Facts, Close: root.Close}, "")
		d.attach(t, "j", nil, nil)
		if got := d.status(t, "j").GetSummary().GetLatestCheckpointId(); got != id {
			t.Errorf("the latest checkpoint is %d, want %d, though its _metadata is not read yet", got, id)
		}
		_, err := d.jobService().TriggerCheckpoint(t.Context(), &ckptdv1.TriggerCheckpointRequest{JobId: "j"})
		wantCode(t, err, connect.CodeOf(err), string(coordinator.ReasonNotAllRunning))
		close(slow.open)
		d.register(t, "j", "again", 0, subtask("count")).begin()
	})
}

func TestSavepointsOfTheCatalogue(t *testing.T) {
	t.Run("SP-8", func(t *testing.T) {
		root := newRoot()
		d := startDaemonWith(t, root, "", service.Options{Savepoints: farSavepoints(newRoot())})
		w := oneWorker(t, d, "j", nil) // no periodic checkpoints
		id := d.savepoint(t, "j", "").GetCheckpointId()
		w.mustAck(w.triggered(), inlineState(id)...)
		eventually(t, "the savepoint", func() bool { return d.outcome(t, "j", id) == done })
		for key := range contents(t, root.Store, layout.JobPrefix("j")) {
			if !strings.HasPrefix(key, layout.JournalPrefix("j")) {
				t.Errorf("%s is there, want the journal alone", key)
			}
		}
	})
	t.Run("SP-9", func(t *testing.T) {
		root := newRoot()
		places := farSavepoints(newRoot())
		places.Default = root.Facts.Location + "/a/savepoints"
		d := startDaemonWith(t, root, "", service.Options{Savepoints: places})
		oneWorker(t, d, "a", nil)
		unchanged(t, root.Store, func() {
			_, err := d.engineService().AttachJob(t.Context(), restoreRequest("b", places.Default+"/savepoint-9-none"))
			wantCode(t, err, connect.CodeNotFound, "savepoint-9-none")
		})
	})
	stopped := func(t *testing.T, d *daemon, w *worker) *ckptdv1.Savepoint {
		t.Helper()
		res, err := d.savepoints().TriggerSavepoint(t.Context(), &ckptdv1.TriggerSavepointRequest{JobId: w.job, Stop: ckptdv1.SavepointStop_SAVEPOINT_STOP_SUSPEND})
		if err != nil {
			t.Fatal(err)
		}
		if got := w.triggered(); got != res.GetSavepoint().GetCheckpointId() {
			t.Fatalf("%d is triggered, want savepoint %d", got, res.GetSavepoint().GetCheckpointId())
		}
		return res.GetSavepoint()
	}
	runsOn := func(t *testing.T, d *daemon, w *worker, saved *ckptdv1.Savepoint) {
		t.Helper()
		eventually(t, "the end of the savepoint", func() bool { return d.outcome(t, w.job, saved.GetCheckpointId()) == cleaned })
		if got := d.status(t, w.job).GetSummary().GetStatus(); got != ckptdv1.JobStatus_JOB_STATUS_RUNNING {
			t.Errorf("the job is %v, want it to run on", got)
		}
		w.checkpoint(inlineState)
	}
	t.Run("SP-13 and SP-18", func(t *testing.T) {
		far := newRoot()
		d := startDaemonWith(t, newRoot(), "", service.Options{Savepoints: farSavepoints(far)})
		w := oneWorker(t, d, "j", tolerant)
		saved := stopped(t, d, w)
		if err := w.decline(saved.GetCheckpointId(), "CHECKPOINT_ASYNC_EXCEPTION"); err != nil {
			t.Fatal(err)
		}
		runsOn(t, d, w, saved)
		for key := range contents(t, far.Store, "") {
			if path.Base(key) != layout.MetadataName {
				t.Errorf("%s is left of the savepoint, want a tombstone at most", key)
			}
		}
	})
	t.Run("SP-15", func(t *testing.T) {
		var full atomic.Bool
		full.Store(true)
		far, _ := faulty(newRoot(), func(m mem.Mutation) mem.Outcome {
			if full.Load() {
				return mem.Failed()
			}
			return mem.Done()
		})
		d := startDaemonWith(t, newRoot(), "", service.Options{Savepoints: farSavepoints(far)})
		w := oneWorker(t, d, "j", tolerant)
		saved := stopped(t, d, w)
		w.mustAck(saved.GetCheckpointId(), inlineState(saved.GetCheckpointId())...)
		if got := expect[abort](w).Abort.GetCheckpointId(); got != saved.GetCheckpointId() {
			t.Errorf("%d is aborted, want savepoint %d", got, saved.GetCheckpointId())
		}
		w.checkpoint(inlineState) // though nothing can be cleaned yet
		full.Store(false)
		runsOn(t, d, w, saved)
	})
	t.Run("SP-5", func(t *testing.T) {
		root := newRoot()
		d := startDaemon(t, root, "")
		a := oneWorker(t, d, "a", nil)
		a.checkpoint(a.ofAll)
		from := a.checkpoint(func(id uint64) []*ckptdv1.SnapshotHandle { // incremental
			n, err := a.ask(id, "i", "s", "shared of a")
			if n == 0 || err != nil {
				t.Fatalf("known as %d, %v; want it known", n, err)
			}
			return []*ckptdv1.SnapshotHandle{known("s", n), inline("n", "inline of a"), uploaded("i", "e", a.put(exclusive, id, "exclusive of a"))}
		})
		d.cancel(t, "a")
		b, _ := restoring(t, d, "b", "a/"+layout.CheckpointDir(from))
		wantStates(t, b, "a")
		b.checkpoint(b.ofAll)
		eventually(t, "the pin's return", func() bool { return len(head(t, root, "a").Lent) == 0 })
		var all []string
		for key := range contents(t, root.Store, layout.JobPrefix("a")) {
			all = append(all, key)
		}
		if err := errors.Join(root.Store.Delete(t.Context(), all)...); err != nil {
			t.Fatal(err)
		}
		if _, err := d.engineService().NewAttempt(t.Context(), &ckptdv1.NewAttemptRequest{JobId: "b", Attempt: b.attempt}); err != nil {
			t.Fatal(err)
		}
		b.begin()
		wantStates(t, b, "b")
	})
}

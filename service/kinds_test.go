package service_test

import (
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/layout"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

const (
	configured  = ckptdv1.CheckpointKind_CHECKPOINT_KIND_CONFIGURED
	full        = ckptdv1.CheckpointKind_CHECKPOINT_KIND_FULL
	incremental = ckptdv1.CheckpointKind_CHECKPOINT_KIND_INCREMENTAL
)

// manual asks for a checkpoint, and waits until it has begun. The outcome comes later.
func (w *worker) manual(kind ckptdv1.CheckpointKind) (*ckptdv1.Trigger, <-chan error) {
	w.t.Helper()
	ctx, outcome, done := w.t.Context(), make(chan error, 1), make(chan struct{})
	go func() {
		defer close(done)
		_, err := w.d.jobService().TriggerCheckpoint(ctx, &ckptdv1.TriggerCheckpointRequest{JobId: w.job, Kind: kind})
		outcome <- err
	}()
	w.t.Cleanup(func() { <-done })
	return expect[trigger](w).Trigger, outcome
}

// Manual checkpoints of three kinds: the workers are told which, and of a full one the owner knows no file.
func TestKindsOfCheckpoints(t *testing.T) {
	d := startDaemon(t, newRoot(), "")
	w := oneWorker(t, d, "j", nil)
	var key string
	take := func(t *testing.T, kind ckptdv1.CheckpointKind, wantKind ckptdv1.CheckpointKind, wantKnown bool) {
		t.Helper()
		c, outcome := w.manual(kind)
		if c.GetKind() != wantKind || c.GetSavepoint() {
			t.Errorf("the workers are told %v, want %v, and no savepoint", c.GetKind(), wantKind)
		}
		n, err := w.ask(c.GetCheckpointId(), "i", "1.sst", "state")
		if err != nil || n != 0 != wantKnown {
			t.Fatalf("%v: the file is known as %d, %v; want it known: %v", kind, n, err, wantKnown)
		}
		if n != 0 {
			w.mustAck(c.GetCheckpointId(), known("1.sst", n))
		} else {
			f := w.put(shared, c.GetCheckpointId(), "state")
			if f.GetKey() == key {
				t.Errorf("%v: the file is sent to %s once more", kind, key)
			}
			key = f.GetKey()
			w.mustAck(c.GetCheckpointId(), uploaded("i", "1.sst", f))
		}
		if err := <-outcome; err != nil {
			t.Fatal(err)
		}
		expect[complete](w)
	}
	take(t, incremental, incremental, false) // there is none yet
	t.Run("TR-13", func(t *testing.T) {
		take(t, incremental, incremental, true)
		take(t, full, full, false)
		take(t, configured, configured, true)
		take(t, ckptdv1.CheckpointKind_CHECKPOINT_KIND_UNSPECIFIED, configured, true)
		take(t, full, full, false)
		take(t, incremental, incremental, true)
	})
	t.Run("an unknown kind", func(t *testing.T) {
		_, err := d.jobService().TriggerCheckpoint(t.Context(), &ckptdv1.TriggerCheckpointRequest{JobId: "j", Kind: 9})
		if connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), "allowed is CONFIGURED, FULL or INCREMENTAL") {
			t.Errorf("an unknown kind: %v, want it refused", err)
		}
	})
	t.Run("a full one that fails leaves the older files known", func(t *testing.T) {
		c, outcome := w.manual(full)
		if _, err := d.engineService().Decline(t.Context(), &ckptdv1.DeclineRequest{JobId: "j", Epoch: w.epoch, Attempt: w.attempt, CheckpointId: c.GetCheckpointId(),
			Reason: "CHECKPOINT_DECLINED_TASK_NOT_READY"}); err != nil {
			t.Fatal(err)
		}
		if err := <-outcome; err == nil {
			t.Error("the caller hears of no failure")
		}
		take(t, configured, configured, true)
	})
	t.Run("a worker that comes back hears the kind again", func(t *testing.T) {
		c, outcome := w.manual(full)
		w.leave()
		w = d.register(t, "j", "w-j", w.attempt, subtask("count"))
		w.attempt, w.epoch = c.GetAttempt(), c.GetEpoch()
		w.report(ckptdv1.ReportRequest_KIND_RUNNING, nil)
		if again := expect[trigger](w).Trigger; again.GetKind() != full || again.GetCheckpointId() != c.GetCheckpointId() {
			t.Errorf("the worker is told %v, want the trigger of %d again", again, c.GetCheckpointId())
		}
		w.mustAck(c.GetCheckpointId())
		if err := <-outcome; err != nil {
			t.Error(err)
		}
	})
}

// An incremental checkpoint cannot reuse a file that the job has only borrowed: lending does what forcing a full one does.
func TestIncrementalAfterNoClaim(t *testing.T) {
	t.Run("TR-12", func(t *testing.T) {
		d := startDaemon(t, newRoot(), "")
		a := oneWorker(t, d, "a", nil)
		first := a.checkpoint(a.ofAll)
		if _, err := d.engineService().AttachJob(t.Context(), restoreRequest("b", "a/"+layout.CheckpointDir(first))); err != nil {
			t.Fatal(err)
		}
		b := d.register(t, "b", "w-b", 0, subtask("count"))
		b.begin()
		c, outcome := b.manual(incremental)
		if n := b.restoredAs(c.GetCheckpointId(), b.sharedOf("s")); n != 0 {
			t.Errorf("the foreign file is known as %d, want it unknown", n)
		}
		b.mustAck(c.GetCheckpointId(), b.ofAll(c.GetCheckpointId())...)
		if err := <-outcome; err != nil {
			t.Error(err)
		}
	})
}

// Several checkpoints are pending at a daemon, and a later one completes first.
func TestSeveralPendingCheckpoints(t *testing.T) {
	d := startDaemon(t, newRoot(), "")
	w := oneWorker(t, d, "j", func(c *ckptdv1.JobConfig) {
		c.MaxConcurrentCheckpoints, c.TolerableFailedCheckpoints = 3, 10
	})
	one, first := w.manual(configured)
	two, second := w.manual(configured)
	three, third := w.manual(configured)
	if n := len(d.status(t, "j").GetPending()); n != 3 {
		t.Errorf("%d checkpoints are pending, want 3", n)
	}
	f := w.put(shared, one.GetCheckpointId(), "state")
	w.mustAck(two.GetCheckpointId(), inline("n", "2"))
	expect[complete](w)
	if c := expect[abort](w).Abort; c.GetCheckpointId() != one.GetCheckpointId() || c.GetReason() != "CHECKPOINT_SUBSUMED" || c.GetLatestCompleteId() != two.GetCheckpointId() {
		t.Errorf("the worker hears %v, want the first one subsumed", c)
	}
	wantRefused(t, w.ack(one.GetCheckpointId(), uploaded("i", "s", f)), ckptdv1.Refused_REASON_NOT_OPEN)
	if err := <-first; err == nil || !strings.Contains(err.Error(), "CHECKPOINT_SUBSUMED") {
		t.Errorf("the first caller hears %v, want that the checkpoint is subsumed", err)
	}
	if err := <-second; err != nil {
		t.Error(err)
	}
	w.mustAck(three.GetCheckpointId(), inline("n", "3"))
	if err := <-third; err != nil {
		t.Error(err)
	}
}

// While more old checkpoints wait to be deleted than may be pending, the next one waits, too.
func TestCleaningHoldsCheckpointsUp(t *testing.T) {
	t.Run("RD-4", func(t *testing.T) {
		root := newRoot()
		letGo := make(chan struct{})
		release := sync.OnceFunc(func() { close(letGo) })
		root.Store = slowDeletes{root.Store, letGo}
		d := startDaemon(t, root, "")
		t.Cleanup(release)
		w := oneWorker(t, d, "j", nil)
		for range 3 { // two of them are dropped
			w.checkpoint(inlineState)
		}
		began := make(chan error, 1)
		go func() { began <- d.trigger(t.Context(), "j") }()
		if n := w.acksFor(quiet); n > 0 {
			t.Errorf("%d checkpoints begin while two are being deleted, want none", n)
		}
		release()
		w.mustAck(w.triggered(), inline("n", "4"))
		if err := <-began; err != nil {
			t.Error(err)
		}
	})
}

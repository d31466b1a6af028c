package service_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/layout/storage/mem"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service"
	"github.com/ckptd/ckptd/service/coordinator"
)

func TestWorkerWithAnotherPlan(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	w := oneWorker(t, d, "j", nil)
	w.checkpoint(inlineState)
	unchanged(t, root.Store, func() {
		other := d.registerWith(t, "other", &ckptdv1.RegisterRequest{JobId: "j", Subtasks: []*ckptdv1.Subtask{subtask("source")}, Plan: twoPlan()})
		wantRefused(t, other.ended(), ckptdv1.Refused_REASON_PLAN_MISMATCH)
		for name, req := range map[string]*ckptdv1.RegisterRequest{
			"no subtasks":           {JobId: "j"},
			"a subtask too many":    {JobId: "j", Subtasks: []*ckptdv1.Subtask{{OperatorId: "count", Index: 1}}},
			"a bad plan":            {JobId: "j", Subtasks: w.subtasks, Plan: &ckptdv1.Plan{}},
			"reports of no attempt": {JobId: "j", Subtasks: w.subtasks, Reports: []*ckptdv1.StandingReport{{Kind: ckptdv1.ReportRequest_KIND_RUNNING}}},
			"a failure": {JobId: "j", Subtasks: w.subtasks, Attempt: w.attempt,
				Reports: []*ckptdv1.StandingReport{{Kind: ckptdv1.ReportRequest_KIND_FAILED}}},
			"a report about a subtask too many": {JobId: "j", Subtasks: w.subtasks, Attempt: w.attempt, Reports: []*ckptdv1.StandingReport{
				{Kind: ckptdv1.ReportRequest_KIND_RUNNING, Subtasks: []*ckptdv1.Subtask{{OperatorId: "count", Index: 1}}},
			}},
		} {
			if err := d.registerWith(t, "bad", req).ended(); err == nil {
				t.Errorf("%s: accepted, want a refusal", name)
			}
		}
	})
	w.checkpoint(inlineState) // the one that runs is not disturbed
}

// TestNewAttempt: a repeated call of NewAttempt begins one attempt, not two.
func TestNewAttempt(t *testing.T) {
	d := startDaemon(t, newRoot(), "")
	w := oneWorker(t, d, "j", nil)
	last := w.checkpoint(inlineState)
	pending := w.open()
	for range 2 {
		res, err := d.engineService().NewAttempt(t.Context(), &ckptdv1.NewAttemptRequest{JobId: "j", Attempt: 1, Reason: "moved", RequestId: "n1"})
		if err != nil || res.GetAttempt() != 2 {
			t.Fatalf("attempt %d: %v; want attempt 2", res.GetAttempt(), err)
		}
	}
	if a := expect[abort](w).Abort; a.GetCheckpointId() != pending || a.GetAttempt() != 1 || a.GetLatestCompleteId() != last {
		t.Errorf("abort %v, want checkpoint %d of attempt 1, latest complete %d", a, pending, last)
	}
	if s := w.begin(); s.GetAttempt() != 2 || s.GetRestoreCheckpointId() != last || len(s.GetRoster()) != 1 || s.GetRoster()[0].GetNonce() != w.nonce {
		t.Errorf("start %v, want attempt 2 from checkpoint %d with this worker alone", s, last)
	}
	stale := *w
	stale.attempt = 1
	wantRefused(t, stale.ack(pending, inlineState(pending)...), ckptdv1.Refused_REASON_STALE_ATTEMPT)
	stale.report(ckptdv1.ReportRequest_KIND_FAILED, func(r *ckptdv1.ReportRequest) { r.Cause = "late" })
	w.checkpoint(inlineState)
	if s := d.status(t, "j"); s.GetSummary().GetAttempt() != 2 {
		t.Errorf("attempt %d, want 2: a failure of another attempt must not count", s.GetSummary().GetAttempt())
	}
}

// TestZombieChangesNothing: a worker that was suspended until it was replaced is told so, and its calls change nothing.
func TestZombieChangesNothing(t *testing.T) {
	t.Parallel()
	root := newRoot()
	d := startDaemonWith(t, root, "", service.Options{Times: coordinator.Times{Grace: 20 * time.Millisecond}})
	w := oneWorker(t, d, "j", nil)
	w.checkpoint(inlineState)
	fresh := d.register(t, "j", "fresh", 0, w.subtasks...)
	expect[replaced](w)
	if err := w.ended(); err != nil {
		t.Errorf("the replaced worker's stream ended with %v, want no error", err)
	}
	s := fresh.begin()
	if s.GetAttempt() != 2 {
		t.Fatalf("attempt %d, want 2", s.GetAttempt())
	}
	id := fresh.open()
	unchanged(t, root.Store, func() {
		wantRefused(t, w.ack(id, inlineState(id)...), ckptdv1.Refused_REASON_STALE_ATTEMPT)
		_, err := w.ask(id, "i", "a", "abc")
		wantRefused(t, err, ckptdv1.Refused_REASON_STALE_ATTEMPT)
		if _, err := d.engineService().Decline(t.Context(), &ckptdv1.DeclineRequest{JobId: "j", Epoch: w.epoch, Attempt: w.attempt, CheckpointId: id}); err != nil {
			t.Error(err) // a late decline is accepted and changes nothing
		}
		again := d.register(t, "j", w.nonce, w.attempt, w.subtasks...)
		expect[replaced](again)
		again.ended()
	})
	fresh.mustAck(id, inlineState(id)...)
	expect[complete](fresh)
}

// TestStaleAttemptAtANewOwner: after the owner's death, a process of an older attempt does not take over the job.
func TestStaleAttemptAtANewOwner(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	w := oneWorker(t, d, "j", nil)
	if _, err := d.engineService().NewAttempt(t.Context(), &ckptdv1.NewAttemptRequest{JobId: "j", Attempt: 1}); err != nil {
		t.Fatal(err)
	}
	w.begin()
	w.checkpoint(inlineState)
	d.kill()
	d = startDaemon(t, root, "")
	d.attach(t, "j", onePlan(), nil)
	current := d.register(t, "j", w.nonce, 2, w.subtasks...)
	current.report(ckptdv1.ReportRequest_KIND_RUNNING, nil)
	eventually(t, "the attempt is adopted", func() bool { return d.status(t, "j").GetPhase() == ckptdv1.JobPhase_JOB_PHASE_RUNNING })
	old := d.register(t, "j", "old", 1, w.subtasks...)
	expect[replaced](old)
	ahead := d.register(t, "j", "ahead", 9, w.subtasks...)
	expect[reregister](ahead)
	current.epoch = 2
	current.checkpoint(inlineState)
	if s := d.status(t, "j"); s.GetSummary().GetAttempt() != 2 {
		t.Errorf("attempt %d, want 2", s.GetSummary().GetAttempt())
	}
}

// TestFailedAttemptAtANewOwner: a worker of the attempt that a new owner found comes back without that attempt, and its
// failure is reported late. Both count as one failure: the job goes on in the next attempt, not in the one after it.
func TestFailedAttemptAtANewOwner(t *testing.T) {
	t.Parallel()
	root := newRoot()
	atOnce := func(c *ckptdv1.JobConfig) {
		c.RestartStrategy = &ckptdv1.RestartStrategy{Attempts: 5, Delay: durationpb.New(0)}
	}
	d := startDaemon(t, root, "")
	d.attach(t, "j", twoPlan(), atOnce)
	source, sink := d.register(t, "j", "source", 0, subtask("source")), d.register(t, "j", "sink", 0, subtask("sink"))
	source.begin()
	sink.begin()
	d.kill()
	d = startDaemon(t, root, "")
	d.attach(t, "j", twoPlan(), atOnce)
	source = d.register(t, "j", "source", 0, subtask("source"))
	eventually(t, "attempt 2 is in the journal", func() bool { return d.status(t, "j").GetSummary().GetAttempt() == 2 })
	source.report(ckptdv1.ReportRequest_KIND_FAILED, func(r *ckptdv1.ReportRequest) { r.Attempt, r.Cause = 1, "the channel was lost" })
	sink = d.register(t, "j", "another", 0, subtask("sink"))
	for _, w := range []*worker{source, sink} {
		if s := w.begin(); s.GetAttempt() != 2 {
			t.Errorf("worker %s: attempt %d begins, want 2", w.nonce, s.GetAttempt())
		}
	}
}

// TestPoison: a job that fails in every attempt ends as FAILED, with the cause, and keeps its checkpoint.
func TestPoison(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	w := oneWorker(t, d, "j", func(c *ckptdv1.JobConfig) {
		c.RestartStrategy = &ckptdv1.RestartStrategy{Attempts: 2, Delay: durationpb.New(time.Millisecond)}
	})
	w.checkpoint(inlineState)
	for attempt := uint64(1); ; attempt++ {
		w.report(ckptdv1.ReportRequest_KIND_FAILED, func(r *ckptdv1.ReportRequest) { r.Cause = "record 7: not a number" })
		if attempt == 3 {
			break
		}
		if s := w.begin(); s.GetAttempt() != attempt+1 {
			t.Fatalf("attempt %d, want %d", s.GetAttempt(), attempt+1)
		}
	}
	c := expect[cancel](w).Cancel
	if c.GetStatus() != ckptdv1.JobStatus_JOB_STATUS_FAILED || !strings.Contains(c.GetReason(), "record 7") {
		t.Errorf("cancel %v, want FAILED with the cause", c)
	}
	w.ended()
	d.waitReleased(t)
	if e := atRest(t, root, "j"); len(e.Retained) != 1 || e.Attempt != 3 {
		t.Errorf("attempt %d, retained %v; want attempt 3 and one checkpoint", e.Attempt, e.Retained)
	}
	_, err := d.engineService().AttachJob(t.Context(), &ckptdv1.AttachJobRequest{JobId: "j", Plan: onePlan()})
	wantRefused(t, err, ckptdv1.Refused_REASON_JOB_TERMINAL)
}

// TestLostWorker: when a worker does not come back in time, its attempt ends. The next attempt begins when another
// worker takes its place.
func TestLostWorker(t *testing.T) {
	t.Parallel()
	d := startDaemonWith(t, newRoot(), "", service.Options{Times: coordinator.Times{Grace: 30 * time.Millisecond}})
	w := oneWorker(t, d, "j", nil)
	last := w.checkpoint(inlineState)
	w.leave()
	eventually(t, "the owner waits for a worker", func() bool {
		s := d.status(t, "j")
		return s.GetPhase() == ckptdv1.JobPhase_JOB_PHASE_WAITING_FOR_WORKERS && s.GetSubtasksMissing() == 1 && s.GetSubtasks() == 1
	})
	fresh := d.register(t, "j", "fresh", 0, w.subtasks...)
	if s := fresh.begin(); s.GetRestoreCheckpointId() != last || s.GetAttempt() != 2 {
		t.Errorf("start %v, want attempt 2 from checkpoint %d", s, last)
	}
	fresh.checkpoint(inlineState)
}

// A worker that sends nothing is lost, even if its stream is open. The next attempt waits for another process in its
// place, since it would never run with the silent one.
func TestAFrozenWorkerIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startDaemon(t, newRoot(), inMemory)
		d.attach(t, "j", twoPlan(), nil)
		source, sink := d.register(t, "j", "source", 0, subtask("source")), d.register(t, "j", "sink", 0, subtask("sink"))
		source.begin()
		sink.begin()
		go d.trigger(t.Context(), "j")
		last := source.triggered()
		source.mustAck(last)
		sink.mustAck(last)
		expect[complete](source)
		close(sink.frozen)
		expect[reregister](sink)
		if err := sink.ended(); err != nil {
			t.Errorf("the silent worker's stream ended with %v, want no error", err)
		}
		time.Sleep(time.Minute)
		if s := d.status(t, "j"); s.GetPhase() != ckptdv1.JobPhase_JOB_PHASE_WAITING_FOR_WORKERS || s.GetSubtasksMissing() != 1 {
			t.Errorf("attempt %d, %s; want the owner to wait for a process in the silent one's place", s.GetSummary().GetAttempt(), s.GetPhase())
		}
		fresh := d.register(t, "j", "fresh", 0, sink.subtasks...)
		for _, w := range []*worker{source, fresh} {
			if s := w.begin(); s.GetAttempt() != 2 || s.GetRestoreCheckpointId() != last || len(s.GetRoster()) != 2 {
				t.Errorf("worker %s: %v; want attempt 2, from checkpoint %d, of two processes", w.nonce, s, last)
			}
		}
		thawed := d.register(t, "j", sink.nonce, sink.attempt, sink.subtasks...)
		expect[replaced](thawed)
		go d.trigger(t.Context(), "j")
		id := fresh.triggered()
		source.mustAck(id)
		fresh.mustAck(id)
		expect[complete](fresh)
	})
}

// The owner waits some time for a process whose stream broke. The wait ends when another process takes its place.
func TestASuccessorEndsTheGrace(t *testing.T) {
	for name, lose := range map[string]func(w *worker){
		"its stream stands": func(*worker) {},
		"its stream broke":  func(w *worker) { w.leave(); w.ended() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := startDaemonWith(t, newRoot(), inMemory, service.Options{Times: coordinator.Times{Grace: time.Hour}})
				w := oneWorker(t, d, "j", nil)
				last := w.checkpoint(inlineState)
				lose(w)
				synctest.Wait()
				began := time.Now()
				fresh := d.register(t, "j", "fresh", 0, w.subtasks...)
				if s := fresh.begin(); s.GetAttempt() != 2 || s.GetRestoreCheckpointId() != last {
					t.Errorf("%v; want attempt 2, from checkpoint %d", s, last)
				}
				if waited := time.Since(began); waited > time.Second {
					t.Errorf("the attempt began after %v, want at once", waited)
				}
				fresh.checkpoint(inlineState)
			})
		})
	}
}

// TestBrokenStreamIsNoFailure: a process that comes back in time goes on. It gets the commands that it missed.
func TestBrokenStreamIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startDaemon(t, newRoot(), inMemory)
		w := oneWorker(t, d, "j", nil)
		for range 3 { // each time it has its whole grace
			w.leave()
			w.ended()
			time.Sleep(coordinator.DefaultTimes().Grace * 9 / 10)
			again := d.register(t, "j", w.nonce, w.attempt, w.subtasks...)
			again.epoch = w.epoch
			again.report(ckptdv1.ReportRequest_KIND_RUNNING, nil)
			w = again
		}
		time.Sleep(time.Minute)
		if s := d.status(t, "j"); s.GetPhase() != ckptdv1.JobPhase_JOB_PHASE_RUNNING || s.GetSummary().GetAttempt() != 1 {
			t.Fatalf("attempt %d, %s; want attempt 1, running", s.GetSummary().GetAttempt(), s.GetPhase())
		}
		w.checkpoint(inlineState)
	})
}

// A process that has registered again counts as registered, whatever happens to its older streams. They may stay open
// long after it has left them.
func TestOnlyTheNewestStreamCounts(t *testing.T) {
	for name, end := range map[string]func(d *daemon, w *worker){
		"the older one ends by itself": func(_ *daemon, w *worker) {
			if err := w.ended(); err != nil {
				w.t.Errorf("the older stream ended with %v, want no error", err)
			}
		},
		"the process leaves the older one": func(_ *daemon, w *worker) { w.leave(); w.ended() },
		"a registration of it is refused": func(d *daemon, w *worker) {
			bad := d.register(w.t, "j", w.nonce, w.attempt, subtask("nobody"))
			wantCode(w.t, bad.ended(), connect.CodeInvalidArgument)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := startDaemon(t, newRoot(), inMemory)
				w := oneWorker(t, d, "j", nil)
				again := d.register(t, "j", w.nonce, w.attempt, w.subtasks...)
				again.report(ckptdv1.ReportRequest_KIND_RUNNING, nil)
				end(d, w)
				time.Sleep(time.Minute)
				if s := d.status(t, "j"); s.GetPhase() != ckptdv1.JobPhase_JOB_PHASE_RUNNING || s.GetSummary().GetAttempt() != 1 {
					t.Fatalf("attempt %d, %s; want attempt 1, running", s.GetSummary().GetAttempt(), s.GetPhase())
				}
				again.checkpoint(inlineState)
			})
		})
	}
}

// TestMissedTrigger: a process whose stream breaks while a checkpoint begins gets the Trigger on its next stream.
func TestMissedTrigger(t *testing.T) {
	d := startDaemon(t, newRoot(), "")
	d.attach(t, "j", twoPlan(), nil)
	source, sink := d.register(t, "j", "source", 0, subtask("source")), d.register(t, "j", "sink", 0, subtask("sink"))
	source.begin()
	sink.begin()
	done := make(chan error, 1)
	go func() {
		_, err := d.jobService().TriggerCheckpoint(t.Context(), &ckptdv1.TriggerCheckpointRequest{JobId: "j"})
		done <- err
	}()
	id := sink.triggered()
	sink.mustAck(id)
	again := d.register(t, "j", "source", source.attempt, source.subtasks...)
	if got := again.triggered(); got != id {
		t.Fatalf("triggered %d, want %d", got, id)
	}
	again.mustAck(id)
	if err := <-done; err != nil {
		t.Error(err)
	}
	last := d.register(t, "j", "source", source.attempt, source.subtasks...)
	if c := expect[complete](last).Complete; c.GetCheckpointId() != id || c.GetAttempt() != source.attempt {
		t.Errorf("complete %v, want checkpoint %d of attempt %d", c, id, source.attempt)
	}
}

// TestStandingReports: the SDK's session repeats the reports of a process to the next owner.
func TestStandingReports(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	heard := make(chan client.Command, 1000)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	c, err := client.New([]string{d.http.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cfg := defaultConfig(0)
	job, err := c.AttachJob(ctx, client.JobSpec{ID: "j", Plan: sdkPlan(twoPlan()), Config: client.ConfigFrom(cfg)})
	if err != nil {
		t.Fatal(err)
	}
	source, sink := client.Subtask{Operator: "source"}, client.Subtask{Operator: "sink"}
	s, err := job.Register(ctx, client.Registration{Subtasks: []client.Subtask{source, sink}})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			cmd, err := s.Next(ctx)
			if err != nil {
				return
			}
			heard <- cmd
		}
	}()
	defer func() { stop(); <-done }()
	begin := (<-heard).(client.Start)
	report := func(r client.Report) {
		t.Helper()
		r.Attempt = begin.Attempt
		if err := job.Report(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	report(client.Report{Kind: client.ReportRunning})
	go d.trigger(ctx, "j")
	cp := (<-heard).(client.Trigger)
	if err := job.Snapshot(ctx, client.Snapshot{Attempt: cp.Attempt, Epoch: cp.Epoch, Checkpoint: cp.Checkpoint,
		Subtasks: []client.SubtaskSnapshot{{Subtask: source}, {Subtask: sink}}}); err != nil {
		t.Fatal(err)
	}
	if _, ok := (<-heard).(client.Complete); !ok {
		t.Fatal("the checkpoint is not complete, want it complete")
	}
	report(client.Report{Kind: client.ReportEndOfData, Subtasks: []client.Subtask{source}})
	report(client.Report{Kind: client.ReportCommitted, Subtasks: []client.Subtask{sink}, Checkpoint: cp.Checkpoint})
	stands := func() bool {
		s := d.status(t, "j")
		return s.GetSourcesAtEnd() == 1 && s.GetSources() == 1 && s.GetCommittedCheckpointId() == cp.Checkpoint && s.GetPhase() == ckptdv1.JobPhase_JOB_PHASE_RUNNING
	}
	eventually(t, "the owner knows the reports", stands)
	d.kill()
	d = startDaemon(t, root, d.addr())
	eventually(t, "the next owner knows the reports", func() bool {
		res, err := d.jobService().GetStatus(t.Context(), &ckptdv1.GetStatusRequest{JobId: "j"})
		return err == nil && res.GetJobs()[0].GetSummary().GetEpoch() == 2 && stands()
	})
	if got := d.status(t, "j"); got.GetSummary().GetAttempt() != begin.Attempt {
		t.Errorf("attempt %d, want %d", got.GetSummary().GetAttempt(), begin.Attempt)
	}
}

// TestRegisterCarriesReports: the next owner takes what a registration carries before the last worker has come back, and
// the job runs on without a further report.
func TestRegisterCarriesReports(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	d.attach(t, "j", twoPlan(), nil)
	a, b := d.register(t, "j", "a", 0, subtask("source")), d.register(t, "j", "b", 0, subtask("sink"))
	a.begin()
	b.begin()
	open := a.open()
	a.mustAck(open)
	b.mustAck(open)
	expect[complete](a)
	d.kill()
	d = startDaemon(t, root, "")
	d.attach(t, "j", twoPlan(), nil)
	running := &ckptdv1.StandingReport{Kind: ckptdv1.ReportRequest_KIND_RUNNING}
	again := func(w *worker, other *ckptdv1.StandingReport) *worker {
		return d.registerWith(t, w.nonce, &ckptdv1.RegisterRequest{
			JobId: "j", Attempt: w.attempt, Subtasks: w.subtasks, Reports: []*ckptdv1.StandingReport{running, other},
		})
	}
	again(a, &ckptdv1.StandingReport{Kind: ckptdv1.ReportRequest_KIND_END_OF_DATA})
	again(b, &ckptdv1.StandingReport{Kind: ckptdv1.ReportRequest_KIND_COMMITTED, CheckpointId: open})
	eventually(t, "the job runs on", func() bool { return d.status(t, "j").GetPhase() == ckptdv1.JobPhase_JOB_PHASE_RUNNING })
	if s := d.status(t, "j"); s.GetSummary().GetAttempt() != 1 || s.GetSourcesAtEnd() != 1 || s.GetCommittedCheckpointId() != open {
		t.Errorf("status %v, want attempt 1, its source at the end, and checkpoint %d committed", s, open)
	}
}

// TestFailureWhileTheOwnerIsNew: a failure that is reported before all workers have come back counts.
func TestFailureWhileTheOwnerIsNew(t *testing.T) {
	t.Parallel()
	root := newRoot()
	d := startDaemon(t, root, "")
	d.attach(t, "j", twoPlan(), nil)
	a := d.register(t, "j", "a", 0, subtask("source"))
	b := d.register(t, "j", "b", 0, subtask("sink"))
	a.begin()
	b.begin()
	d.kill()
	d = startDaemon(t, root, "")
	d.attach(t, "j", twoPlan(), nil)
	a = d.register(t, "j", "a", 1, subtask("source"))
	a.report(ckptdv1.ReportRequest_KIND_FAILED, func(r *ckptdv1.ReportRequest) { r.Cause = "broke while nobody listened" })
	b = d.register(t, "j", "b", 1, subtask("sink"))
	b.report(ckptdv1.ReportRequest_KIND_RUNNING, nil)
	if s := a.begin(); s.GetAttempt() != 2 {
		t.Errorf("attempt %d, want 2", s.GetAttempt())
	}
	b.begin()
}

// TestFailureOfAnUnknownWorker: the daemon refuses the failure of a process that is not registered, so that the process
// reports it again.
func TestFailureOfAnUnknownWorker(t *testing.T) {
	d := startDaemon(t, newRoot(), "")
	w := oneWorker(t, d, "j", nil)
	ghost := &worker{t: t, d: d, job: "j", nonce: "ghost", attempt: w.attempt}
	if err := ghost.tell(t.Context(), &ckptdv1.ReportRequest{Kind: ckptdv1.ReportRequest_KIND_FAILED, Cause: "x"}); err == nil {
		t.Error("the failure of an unknown worker was accepted, want a refusal")
	}
	ghost.attempt = 77
	if err := ghost.tell(t.Context(), &ckptdv1.ReportRequest{Kind: ckptdv1.ReportRequest_KIND_FAILED, Cause: "x"}); err != nil {
		t.Error(fmt.Errorf("of another attempt: %w", err))
	}
}

// TestCommittedBeforeAnyAttempt: a report of a commit before the first attempt changes nothing.
func TestCommittedBeforeAnyAttempt(t *testing.T) {
	d := startDaemon(t, newRoot(), "")
	d.attach(t, "j", twoPlan(), nil)
	w := d.register(t, "j", "a", 0, subtask("source"))
	w.report(ckptdv1.ReportRequest_KIND_COMMITTED, func(r *ckptdv1.ReportRequest) { r.CheckpointId = 7 })
	if s := d.status(t, "j"); s.GetCommittedCheckpointId() != 0 {
		t.Errorf("committed is checkpoint %d, want none", s.GetCommittedCheckpointId())
	}
}

// TestCanceledWhileItFails: when a person cancels a job that is failing, the reason stays the failure.
func TestCanceledWhileItFails(t *testing.T) {
	t.Parallel()
	var away atomic.Bool
	root, _ := faulty(newRoot(), func(m mem.Mutation) mem.Outcome {
		if away.Load() && m.Op == mem.OpPublish {
			return mem.Failed()
		}
		return mem.Done()
	})
	d := startDaemon(t, root, "")
	w := oneWorker(t, d, "j", func(c *ckptdv1.JobConfig) { c.RestartStrategy.Attempts = 0 })
	away.Store(true)
	w.report(ckptdv1.ReportRequest_KIND_FAILED, func(r *ckptdv1.ReportRequest) { r.Cause = "a poisoned record" })
	if _, err := d.jobService().CancelJob(t.Context(), &ckptdv1.CancelJobRequest{JobId: "j"}); connect.CodeOf(err) != connect.CodeUnavailable {
		t.Errorf("cancel while the job fails: %v, want unavailable", err)
	}
	away.Store(false)
	if c := expect[cancel](w).Cancel; c.GetStatus() != ckptdv1.JobStatus_JOB_STATUS_FAILED || c.GetReason() != "a poisoned record" {
		t.Errorf("cancel %v, want the failure as its reason", c)
	}
}

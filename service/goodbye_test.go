package service_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/layout/journal"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// stops is how often the tests below stop a worker in peace.
const stops = 20

// noRestart is a configuration in which the first failure ends the job.
func noRestart(c *ckptdv1.JobConfig) {
	c.RestartStrategy = &ckptdv1.RestartStrategy{Type: ckptdv1.RestartStrategy_TYPE_NONE}
}

// TestGoodbyeIsNoFailure stops a worker in peace again and again. The job may not restart after a failure, and goes on
// all the same, each time from its newest checkpoint.
func TestGoodbyeIsNoFailure(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, newRoot(), "")
	d.attach(t, "j", onePlan(), noRestart)
	restore := uint64(0)
	for i := range uint64(stops) {
		w := d.register(t, "j", fmt.Sprint("process ", i), 0, subtask("count"))
		if s := w.begin(); s.GetRestoreCheckpointId() != restore || s.GetAttempt() != i+1 {
			t.Fatalf("stop %d: attempt %d restores checkpoint %d, want attempt %d and checkpoint %d", i, s.GetAttempt(), s.GetRestoreCheckpointId(), i+1, restore)
		}
		restore = w.checkpoint(inlineState)
		if i%2 == 0 { // the stream may end before the goodbye arrives
			w.leave()
			_ = w.ended()
		}
		w.report(ckptdv1.ReportRequest_KIND_GOODBYE, nil)
		if err := w.ended(); i%2 == 1 && err != nil {
			t.Errorf("stop %d: the stream ended with %v, want no error", i, err)
		}
	}
	eventually(t, "the next attempt waits for a worker", func() bool {
		s := d.status(t, "j").GetSummary()
		return s.GetStatus() == ckptdv1.JobStatus_JOB_STATUS_RUNNING && s.GetAttempt() == stops+1
	})
}

// TestSessionSaysGoodbye: the SDK says goodbye when a session is closed, and when its context ends.
func TestSessionSaysGoodbye(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, newRoot(), "")
	d.attach(t, "j", onePlan(), noRestart)
	for i := range uint64(stops) {
		c, err := client.New([]string{d.http.URL})
		if err != nil {
			t.Fatal(err)
		}
		job, err := c.AttachJob(t.Context(), client.JobSpec{ID: "j"})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		s, err := job.Register(ctx, client.Registration{Subtasks: []client.Subtask{{Operator: "count"}}})
		if err != nil {
			t.Fatal(err)
		}
		command, err := s.Next(t.Context())
		if start, ok := command.(client.Start); err != nil || !ok || start.Attempt != i+1 {
			t.Fatalf("stop %d: %+v, %v; want the start of attempt %d", i, command, err, i+1)
		}
		if i%2 == 0 {
			stop()
			if _, err := s.Next(t.Context()); !errors.Is(err, context.Canceled) {
				t.Errorf("stop %d: %v, want the context's error", i, err)
			}
		}
		s.Close()
		c.Close()
		stop()
	}
	if s := d.status(t, "j").GetSummary(); s.GetStatus() != ckptdv1.JobStatus_JOB_STATUS_RUNNING {
		t.Errorf("after %d stops the job is %v, want it running", stops, s.GetStatus())
	}
}

// TestFailureBeforeGoodbye: a process that reports a failure and then leaves has failed.
func TestFailureBeforeGoodbye(t *testing.T) {
	t.Parallel()
	root := newRoot()
	d := startDaemon(t, root, "")
	w := oneWorker(t, d, "j", noRestart)
	w.report(ckptdv1.ReportRequest_KIND_FAILED, func(r *ckptdv1.ReportRequest) { r.Cause = "record 7: not a number" })
	// The job may be over and released before the goodbye arrives, which is then refused.
	_ = w.tell(t.Context(), &ckptdv1.ReportRequest{Kind: ckptdv1.ReportRequest_KIND_GOODBYE})
	d.waitReleased(t)
	if e := head(t, root, "j"); e.Status != journal.StatusFailed || e.Ended.Why != "record 7: not a number" {
		t.Errorf("the job has status %d, %q; want FAILED and the cause", e.Status, e.Ended.Why)
	}
}

// TestBrokenStreamEndsNoJob breaks a worker's stream for a moment, of a job that may not restart. The worker comes back
// in the same attempt.
func TestBrokenStreamEndsNoJob(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, newRoot(), "")
	w := oneWorker(t, d, "j", noRestart)
	for range 3 {
		w.leave()
		_ = w.ended()
		eventually(t, "the owner has seen the stream end", func() bool { return d.status(t, "j").GetSubtasksMissing() == 1 })
		w = d.register(t, "j", w.nonce, w.attempt, subtask("count"))
		w.report(ckptdv1.ReportRequest_KIND_RUNNING, nil)
		w.epoch = 1
		w.checkpoint(inlineState)
	}
	if s := d.status(t, "j").GetSummary(); s.GetAttempt() != 1 || s.GetStatus() != ckptdv1.JobStatus_JOB_STATUS_RUNNING {
		t.Errorf("the job is %v in attempt %d, want it running in attempt 1", s.GetStatus(), s.GetAttempt())
	}
}

// TestJobFinishes: the job ends as FINISHED when all subtasks of one attempt have finished. Its checkpoints are
// deleted, though its retention keeps them when it is canceled.
func TestJobFinishes(t *testing.T) {
	t.Parallel()
	root := newRoot()
	d := startDaemon(t, root, "")
	d.attach(t, "j", twoPlan(), func(c *ckptdv1.JobConfig) { c.RestartStrategy = &ckptdv1.RestartStrategy{Attempts: 1} })
	source, sink := d.register(t, "j", "source", 0, subtask("source")), d.register(t, "j", "sink", 0, subtask("sink"))
	source.begin()
	sink.begin()
	done := make(chan error, 1)
	go func() { done <- d.trigger(t.Context(), "j") }()
	id := source.triggered()
	sink.epoch = source.epoch
	source.mustAck(id, inline("n", "1"))
	sink.mustAck(id)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	source.report(ckptdv1.ReportRequest_KIND_FINISHED, nil)
	sink.report(ckptdv1.ReportRequest_KIND_FAILED, func(r *ckptdv1.ReportRequest) { r.Cause = "a broken disk" })
	for _, w := range []*worker{source, sink} { // the next attempt begins all again
		if s := w.begin(); s.GetAttempt() != 2 || s.GetRestoreCheckpointId() != id {
			t.Fatalf("attempt %d restores checkpoint %d, want attempt 2 and checkpoint %d", s.GetAttempt(), s.GetRestoreCheckpointId(), id)
		}
	}
	sink.report(ckptdv1.ReportRequest_KIND_FINISHED, nil)
	sink.leave() // the attempt goes on without a process whose subtasks have finished
	source.report(ckptdv1.ReportRequest_KIND_FINISHED, func(r *ckptdv1.ReportRequest) { r.Attempt = 1 })
	if s := d.status(t, "j").GetSummary().GetStatus(); s != ckptdv1.JobStatus_JOB_STATUS_RUNNING {
		t.Fatalf("after a report of attempt 1 the job is %v, want it running", s)
	}
	source.report(ckptdv1.ReportRequest_KIND_FINISHED, nil)
	if c := expect[cancel](source).Cancel; c.GetStatus() != ckptdv1.JobStatus_JOB_STATUS_FINISHED || c.GetReason() != "all subtasks have finished" {
		t.Errorf("cancel %v, want FINISHED and why", c)
	}
	d.waitReleased(t)
	if e := atRest(t, root, "j"); e.Status != journal.StatusFinished || len(e.Retained) != 0 {
		t.Errorf("the job has status %d and %d checkpoints, want FINISHED and none", e.Status, len(e.Retained))
	}
}

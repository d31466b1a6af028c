package service_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// quiet is how long a job with a far shorter interval takes no checkpoint.
const quiet = 150 * time.Millisecond

// acksFor acknowledges what is triggered within a time, and counts it.
func (w *worker) acksFor(d time.Duration) (n int) {
	w.t.Helper()
	for timer := time.After(d); ; {
		select {
		case m, ok := <-w.commands:
			if !ok {
				w.t.Fatalf("worker %s: the stream ended: %v", w.nonce, w.err)
			}
			if c, ok := m.GetCommand().(trigger); ok {
				n++
				_ = w.ack(c.Trigger.GetCheckpointId(), inline("n", "x")) // it may be over
			}
		case <-timer:
			return n
		}
	}
}

func (w *worker) backlog(on bool) {
	w.t.Helper()
	w.report(ckptdv1.ReportRequest_KIND_BACKLOG, func(r *ckptdv1.ReportRequest) { r.Backlog = on })
}

// While a source works off a backlog, the job has the interval that its configuration gives for that: here none. A new owner hears of the
// backlog, and the end of the source's data ends it.
func TestBacklogStopsTheClock(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	w := oneWorker(t, d, "j", func(c *ckptdv1.JobConfig) {
		c.Interval, c.IntervalDuringBacklog = durationpb.New(10*time.Millisecond), durationpb.New(0)
		c.TolerableFailedCheckpoints = 1000
	})
	next := func(why string) {
		t.Helper()
		deadline := time.Now().Add(patience)
		for w.acksFor(quiet/10) == 0 {
			if time.Now().After(deadline) {
				t.Fatalf("no checkpoint is triggered %s", why)
			}
		}
	}
	stands := func(why string) {
		t.Helper()
		n := 0
		for range 10 { // what was on its way may come late
			if n = w.acksFor(quiet); n == 0 {
				return
			}
		}
		t.Errorf("%d checkpoints are triggered %s, want none", n, why)
	}
	next("at the start")
	w.backlog(true)
	stands("during the backlog")
	d.kill()
	d = startDaemon(t, root, "")
	if _, err := d.engineService().AttachJob(t.Context(), &ckptdv1.AttachJobRequest{JobId: "j"}); err != nil {
		t.Fatal(err)
	}
	epoch := w.epoch + 1
	w = d.registerWith(t, w.nonce, &ckptdv1.RegisterRequest{JobId: "j", Attempt: w.attempt, Subtasks: w.subtasks, Backlog: w.subtasks,
		Reports: []*ckptdv1.StandingReport{{Kind: ckptdv1.ReportRequest_KIND_RUNNING}}})
	w.epoch = epoch
	stands("by the new owner during the backlog")
	t.Run("TR-16", func(t *testing.T) {
		w.backlog(false)
		next("after the backlog")
	})
	t.Run("TR-18", func(t *testing.T) {
		w.backlog(true)
		stands("during the second backlog")
		w.report(ckptdv1.ReportRequest_KIND_END_OF_DATA, nil)
		next("at the end of the data")
		next("after the end of the data")
		w.backlog(true)
		next("after a late report")
	})
}

// Without checkpoints after tasks finish, a person is refused one.
func TestNoCheckpointAfterFinish(t *testing.T) {
	for name, after := range map[string]bool{"CO-7": false, "CO-8": true} {
		t.Run(name, func(t *testing.T) {
			d := startDaemon(t, newRoot(), "")
			d.attach(t, "j", twoPlan(), func(c *ckptdv1.JobConfig) { c.CheckpointsAfterTasksFinish = &after })
			w := d.register(t, "j", "w-j", 0, subtask("source"), subtask("sink"))
			w.begin()
			w.report(ckptdv1.ReportRequest_KIND_FINISHED, func(r *ckptdv1.ReportRequest) { r.Subtasks = w.subtasks[:1] })
			if !after {
				_, err := d.jobService().TriggerCheckpoint(t.Context(), &ckptdv1.TriggerCheckpointRequest{JobId: "j"})
				if err == nil || !strings.Contains(err.Error(), "NOT_ALL_REQUIRED_TASKS_RUNNING: a subtask has finished") {
					t.Errorf("a checkpoint after a subtask has finished: %v, want it refused", err)
				}
				return
			}
			c, outcome := w.manual(configured)
			w.mustAck(c.GetCheckpointId())
			if err := <-outcome; err != nil {
				t.Error(err)
			}
		})
	}
}

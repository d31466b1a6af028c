package service_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// heard collects the Complete and Abort commands that a worker gets within a second.
func (w *worker) heard() (completes []*ckptdv1.Complete, aborts []*ckptdv1.Abort) {
	timer := time.After(time.Second)
	for {
		select {
		case m, ok := <-w.commands:
			if !ok {
				w.t.Fatalf("worker %s: the stream ended: %v", w.nonce, w.err)
			}
			if c := m.GetComplete(); c != nil {
				completes = append(completes, c)
			}
			if a := m.GetAbort(); a != nil {
				aborts = append(aborts, a)
			}
		case <-timer:
			return completes, aborts
		}
	}
}

// A new owner continues the attempt without a second report, and aborts the checkpoint that a worker has begun with the
// owner before. It aborts no id that was only reserved.
func TestNewOwnerAbortsWhatItsPredecessorHasBegun(t *testing.T) {
	for name, begun := range map[string]int{"none complete": 0, "one complete": 1, "several complete": 5} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				root := newRoot()
				d := startDaemon(t, root, inMemory)
				d.attach(t, "j", twoPlan(), nil)
				a, b := d.register(t, "j", "a", 0, subtask("source")), d.register(t, "j", "b", 0, subtask("sink"))
				a.begin()
				b.begin()
				last := uint64(0)
				for range begun {
					last = a.open()
					a.mustAck(last)
					b.mustAck(last)
					expect[complete](a)
				}
				open := a.open()
				a.mustAck(open)
				reserved := head(t, root, "j").Reserved
				d.kill()

				d = startDaemon(t, root, inMemory)
				d.attach(t, "j", twoPlan(), nil)
				var again []*worker
				for _, w := range []*worker{a, b} {
					req := &ckptdv1.RegisterRequest{
						JobId: "j", Attempt: a.attempt, Subtasks: w.subtasks,
						Reports: []*ckptdv1.StandingReport{{Kind: ckptdv1.ReportRequest_KIND_RUNNING}},
					}
					if w == a {
						req.BegunCheckpointIds = []uint64{last, open}
					}
					again = append(again, d.registerWith(t, w.nonce, req))
				}
				want := []uint64{open}
				for _, w := range again {
					completes, aborts := w.heard()
					if last > 0 && (len(completes) != 1 || completes[0].GetCheckpointId() != last || completes[0].GetAttempt() != a.attempt) {
						t.Errorf("worker %s: completed: %v, want checkpoint %d of attempt %d once", w.nonce, completes, last, a.attempt)
					}
					var got []uint64
					for _, c := range aborts {
						got = append(got, c.GetCheckpointId())
						if c.GetAttempt() != a.attempt || c.GetEpoch() != 2 || c.GetLatestCompleteId() != last {
							t.Errorf("worker %s: abort %v, want attempt %d, epoch 2, latest complete %d", w.nonce, c, a.attempt, last)
						}
					}
					slices.Sort(got)
					if !slices.Equal(got, want) {
						t.Errorf("worker %s: aborted are %v, want %v", w.nonce, got, want)
					}
				}
				if id := again[0].open(); id != reserved+1 {
					t.Errorf("the next checkpoint is %d, want %d", id, reserved+1)
				}
			})
		})
	}
}

// After its stream broke, a worker gets again the commands that it missed: the newest complete checkpoint, every
// aborted one, and the open one. The other workers get nothing again.
func TestWorkerThatComesBackHearsWhatItMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startDaemon(t, newRoot(), inMemory)
		d.attach(t, "j", twoPlan(), func(c *ckptdv1.JobConfig) { c.TolerableFailedCheckpoints = 10 })
		a, b := d.register(t, "j", "a", 0, subtask("source")), d.register(t, "j", "b", 0, subtask("sink"))
		a.begin()
		b.begin()
		last := a.open()
		a.mustAck(last)
		b.mustAck(last)
		expect[complete](a)
		var declined []uint64
		for range 3 {
			id := a.open()
			if _, err := d.engineService().Decline(t.Context(), &ckptdv1.DeclineRequest{JobId: "j", Epoch: a.epoch, Attempt: a.attempt, CheckpointId: id}); err != nil {
				t.Fatal(err)
			}
			if got := expect[abort](a).Abort.GetCheckpointId(); got != id {
				t.Errorf("checkpoint %d is aborted, want %d", got, id)
			}
			declined = append(declined, id)
		}
		open := a.open()
		b.leave()
		b.ended()

		again := d.register(t, "j", "b", b.attempt, b.subtasks...)
		if got := again.triggered(); got != open {
			t.Errorf("checkpoint %d is triggered again, want the open one, %d", got, open)
		}
		again.leave()
		again.ended()
		again = d.register(t, "j", "b", b.attempt, b.subtasks...)
		completes, aborts := again.heard()
		if len(completes) != 1 || completes[0].GetCheckpointId() != last {
			t.Errorf("completed: %v, want checkpoint %d once", completes, last)
		}
		var got []uint64
		for _, c := range aborts {
			got = append(got, c.GetCheckpointId())
		}
		slices.Sort(got)
		if !slices.Equal(got, declined) {
			t.Errorf("aborted are %v, want %v", got, declined)
		}
		if completes, aborts = a.heard(); len(completes)+len(aborts) > 0 {
			t.Errorf("the worker whose stream did not break got %v and %v again, want nothing", completes, aborts)
		}
	})
}

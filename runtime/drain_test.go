package runtime_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/runtime"
	"github.com/ckptd/ckptd/runtime/state"
)

// last is the user of the line that the end-of-data work of the counts emits.
const last = "the last window"

// windows is an endless job whose counts emit one more record as their end-of-data work. worked counts that work.
func windows() (c *clicks, job *runtime.Job, worked *atomic.Int32) {
	c, worked = endless(), &atomic.Int32{}
	job = c.job()
	count := job.Tasks[1].Operators[0].Keyed
	job.Tasks[1].Operators[0].Keyed = func(s runtime.Subtask) (runtime.Keyed, error) {
		s.AtEndOfData(func(emit runtime.Emit) error {
			worked.Add(1)
			return emit(state.Record{Key: []byte(last), Value: []byte{0, 0, 0, 0, 0, 0, 0, 1}})
		})
		return count(s)
	}
	return c, job, worked
}

// stopAt triggers a savepoint that stops the job.
func (d *daemon) stopAt(drains bool) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lastID++
	d.pending = &checkpoint{id: d.lastID, attempt: d.attempt, epoch: 1, handles: map[client.Subtask][]client.Handle{}}
	d.sendLocked(client.Trigger{Attempt: d.attempt, Epoch: 1, Checkpoint: d.lastID, Stops: true, Drains: drains})
	return d.lastID
}

func TestStopWithSavepoint(t *testing.T) {
	for name, drains := range map[string]bool{
		"SP-10: with drain the end-of-data work runs before the snapshot": true, "SP-11: without drain it does not run": false,
	} {
		t.Run(name, func(t *testing.T) {
			c, job, worked := windows()
			d := newDaemon(t, job.Plan())
			l := runtime.StartLocal(context.Background(), runtime.LocalOptions{JobID: "job", Job: job, Workers: 2, Attach: d.attach, Dir: t.TempDir()})
			t.Cleanup(l.Stop)
			d.await("all run", d.allRunningLocked)
			d.checkpoint()
			id := d.stopAt(drains)
			d.await("the savepoint completes", func() bool { return len(d.complete) > 1 && d.complete[len(d.complete)-1].id == id })
			d.await("all sinks have committed it", func() bool { return d.committedEverywhere(id, 2) })
			want := 0
			if drains {
				want = 2
			}
			got := 0
			c.target.mu.Lock()
			for _, lines := range c.target.visible {
				for _, l := range lines {
					if l.User == last {
						got++
					}
				}
			}
			c.target.mu.Unlock()
			if got != want || int(worked.Load()) != want {
				t.Errorf("%d results of the end-of-data work are in the savepoint, and it ran %d times; want %d", got, worked.Load(), want)
			}
		})
	}
}

// SP-15: a savepoint that drains the job is aborted after the end-of-data work. What was emitted cannot be taken back, so the attempt fails.
func TestDrainedSavepointAborted(t *testing.T) {
	t.Run("SP-15", func(t *testing.T) {
		_, job, worked := windows()
		d := newDaemon(t, job.Plan())
		d.refuse = func(ctx context.Context, s client.Snapshot) error { <-ctx.Done(); return ctx.Err() }
		l := runtime.StartLocal(context.Background(), runtime.LocalOptions{JobID: "job", Job: job, Attach: d.attach, Dir: t.TempDir()})
		t.Cleanup(l.Stop)
		d.await("all run", d.allRunningLocked)
		d.stopAt(true)
		poll(t, "the end-of-data work has run", func() bool { return worked.Load() == 2 })
		d.abort("CHECKPOINT_EXPIRED")
		d.await("the next attempt", func() bool { return d.attempt == 2 })
	})
}

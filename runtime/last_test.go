package runtime_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/runtime"
)

// Complete and Cancel arrive while the sinks are busy. No restore will make the commit later, so the worker makes it
// before it ends.
func TestSinksCommitWhatWasCompleteWhenTheJobEnded(t *testing.T) {
	for name, told := range map[string]func(checkpoint uint64) client.Command{
		"Complete": func(checkpoint uint64) client.Command {
			return client.Complete{Attempt: 1, Epoch: 1, Checkpoint: checkpoint}
		},
		"an Abort that names what is complete": func(checkpoint uint64) client.Command {
			return client.Abort{Attempt: 1, Epoch: 1, Checkpoint: 99, LatestComplete: checkpoint}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := endless()
			job := c.job()
			d := newDaemon(t, job.Plan())
			d.mute = func(cmd client.Command) bool { // the first Complete is lost
				complete, ok := cmd.(client.Complete)
				return ok && complete.Checkpoint == 1 && !d.terminal
			}
			l := runtime.StartLocal(context.Background(), runtime.LocalOptions{JobID: "job", Job: job, Attach: d.attach, Dir: t.TempDir()})
			defer l.Stop()
			d.await("all run", d.allRunningLocked)
			first := d.checkpoint()

			// The uploads of a second checkpoint hang until the attempt is told to end.
			var uploads atomic.Int32
			var once sync.Once
			d.mu.Lock()
			d.refuse = func(ctx context.Context, _ client.Snapshot) error {
				uploads.Add(1)
				<-ctx.Done()
				once.Do(func() { close(c.target.hold) })
				return ctx.Err()
			}
			d.mu.Unlock()
			d.trigger()
			poll(t, "an upload hangs", func() bool { return uploads.Load() > 0 })
			c.target.holding.Store(true)
			poll(t, "both sinks are busy", func() bool { return c.target.held.Load() == 2 })

			d.mu.Lock()
			d.terminal = true
			d.sendLocked(told(first))
			d.sendLocked(client.Cancel{})
			d.mu.Unlock()
			if err := l.Wait(); err != nil {
				t.Fatal(err)
			}
			if n := c.transactions(); n != 2 {
				t.Errorf("%d transactions are visible, want those of checkpoint %d: 2", n, first)
			}
			for name := range c.target.visible {
				if !strings.HasSuffix(name, "-1-1") {
					t.Errorf("transaction %s is visible, want none but those of attempt 1, checkpoint 1", name)
				}
			}
		})
	}
}

package coordinator_test

import (
	"testing"
	"time"

	. "github.com/ckptd/ckptd/service/coordinator"
)

// TestADaemonThatStoodStill: the workers' calls may lie unread in its queues, so it gives nobody up when it wakes up.
func TestADaemonThatStoodStill(t *testing.T) {
	t.Run("a worker whose stream broke before has its grace still", func(t *testing.T) {
		w := newWorld(t, restarting(9, time.Hour), 0)
		w.bringUp()
		w.out.Reset()
		w.step(WorkerGone{Worker: "w1"})
		w.now = w.now.Add(time.Minute)
		w.step(Tick{})
		w.want()
		w.step(WorkerUp{Worker: "w1"})
		w.advance(4 * time.Second)
		w.want()
	})
	t.Run("and no more than that", func(t *testing.T) {
		w := newWorld(t, restarting(9, time.Hour), 0)
		w.bringUp()
		w.out.Reset()
		w.step(WorkerGone{Worker: "w1"})
		w.now = w.now.Add(time.Minute)
		w.step(Tick{})
		w.advance(999 * time.Millisecond)
		w.want()
		w.advance(time.Millisecond)
		if w.count("worker w1 lost (its connection broke and it did not come back within 1s)") != 1 {
			t.Errorf("got %s, want the worker lost a second after the daemon went on", w.flush())
		}
	})
	t.Run("the workers of a new owner have time to register still", func(t *testing.T) {
		w := newWorld(t, Policy{}, 0)
		w.step(Attached{Attempt: 4})
		w.up = []string{"w0"}
		w.step(WorkerUp{Worker: "w0"})
		w.now = w.now.Add(time.Minute)
		w.step(Tick{})
		w.want()
		w.advance(8 * time.Second)
		w.want()
		w.advance(2 * time.Second)
		w.want("the registrations of attempt 4 expired")
	})
	t.Run("also when none had come yet", func(t *testing.T) {
		w := newWorld(t, Policy{}, 0)
		w.step(Attached{Attempt: 4})
		w.now = w.now.Add(time.Minute)
		w.step(WorkerUp{Worker: "w0"})
		w.want()
		w.step(WorkerUp{Worker: "w1"})
		w.want()
	})
	t.Run("a second late is no standing still", func(t *testing.T) {
		w := newWorld(t, Policy{}, 0)
		w.step(Attached{Attempt: 4})
		w.now = w.now.Add(11 * time.Second)
		w.step(Tick{})
		w.want("the registrations of attempt 4 expired")
	})
}

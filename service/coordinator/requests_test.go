package coordinator_test

import (
	"fmt"
	"testing"
	"time"

	. "github.com/ckptd/ckptd/service/coordinator"
)

// concurrent is a running job with a limit of pending checkpoints, and so many pending ones.
func concurrent(t *testing.T, limit, pending int, p Policy) *world {
	p.MaxConcurrent = limit
	w := newWorld(t, p, 0)
	w.bringUp()
	for range pending {
		w.step(Request{Caller: 1})
	}
	w.out.Reset()
	return w
}

// ackAll completes a checkpoint.
func (w *world) ackAll(id uint64) {
	for _, task := range tasks {
		w.ack(id, string(task))
	}
}

// TestRequestOrder is Flink's order of requests. Savepoints are always forced here, because no barrier overtakes records.
func TestRequestOrder(t *testing.T) {
	t.Run("RD-1", func(t *testing.T) {
		w := concurrent(t, 1, 1, hourly(0))
		w.step(SavepointRequest{Caller: 2})
		w.want("savepoint 2 for 2")
	})
	t.Run("RD-2", func(t *testing.T) {
		w := concurrent(t, 1, 1, hourly(0))
		w.step(Request{Caller: 2})
		w.want()
		w.ackAll(1)
		w.want("owner: 1 is complete", "answer 1: checkpoint 1 is complete", "trigger 2 (manual)")
	})
	t.Run("RD-4", func(t *testing.T) {
		for _, limit := range []int{1, 3} {
			w := concurrent(t, limit, 0, hourly(0))
			w.step(Cleaning{Checkpoints: limit + 1})
			w.step(Request{Caller: 2})
			w.step(SavepointRequest{Caller: 3})
			w.want()
			w.step(Cleaning{Checkpoints: limit})
			if limit == 1 { // the savepoint takes the only place
				w.want("savepoint 1 for 3")
			} else {
				w.want("savepoint 1 for 3", "trigger 2 (manual)")
			}
		}
	})
	t.Run("a store that does not delete holds nothing up for long", func(t *testing.T) {
		w := concurrent(t, 1, 0, hourly(0))
		w.step(Cleaning{Checkpoints: 2})
		w.step(Request{Caller: 2})
		w.advance(30 * time.Second)
		w.step(Cleaning{Checkpoints: 3})
		w.advance(30*time.Second - time.Millisecond)
		w.want()
		w.advance(time.Millisecond)
		w.want("trigger 1 (manual)")
		w.ackAll(1)
		w.out.Reset()
		w.step(Request{Caller: 3})
		w.want("trigger 2 (manual)")
		w.ackAll(2)
		w.out.Reset()
		w.step(Cleaning{Checkpoints: 1})
		w.step(Cleaning{Checkpoints: 2}) // it deletes again, slowly
		w.step(Request{Caller: 4})
		w.want()
	})
	t.Run("RD-5", func(t *testing.T) {
		w := concurrent(t, 1, 0, hourly(0))
		w.step(Cleaning{Checkpoints: 9})
		for i, periodic := range []bool{true, false, true, false} {
			w.step(SavepointRequest{Caller: uint64(i + 1), Periodic: periodic})
		}
		w.step(Cleaning{})
		w.want("savepoint 1 for 2", "savepoint 2 for 4", "savepoint 3 for 1", "savepoint 4 for 3")
	})
	t.Run("RD-6", func(t *testing.T) {
		w := concurrent(t, 1, 1, hourly(0))
		w.step(Cleaning{Checkpoints: 9})
		w.step(Request{Caller: 2})
		w.step(SavepointRequest{Caller: 3, Periodic: true})
		w.step(Cleaning{})
		w.want("savepoint 2 for 3")
		w.ackAll(1)
		w.want("owner: 1 is complete", "answer 1: checkpoint 1 is complete")
		w.ackAll(2)
		w.want("owner: 2 is complete", "trigger 3 (manual)")
	})
	t.Run("RD-8", func(t *testing.T) {
		w := concurrent(t, 1, 1, Policy{Interval: time.Second, Timeout: time.Hour})
		w.step(Cleaning{Checkpoints: 9})
		for i := range uint64(999) {
			w.step(Request{Caller: i + 2})
		}
		w.advance(time.Minute) // the clock's takes the last place
		w.step(SavepointRequest{Caller: 2000})
		w.want()
		if got := w.m.State().Queued; got != 1000 {
			t.Fatalf("%d queued, want 1000", got)
		}
		w.step(SavepointRequest{Caller: 2001}) // nothing periodic waits any more
		w.want("answer 2001: " + string(ReasonTooManyRequests))
		w.step(Cleaning{})
		w.want("savepoint 2 for 2000")
	})
	t.Run("RD-8 a periodic savepoint has to go", func(t *testing.T) {
		w := concurrent(t, 1, 0, hourly(0))
		w.step(Cleaning{Checkpoints: 9})
		for i := range uint64(1000) {
			w.step(SavepointRequest{Caller: i + 1, Periodic: true})
		}
		w.step(SavepointRequest{Caller: 2000})
		w.want("answer 1000: " + string(ReasonTooManyRequests))
	})
	t.Run("RD-9", func(t *testing.T) {
		p := hourly(0)
		p.MinPause = time.Hour
		w := concurrent(t, 1, 1, p)
		w.ackAll(1)
		w.out.Reset()
		w.step(SavepointRequest{Caller: 2})
		w.step(SavepointRequest{Caller: 3, Periodic: true})
		w.want("savepoint 2 for 2", "savepoint 3 for 3")
	})
	t.Run("RD-10", func(t *testing.T) {
		w := concurrent(t, 1, 1, Policy{Interval: 10 * time.Second, MinPause: 10 * time.Second, Timeout: time.Hour})
		w.advance(10 * time.Second) // a periodic one waits
		w.ackAll(1)
		w.want("owner: 1 is complete", "answer 1: checkpoint 1 is complete")
		if got := w.m.State(); got.Queued != 0 || got.NextPeriodic != w.now.Add(10*time.Second) {
			t.Errorf("%d queued, the next at %s; want the periodic one dropped, and the timer armed for the rest of the pause", got.Queued, got.NextPeriodic.Sub(w.begin))
		}
		w.step(Request{Caller: 7})
		w.want("trigger 2 (manual)")
	})
	t.Run("the kind stays with the request", func(t *testing.T) {
		m := New(hourly(0), DefaultTimes(), 0)
		w := newWorld(t, hourly(0), 0)
		m.Step(w.now, AttemptStarting{Attempt: 1})
		m.Step(w.now, AllRunning{Attempt: 1})
		for _, kind := range []Kind{KindConfigured, KindFull, KindIncremental} { // TR-13
			got := fmt.Sprint(m.Step(w.now, Request{Caller: 1, Kind: kind}))
			if want := fmt.Sprint([]Decision{Trigger{Manual: true, Kind: kind}}); got != want {
				t.Errorf("decided %s, want %s", got, want)
			}
			m.Step(w.now, TriggerRefused{Reason: ReasonNotAllRunning})
		}
	})
}

// TestSavepointRequests is how savepoints take their turn.
func TestSavepointRequests(t *testing.T) {
	t.Run("CO-32", func(t *testing.T) {
		w := concurrent(t, 3, 0, hourly(0))
		w.step(SavepointRequest{Caller: 9})
		w.step(Request{Caller: 1})
		w.step(Request{Caller: 2})
		w.ackAll(3)
		w.want("savepoint 1 for 9", "trigger 2 (manual)", "trigger 3 (manual)", "owner: 3 is complete", "owner: 2 is subsumed",
			"answer 2: checkpoint 3 is complete", "answer 1: "+string(ReasonSubsumed))
	})
	t.Run("CO-35", func(t *testing.T) {
		w := concurrent(t, 1, 0, hourly(0))
		for i := range uint64(5) {
			w.step(SavepointRequest{Caller: i + 1})
		}
		w.want("savepoint 1 for 1", "savepoint 2 for 2", "savepoint 3 for 3", "savepoint 4 for 4", "savepoint 5 for 5")
		for i := range uint64(5) {
			w.ackAll(i + 1)
		}
		w.out.Reset()
		w.step(Request{Caller: 6})
		w.want("trigger 6 (manual)")
	})
	t.Run("CO-36", func(t *testing.T) {
		p := hourly(0)
		p.MinPause = 24 * 365 * time.Hour
		w := concurrent(t, 1, 1, p)
		w.ackAll(1)
		w.out.Reset()
		w.step(SavepointRequest{Caller: 2})
		w.step(SavepointRequest{Caller: 3})
		w.want("savepoint 2 for 2", "savepoint 3 for 3")
	})
	t.Run("a checkpoint waits until the savepoint before it is answered", func(t *testing.T) {
		p := hourly(0)
		p.MaxConcurrent = 1
		m, now := New(p, DefaultTimes(), 0), time.Unix(1, 0)
		m.Step(now, AttemptStarting{Attempt: 1})
		m.Step(now, AllRunning{Attempt: 1})
		m.Step(now, SavepointRequest{Caller: 1})
		if got := m.Step(now, Request{Caller: 2}); len(got) != 0 {
			t.Errorf("decided %v before the answer", got)
		}
		if got := m.Step(now, SavepointAnswered{Checkpoint: 1}); len(got) != 0 {
			t.Errorf("decided %v, want nothing beside the savepoint", got)
		}
		m.Step(now, SavepointBegun{Checkpoint: 1})
		if got := m.Step(now, SavepointAcknowledged{Checkpoint: 1}); len(got) != 1 {
			t.Errorf("decided %v, want a trigger while the savepoint is copied", got)
		}
	})
	t.Run("one that the owner refuses leaves its place", func(t *testing.T) {
		m, now := New(hourly(0), DefaultTimes(), 0), time.Unix(1, 0)
		m.Step(now, AttemptStarting{Attempt: 1})
		m.Step(now, AllRunning{Attempt: 1})
		m.Step(now, SavepointRequest{Caller: 1})
		m.Step(now, Request{Caller: 2})
		if got := m.Step(now, SavepointAnswered{}); len(got) != 1 {
			t.Errorf("decided %v, want a trigger", got)
		}
	})
	t.Run("between attempts the owner answers", func(t *testing.T) {
		m := New(hourly(0), DefaultTimes(), 0)
		if got := fmt.Sprint(m.Step(time.Unix(1, 0), SavepointRequest{Caller: 4})); got != fmt.Sprint([]Decision{TriggerSavepoint{Caller: 4}}) {
			t.Errorf("decided %s, want to ask the owner", got)
		}
	})
	t.Run("those that wait are answered when the attempt fails", func(t *testing.T) {
		w := concurrent(t, 1, 0, restarting(9, time.Hour))
		w.step(Cleaning{Checkpoints: 9})
		w.step(SavepointRequest{Caller: 3})
		w.step(WorkerFailed{Worker: "w0", Attempt: 1, Cause: "broke"})
		w.want("answer 3: "+string(ReasonSuspend)+" (broke)", "failover of attempt 1 (broke); the next at 1h0m0s")
	})
	t.Run("after the end", func(t *testing.T) {
		w := concurrent(t, 1, 0, hourly(0))
		w.step(Fenced{})
		w.step(SavepointRequest{Caller: 3})
		w.want("answer 3: " + string(ReasonShutdown) + " (the job is not run from here any more)")
	})
}

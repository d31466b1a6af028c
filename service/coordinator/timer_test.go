package coordinator_test

import (
	"testing"
	"time"

	. "github.com/ckptd/ckptd/service/coordinator"
)

// backlogged is a running job whose next periodic checkpoint is ten seconds away.
func backlogged(t *testing.T, p Policy) *world {
	p.Interval, p.Timeout, p.MaxConcurrent = 10*time.Second, time.Hour, 9
	w := newWorld(t, p, 0)
	w.bringUp()
	w.advance(w.m.State().NextPeriodic.Sub(w.now))
	w.out.Reset()
	return w
}

func (w *world) wantNext(after time.Duration) {
	w.t.Helper()
	if next := w.m.State().NextPeriodic; next.IsZero() != (after == 0) || after != 0 && next.Sub(w.now) != after {
		w.t.Errorf("the next periodic checkpoint is %s away, want %s", next.Sub(w.now), after)
	}
}

func TestBacklog(t *testing.T) {
	on, off := Backlog{Attempt: 1, On: true}, Backlog{Attempt: 1}
	none := Policy{BacklogInterval: NoInterval}
	t.Run("TR-16", func(t *testing.T) {
		w := backlogged(t, none)
		w.advance(4 * time.Second)
		w.step(on)
		w.wantNext(6 * time.Second) // what is planned stays
		w.advance(time.Hour / 2)
		w.want()
		w.wantNext(0) // and is not planned again
		w.step(off)
		w.wantNext(10 * time.Second)
		w.advance(25 * time.Second)
		w.want("trigger 2 (periodic)", "trigger 3 (periodic)")
	})
	t.Run("TR-17", func(t *testing.T) {
		w := backlogged(t, Policy{})
		w.step(on)
		w.advance(20 * time.Second)
		w.step(off)
		w.advance(10 * time.Second)
		w.want("trigger 2 (periodic)", "trigger 3 (periodic)", "trigger 4 (periodic)")
	})
	t.Run("a longer interval", func(t *testing.T) {
		w := backlogged(t, Policy{BacklogInterval: time.Minute})
		w.step(on)
		w.wantNext(10 * time.Second) // a change never makes the next one later
		w.advance(10 * time.Second)
		w.wantNext(time.Minute)
		w.advance(5 * time.Second)
		w.step(on)
		w.wantNext(55 * time.Second)
		w.step(off)
		w.wantNext(10 * time.Second) // earlier than planned
		w.want("trigger 2 (periodic)")
	})
	t.Run("leaving late keeps an earlier plan", func(t *testing.T) {
		w := backlogged(t, Policy{BacklogInterval: time.Minute})
		w.step(on)
		w.advance(65 * time.Second)
		w.wantNext(5 * time.Second)
		w.step(off)
		w.wantNext(5 * time.Second)
	})
	t.Run("a backlog before all run", func(t *testing.T) {
		p := none
		p.Interval = 10 * time.Second
		w := newWorld(t, p, 0)
		w.start()
		w.step(on)
		w.step(AllRunning{Attempt: 1})
		w.wantNext(0)
		w.start() // the next attempt knows nothing of it
		w.step(AllRunning{Attempt: 2})
		if w.m.State().NextPeriodic.IsZero() {
			t.Error("no checkpoint is planned, want the backlog forgotten")
		}
		w.step(on)
		if w.m.State().NextPeriodic.IsZero() {
			t.Error("a report of another attempt counts")
		}
	})
	t.Run("an adopted attempt", func(t *testing.T) {
		p := none
		p.Interval = 10 * time.Second
		w := newWorld(t, p, 0)
		w.step(Attached{Attempt: 1})
		w.step(on)
		w.start()
		w.step(AllRunning{Attempt: 1})
		w.wantNext(0)
	})
	t.Run("no interval at all", func(t *testing.T) {
		w := newWorld(t, Policy{}, 0)
		w.bringUp()
		w.step(on)
		w.step(off)
		w.wantNext(0)
	})
	t.Run("never below the pause", func(t *testing.T) {
		w := newWorld(t, Policy{Interval: time.Second, BacklogInterval: 2 * time.Second, MinPause: time.Minute}, 0)
		w.bringUp()
		w.step(on)
		w.advance(w.m.State().NextPeriodic.Sub(w.now))
		w.wantNext(time.Minute)
	})
}

// TestFinishedSubtasks is execution.checkpointing.checkpoints-after-tasks-finish.
func TestFinishedSubtasks(t *testing.T) {
	const why = " (a subtask has finished, and execution.checkpointing.checkpoints-after-tasks-finish is false)"
	const refused = string(ReasonNotAllRunning) + why
	t.Run("CO-7", func(t *testing.T) {
		w := backlogged(t, Policy{StopAfterFinish: true})
		w.step(Cleaning{Checkpoints: 99})
		w.step(Request{Caller: 1})
		w.step(SubtasksFinished{Attempt: 1})
		w.want("answer 1: " + refused)
		w.step(Cleaning{})
		w.step(Request{Caller: 2})
		w.step(SavepointRequest{Caller: 3})
		w.step(AllAtEnd{Attempt: 1})
		w.step(Backlog{Attempt: 1})
		w.advance(time.Hour - time.Second)
		w.want("answer 2: "+refused, "answer 3: "+refused)
		w.wantNext(0)
		w.ackAll(1) // what was pending may complete
		w.want("owner: 1 is complete")
		w.bringUp()
		if w.step(Request{Caller: 4}); w.count("trigger 2") != 1 {
			t.Errorf("the next attempt takes no checkpoint: %s", w.flush())
		}
		w.out.Reset()
		w.step(SubtasksFinished{Attempt: 1})
		w.step(Request{Caller: 5})
		w.want("trigger 3 (manual)")
	})
	t.Run("CO-8", func(t *testing.T) {
		w := backlogged(t, Policy{})
		w.step(SubtasksFinished{Attempt: 1})
		w.step(Request{Caller: 2})
		w.advance(10 * time.Second)
		w.want("trigger 2 (manual)", "trigger 3 (periodic)")
	})
	t.Run("an adopted attempt", func(t *testing.T) {
		w := newWorld(t, Policy{Interval: time.Second, StopAfterFinish: true}, 0)
		w.step(Attached{Attempt: 1})
		w.step(SubtasksFinished{Attempt: 1})
		w.start()
		w.step(AllRunning{Attempt: 1})
		w.wantNext(0)
	})
}

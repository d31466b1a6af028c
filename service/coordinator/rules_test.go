package coordinator_test

import (
	"strings"
	"testing"
	"time"

	. "github.com/ckptd/ckptd/service/coordinator"
)

// want compares what was written down since the last look, without the times.
func (w *world) want(lines ...string) {
	w.t.Helper()
	var got []string
	for line := range strings.Lines(w.out.String()) {
		_, what, _ := strings.Cut(strings.TrimSpace(line), "  ")
		got = append(got, strings.TrimSpace(what))
	}
	w.out.Reset()
	if strings.Join(got, "\n") != strings.Join(lines, "\n") {
		w.t.Errorf("at %s got\n  %s\nwant\n  %s", w.now.Sub(w.begin), strings.Join(got, "\n  "), strings.Join(lines, "\n  "))
	}
}

// wantDeadline compares when the machine wants its next Tick; negative: never.
func (w *world) wantDeadline(after time.Duration) {
	w.t.Helper()
	at, ok := w.m.NextDeadline()
	switch {
	case ok != (after >= 0):
		w.t.Errorf("a deadline: %v, at %s", ok, at.Sub(w.begin))
	case ok && at.Sub(w.begin) != after:
		w.t.Errorf("the next deadline is at %s, want %s", at.Sub(w.begin), after)
	}
}

// at sets the time, without a Tick.
func (w *world) at(d time.Duration) { w.now = w.begin.Add(d) }

func restarting(n int, delay time.Duration) Policy {
	p := hourly(Never)
	p.Restart = Restart{Strategy: FixedDelay, Attempts: n, Delay: delay}
	return p
}

// TestOnlyANewerSuccessResetsTheCount: a success that is older than the last one does not count.
func TestOnlyANewerSuccessResetsTheCount(t *testing.T) {
	p := hourly(5)
	p.MaxConcurrent = 4
	w := newWorld(t, p, 0)
	w.bringUp()
	w.take(4)
	w.step(Completed{Checkpoint: 2})
	w.step(Aborted{Checkpoint: 3, Reason: ReasonExpired})
	w.expectFailures(t, 0, 1)
	w.step(Completed{Checkpoint: 1})
	w.expectFailures(t, 0, 1)
	w.step(Completed{Checkpoint: 2})
	w.expectFailures(t, 0, 1)
	w.step(Completed{Checkpoint: 4})
	w.expectFailures(t, 0, 0)
}

// TestWhenAWorkerCountsAsLost: after the grace for a broken stream, or after silence, whichever ends first.
func TestWhenAWorkerCountsAsLost(t *testing.T) {
	up := func(t *testing.T) *world {
		w := newWorld(t, restarting(9, time.Hour), 0)
		w.bringUp()
		w.out.Reset()
		return w
	}
	const silent = "worker w1 lost: nothing was heard of it for 5s"
	t.Run("silence ends before the grace", func(t *testing.T) {
		w := up(t)
		w.mute["w1"] = true
		w.advance(4500 * time.Millisecond)
		w.step(WorkerGone{Worker: "w1"})
		w.advance(499 * time.Millisecond)
		w.want()
		w.advance(time.Millisecond)
		w.want("worker w1 lost (nothing was heard of it for 5s)", "failover of attempt 1 ("+silent+"); the next at 1h0m5s")
	})
	t.Run("a stream that broke twice has one grace", func(t *testing.T) {
		w := up(t)
		w.step(WorkerGone{Worker: "w1"})
		w.advance(900 * time.Millisecond)
		w.step(WorkerGone{Worker: "w1"})
		w.advance(100 * time.Millisecond)
		if w.count("worker w1 lost (its connection broke") != 1 {
			t.Errorf("got %s, want the worker lost after one second", w.flush())
		}
	})
	t.Run("a process that registers again was heard of", func(t *testing.T) {
		w := up(t)
		w.mute["w1"] = true
		w.advance(4500 * time.Millisecond)
		w.step(WorkerGone{Worker: "w1"})
		w.step(WorkerUp{Worker: "w1"})
		w.advance(4999 * time.Millisecond)
		w.want()
		w.advance(time.Millisecond)
		if w.count(silent) == 0 {
			t.Errorf("got %s, want the worker lost five seconds after it came back", w.flush())
		}
	})
	t.Run("a worker that reports a failure was heard of", func(t *testing.T) {
		w := up(t)
		w.mute["w1"] = true
		w.advance(4500 * time.Millisecond)
		w.step(WorkerFailed{Worker: "w1", Attempt: 7})
		w.advance(4999 * time.Millisecond)
		w.want()
	})
	t.Run("one that is known to be dead is not lost once more", func(t *testing.T) {
		w := up(t)
		w.drop("w1")
		w.step(WorkerDead{Worker: "w1", Cause: "it said so"})
		w.want("failover of attempt 1 (worker w1 lost: it said so); the next at 1h0m0s")
		w.advance(time.Minute)
		w.want()
	})
}

// TestPings: once a second from the first worker on, as long as there is one.
func TestPings(t *testing.T) {
	w := newWorld(t, Policy{}, 0)
	w.wantDeadline(-1)
	w.step(WorkerUp{Worker: "w0"})
	w.wantDeadline(time.Second)
	w.at(900 * time.Millisecond)
	w.step(WorkerUp{Worker: "w1"})
	w.wantDeadline(time.Second)
	w.step(WorkerDead{Worker: "w0"})
	w.wantDeadline(time.Second)
	w.step(WorkerDead{Worker: "w1"})
	w.wantDeadline(-1)
	w.at(5 * time.Second)
	w.step(WorkerUp{Worker: "w2"})
	w.wantDeadline(6 * time.Second)
}

// TestRegistrationsOfAnAttemptThatWasFound: a new owner waits ten seconds, and decides once.
func TestRegistrationsOfAnAttemptThatWasFound(t *testing.T) {
	found := func(t *testing.T) *world {
		w := newWorld(t, restarting(1, time.Second), 0)
		w.attempt = 4
		w.step(Attached{Attempt: 4})
		w.wantDeadline(10 * time.Second)
		return w
	}
	t.Run("nobody comes", func(t *testing.T) {
		w := found(t)
		w.advance(10*time.Second - 1)
		w.want()
		w.advance(1)
		w.want("the registrations of attempt 4 expired")
		w.advance(time.Hour)
		w.want()
	})
	t.Run("what is reported after they expired fails nothing: the next attempt is the owner's to begin", func(t *testing.T) {
		w := found(t)
		w.advance(10 * time.Second)
		w.out.Reset()
		w.step(WorkerFailed{Worker: "w0", Attempt: 4, Cause: "late"})
		w.step(NewAttempt{Attempt: 4})
		w.want()
	})
	t.Run("it fails before all have come back", func(t *testing.T) {
		w := found(t)
		w.step(WorkerFailed{Worker: "w0", Attempt: 4, Cause: "poison"})
		w.want("failover of attempt 4 (poison); the next at 1s")
		w.advance(time.Hour)
		w.want("start attempt 5 (poison)")
	})
	t.Run("an engine begins the next one", func(t *testing.T) {
		w := found(t)
		w.step(NewAttempt{Attempt: 4, Cause: "rescaled"})
		w.want("start attempt 5 (rescaled)")
		w.advance(time.Hour)
		w.want()
	})
	t.Run("another daemon takes the job", func(t *testing.T) {
		w := found(t)
		w.step(Fenced{})
		w.wantDeadline(-1)
	})
	t.Run("a job without an attempt has nothing that fails", func(t *testing.T) {
		w := newWorld(t, restarting(1, time.Second), 0)
		w.step(Attached{})
		w.wantDeadline(-1)
		w.step(WorkerFailed{Worker: "w0", Cause: "early"})
		w.want()
	})
}

// TestEventsOfAnotherAttemptAreNothing: the machine ignores reports about another attempt.
func TestEventsOfAnotherAttemptAreNothing(t *testing.T) {
	w := newWorld(t, restarting(9, 10*time.Second), 0)
	w.bringUp()
	w.start()
	w.out.Reset()
	w.step(AllRunning{Attempt: 1})
	w.step(Request{Caller: 1})
	w.want("answer 1: NOT_ALL_REQUIRED_TASKS_RUNNING (the attempt is not running: not all subtasks run yet)")
	w.step(AllAtEnd{Attempt: 2})
	w.want()
	w.step(AllRunning{Attempt: 2})
	w.want()
	w.step(AllAtEnd{Attempt: 1})
	w.step(NewAttempt{Attempt: 1})
	w.step(WorkerFailed{Worker: "w0", Attempt: 1})
	w.step(TriggerRefused{Reason: ReasonIO}) // nothing was asked for
	w.want()
	w.step(AllAtEnd{Attempt: 2})
	w.want("trigger 1 (periodic)")
}

// TestOneAttemptIsAskedForAtATime: an engine and the restart strategy do not both begin one.
func TestOneAttemptIsAskedForAtATime(t *testing.T) {
	t.Run("an engine does not wait for the delay, which then begins none", func(t *testing.T) {
		w := newWorld(t, restarting(9, 10*time.Second), 0)
		w.bringUp()
		w.out.Reset()
		w.step(WorkerFailed{Worker: "w0", Attempt: 1, Cause: "poison"})
		w.want("failover of attempt 1 (poison); the next at 10s")
		if at := w.m.State().RestartAt.Sub(w.begin); at != 10*time.Second {
			t.Errorf("the next attempt begins at %s, want 10s", at)
		}
		w.advance(time.Second)
		w.step(NewAttempt{Attempt: 1, Cause: "now"})
		w.want("start attempt 2 (now)")
		w.step(NewAttempt{Attempt: 1, Cause: "again"})
		w.advance(time.Minute)
		w.want()
		if at := w.m.State().RestartAt; !at.IsZero() {
			t.Errorf("the next attempt begins at %s, want none planned", at)
		}
	})
	t.Run("a trigger that was never answered does not hold the next attempt up", func(t *testing.T) {
		w := newWorld(t, restarting(9, 0), 0)
		w.bringUp()
		w.slow = true
		w.step(Request{Caller: 1})
		w.step(WorkerFailed{Worker: "w0", Attempt: 1, Cause: "poison"})
		w.slow = false
		w.start()
		w.step(AllRunning{Attempt: 2})
		w.out.Reset()
		w.step(Request{Caller: 2})
		w.want("trigger 1 (manual)")
	})
	t.Run("a failing job begins none", func(t *testing.T) {
		w := newWorld(t, restarting(0, 0), 0)
		w.bringUp()
		w.out.Reset()
		w.step(WorkerFailed{Worker: "w0", Attempt: 1, Cause: "poison"})
		w.want("fail the job (poison)")
		w.step(NewAttempt{Attempt: 1})
		w.advance(time.Minute)
		w.want()
	})
}

// TestATimerForEachDeadline: there are no workers here, so no ping brings a Tick by chance.
func TestATimerForEachDeadline(t *testing.T) {
	running := func(t *testing.T, p Policy) *world {
		w := newWorld(t, p, 0)
		w.attempt = 1
		w.step(AttemptStarting{Attempt: 1})
		w.step(AllRunning{Attempt: 1})
		w.out.Reset()
		return w
	}
	p := Policy{Timeout: 5 * time.Second, TolerableFailures: Never}
	t.Run("of a checkpoint", func(t *testing.T) {
		w := running(t, p)
		w.wantDeadline(-1)
		w.step(Request{Caller: 1})
		w.wantDeadline(5 * time.Second)
		w.advance(time.Minute)
		w.want("trigger 1 (manual)", "abort 1: CHECKPOINT_EXPIRED (not complete after 5s)", "answer 1: CHECKPOINT_EXPIRED (not complete after 5s)")
	})
	t.Run("of a trigger that is not answered", func(t *testing.T) {
		w := running(t, p)
		w.slow = true
		w.step(Request{Caller: 1})
		w.wantDeadline(5 * time.Second)
		w.advance(5 * time.Second)
		w.wantDeadline(10 * time.Second)
		const cause = "(not begun after 5s: the owner waits for its store)"
		w.want("trigger: the owner takes its time", "answer 1: CHECKPOINT_EXPIRED "+cause, "not begun: CHECKPOINT_EXPIRED "+cause)
	})
	t.Run("an unresolved one has none", func(t *testing.T) {
		w := running(t, p)
		w.step(Request{Caller: 1})
		w.step(Unresolved{Checkpoint: 1})
		w.wantDeadline(-1)
	})
}

// TestAnIntervalIsNoShorterThanThePause: a pause without an interval makes no periodic checkpoints.
func TestAnIntervalIsNoShorterThanThePause(t *testing.T) {
	const ms = time.Millisecond
	for _, test := range []struct{ interval, pause, first, second time.Duration }{
		{12 * ms, 50 * ms, 50 * ms, 100 * ms}, {50 * ms, 50 * ms, 50 * ms, 100 * ms}, {0, 50 * ms, -1, -1}, {1, 0, ms, ms + 1},
	} {
		w := newWorld(t, Policy{Interval: test.interval, MinPause: test.pause, MaxConcurrent: 100}, 0)
		w.step(AttemptStarting{Attempt: 1})
		w.step(AllRunning{Attempt: 1})
		w.wantDeadline(test.first)
		if test.first < 0 {
			continue
		}
		w.advance(test.first)
		if got := w.m.State().NextPeriodic.Sub(w.begin); got != test.second {
			t.Errorf("interval %s, pause %s: the second one is planned for %s, want %s", test.interval, test.pause, got, test.second)
		}
	}
}

// TestConfiguredCountsFromNowOn: an attempt with another configuration is checkpointed and restarted by that one.
func TestConfiguredCountsFromNowOn(t *testing.T) {
	w := newWorld(t, restarting(0, 0), 0)
	w.bringUp()
	w.out.Reset()
	p := restarting(1, 2*time.Second)
	p.Interval = 10 * time.Second
	w.step(Configured{Policy: p})
	w.step(NewAttempt{Attempt: 1, Cause: "another configuration"})
	w.start()
	w.step(AllRunning{Attempt: w.attempt})
	w.advance(10 * time.Second)
	if !strings.Contains(w.out.String(), "trigger 1 (periodic)") {
		t.Errorf("after ten seconds:\n%s\nwant a periodic checkpoint", w.out.String())
	}
	w.out.Reset()
	w.step(WorkerFailed{Worker: "w0", Attempt: 2, Cause: "poison"})
	if got := w.out.String(); !strings.Contains(got, "failover of attempt 2 (poison)") {
		t.Errorf("after a failure:\n%s\nwant a restart", got)
	}
}

// TestAnotherStrategyCountsAnew: what the strategy before has counted does not count for another one. The same strategy
// goes on counting.
func TestAnotherStrategyCountsAnew(t *testing.T) {
	for attempts, want := range map[int]string{1: "fail the job (again)", 2: "failover of attempt 2 (again); the next at 1s"} {
		w := newWorld(t, restarting(1, time.Second), 0)
		w.bringUp()
		w.step(WorkerFailed{Worker: "w0", Attempt: 1, Cause: "once"})
		w.step(Configured{Policy: restarting(attempts, time.Second)})
		w.start()
		w.out.Reset()
		w.step(WorkerFailed{Worker: "w0", Attempt: 2, Cause: "again"})
		w.want(want)
		if n := w.m.State().Restarts; n != 1 {
			t.Errorf("%d attempts: %d restarts counted, want 1", attempts, n)
		}
	}
}

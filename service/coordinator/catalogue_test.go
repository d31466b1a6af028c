package coordinator_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	. "github.com/ckptd/ckptd/service/coordinator"
)

func hourly(tolerable int) Policy {
	return Policy{Interval: time.Hour, Timeout: time.Minute, TolerableFailures: tolerable}
}

// take begins checkpoints until id is pending.
func (w *world) take(id uint64) {
	for w.lastID < id {
		before := w.lastID
		if w.step(Request{Caller: 1}); w.lastID == before {
			w.t.Fatalf("checkpoint %d cannot be begun:\n%s", id, w.out.String())
		}
	}
}

// fail ends a checkpoint as the owner would.
func (w *world) fail(id uint64, r Reason) {
	w.take(id)
	if c := w.find(id); c != nil {
		w.close(c)
	}
	w.step(Aborted{Checkpoint: id, Reason: r})
}

func (w *world) succeed(id uint64) {
	w.take(id)
	for _, task := range tasks {
		w.ack(id, string(task))
	}
}

func (w *world) count(what string) int { return strings.Count(w.out.String(), what) }

func (w *world) expectFailures(t *testing.T, jobFailures, inARow int) {
	t.Helper()
	if got := w.count("fail the job"); got != jobFailures {
		t.Errorf("%d job failures, want %d:\n%s", got, jobFailures, w.out.String())
	}
	if got := w.m.State().ConsecutiveFailures; got != inARow {
		t.Errorf("%d failures in a row, want %d", got, inARow)
	}
}

func TestFailureCounting(t *testing.T) {
	t.Run("FM-2", func(t *testing.T) {
		w := newWorld(t, hourly(2), 0)
		w.bringUp()
		w.fail(1, ReasonDeclined)
		w.fail(2, ReasonExpired)
		w.succeed(3)
		w.fail(4, ReasonDeclined)
		w.expectFailures(t, 0, 1)
	})
	t.Run("FM-3", func(t *testing.T) {
		failures := 0
		for r := range Reasons() {
			w := newWorld(t, hourly(0), 0)
			w.bringUp()
			w.fail(1, r)
			failures += w.count("fail the job")
		}
		if failures != 5 {
			t.Errorf("%d of the %d reasons fail the job, want 5", failures, len(Reasons()))
		}
		if len(Reasons()) != 24 {
			t.Errorf("%d reasons, Flink has 24", len(Reasons()))
		}
	})
	t.Run("FM-4", func(t *testing.T) {
		w := newWorld(t, hourly(2), 0)
		w.bringUp()
		w.take(1)
		for _, task := range tasks { // all five decline
			w.step(Declined{Checkpoint: 1, Reason: ReasonDeclined, Cause: string(task)})
		}
		w.fail(1, ReasonDeclined) // and the owner says so twice
		w.fail(2, ReasonDeclined)
		w.expectFailures(t, 0, 2)
	})
	t.Run("FM-5", func(t *testing.T) {
		p := hourly(2)
		p.MaxConcurrent = 2
		w := newWorld(t, p, 0)
		w.bringUp()
		w.take(2)
		w.step(Completed{Checkpoint: 2})
		w.step(Aborted{Checkpoint: 1, Reason: ReasonExpired})
		w.expectFailures(t, 0, 0)
		w.fail(3, ReasonExpired)
		w.fail(4, ReasonExpired)
		w.expectFailures(t, 0, 2)
		w.fail(5, ReasonExpired)
		w.expectFailures(t, 1, 0)
	})
	t.Run("never", func(t *testing.T) {
		w := newWorld(t, hourly(Never), 0)
		w.bringUp()
		for id := range uint64(100) {
			w.fail(id+1, ReasonExpired)
		}
		w.expectFailures(t, 0, 100)
	})
}

func TestLimits(t *testing.T) {
	for _, n := range []int{1, 2, 5} {
		t.Run(fmt.Sprintf("CO-27/%d", n), func(t *testing.T) {
			w := newWorld(t, Policy{Interval: 10 * time.Millisecond, MaxConcurrent: n}, 0)
			w.bringUp()
			w.advance(time.Second)
			if got := w.count("trigger"); got != n {
				t.Errorf("%d triggered, want exactly %d", got, n)
			}
			w.succeed(1)
			w.advance(time.Second)
			if got := w.count("trigger"); got != n+1 {
				t.Errorf("%d triggered after one completed, want exactly one more than %d", got, n)
			}
		})
	}
	t.Run("RD-7", func(t *testing.T) {
		w := newWorld(t, hourly(0), 0)
		w.bringUp()
		w.step(Request{Caller: 1}) // runs
		for i := range uint64(1001) {
			w.step(Request{Caller: i + 2})
		}
		if got := w.count(string(ReasonTooManyRequests)); got != 1 {
			t.Errorf("%d of 1001 refused by a queue of 1000, want 1", got)
		}
		if got := w.count("answer 1002: " + string(ReasonTooManyRequests)); got != 1 {
			t.Error("not the last one was refused")
		}
	})
	t.Run("RD-8", func(t *testing.T) { // with a person's request in the place of the savepoint
		w := newWorld(t, Policy{Interval: time.Second, Timeout: time.Hour}, 0)
		w.bringUp()
		for i := range uint64(1000) {
			w.step(Request{Caller: i + 1}) // the first runs, 999 wait
		}
		w.advance(time.Minute) // the clock's takes the last place
		if got := w.m.State().Queued; got != 1000 {
			t.Fatalf("%d queued, want 1000", got)
		}
		w.step(Request{Caller: 1001})
		if got := w.count(string(ReasonTooManyRequests)); got != 0 {
			t.Errorf("a person's request was refused where a periodic one waits")
		}
		if got := w.m.State().Queued; got != 1000 {
			t.Errorf("%d queued, want 1000", got)
		}
	})
}

func TestPeriodic(t *testing.T) {
	t.Run("TR-1", func(t *testing.T) {
		w := newWorld(t, Policy{Interval: 10 * time.Millisecond, MaxConcurrent: 1000}, 0)
		w.bringUp()
		w.advance(105 * time.Millisecond)
		if w.lastID < 10 {
			t.Errorf("%d triggered in ten periods", w.lastID)
		}
		before := w.lastID
		w.step(NewAttempt{Attempt: w.attempt}) // stop
		w.advance(time.Second)
		if w.lastID != before {
			t.Errorf("triggered while stopped")
		}
		w.bringUp() // start again
		w.advance(time.Second)
		if got := w.lastID - before; got < 99 || got > 101 {
			t.Errorf("%d triggered in a second of 10 ms periods", got)
		}
	})
	t.Run("the first is spread over [min-pause, interval]", func(t *testing.T) {
		p := Policy{Interval: 10 * time.Second, MinPause: 4 * time.Second}
		var early, late bool
		for seed := range uint64(100) {
			w := newWorld(t, p, seed)
			w.bringUp()
			d := w.m.State().NextPeriodic.Sub(w.now)
			if d < p.MinPause || d > p.Interval {
				t.Fatalf("seed %d: first delay %s", seed, d)
			}
			early, late = early || d < 6*time.Second, late || d > 8*time.Second
		}
		if !early || !late {
			t.Error("the first delays are not spread")
		}
	})
	t.Run("the rate is fixed", func(t *testing.T) {
		w := newWorld(t, Policy{Interval: 10 * time.Second}, 0)
		w.bringUp()
		first := w.m.State().NextPeriodic
		for id := range uint64(50) {
			w.advance(w.m.State().NextPeriodic.Sub(w.now) + 3*time.Millisecond)
			w.succeed(id + 1)
		}
		if got := w.m.State().NextPeriodic.Sub(first); got != 500*time.Second {
			t.Errorf("after 50 periods the plan has moved by %s", got)
		}
	})
}

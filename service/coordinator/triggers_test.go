package coordinator_test

import (
	"testing"
	"time"

	. "github.com/ckptd/ckptd/service/coordinator"
)

// The subtests of this file have the ids of the catalogue of Flink's behaviours: conformance/coverage.

// ready is a job that runs, and what was written down until then is forgotten.
func ready(t *testing.T, p Policy) *world {
	w := newWorld(t, p, 0)
	w.bringUp()
	w.out.Reset()
	return w
}

func TestTriggers(t *testing.T) {
	t.Run("CO-1", func(t *testing.T) {
		w := ready(t, Policy{Timeout: time.Minute})
		w.step(Request{Caller: 1})
		w.want("trigger 1 (manual)")
		w.advance(time.Minute - time.Millisecond)
		w.want()
		w.advance(time.Millisecond)
		w.want("abort 1: CHECKPOINT_EXPIRED (not complete after 1m0s)", "answer 1: CHECKPOINT_EXPIRED (not complete after 1m0s)",
			"fail the job (more checkpoints than the tolerable 0 failed in a row, the last with CHECKPOINT_EXPIRED: not complete after 1m0s)")
	})
	t.Run("CO-4", func(t *testing.T) {
		w := ready(t, Policy{Timeout: time.Minute})
		w.step(Request{Caller: 1})
		w.succeed(1)
		w.out.Reset()
		w.advance(time.Hour)
		w.want()
	})
	t.Run("TR-4", func(t *testing.T) {
		for end, why := range map[Event]string{Fenced{}: "another daemon owns the job; it knows whether the checkpoint is complete", Terminal{}: ""} {
			w := ready(t, hourly(0))
			w.step(Request{Caller: 1})
			w.step(Request{Caller: 2})
			w.out.Reset()
			w.step(end)
			if n := w.count("answer 1: "+string(ReasonShutdown)) + w.count("answer 2: "+string(ReasonShutdown)); n != 2 || w.count(why) == 0 {
				t.Errorf("after %T: %s, want both callers told of the shutdown", end, w.flush())
			}
		}
	})
	t.Run("TR-7", func(t *testing.T) {
		w := ready(t, hourly(1))
		w.refuse = ReasonIO
		w.step(Request{Caller: 1})
		w.want("trigger: the owner refuses with IO_EXCEPTION", "answer 1: IO_EXCEPTION (as told)")
		w.step(Request{Caller: 2})
		w.want("trigger 1 (manual)")
	})
	t.Run("TR-9", func(t *testing.T) {
		w := ready(t, hourly(1))
		w.slow = true
		w.step(Request{Caller: 1})
		w.step(Request{Caller: 2})
		w.want("trigger: the owner takes its time")
		w.slow, w.waiting = false, nil
		w.step(TriggerRefused{Reason: ReasonIO, Cause: "given up"})
		w.want("answer 1: IO_EXCEPTION (given up)", "trigger 1 (manual)")
	})
	t.Run("FM-9", func(t *testing.T) { wantFailureAfter(t, 2, ReasonFinalize) })
	t.Run("FM-10", func(t *testing.T) { wantFailureAfter(t, 2, ReasonAsync) })
}

// wantFailureAfter lets every checkpoint fail with one reason: the job fails with the first that is not tolerated.
func wantFailureAfter(t *testing.T, tolerable int, r Reason) {
	t.Helper()
	w := ready(t, hourly(tolerable))
	for id := range uint64(tolerable) {
		w.fail(id+1, r)
		w.expectFailures(t, 0, int(id)+1)
	}
	w.fail(uint64(tolerable)+1, r)
	if got := w.count("fail the job"); got != 1 {
		t.Errorf("%d job failures, want one:\n%s", got, w.flush())
	}
}

func TestWhoWaits(t *testing.T) {
	t.Run("PC-2", func(t *testing.T) {
		w := ready(t, hourly(Never))
		w.step(Request{Caller: 1})
		for _, task := range tasks[:4] {
			w.ack(1, string(task))
		}
		w.want("trigger 1 (manual)")
		w.ack(1, "e")
		w.want("owner: 1 is complete", "answer 1: checkpoint 1 is complete")
		for i, r := range []Reason{ReasonDeclined, ReasonExpired, ReasonSubsumed, ReasonFailover, ReasonFinalize} {
			id := uint64(i) + 2
			w.step(Request{Caller: id})
			w.out.Reset()
			w.close(w.find(id))
			w.step(Aborted{Checkpoint: id, Reason: r, Cause: "as told"})
			if w.count("answer") != 1 || w.count(string(r)) != 1 {
				t.Errorf("aborted with %s: %s, want one answer that says so", r, w.flush())
			}
		}
	})
}

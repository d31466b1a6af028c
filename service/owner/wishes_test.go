package owner

import (
	"fmt"
	"slices"
	"testing"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/retention"
)

// appending is a job that publishes the entry of checkpoint 1. Every other entry has to wait.
func appending(t *testing.T) *desk {
	t.Helper()
	d := running(t, 1)
	d.do(Event{Kind: EventTrigger})
	d.holds(OpJournal)
	d.ack(1, 0, []incremental.File{1})
	return d
}

func (d *desk) wantReleased(want ...string) {
	d.t.Helper()
	if told := d.release(); !slices.Equal(told, want) {
		d.t.Errorf("told\n  %q\nwant\n  %q", told, want)
	}
}

// TestWishesWaitForTheEntryUnderWay: the owner appends one entry at a time. What callers want meanwhile follows in
// this order: commits, the end, the release, the next attempt, the next checkpoint.
func TestWishesWaitForTheEntryUnderWay(t *testing.T) {
	complete := "complete epoch=1 attempt=1 id=1"
	t.Run("an attempt, whose caller hears of the end instead", func(t *testing.T) {
		d := appending(t)
		d.do(Event{Kind: EventNewAttempt, Attempt: 1, Caller: 4})
		d.want()
		d.do(Event{Kind: EventEnd, Status: journal.StatusFailed, Caller: 5})
		d.want()
		d.wantReleased(complete, fmt.Sprintf("attempted caller=4 attempt=1 reason=%d", ReasonTerminal), "ended status=3", "ended caller=5 status=3")
		if e := d.head(); e.Attempt != 1 || e.Kind != journal.KindEnd {
			t.Errorf("head %+v, want the end, in attempt 1", e)
		}
	})
	t.Run("the end, then a stop: the terminal entry keeps its owner", func(t *testing.T) {
		d := appending(t)
		d.do(Event{Kind: EventEnd, Status: journal.StatusFailed, Caller: 5})
		d.do(Event{Kind: EventStop})
		d.wantReleased(complete, "ended status=3", "ended caller=5 status=3", "released")
		if e := d.head(); e.Kind != journal.KindEnd || e.Owner.IsZero() {
			t.Errorf("head %+v, want the end, with its owner", e)
		}
	})
	t.Run("the end, and the commit loses its slot: the commit goes first", func(t *testing.T) {
		d := appending(t)
		d.do(Event{Kind: EventEnd, Status: journal.StatusFailed, Caller: 5})
		d.seize(func(e *journal.Entry) { e.Kind = journal.KindReturn })
		d.wantReleased("unresolved epoch=1 attempt=1 id=1", complete, "ended status=3", "ended caller=5 status=3")
		if e := d.head(); e.Kind != journal.KindEnd || len(e.Retained) != 1 {
			t.Errorf("head %+v, want the end, and checkpoint 1 retained", e)
		}
	})
	t.Run("a look at the head, before the next commit", func(t *testing.T) {
		d := waiting(t)
		d.do(register(9, 7, 0))
		d.want("reregister worker=9")
		d.wantReleased(complete, "unresolved epoch=1 attempt=1 id=2", "complete epoch=1 attempt=1 id=2", "unresolved epoch=1 attempt=1 id=3",
			"complete epoch=1 attempt=1 id=3")
	})
	t.Run("a checkpoint, which is refused if not all run any more", func(t *testing.T) {
		d := appending(t)
		d.do(Event{Kind: EventTrigger, Caller: 4})
		d.want()
		d.do(Event{Kind: EventWorkerGone, Worker: 1})
		d.wantReleased(complete, fmt.Sprintf("trigger refused caller=4 reason=%d", ReasonNotRunning))
		d.do(register(1, 1, 0))
		d.do(isRunning(1, 1, 0))
		d.want() // the one that was refused does not begin by itself
	})
	t.Run("a checkpoint", func(t *testing.T) {
		d := appending(t)
		d.do(Event{Kind: EventTrigger, Caller: 4})
		d.wantReleased(complete, "trigger caller=4 epoch=1 attempt=1 id=2")
	})
}

// TestTheNextAttemptIsWishedForOnce: a second caller is refused while the first one waits. A caller can join an attempt
// that was wished for without one.
func TestTheNextAttemptIsWishedForOnce(t *testing.T) {
	config := configOf(7, retention.Nothing)
	r := journal.RequestOf("r")
	t.Run("two callers", func(t *testing.T) {
		d := appending(t)
		d.do(Event{Kind: EventNewAttempt, Attempt: 1, Caller: 4, Request: r})
		d.want()
		d.wantUnchanged(Event{Kind: EventNewAttempt, Attempt: 1, Caller: 5}, fmt.Sprintf("attempted caller=5 attempt=1 reason=%d", ReasonBusy))
		d.wantUnchanged(Event{Kind: EventNewAttempt, Attempt: 1})
		d.wantReleased("complete epoch=1 attempt=1 id=1", "attempted caller=4 attempt=2", "attempt epoch=1 attempt=2 id=1",
			"start worker=1 epoch=1 attempt=2 id=1")
		if e := d.head(); e.Attempt != 2 || !e.Seen(r) || e.Restore != 1 {
			t.Errorf("head %+v, want attempt 2 of checkpoint 1 with the request", e)
		}
	})
	t.Run("a caller that comes after one without", func(t *testing.T) {
		d := appending(t)
		d.do(Event{Kind: EventWorkerGone, Worker: 1})
		d.do(Event{Kind: EventAttach, Caller: 4, Config: config})
		d.want("change attempt=1")
		d.do(Event{Kind: EventNewAttempt, Attempt: 1, Caller: 5, Request: r})
		d.want()
		d.wantReleased("complete epoch=1 attempt=1 id=1", "attempted caller=5 attempt=2", "attached caller=4 epoch=1 attempt=2")
		if e := d.head(); e.Attempt != 2 || e.Config.Hash != config.Hash || !e.Seen(r) {
			t.Errorf("head %+v, want attempt 2 with configuration and request", e)
		}
	})
	t.Run("nothing of it is left for the attempt after", func(t *testing.T) {
		d := running(t, 1)
		d.do(Event{Kind: EventNewAttempt, Attempt: 1, Caller: 4, Request: r})
		d.do(Event{Kind: EventWorkerGone, Worker: 1})
		d.do(Event{Kind: EventAttach, Config: configOf(3, retention.Nothing)})
		d.want("change attempt=2")
		d.do(Event{Kind: EventNewAttempt, Attempt: 3})
		if e := d.head(); e.Config.Hash != configOf(3, retention.Nothing).Hash || len(e.Requests) != 1 || e.Attempt != 4 {
			t.Errorf("head %+v, want the last configuration, one request, attempt 4", e)
		}
	})
	t.Run("of another attempt it changes nothing, and nobody is told where nobody asked", func(t *testing.T) {
		d := running(t, 1)
		d.wantUnchanged(Event{Kind: EventNewAttempt, Attempt: 9})
		d.wantUnchanged(Event{Kind: EventNewAttempt, Attempt: 0, Caller: 4}, "attempted caller=4 attempt=1")
	})
	t.Run("not when the end is wished for", func(t *testing.T) {
		d := appending(t)
		d.do(Event{Kind: EventEnd, Status: journal.StatusFailed})
		d.wantUnchanged(Event{Kind: EventNewAttempt, Attempt: 1, Caller: 4}, fmt.Sprintf("attempted caller=4 attempt=1 reason=%d", ReasonStopping))
		d.wantUnchanged(Event{Kind: EventEnd, Status: journal.StatusCanceled, Caller: 6}, fmt.Sprintf("ended caller=6 reason=%d", ReasonBusy))
		d.do(Event{Kind: EventTrigger, Caller: 7})
		d.want(fmt.Sprintf("trigger refused caller=7 reason=%d", ReasonStopping))
	})
}

// TestTheEnd: the owner writes one terminal status, and refuses a status that is not terminal.
func TestTheEnd(t *testing.T) {
	for _, status := range []journal.Status{journal.StatusNone, journal.StatusRunning} {
		running(t, 1).wantUnchanged(Event{Kind: EventEnd, Status: status, Caller: 4}, fmt.Sprintf("ended caller=4 reason=%d", ReasonOther))
		running(t, 1).wantUnchanged(Event{Kind: EventEnd, Status: status})
	}
	d := running(t, 1)
	r := journal.RequestOf("r")
	d.do(Event{Kind: EventEnd, Status: journal.StatusCanceled, Request: r})
	d.want("ended status=2")
	if !d.head().Seen(r) {
		t.Errorf("head %+v, want the request that ended the job", d.head())
	}
	d.wantUnchanged(Event{Kind: EventEnd, Status: journal.StatusFailed})
	d.wantUnchanged(Event{Kind: EventEnd, Status: journal.StatusFailed, Caller: 4}, "ended caller=4 status=2")
}

// TestTheLastRequestsAreRemembered: the head holds the newest 32 requests.
func TestTheLastRequestsAreRemembered(t *testing.T) {
	d := running(t, 1)
	for i := range uint64(40) {
		d.do(Event{Kind: EventNewAttempt, Attempt: 1 + 2*i, Caller: 1, Request: journal.RequestOf(fmt.Sprint(i))})
		d.do(Event{Kind: EventNewAttempt, Attempt: 2 + 2*i})
		e := d.head()
		if want := int(min(i+1, journal.MaxRequests)); len(e.Requests) != want || e.Attempt != 3+2*i {
			t.Fatalf("after %d requests: %d remembered, attempt %d; want %d, %d", i+1, len(e.Requests), e.Attempt, want, 3+2*i)
		}
		for j := range i + 1 {
			if seen, want := e.Seen(journal.RequestOf(fmt.Sprint(j))), j+journal.MaxRequests > i; seen != want {
				t.Fatalf("after %d requests: number %d is remembered: %v, want %v", i+1, j, seen, want)
			}
		}
	}
}

// TestWhatAProcessMissedIsSaidAgainWithinBounds: the owner leaves out what was aborted long ago, or under an earlier
// owner. It does not trigger an unresolved checkpoint again.
func TestWhatAProcessMissedIsSaidAgainWithinBounds(t *testing.T) {
	abort := func(from, to uint64) string {
		last := ""
		if to != from {
			last = fmt.Sprintf(" last=%d", to)
		}
		return fmt.Sprintf("abort worker=1 epoch=1 attempt=1 id=%d%s reason=%d repeated", from, last, ReasonOther)
	}
	t.Run("the newest 16 that were aborted", func(t *testing.T) {
		d := running(t, 1)
		for id := range uint64(40) {
			d.do(Event{Kind: EventTrigger})
			if id > 0 {
				d.do(Event{Kind: EventAbort, ID: id + 1})
			}
		}
		d.do(register(1, 1, 0))
		d.want("trigger worker=1 epoch=1 attempt=1 id=1 repeated", abort(25, 40))
		for _, op := range d.said {
			if op.Latest != 0 {
				t.Errorf("told %+v, want no Complete: no checkpoint is complete", op)
			}
		}
	})
	t.Run("each once, between those that are open", func(t *testing.T) {
		d := running(t, 1)
		for range 7 {
			d.do(Event{Kind: EventTrigger})
		}
		for _, id := range []uint64{1, 3, 4, 7} {
			d.do(Event{Kind: EventAbort, ID: id})
		}
		d.do(register(1, 1, 0))
		trigger := func(id uint64) string { return fmt.Sprintf("trigger worker=1 epoch=1 attempt=1 id=%d repeated", id) }
		d.want(abort(1, 1), trigger(2), abort(3, 4), trigger(5), trigger(6), abort(7, 7))
	})
	t.Run("what is unresolved is neither aborted nor triggered", func(t *testing.T) {
		d := appending(t)
		d.do(register(1, 1, 0))
		d.want()
	})
	t.Run("at a new owner, nothing below its first id", func(t *testing.T) {
		d := running(t, 1)
		d.checkpoint(1)
		d.takeOver(2)
		d.do(register(1, 1, 0))
		d.do(isRunning(1, 1, 0))
		d.do(Event{Kind: EventTrigger})
		first := d.m.Pending()[0].ID
		d.do(register(1, 1, 0))
		d.want("complete worker=1 epoch=2 attempt=1 id=1 repeated", fmt.Sprintf("trigger worker=1 epoch=2 attempt=1 id=%d repeated", first))
	})
}

// TestAbortsNameTheNewestCompleteCheckpoint: a worker that missed a completion learns of it from the next abort.
func TestAbortsNameTheNewestCompleteCheckpoint(t *testing.T) {
	aborts := func(d *desk) (out []Op) {
		for _, op := range d.said {
			if op.Kind == TellAbort {
				out = append(out, op)
			}
		}
		return out
	}
	d := running(t, 1)
	d.do(Event{Kind: EventTrigger})
	d.do(Event{Kind: EventTrigger})
	d.ack(2, 0, nil)
	if got := aborts(d); len(got) != 1 || got[0].ID != 1 || got[0].Last != 1 || got[0].Latest != 2 {
		t.Errorf("subsumed: %+v, want the abort of 1 alone, the newest 2", got)
	}
	d.do(Event{Kind: EventTrigger})
	d.do(Event{Kind: EventAbort, ID: 3})
	if got := aborts(d); len(got) != 1 || got[0].ID != 3 || got[0].Last != 3 || got[0].Latest != 2 {
		t.Errorf("aborted: %+v, want the abort of 3 alone, the newest 2", got)
	}
	d.takeOver(2)
	d.do(register(1, 1, 0))
	if got := aborts(d); len(got) != 1 || got[0].ID != 3 || got[0].Last != 18 || got[0].Latest != 2 {
		t.Errorf("adopted: %+v, want the abort of 3 to 18, the newest 2", got)
	}
}

// TestTheEndIsKept: the entry that ends the job says when and why, and so does each one after it. Of two ends the first
// one counts.
func TestTheEndIsKept(t *testing.T) {
	first := journal.Ended{At: 5, Why: "record 7"}
	d := running(t, 1)
	d.holds(OpJournal)
	d.do(Event{Kind: EventEnd, Status: journal.StatusFailed, Ended: first})
	d.do(Event{Kind: EventEnd, Status: journal.StatusCanceled, Ended: journal.Ended{At: 6, Why: "a person"}})
	d.release()
	if e := d.head(); e.Status != journal.StatusFailed || e.Ended != first {
		t.Errorf("the head says %d, %+v; want %d, %+v", e.Status, e.Ended, journal.StatusFailed, first)
	}
	d.do(Event{Kind: EventSweep})
	if e := d.head(); e.Kind != journal.KindRelease || e.Ended != first {
		t.Errorf("released, the head of kind %d says %+v; want %+v", e.Kind, e.Ended, first)
	}
}

// TestOnlyAnEndEnds: EventEnd refuses a status that only other operations may set.
func TestOnlyAnEndEnds(t *testing.T) {
	for _, status := range []journal.Status{journal.StatusNone, journal.StatusRunning, journal.StatusStopping, journal.StatusCopied,
		journal.StatusRemoved} {
		d := running(t, 1)
		d.wantUnchanged(Event{Kind: EventEnd, Status: status, Caller: 4}, fmt.Sprintf("ended caller=4 reason=%d", ReasonOther))
	}
}

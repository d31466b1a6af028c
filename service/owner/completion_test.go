package owner

import (
	"fmt"
	"slices"
	"testing"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
)

// TestACompletionCondemnsWhatNothingNeeds: with a completion the owner deletes every file that is unreachable and
// unpromised, and the _metadata of checkpoints that left the state.
func TestACompletionCondemnsWhatNothingNeeds(t *testing.T) {
	t.Run("what was promised to a subsumed checkpoint", func(t *testing.T) {
		d := running(t, 1)
		d.checkpoint(1)
		d.do(Event{Kind: EventTrigger})
		d.do(Event{Kind: EventTrigger})
		d.do(Event{Kind: EventBegin, ID: 2, Epoch: 1, Attempt: 1, Files: incremental.FilesOf(1)})
		d.ack(3, 0, []incremental.File{3})
		d.want("acked caller=9 id=3", "unresolved epoch=1 attempt=1 id=3", "complete epoch=1 attempt=1 id=3",
			fmt.Sprintf("abort epoch=1 attempt=1 id=2 reason=%d", ReasonSubsumed))
		d.wantFiles("1 was promised to 2, which is subsumed", 3)
		d.wantMetas("3 is retained", 3)
	})
	t.Run("what was acknowledged for a subsumed checkpoint", func(t *testing.T) {
		d := running(t, 2)
		d.do(Event{Kind: EventTrigger})
		d.do(Event{Kind: EventTrigger})
		d.ack(1, 0, []incremental.File{1})
		d.ack(2, 0, []incremental.File{2})
		d.ack(2, 1, nil)
		d.wantFiles("1 was made for checkpoint 1, which is subsumed", 2)
	})
	t.Run("what was acknowledged for an aborted checkpoint, and not before", func(t *testing.T) {
		d := running(t, 2)
		d.checkpointOf(2, 1)
		d.do(Event{Kind: EventTrigger})
		d.ack(2, 0, []incremental.File{2})
		d.do(Event{Kind: EventAbort, ID: 2})
		d.wantFiles("the files of an aborted checkpoint stay until the next completion", 1, 2)
		d.checkpointOf(2, 3)
		d.wantFiles("3 is complete", 3)
	})
	t.Run("not what is promised to a newer checkpoint", func(t *testing.T) {
		d := running(t, 1)
		d.checkpoint(1)
		d.do(Event{Kind: EventTrigger})
		d.do(Event{Kind: EventTrigger})
		d.do(Event{Kind: EventBegin, ID: 3, Epoch: 1, Attempt: 1, Files: incremental.FilesOf(1)})
		d.ack(2, 0, []incremental.File{2})
		d.wantFiles("1 is promised to checkpoint 3", 1, 2)
		d.wantMetas("2 is retained", 2)
		d.do(Event{Kind: EventTrigger})
		d.ack(4, 0, []incremental.File{4})
		d.wantFiles("checkpoint 3 is subsumed", 4)
	})
	t.Run("not what is promised to either of two", func(t *testing.T) {
		d := running(t, 1)
		d.checkpoint(1, 2, 3)
		for range 3 {
			d.do(Event{Kind: EventTrigger})
		}
		d.do(Event{Kind: EventBegin, ID: 3, Epoch: 1, Attempt: 1, Files: incremental.FilesOf(1)})
		d.do(Event{Kind: EventBegin, ID: 4, Epoch: 1, Attempt: 1, Files: incremental.FilesOf(2)})
		d.ack(2, 0, nil)
		d.wantFiles("1 is promised to checkpoint 3, 2 to checkpoint 4", 1, 2)
		d.do(Event{Kind: EventAbort, ID: 4})
		d.ack(3, 0, nil)
		d.wantFiles("3 is complete, and names nothing")
	})
	t.Run("what the end of the job drops, at once", func(t *testing.T) {
		d := running(t, 1)
		d.checkpoint(1)
		d.do(Event{Kind: EventEnd, Status: journal.StatusFinished})
		d.wantFiles("a finished job retains nothing")
		d.wantMetas("a finished job retains nothing")
	})
}

// checkpointOf takes a checkpoint of n subtasks, the first of which uploads the files.
func (d *desk) checkpointOf(n int, uploads ...incremental.File) uint64 {
	d.t.Helper()
	d.do(Event{Kind: EventTrigger})
	p := d.m.Pending()
	id := p[len(p)-1].ID
	d.ack(id, 0, uploads)
	for i := 1; i < n; i++ {
		d.ack(id, Subtask(i), nil)
	}
	if _, ok := d.m.Head().Checkpoint(id); !ok {
		d.t.Fatalf("checkpoint %d is not complete: %q", id, d.told)
	}
	return id
}

// waiting is a job that publishes the entry of checkpoint 1. The _metadata of 2 and 3 is durable, and both wait for
// their turn.
func waiting(t *testing.T) *desk {
	t.Helper()
	d := newDesk(t)
	d.do(Event{Kind: EventAttach, Create: retaining(3)})
	d.serve(1, 0)
	for range 3 {
		d.do(Event{Kind: EventTrigger})
	}
	d.holds(OpJournal)
	for id := range incremental.File(3) {
		d.ack(uint64(id+1), 0, []incremental.File{id + 1})
	}
	states := []PendingState{}
	for _, p := range d.m.Pending() {
		states = append(states, p.State)
	}
	if !slices.Equal(states, []PendingState{PendingUnresolved, PendingReady, PendingReady}) {
		t.Fatalf("states %v", states)
	}
	return d
}

// TestOneEntryAtATime: the owner publishes waiting checkpoints in the order of their ids. Until then they can be
// aborted.
func TestOneEntryAtATime(t *testing.T) {
	t.Run("the lowest is published first", func(t *testing.T) {
		d := waiting(t)
		told := d.release()
		want := []string{"complete epoch=1 attempt=1 id=1", "unresolved epoch=1 attempt=1 id=2",
			"complete epoch=1 attempt=1 id=2", "unresolved epoch=1 attempt=1 id=3", "complete epoch=1 attempt=1 id=3"}
		if !slices.Equal(told, want) {
			t.Errorf("told\n  %q\nwant\n  %q", told, want)
		}
		d.wantMetas("all three are retained", 1, 2, 3)
	})
	t.Run("one that is aborted while it waits is given up with its _metadata", func(t *testing.T) {
		d := waiting(t)
		d.do(Event{Kind: EventAbort, ID: 2, Reason: ReasonExpired})
		d.want(fmt.Sprintf("abort epoch=1 attempt=1 id=2 reason=%d", ReasonExpired))
		if op := d.one(OpDeleteMetas); !slices.Equal(op.IDs, []uint64{2}) {
			t.Errorf("asked for %+v, want the delete of the _metadata of 2", op)
		}
		d.wantMetas("2 is aborted", 1, 3)
		d.release()
		d.wantMetas("1 and 3 are complete", 1, 3)
		d.wantFiles("1 and 3 are complete", 1, 3)
	})
	t.Run("one that is subsumed while it waits is given up with its _metadata", func(t *testing.T) {
		d := running(t, 1)
		d.do(Event{Kind: EventTrigger})
		d.do(Event{Kind: EventTrigger})
		d.holds(OpJournal)
		d.ack(2, 0, []incremental.File{2})
		d.ack(1, 0, []incremental.File{1})
		told := d.release()
		want := []string{"complete epoch=1 attempt=1 id=2", fmt.Sprintf("abort epoch=1 attempt=1 id=1 reason=%d", ReasonSubsumed)}
		if !slices.Equal(told, want) {
			t.Errorf("told\n  %q\nwant\n  %q", told, want)
		}
		d.wantMetas("1 is subsumed", 2)
		d.wantFiles("1 is subsumed", 2)
	})
	t.Run("the unresolved one cannot be aborted, whoever asks", func(t *testing.T) {
		for name, ev := range map[string]Event{
			"expired":     {Kind: EventAbort, ID: 1, Reason: ReasonExpired},
			"failover":    {Kind: EventFailover, Attempt: 1, Reason: ReasonFailover},
			"new attempt": {Kind: EventNewAttempt, Attempt: 1},
			"end":         {Kind: EventEnd, Status: journal.StatusFailed},
			"stop":        {Kind: EventStop},
		} {
			d := waiting(t)
			d.do(ev)
			if p := d.m.Pending(); len(p) == 0 || p[0].ID != 1 || p[0].State != PendingUnresolved {
				t.Fatalf("%s: pending %+v, want checkpoint 1 unresolved", name, p)
			}
			if told := d.release(); len(told) == 0 || told[0] != "complete epoch=1 attempt=1 id=1" {
				t.Errorf("%s: told %q, want first that 1 is complete", name, told)
			}
		}
	})
}

// TestAMetadataOnItsWayIsNotForgotten: a checkpoint is aborted while its _metadata is being written. The owner
// deletes the _metadata once the write is answered, unless the write was not done.
func TestAMetadataOnItsWayIsNotForgotten(t *testing.T) {
	aborted := func(t *testing.T) (*desk, Op) {
		d := running(t, 1)
		d.do(Event{Kind: EventTrigger})
		d.holds(OpCreateMeta)
		d.ack(1, 0, []incremental.File{1})
		d.do(Event{Kind: EventAbort, ID: 1, Reason: ReasonExpired})
		d.want(fmt.Sprintf("abort epoch=1 attempt=1 id=1 reason=%d", ReasonExpired))
		if len(d.asked) > 0 {
			t.Errorf("asked for %+v, want nothing before the write is answered", d.asked)
		}
		op := d.takeHeld()[0]
		d.answer = nil
		return d, op
	}
	for _, outcome := range []journal.Outcome{journal.Done, journal.Unknown, journal.Exists} {
		t.Run(fmt.Sprintf("outcome %d: it may be there", outcome), func(t *testing.T) {
			d, op := aborted(t)
			d.metas[1] = metaObject{id: 1, nonce: op.Nonce}
			d.reply(op, outcome, nil)
			d.want()
			d.one(OpDeleteMetas)
			d.wantMetas("1 is aborted")
		})
	}
	t.Run("not done: there is nothing to delete", func(t *testing.T) {
		d, op := aborted(t)
		d.reply(op, journal.NotDone, nil)
		if len(d.asked) > 0 || d.m.Condemned() != 0 {
			t.Errorf("asked for %+v, want nothing: no _metadata was written", d.asked)
		}
	})
	t.Run("an answer that comes twice deletes once", func(t *testing.T) {
		d, op := aborted(t)
		d.reply(op, journal.Done, nil)
		d.wantUnchanged(Event{Kind: EventResult, Result: op.Result(journal.Done)})
	})
	t.Run("the look at what was there already", func(t *testing.T) {
		d := running(t, 1)
		d.do(Event{Kind: EventTrigger})
		d.holds(OpCreateMeta, OpReadMeta)
		d.ack(1, 0, []incremental.File{1})
		create := d.takeHeld()[0]
		d.reply(create, journal.Exists, nil)
		read := d.takeHeld()[0]
		d.do(Event{Kind: EventAbort, ID: 1})
		d.answer = nil
		d.metas[1] = metaObject{id: 1, nonce: create.Nonce}
		d.reply(read, journal.Done, func(r *Result) { r.Nonce = create.Nonce })
		d.want()
		d.wantMetas("1 is aborted")
	})
	t.Run("the end of the job waits for it", func(t *testing.T) {
		d, op := aborted(t)
		d.do(Event{Kind: EventEnd, Status: journal.StatusFailed})
		d.do(Event{Kind: EventSweep})
		d.want("swept")
		d.metas[1] = metaObject{id: 1, nonce: op.Nonce}
		d.reply(op, journal.Unknown, nil)
		d.want("released")
		d.wantMetas("1 is aborted")
	})
}

// TestALostSlotIsTriedAgain: another job's entry took the slot, in the same epoch. The owner appends its entry after
// that one.
func TestALostSlotIsTriedAgain(t *testing.T) {
	lend := func(d *desk) {
		d.seize(func(e *journal.Entry) {
			e.Kind, e.Lent = journal.KindLend, []journal.Lent{{Pin: pin, Checkpoint: 1, Holder: "other"}}
		})
	}
	for name, test := range map[string]struct {
		do   func(*desk)
		want []string
		kind journal.Kind
	}{
		"a commit": {func(d *desk) { d.ack(2, 0, []incremental.File{2}) },
			[]string{"acked caller=9 id=2", "unresolved epoch=1 attempt=1 id=2", "unresolved epoch=1 attempt=1 id=2", "complete epoch=1 attempt=1 id=2"},
			journal.KindCommit},
		"an attempt": {func(d *desk) { d.do(Event{Kind: EventNewAttempt, Attempt: 1, Caller: 1}) },
			[]string{fmt.Sprintf("abort epoch=1 attempt=1 id=2 reason=%d", ReasonAttemptEnded), "attempted caller=1 attempt=2", "attempt epoch=1 attempt=2 id=1",
				"start worker=1 epoch=1 attempt=2 id=1"}, journal.KindAttempt},
		"an end": {func(d *desk) { d.do(Event{Kind: EventEnd, Caller: 1, Status: journal.StatusFailed}) },
			[]string{fmt.Sprintf("abort epoch=1 attempt=1 id=2 reason=%d", ReasonStopping), "ended status=3", "ended caller=1 status=3"}, journal.KindEnd},
		"a release": {func(d *desk) { d.do(Event{Kind: EventStop}) }, []string{"released"}, journal.KindRelease},
	} {
		t.Run(name, func(t *testing.T) {
			d := running(t, 1)
			d.checkpoint(1)
			d.do(Event{Kind: EventTrigger})
			lend(d)
			test.do(d)
			d.want(test.want...)
			if head := d.head(); head.Kind != test.kind || len(head.Lent) != 1 {
				t.Errorf("head %+v, want kind %d, and the pin of the other job", head, test.kind)
			}
		})
	}
	t.Run("a head that was read again is built upon at once", func(t *testing.T) {
		d := running(t, 1)
		d.checkpoint(1)
		lend(d)
		d.do(register(9, 7, 0))
		d.want("reregister worker=9")
		if !d.m.Head().IsLent(1) {
			t.Errorf("head %+v, want the entry of the other job", d.m.Head())
		}
		before := d.ops[OpJournal]
		d.do(Event{Kind: EventNewAttempt, Attempt: 1})
		if n := d.ops[OpJournal] - before; n != 4 { // publish, list, get, list
			t.Errorf("%d operations on the journal, want 4: the first publish takes a free slot", n)
		}
	})
}

// TestWhatTookEffectIsWon: the owner's entry has landed, but the answer is late. Other jobs have appended so many
// entries since that the ring does not show it. The owner does nothing twice.
func TestWhatTookEffectIsWon(t *testing.T) {
	for name, test := range map[string]struct {
		do   func(*desk)
		want []string
	}{
		"a commit": {func(d *desk) { d.ack(2, 0, []incremental.File{2}) }, []string{"complete epoch=1 attempt=1 id=2"}},
		"an attempt": {func(d *desk) { d.do(Event{Kind: EventNewAttempt, Attempt: 1, Caller: 1}) },
			[]string{"attempted caller=1 attempt=2", "attempt epoch=1 attempt=2 id=1", "start worker=1 epoch=1 attempt=2 id=1"}},
		"an end":        {func(d *desk) { d.do(Event{Kind: EventEnd, Status: journal.StatusFailed}) }, []string{"ended status=3"}},
		"a release":     {func(d *desk) { d.do(Event{Kind: EventStop}) }, []string{"released"}},
		"a reservation": {func(d *desk) { d.useUp() }, []string{"trigger epoch=1 attempt=1 id=18"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := running(t, 1)
			d.checkpoint(1)
			d.do(Event{Kind: EventTrigger})
			d.holds(OpJournal)
			test.do(d)
			op := publishing(t, d.takeHeld())
			d.answer = nil
			d.journal(op.Journal, &Result{})
			for range 20 {
				d.seize(func(e *journal.Entry) { e.Kind = journal.KindLend })
			}
			before := d.head().Slot
			d.reply(op, journal.Done, nil)
			d.want(test.want...)
			if after := d.head().Slot; after != before {
				t.Errorf("%d more entries, want none: %+v", after-before, d.head())
			}
		})
	}
}

// useUp wishes for checkpoints until ids have to be reserved.
func (d *desk) useUp() {
	for d.m.next <= d.m.Head().Reserved {
		d.do(Event{Kind: EventTrigger})
		d.do(Event{Kind: EventAbort, ID: d.m.next - 1})
	}
	d.do(Event{Kind: EventTrigger})
}

// TestAReturnOnTopOfTheCommitThatHides: the checkpoint is hidden and no longer lent. The owner keeps it until the next
// entry drops it, and deletes its _metadata before its files then.
func TestAReturnOnTopOfTheCommitThatHides(t *testing.T) {
	d := running(t, 1)
	d.checkpoint(1)
	d.seize(func(e *journal.Entry) {
		e.Kind, e.Lent = journal.KindLend, []journal.Lent{{Pin: pin, Checkpoint: 1, Holder: "other"}}
	})
	d.do(register(9, 7, 0)) // the head is read again
	d.do(Event{Kind: EventTrigger})
	d.holds(OpJournal)
	d.ack(2, 0, []incremental.File{2})
	op := publishing(t, d.takeHeld())
	d.answer = nil
	d.journal(op.Journal, &Result{})
	d.seize(func(e *journal.Entry) { e.Kind, e.Lent = journal.KindReturn, nil })
	d.reply(op, journal.Done, nil)
	d.want("complete epoch=1 attempt=1 id=2")
	d.wantFiles("the entry still lists 1", 1, 2)
	d.checkpoint(3)
	d.wantMetas("1 has left the state", 3)
	d.wantFiles("1 has left the state", 3)
}

// TestTheJournalIsWaitedFor: the machine repeats a failed operation after a wait.
func TestTheJournalIsWaitedFor(t *testing.T) {
	d := appending(t)
	op := d.takeHeld()[0]
	for _, outcome := range []journal.Outcome{journal.Unknown, journal.NotDone, journal.Unknown} {
		d.reply(op, outcome, nil)
		d.want()
		again := d.one(OpJournal)
		if again.Wait != journal.WaitBackoff || again.Journal.Kind != journal.OpPublish || again.Journal.Entry != op.Journal.Entry {
			t.Errorf("asked for %+v, want the same entry after a while", again)
		}
	}
}

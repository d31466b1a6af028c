package owner

import (
	"fmt"
	"testing"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
)

// page answers a list with these files of an older epoch, and these checkpoints.
func page(more bool, files []incremental.File, ids ...uint64) func(*Result) {
	return func(r *Result) {
		for _, f := range files {
			r.Found = append(r.Found, Found{f, 0, 1})
		}
		r.IDs, r.More = ids, more
	}
}

// sweeping is a job with one retained checkpoint and two orphans, whose sweep waits for the first page of its list.
func sweeping(t *testing.T, end bool) (*desk, Op) {
	t.Helper()
	d := running(t, 1)
	d.checkpoint(1)
	d.files[20], d.files[21] = Found{20, 0, 1}, Found{21, 0, 1}
	d.holds(OpSweep)
	if end {
		d.do(Event{Kind: EventEnd, Status: journal.StatusCanceled})
	}
	d.do(Event{Kind: EventSweep, Caller: 3})
	d.want()
	return d, d.takeHeld()[0]
}

// TestASweepListsAllPages: a sweep leaves no orphan that its list showed.
func TestASweepListsAllPages(t *testing.T) {
	for name, end := range map[string]bool{"of a running job": false, "of a job that has ended": true} {
		over := []string{"swept caller=3"}
		if end {
			over = append(over, "released")
		}
		t.Run("each page is judged, the last one ends the sweep "+name, func(t *testing.T) {
			d, op := sweeping(t, end)
			d.reply(op, journal.Done, page(true, []incremental.File{20}))
			d.want()
			d.wantFiles("the first page shows 20", 1, 21)
			d.reply(op, journal.Done, page(true, nil))
			d.want()
			d.do(Event{Kind: EventSweep, Caller: 4})
			d.want(fmt.Sprintf("swept caller=4 reason=%d", ReasonBusy))
			d.reply(op, journal.Done, page(false, []incremental.File{21}))
			d.want(over...)
			d.wantFiles("the last page shows 21", 1)
			d.wantUnchanged(Event{Kind: EventResult, Result: op.Result(journal.Done)})
		})
		t.Run("a list that fails begins again "+name, func(t *testing.T) {
			d, op := sweeping(t, end)
			d.reply(op, journal.Done, page(true, []incremental.File{20}))
			for _, outcome := range []journal.Outcome{journal.Unknown, journal.NotFound, journal.NotDone, journal.Unknown} {
				d.reply(op, outcome, nil)
				d.want()
				if op = d.one(OpSweep); op.Wait != journal.WaitBackoff {
					t.Errorf("asked for %+v, want the list after a while", op)
				}
			}
			d.reply(op, journal.Done, page(false, []incremental.File{20, 21}))
			d.want(over...)
			d.wantFiles("the second list shows both", 1)
		})
	}
	t.Run("a failed answer condemns nothing", func(t *testing.T) {
		d, op := sweeping(t, false)
		d.reply(op, journal.Unknown, page(false, []incremental.File{20, 21}))
		d.want()
		d.wantFiles("the list failed", 1, 20, 21)
	})
}

// TestATerminalEntryKeepsItsOwnerUntilOneSweepAfterIt: the owner releases the job after a sweep that began after the
// terminal entry, and after no other.
func TestATerminalEntryKeepsItsOwnerUntilOneSweepAfterIt(t *testing.T) {
	orphan := func(d *desk) { d.files[30] = Found{30, 1, 2} }
	t.Run("a sweep before the end does not count", func(t *testing.T) {
		d := running(t, 1)
		d.checkpoint(1)
		for range 2 {
			d.do(Event{Kind: EventSweep, Caller: 1})
			d.want("swept caller=1")
		}
		d.do(Event{Kind: EventEnd, Status: journal.StatusFailed})
		d.want("ended status=3")
		orphan(d)
		d.do(Event{Kind: EventSweep, Caller: 2})
		d.want("swept caller=2", "released")
		d.wantFiles("the last sweep saw the orphan", 1)
	})
	t.Run("a sweep that began before the end does not count", func(t *testing.T) {
		d, op := sweeping(t, false)
		d.do(Event{Kind: EventEnd, Status: journal.StatusFailed})
		d.want("ended status=3")
		d.reply(op, journal.Done, page(false, []incremental.File{20}))
		d.want("swept caller=3")
		d.answer = nil
		orphan(d)
		d.do(Event{Kind: EventSweep, Caller: 4})
		d.want("swept caller=4", "released")
		d.wantFiles("the last sweep saw the orphan", 1)
	})
	t.Run("the head keeps its owner until then", func(t *testing.T) {
		d, op := sweeping(t, true)
		if d.head().Owner.IsZero() || d.m.Head() == nil {
			t.Error("released, want the owner to keep the job until the sweep has gone through")
		}
		d.reply(op, journal.Done, page(false, nil))
		d.want("swept caller=3", "released")
		if head := d.head(); !head.Owner.IsZero() || len(head.URLs) > 0 || head.Status != journal.StatusCanceled {
			t.Errorf("head %+v, want no owner and no URLs", head)
		}
	})
	t.Run("one that finds something waits until it is deleted", func(t *testing.T) {
		d, op := sweeping(t, true)
		d.holds(OpDeleteFiles)
		d.reply(op, journal.Done, page(false, []incremental.File{20, 21}))
		d.want("swept caller=3")
		d.release()
		d.want("released")
		d.wantFiles("the orphans went before the release", 1)
	})
}

// TestWhatIsUnfinishedGoesByItsTarget: a sweep aborts the unfinished uploads of older epochs or below the floor, and
// the unfinished slots up to the head. The owner's own next entry and the next owner's entry lie above the head.
func TestWhatIsUnfinishedGoesByItsTarget(t *testing.T) {
	ask := func(d *desk) Op {
		d.t.Helper()
		d.holds(OpAbortUnfinished)
		d.do(Event{Kind: EventSweep})
		return d.one(OpAbortUnfinished)
	}
	t.Run("nothing is open: the floor is the next id", func(t *testing.T) {
		d := running(t, 1)
		d.checkpoint(1)
		if op, head := ask(d), d.head(); op.Epoch != 1 || op.Floor != 2 || op.Slot != head.Slot {
			t.Errorf("epoch %d, floor %d, slots up to %d; want 1, 2, %d", op.Epoch, op.Floor, op.Slot, head.Slot)
		}
	})
	t.Run("the lowest that is open is the floor", func(t *testing.T) {
		d := running(t, 1)
		d.checkpoint(1)
		d.do(Event{Kind: EventTrigger})
		d.do(Event{Kind: EventTrigger})
		op := ask(d)
		if op.Floor != 2 || op.DeadTarget(1, 2) || !op.DeadTarget(1, 1) {
			t.Errorf("floor %d, want the open checkpoint 2", op.Floor)
		}
	})
	t.Run("an entry of one's own is on its way", func(t *testing.T) {
		d := running(t, 1)
		d.checkpoint(1)
		d.do(Event{Kind: EventTrigger})
		d.holds(OpJournal)
		d.ack(2, 0, nil)
		slot := publishing(t, d.asked).Journal.Slot
		if op := ask(d); op.Slot >= slot || op.Floor != 2 {
			t.Errorf("slots up to %d, floor %d; want less than the slot %d being written, floor 2", op.Slot, op.Floor, slot)
		}
	})
	t.Run("of a job that has ended nothing can be acknowledged any more", func(t *testing.T) {
		d := running(t, 1)
		d.checkpoint(1)
		d.do(Event{Kind: EventEnd, Status: journal.StatusFailed})
		if op, head := ask(d), d.head(); op.Floor != head.Reserved+1 || op.Slot != head.Slot {
			t.Errorf("floor %d, want %d, above every reserved id; slot %d, want %d", op.Floor, head.Reserved+1, op.Slot, head.Slot)
		}
	})
	t.Run("the list follows, whatever came of it", func(t *testing.T) {
		for _, outcome := range []journal.Outcome{journal.Done, journal.Unknown, journal.NotDone} {
			d := running(t, 1)
			op := ask(d)
			d.reply(op, outcome, nil)
			d.one(OpSweep)
			d.wantUnchanged(Event{Kind: EventResult, Result: op.Result(journal.Done)})
		}
	})
}

// TestAPageIsJudgedByWhatIsKnownWhenItArrives: the owner judges a page by its state when the page arrives, not by its
// state when the list began.
func TestAPageIsJudgedByWhatIsKnownWhenItArrives(t *testing.T) {
	t.Run("what became dead meanwhile goes", func(t *testing.T) {
		d, op := sweeping(t, false)
		d.do(Event{Kind: EventTrigger})
		d.ack(2, 0, []incremental.File{2})
		d.files[22] = Found{22, 1, 2}
		d.reply(op, journal.Done, func(r *Result) { r.Found = []Found{{22, 1, 2}, {2, 1, 2}} })
		d.wantFiles("22 was made for 2, which is complete without it", 2, 20, 21)
	})
	t.Run("what became reachable or promised meanwhile stays", func(t *testing.T) {
		d, op := sweeping(t, false)
		d.do(Event{Kind: EventTrigger})
		d.do(Event{Kind: EventTrigger})
		d.ack(3, 0, []incremental.File{3})
		d.do(Event{Kind: EventTrigger})
		d.files[4] = Found{4, 1, 4}
		d.reply(op, journal.Done, func(r *Result) {
			r.Found = []Found{{3, 1, 3}, {4, 1, 4}, {1, 1, 1}}
			r.IDs = []uint64{3, 4}
		})
		d.want("swept caller=3")
		d.wantFiles("3 is retained, 4 may be acknowledged", 3, 4, 20, 21)
		d.wantMetas("3 is retained", 3)
	})
	t.Run("the files of an acknowledged checkpoint that is open stay", func(t *testing.T) {
		d := running(t, 2)
		d.do(Event{Kind: EventTrigger})
		d.ack(1, 0, []incremental.File{1})
		d.do(Event{Kind: EventSweep})
		d.wantFiles("1 is promised to checkpoint 1", 1)
	})
	t.Run("the _metadata of what is not in the state goes below the floor only", func(t *testing.T) {
		d := running(t, 1)
		d.checkpoint(1)
		d.do(Event{Kind: EventTrigger})
		d.do(Event{Kind: EventAbort, ID: 2})
		d.do(Event{Kind: EventTrigger})
		for _, id := range []uint64{2, 3, 4} {
			d.metas[id] = metaObject{id: id}
		}
		d.do(Event{Kind: EventSweep})
		d.wantMetas("1 is retained, 3 is open, 4 comes next", 1, 3, 4)
	})
	t.Run("a _metadata that the sweep and its own answer condemn is deleted once", func(t *testing.T) {
		d := running(t, 1)
		d.do(Event{Kind: EventTrigger})
		d.holds(OpCreateMeta, OpDeleteMetas)
		d.ack(1, 0, nil)
		op := d.takeHeld()[0]
		d.metas[1] = metaObject{id: 1, nonce: op.Nonce}
		d.do(Event{Kind: EventAbort, ID: 1})
		d.do(Event{Kind: EventSweep})
		d.reply(op, journal.Unknown, nil)
		if got := d.m.Condemned(); got != 1 {
			t.Errorf("%d wait to be deleted, want one", got)
		}
	})
	t.Run("a _metadata on two pages is deleted once", func(t *testing.T) {
		d, op := sweeping(t, false)
		d.do(Event{Kind: EventTrigger})
		d.do(Event{Kind: EventAbort, ID: 2})
		d.holds(OpDeleteMetas)
		d.reply(op, journal.Done, page(true, nil, 2))
		d.reply(op, journal.Done, page(true, nil, 2))
		d.reply(op, journal.Done, page(false, nil, 2))
		if got := d.m.Condemned(); got != 1 {
			t.Errorf("%d wait to be deleted, want one", got)
		}
	})
}

// TestACopyThatHasNotEndedIsNotSwept: a copier was killed. Whoever owns the copy next leaves what it has brought, and
// releases the job, so that the copy can go on. A copy that has ended is swept like any other job that has.
func TestACopyThatHasNotEndedIsNotSwept(t *testing.T) {
	copied := func(unfinished bool, rules off) *desk {
		d := newDesk(t)
		d.cfg.off = rules
		e := journal.Entry{Epoch: 3, Kind: journal.KindAttach, Status: journal.StatusCopied, Reserved: 20, Owner: journal.Nonce{Count: 7}, About: &journal.About{Job: "job"},
			Plan: twoTasks(1).Plan, Config: twoTasks(1).Config, CopiedFrom: journal.Origin{RootID: "r", Job: "job", Unfinished: unfinished}}
		var a journal.Append
		head := a.Begin(&d.cfg.Journal, nil, e, journal.Nonce{Count: 7}, journal.RoleAttach).Entry
		d.slots[head.Slot] = head
		d.files[5], d.files[6] = Found{5, 3, 4}, Found{6, 1, 2}
		d.metas[9] = metaObject{}
		d.do(Event{Kind: EventFinish, Caller: 1})
		d.do(Event{Kind: EventSweep, Caller: 2})
		return d
	}
	d := copied(true, off{})
	d.want("swept caller=2", "released")
	d.wantFiles("the copy has not ended", 5, 6)
	if _, ok := d.metas[9]; !ok || !d.head().Owner.IsZero() || !d.head().CopiedFrom.Unfinished {
		t.Errorf("_metadata there: %t, head %+v; want it there, no owner, and unfinished", ok, d.head())
	}
	copied(true, off{unfinished: true}).wantFiles("the rule is switched off")
	copied(false, off{}).wantFiles("the copy has ended")
}

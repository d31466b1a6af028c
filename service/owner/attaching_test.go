package owner

import (
	"fmt"
	"slices"
	"testing"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
)

// TestAnAttachThatIsDoneOrUnderWay: a second attach waits for the answer to the first, or is answered at once.
func TestAnAttachThatIsDoneOrUnderWay(t *testing.T) {
	terminal := func(t *testing.T) *desk {
		d := running(t, 1)
		d.do(Event{Kind: EventEnd, Status: journal.StatusFailed})
		return d
	}
	alive := func(t *testing.T) *desk { return running(t, 1) }
	for name, test := range map[string]struct {
		desk func(*testing.T) *desk
		kind EventKind
		want string
	}{
		"attach to a job that is owned here":             {alive, EventAttach, "attached caller=5 epoch=1 attempt=1"},
		"finish a job that is owned here and runs":       {alive, EventFinish, fmt.Sprintf("attach refused caller=5 reason=%d", ReasonNotTerminal)},
		"attach to a job that is owned here and is over": {terminal, EventAttach, fmt.Sprintf("attach refused caller=5 status=%d reason=%d", journal.StatusFailed, ReasonTerminal)},
		"finish a job that is owned here and is over":    {terminal, EventFinish, "attached caller=5 epoch=1 attempt=1"},
	} {
		t.Run(name, func(t *testing.T) {
			test.desk(t).wantUnchanged(Event{Kind: test.kind, Caller: 5, Create: twoTasks(1)}, test.want)
		})
	}
	t.Run("while the head is read, the owner asked and the entry written", func(t *testing.T) {
		d := running(t, 1)
		d.m, d.cfg = Machine{}, DefaultConfig(journal.Process{2}, nil, testPolicy)
		seen := map[Phase]bool{}
		var want []string
		d.answer = func(op Op) *Result { return hold }
		d.do(Event{Kind: EventAttach})
		for d.m.Phase() != PhaseOwning {
			seen[d.m.Phase()] = true
			if d.m.Head() != nil || !d.m.Missing().IsEmpty() || d.m.AllRunning() {
				t.Errorf("phase %d: a head, missing subtasks or running ones of a job that is not owned", d.m.Phase())
			}
			caller := uint64(10 + 2*len(seen))
			d.do(Event{Kind: EventAttach, Caller: caller, Create: twoTasks(1)})
			d.want()
			d.do(Event{Kind: EventFinish, Caller: caller + 1})
			d.want()
			want = append(want, fmt.Sprintf("attached caller=%d epoch=2 attempt=1", caller))
			if d.m.Phase() != PhaseReading { // a finish is refused as soon as the head is read
				want = append(want, fmt.Sprintf("attach refused caller=%d reason=%d", caller+1, ReasonNotTerminal))
			}
			op := d.takeHeld()[0]
			d.answer = nil
			res := d.carryOut(op)
			d.answer = func(op Op) *Result { return hold }
			d.do(Event{Kind: EventResult, Result: *res})
		}
		d.want(append([]string{"attached epoch=2 attempt=1"}, want...)...)
		if len(seen) != 3 {
			t.Errorf("phases %v, want reading, asking and attaching", seen)
		}
	})
	t.Run("finish creates no job", func(t *testing.T) {
		d := newDesk(t)
		d.do(Event{Kind: EventFinish, Create: twoTasks(1)})
		d.want(fmt.Sprintf("attach refused reason=%d", ReasonNoJob))
		if len(d.slots) > 0 {
			t.Errorf("slots %v, want none", d.slots)
		}
	})
}

// TestTheOwnerOfTheHeadIsAskedFirst: OpAsk carries the nonce and the URLs of the head. Nobody is asked if the head
// names no owner, or names this process.
func TestTheOwnerOfTheHeadIsAskedFirst(t *testing.T) {
	t.Run("another process", func(t *testing.T) {
		d := running(t, 1)
		owner := d.head().Owner
		d.m, d.cfg = Machine{}, DefaultConfig(journal.Process{2}, nil, testPolicy)
		d.holds(OpAsk)
		d.do(Event{Kind: EventAttach})
		if op := d.one(OpAsk); op.Nonce != owner || !slices.Equal(op.URLs, []string{"http://a"}) {
			t.Errorf("asked %v at %v, want %v at http://a", op.Nonce, op.URLs, owner)
		}
	})
	for name, edit := range map[string]func(*journal.Entry){
		"nobody":       func(e *journal.Entry) { e.Owner, e.URLs = journal.Nonce{}, nil },
		"this process": func(e *journal.Entry) { e.Owner = journal.Nonce{Process: journal.Process{2}, Count: 9} },
	} {
		t.Run(name, func(t *testing.T) {
			d := running(t, 1)
			d.seize(edit)
			d.takeOver(2)
			if d.ops[OpAsk] > 0 {
				t.Error("somebody was asked")
			}
			d.want("attached epoch=2 attempt=1")
		})
	}
}

// TestTwoAttachesRace: an attach that is not won begins again after a jitter, and asks the owner of the new head
// first.
func TestTwoAttachesRace(t *testing.T) {
	lost := func(t *testing.T) (*desk, Op) {
		d := running(t, 1)
		d.m, d.cfg = Machine{}, DefaultConfig(journal.Process{2}, nil, testPolicy)
		d.holds(OpJournal)
		d.do(Event{Kind: EventAttach})
		op := publishing(t, d.takeHeld())
		d.answer = nil
		d.fence()
		return d, op
	}
	t.Run("the winner answers", func(t *testing.T) {
		d, op := lost(t)
		d.holds(OpAsk)
		d.reply(op, journal.Exists, nil)
		d.want()
		waits := 0
		for _, op := range d.all(OpJournal) {
			if op.Wait == journal.WaitJitter && op.Journal.Kind == journal.OpList {
				waits++
			}
		}
		if waits != 1 {
			t.Errorf("asked for %+v, want one list after a jitter", d.asked)
		}
		ask := d.one(OpAsk)
		if ask.Nonce.Process != (journal.Process{3}) {
			t.Errorf("asked %v, want the winner", ask.Nonce)
		}
		d.reply(ask, journal.Done, func(r *Result) { r.Answered = true })
		d.want("redirect epoch=2http://a")
		d.wantForgotten()
	})
	t.Run("the winner does not answer", func(t *testing.T) {
		d, op := lost(t)
		d.reply(op, journal.Exists, nil)
		d.want("attached epoch=3 attempt=1")
	})
	t.Run("the loser owns nothing while it reads the head again", func(t *testing.T) {
		d, op := lost(t)
		me := op.Journal.Entry.Owner
		lists := 0
		d.answer = func(op Op) *Result {
			if op.Kind != OpJournal || op.Journal.Kind != journal.OpList {
				return nil
			}
			if lists++; lists < 3 { // two tell who won
				return nil
			}
			return hold
		}
		if !d.m.Owns(me) {
			t.Error("Owns is false while the entry is being published, want true")
		}
		d.reply(op, journal.Exists, nil)
		if d.m.Owns(me) || d.m.Phase() != PhaseReading {
			t.Errorf("phase %d, owns %v; want reading, and no owner", d.m.Phase(), d.m.Owns(me))
		}
		d.do(Event{Kind: EventStop})
		d.want(fmt.Sprintf("attach refused reason=%d", ReasonStopping), "released")
		d.wantForgotten()
	})
	t.Run("a loser that was told to stop does not begin again", func(t *testing.T) {
		d, op := lost(t)
		d.do(Event{Kind: EventStop})
		d.want()
		d.reply(op, journal.Exists, nil)
		d.want(fmt.Sprintf("attach refused reason=%d", ReasonStopping), "released")
		d.wantForgotten()
	})
}

// TestAStopWhileAttaching: the machine answers with a refusal and TellReleased, and ignores later answers of the
// store.
func TestAStopWhileAttaching(t *testing.T) {
	refused := []string{fmt.Sprintf("attach refused reason=%d", ReasonStopping), "released"}
	for name, kind := range map[string]func(Op) bool{
		"while the head is read":   func(op Op) bool { return op.Kind == OpJournal },
		"while the owner is asked": func(op Op) bool { return op.Kind == OpAsk },
	} {
		t.Run(name, func(t *testing.T) {
			d := running(t, 1)
			d.m, d.cfg = Machine{}, DefaultConfig(journal.Process{2}, nil, testPolicy)
			d.answer = func(op Op) *Result {
				if kind(op) {
					return hold
				}
				return nil
			}
			d.do(Event{Kind: EventAttach})
			d.do(Event{Kind: EventStop})
			d.want(refused...)
			d.wantForgotten()
		})
	}
	t.Run("while the entry is written: it is owned, then released", func(t *testing.T) {
		d := running(t, 1)
		d.m, d.cfg = Machine{}, DefaultConfig(journal.Process{2}, nil, testPolicy)
		d.holds(OpJournal)
		d.do(Event{Kind: EventAttach})
		me := publishing(t, d.held).Journal.Entry.Owner
		if !d.m.Owns(me) || d.m.Owns(journal.Nonce{}) {
			t.Error("Owns is false while the entry is being published, want true")
		}
		d.do(Event{Kind: EventStop})
		d.want()
		told := d.release()
		if fmt.Sprint(told) != "[attached epoch=2 attempt=1 released]" || !d.head().Owner.IsZero() {
			t.Errorf("told %q, head %+v; want attached, released, and a head without owner", told, d.head())
		}
	})
}

// TestNoncesAreNeverUsedTwice: every attach, entry and _metadata of one process has a nonce of its own.
func TestNoncesAreNeverUsedTwice(t *testing.T) {
	d := newDesk(t)
	seen := map[journal.Nonce]string{}
	note := func(n journal.Nonce, what string) {
		t.Helper()
		if n.Process != d.cfg.Process {
			t.Errorf("%s: nonce %v of another process", what, n)
		}
		if was, ok := seen[n]; ok {
			t.Errorf("nonce %v of %s is that of %s", n, what, was)
		}
		seen[n] = what
	}
	for life := range 3 {
		d.do(Event{Kind: EventAttach, Create: twoTasks(1)})
		d.serve(1, d.m.Head().Attempt)
		for range 2 {
			id := d.checkpoint()
			c, _ := d.m.Head().Checkpoint(id)
			note(c.Nonce, fmt.Sprintf("life %d, _metadata of %d", life, id))
			if d.metas[id].nonce != c.Nonce {
				t.Errorf("the _metadata of %d has another nonce than its entry", id)
			}
		}
		if life == 1 {
			d.fence()
			d.do(Event{Kind: EventTrigger})
			d.ack(d.m.Pending()[0].ID, 0, nil)
		} else {
			d.do(Event{Kind: EventStop})
		}
	}
	for _, e := range d.slots {
		if e.Owner == e.Nonce && e.Nonce.Process == d.cfg.Process {
			note(e.Owner, fmt.Sprintf("the attach in slot %d", e.Slot))
		} else if e.Nonce.Process == d.cfg.Process {
			note(e.Nonce, fmt.Sprintf("slot %d", e.Slot))
		}
	}
}

// loading is a job at a new owner that reads the _metadata of three retained checkpoints. All three name file 9.
func loading(t *testing.T) (*desk, []Op) {
	t.Helper()
	d := newDesk(t)
	d.do(Event{Kind: EventAttach, Create: retaining(3)})
	d.serve(1, 0)
	for i := range incremental.File(3) {
		d.checkpoint(i+1, 9)
	}
	d.m, d.cfg = Machine{}, DefaultConfig(journal.Process{2}, nil, testPolicy)
	d.holds(OpReadMeta)
	d.do(Event{Kind: EventAttach})
	ops := d.takeHeld()
	if len(ops) != 3 {
		t.Fatalf("asked for %+v, want three reads", ops)
	}
	for _, op := range ops {
		if c, _ := d.m.Head().Checkpoint(op.ID); op.Nonce != c.Nonce || op.Nonce.IsZero() {
			t.Errorf("the read of %d names nonce %v, want %v", op.ID, op.Nonce, c.Nonce)
		}
	}
	return d, ops
}

// TestRetainedMetadataIsReadInAnyOrder: each read names the nonce of its checkpoint, and each answer counts for that
// checkpoint.
func TestRetainedMetadataIsReadInAnyOrder(t *testing.T) {
	t.Run("the last one first", func(t *testing.T) {
		d, ops := loading(t)
		d.answer = nil
		for _, op := range slices.Backward(ops) {
			if _, ok := d.m.Files(op.ID); ok {
				t.Errorf("the files of %d are known, want them unknown before the read", op.ID)
			}
			d.do(Event{Kind: EventResult, Result: *d.carryOut(op)})
			if files, ok := d.m.Files(op.ID); !ok || files != incremental.FilesOf(incremental.File(op.ID), 9) {
				t.Errorf("files of %d: %v, %v", op.ID, files, ok)
			}
		}
		if _, ok := d.m.Files(7); ok {
			t.Error("got files of a checkpoint that does not exist, want none")
		}
		if d.m.NeededBy(9) != 3 || d.m.NeededBy(2) != 1 || d.m.NeededBy(8) != 0 {
			t.Errorf("needed by: 9: %d, 2: %d, 8: %d; want 3, 1, 0", d.m.NeededBy(9), d.m.NeededBy(2), d.m.NeededBy(8))
		}
		if d.m.Stopping() {
			t.Error("stopping, want a machine that goes on")
		}
	})
	t.Run("a read that merely failed is asked for again, with its nonce", func(t *testing.T) {
		d, ops := loading(t)
		d.reply(ops[1], journal.Unknown, nil)
		if op := d.one(OpReadMeta); op.ID != ops[1].ID || op.Nonce != ops[1].Nonce || op.Wait != journal.WaitBackoff {
			t.Errorf("asked for %+v, want the read of %d after a while", op, ops[1].ID)
		}
	})
	t.Run("as long as one of two is unreadable it is degraded", func(t *testing.T) {
		d, ops := loading(t)
		d.answer = nil
		d.reply(ops[0], journal.Corrupt, nil)
		d.reply(ops[1], journal.Corrupt, nil)
		d.do(Event{Kind: EventResult, Result: *d.carryOut(ops[2])})
		d.serve(1, 1)
		d.checkpoint(4)
		if slices.ContainsFunc(d.said, func(op Op) bool { return op.Kind == TellDegraded }) {
			t.Errorf("told %q, want degraded: one _metadata is still unreadable", d.told)
		}
		d.checkpoint(5)
		if last := d.told[len(d.told)-1]; last != "degraded" {
			t.Errorf("told %q, want that it is over", d.told)
		}
	})
}

// TestAMetadataThatIsMissing: a new owner may have dropped it. The owner reads the head before it calls the
// checkpoint damaged.
func TestAMetadataThatIsMissing(t *testing.T) {
	t.Run("one that is missing is no damage before the head was read again", func(t *testing.T) {
		d, ops := loading(t)
		d.answer = func(op Op) *Result {
			if op.Kind == OpJournal {
				return hold
			}
			return nil
		}
		for _, op := range []Op{ops[0], ops[2]} {
			d.do(Event{Kind: EventResult, Result: *d.carryOut(op)})
		}
		d.reply(ops[1], journal.NotFound, nil)
		d.want()
		if why, id := d.m.Degraded(); why != ReasonLoading || id != ops[1].ID {
			t.Errorf("degraded %d %d, want loading of %d", why, id, ops[1].ID)
		}
		d.do(Event{Kind: EventSweep, Caller: 1})
		d.want(fmt.Sprintf("swept caller=1 reason=%d", ReasonLoading))
		d.release()
		d.want(fmt.Sprintf("degraded id=%d reason=%d", ops[1].ID, ReasonDegraded))
	})
	t.Run("two are missing: the head is read for one after the other", func(t *testing.T) {
		d, ops := loading(t)
		d.holds(OpJournal)
		d.do(register(1, 0, 0))
		d.reply(ops[0], journal.NotFound, nil)
		d.reply(ops[1], journal.NotFound, nil)
		d.do(Event{Kind: EventResult, Result: *d.carryOut(ops[2])})
		d.want()
		told := d.release()
		want := []string{fmt.Sprintf("degraded id=%d reason=%d", ops[0].ID, ReasonDegraded), fmt.Sprintf("degraded id=%d reason=%d", ops[1].ID, ReasonDegraded)}
		if !slices.Equal(told[:2], want) {
			t.Errorf("told %q, want first %q", told, want)
		}
	})
	t.Run("one that is missing, and another epoch: the new owner dropped it", func(t *testing.T) {
		d, ops := loading(t)
		d.answer = nil
		d.fence()
		d.reply(ops[1], journal.NotFound, nil)
		d.want("fenced")
		d.wantForgotten()
	})
	t.Run("one that is missing, and the head is unreadable", func(t *testing.T) {
		d, ops := loading(t)
		d.answer = func(op Op) *Result {
			if op.Kind != OpJournal || op.Journal.Kind != journal.OpGet {
				return nil
			}
			res := op.Result(journal.Corrupt)
			return &res
		}
		d.reply(ops[1], journal.NotFound, nil)
		d.want("fenced")
		d.wantForgotten()
	})
}

// TestAnOwnerThatLooksAgainDoesNotGoBack: an owner knows slots of the journal. A list that lacks one of them is stale,
// so the owner lists again.
func TestAnOwnerThatLooksAgainDoesNotGoBack(t *testing.T) {
	stale := func(d *desk) {
		lists, newest := 0, d.head().Slot
		d.answer = func(op Op) *Result {
			if op.Kind != OpJournal || op.Journal.Kind != journal.OpList || lists == 4 {
				return nil
			}
			lists++
			res := op.Result(journal.Done)
			for slot := range d.slots {
				if slot < newest {
					res.Slots = append(res.Slots, slot)
				}
			}
			return &res
		}
	}
	check := func(d *desk, told string) {
		d.t.Helper()
		d.want(told)
		for _, op := range d.all(OpJournal) {
			if op.Journal.Kind == journal.OpGet && op.Journal.Slot < d.head().Slot {
				d.t.Errorf("slot %d was read, and the owner knows slot %d", op.Journal.Slot, d.head().Slot)
			}
		}
		if got := d.m.Head(); got == nil || got.Slot != d.head().Slot {
			d.t.Errorf("the head is %+v, want slot %d", got, d.head().Slot)
		}
	}
	t.Run("for a worker of a later attempt", func(t *testing.T) {
		d := running(t, 1)
		d.checkpoint(1)
		stale(d)
		d.do(register(1, 7, 0))
		check(d, "reregister worker=1")
	})
	t.Run("for a _metadata that is missing", func(t *testing.T) {
		d, ops := loading(t)
		stale(d)
		d.reply(ops[1], journal.NotFound, nil)
		check(d, fmt.Sprintf("degraded id=%d reason=%d", ops[1].ID, ReasonDegraded))
	})
}

// TestAJobThatIsNotOwnedRefuses: the machine answers every call with the answer of that call, and does not change.
func TestAJobThatIsNotOwnedRefuses(t *testing.T) {
	for kind, want := range map[EventKind]string{
		EventNewAttempt: "attempted caller=4", EventTrigger: "trigger refused caller=4", EventBegin: "begun caller=4 id=5",
		EventAck: "acked caller=4 id=5", EventEnd: "ended caller=4", EventSweep: "swept caller=4",
	} {
		ev := Event{Kind: kind, Caller: 4}
		if kind == EventBegin || kind == EventAck {
			ev.ID = 5
		}
		newDesk(t).wantUnchanged(ev, fmt.Sprintf("%s reason=%d", want, ReasonNotOwner))
	}
	for _, kind := range []EventKind{EventWorkerGone, EventRunning, EventRegistrationsExpired, EventFailover, EventAbort} {
		newDesk(t).wantUnchanged(Event{Kind: kind, Worker: 1, Caller: 4, ID: 5})
	}
	newDesk(t).wantUnchanged(Event{Kind: EventRegister, Worker: 3}, "reregister worker=3")
}

// TestOvertakenWhileTheOwnerIsAsked: entries of other jobs that come while the owner is asked do not begin the question anew. Else a
// silent owner would keep a job that others borrow from. An entry of the owner does: the owner lives.
func TestOvertakenWhileTheOwnerIsAsked(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*journal.Entry)
		asks int
	}{
		{"another job borrows", func(e *journal.Entry) { e.Kind = journal.KindLend }, 1},
		{"the owner reserves", func(e *journal.Entry) { e.Kind, e.Reserved = journal.KindReserve, e.Reserved+1 }, 2},
		{"the owner begins an attempt", func(e *journal.Entry) { e.Kind, e.Attempt = journal.KindAttempt, e.Attempt+1 }, 2},
		{"another owner attaches", func(e *journal.Entry) {
			e.Kind, e.Epoch, e.Owner = journal.KindAttach, e.Epoch+1, journal.Nonce{Process: journal.Process{3}, Count: 1}
		}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := running(t, 1)
			d.m, d.cfg = Machine{}, DefaultConfig(journal.Process{2}, nil, testPolicy)
			d.holds(OpAsk)
			d.do(Event{Kind: EventAttach})
			ask := d.one(OpAsk)
			d.seize(c.edit)
			before := d.head().Epoch
			d.answer = nil
			d.reply(ask, journal.Done, nil)
			if h := d.head(); h.Epoch != before+1 || h.Owner.Process != (journal.Process{2}) {
				t.Errorf("epoch %d of %v, want epoch %d of this process", h.Epoch, h.Owner, before+1)
			}
			if n := d.ops[OpAsk]; n != c.asks {
				t.Errorf("owners were asked %d times, want %d", n, c.asks)
			}
		})
	}
	t.Run("a newer version borrows", func(t *testing.T) {
		d := running(t, 1)
		d.m, d.cfg = Machine{}, DefaultConfig(journal.Process{2}, nil, testPolicy)
		d.holds(OpAsk)
		d.do(Event{Kind: EventAttach})
		ask := d.one(OpAsk)
		d.seize(func(e *journal.Entry) { e.Kind, e.LeastWriter = journal.KindLend, d.cfg.Journal.Version+1 })
		d.answer = nil
		d.reply(ask, journal.Done, nil)
		if h := d.head(); h.Epoch != 1 {
			t.Errorf("epoch %d, want 1: this version must not write", h.Epoch)
		}
		d.wantForgotten()
	})
}

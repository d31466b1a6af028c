package owner

import (
	"fmt"
	"slices"
	"testing"

	"github.com/ckptd/ckptd/layout/journal"
)

var wanted = journal.Import{State: journal.ImportWanted, Job: "lender", Checkpoint: 4, Nonce: journal.Nonce{Count: 44}}

// lender is a head of the job that lends, with checkpoint 4.
func lender(edit func(*journal.Entry)) *journal.Entry {
	e := journal.Entry{Epoch: 3, Kind: journal.KindCommit, Status: journal.StatusRunning, Reserved: 20, About: &journal.About{Job: "lender"},
		Retained: []journal.Checkpoint{{ID: 4, Nonce: wanted.Nonce}}}
	if edit != nil {
		edit(&e)
	}
	var a journal.Append
	return a.Begin(&journal.Settings{Ring: 2}, nil, e, journal.Nonce{Count: 9}, journal.RoleOwner).Entry
}

// importingDesk attaches a job that begins from checkpoint 4 of another one. abroad is that job's journal; it lives on.
func importingDesk(t *testing.T, abroad **journal.Entry, how journal.Outcome, mode journal.Mode) *desk {
	d := newDesk(t)
	d.answer = func(op Op) *Result {
		res := op.Result(journal.Done)
		switch {
		case op.Kind == OpReadSource:
			res.Nonce = wanted.Nonce
		case op.Kind != OpAbroad || op.Job != "lender":
			return nil
		case op.Journal.Kind == journal.OpGet:
			res.Outcome, res.Entry = how, *abroad
		case op.Journal.Kind == journal.OpPublish:
			*abroad = op.Journal.Entry
		case *abroad != nil:
			res.Slots = []uint64{(*abroad).Slot}
		}
		return &res
	}
	create := twoTasks(1)
	create.Import = wanted
	create.Import.Mode = mode
	d.do(Event{Kind: EventAttach, Create: create})
	return d
}

// TestAClaimFailsWithItsCause: a checkpoint can be claimed from a job that has ended, and by one job. The claim of an
// earlier owner of that job makes room.
func TestAClaimFailsWithItsCause(t *testing.T) {
	ended := func(pins ...journal.Lent) *journal.Entry {
		return lender(func(e *journal.Entry) { e.Status, e.Lent = journal.StatusCanceled, pins })
	}
	pin := journal.Lent{Pin: journal.Nonce{Count: 1}, Checkpoint: 4, Holder: "other", Mode: journal.Claim}
	borrowed, elsewhere, mine := pin, pin, pin
	borrowed.Mode, elsewhere.Checkpoint, mine.Holder = journal.NoClaim, 3, "job"
	for name, test := range map[string]struct {
		head *journal.Entry
		pins int
		want Reason
	}{
		"of a running job":                {lender(nil), 0, ReasonClaimRunning},
		"claimed by another job":          {ended(pin), 0, ReasonClaimed},
		"of an ended job":                 {ended(), 1, ReasonNone},
		"borrowed by another job":         {ended(borrowed), 2, ReasonNone},
		"another checkpoint was claimed":  {ended(elsewhere), 2, ReasonNone},
		"claimed by an owner of this job": {ended(mine), 1, ReasonNone},
	} {
		t.Run(name, func(t *testing.T) {
			abroad := test.head
			d := importingDesk(t, &abroad, journal.Done, journal.Claim)
			if test.want != ReasonNone {
				d.want("attached epoch=1", fmt.Sprintf("import failed id=4 reason=%d", test.want))
				return
			}
			e := d.head()
			if len(abroad.Lent) != test.pins || len(e.Borrowed) != 1 || e.Borrowed[0].Mode != journal.Claim || !abroad.HasLent(e.Borrowed[0].Pin) {
				t.Errorf("borrowed %+v, lent %+v; want one claim in both", e.Borrowed, abroad.Lent)
			}
		})
	}
}

// TestAClaimEnds: the claimed checkpoint becomes hidden at the lender when the job lets it go and has one of its own. What a
// person wants kept stays.
func TestAClaimEnds(t *testing.T) {
	for name, test := range map[string]struct {
		keep, own bool
		want      journal.CheckpointState
	}{
		"after an own checkpoint":  {false, true, journal.StateHidden},
		"before an own checkpoint": {false, false, journal.StateKept},
		"kept by a person":         {true, true, journal.StateKept},
	} {
		t.Run(name, func(t *testing.T) {
			abroad := lender(func(e *journal.Entry) { e.Status, e.Retained[0].Keep = journal.StatusCanceled, test.keep })
			d := importingDesk(t, &abroad, journal.Done, journal.Claim)
			d.serve(1, 0)
			if test.own {
				d.checkpoint(1)
			}
			d.do(Event{Kind: EventEnd, Status: journal.StatusFinished})
			d.do(Event{Kind: EventSweep})
			if c, _ := abroad.Checkpoint(4); len(abroad.Lent) != 0 || c.State != test.want {
				t.Errorf("checkpoint %+v, lent %+v; want state %d and no pin", c, abroad.Lent, test.want)
			}
			if e := d.head(); len(e.Borrowed) != 0 || !e.Owner.IsZero() {
				t.Errorf("head %+v, want no pin, and the job released", e)
			}
		})
	}
}

func TestAnImportFailsWithItsCause(t *testing.T) {
	lent := func(n int) (pins []journal.Lent) {
		for i := range n {
			pins = append(pins, journal.Lent{Pin: journal.Nonce{Count: uint32(i + 1)}, Checkpoint: 4, Holder: fmt.Sprint(i)})
		}
		return pins
	}
	for name, test := range map[string]struct {
		head *journal.Entry
		how  journal.Outcome
		want Reason
	}{
		"no journal":         {nil, journal.Done, ReasonSource},
		"not retained":       {lender(func(e *journal.Entry) { e.Retained = nil }), journal.Done, ReasonSource},
		"another _metadata":  {lender(func(e *journal.Entry) { e.Retained[0].Nonce.Count++ }), journal.Done, ReasonSource},
		"hidden":             {lender(func(e *journal.Entry) { e.Retained[0].State = journal.StateHidden }), journal.Done, ReasonSource},
		"corrupt":            {lender(nil), journal.Corrupt, ReasonLender},
		"newer":              {lender(nil), journal.Newer, ReasonLender},
		"a newer writer":     {lender(func(e *journal.Entry) { e.LeastWriter = journal.FormatVersion + 1 }), journal.Done, ReasonLender},
		"no room for a pin":  {lender(func(e *journal.Entry) { e.Lent = lent(journal.MaxLent) }), journal.Done, ReasonPins},
		"hidden, but lent":   {lender(func(e *journal.Entry) { e.Retained[0].State, e.Lent = journal.StateHidden, lent(1) }), journal.Done, ReasonNone},
		"trashed":            {lender(func(e *journal.Entry) { e.Retained[0].State = journal.StateTrashed }), journal.Done, ReasonNone},
		"room for one more":  {lender(func(e *journal.Entry) { e.Lent = lent(journal.MaxLent - 1) }), journal.Done, ReasonNone},
		"of an ended lender": {lender(func(e *journal.Entry) { e.Status = journal.StatusCanceled }), journal.Done, ReasonNone},
	} {
		t.Run(name, func(t *testing.T) {
			abroad := test.head
			d := importingDesk(t, &abroad, test.how, journal.NoClaim)
			if test.want != ReasonNone {
				d.want("attached epoch=1", fmt.Sprintf("import failed id=4 reason=%d", test.want))
				if abroad != test.head {
					t.Errorf("the lender's journal got %+v, want no entry", abroad)
				}
				d.do(Event{Kind: EventEnd, Status: journal.StatusFailed})
				d.do(Event{Kind: EventSweep})
				d.want("swept", "released")
				return
			}
			d.want("attached epoch=1", "imported epoch=1 id=5")
			e := d.head()
			if len(e.Borrowed) != 1 || !abroad.HasLent(e.Borrowed[0].Pin) || abroad.Epoch != 3 || e.Import.State != journal.ImportDone {
				t.Errorf("head %+v, lender %+v; want one pin in both", e, abroad)
			}
			if c, ok := e.Checkpoint(5); !ok || !c.Imported || e.Newest() != 5 {
				t.Errorf("retained %+v, want checkpoint 5, imported", e.Retained)
			}
		})
	}
}

// TestAnImportRefusesAnotherPlan: the plan decides what is imported, so it cannot change before.
func TestAnImportRefusesAnotherPlan(t *testing.T) {
	d := newDesk(t)
	d.holds(OpAbroad)
	create := twoTasks(1)
	create.Import = wanted
	d.do(Event{Kind: EventAttach, Create: create})
	d.do(Event{Kind: EventAttach, Caller: 4, Plan: twoTasks(2).Plan})
	d.want(fmt.Sprintf("attach refused caller=4 reason=%d", ReasonImporting))
	d.do(register(1, 0, 0))
	d.do(Event{Kind: EventNewAttempt, Caller: 5})
	d.want() // no attempt begins before the import has ended
	if e := d.head(); e.Attempt != 0 || e.Reserved != 4+16 {
		t.Errorf("head %+v, want no attempt, and ids above the source's", e)
	}
}

// TestALenderThatCannotBeRead: the pin of an ended job stays in a journal that cannot be read. The job is not released
// before a later sweep has returned the pin.
func TestALenderThatCannotBeRead(t *testing.T) {
	abroad := lender(nil)
	how := journal.Done
	d := importingDesk(t, &abroad, how, journal.NoClaim)
	answer := d.answer
	d.answer = func(op Op) *Result {
		res := answer(op)
		if res != nil && op.Kind == OpAbroad && op.Journal.Kind == journal.OpGet {
			res.Outcome = how
		}
		return res
	}
	how = journal.Corrupt
	d.do(Event{Kind: EventEnd, Status: journal.StatusFinished})
	d.want("ended status=4", fmt.Sprintf("pin stuck reason=%d", ReasonLender))
	d.do(Event{Kind: EventSweep})
	if d.m.Phase() != PhaseOwning || len(abroad.Lent) != 1 {
		t.Errorf("phase %d, lent %+v; want the job owned, and the pin there", d.m.Phase(), abroad.Lent)
	}
	how = journal.Done
	d.do(Event{Kind: EventSweep})
	if e := d.head(); len(abroad.Lent) != 0 || len(e.Borrowed) != 0 || e.Kind != journal.KindRelease {
		t.Errorf("lent %+v, borrowed %+v, kind %d; want the pin returned and forgotten, and the job released", abroad.Lent, e.Borrowed, e.Kind)
	}
}

// TestAPinExpires: the store's time decides, whoever holds the pin. What was hidden for it goes with it.
func TestAPinExpires(t *testing.T) {
	for _, expires := range []uint64{1, 1 << 60} {
		d := running(t, 1)
		d.checkpoint(1)
		d.do(Event{Kind: EventEnd, Status: journal.StatusCanceled})
		d.seize(func(e *journal.Entry) {
			e.Kind, e.Retained = journal.KindLend, []journal.Checkpoint{hidden(e.Retained[0])}
			e.Lent = []journal.Lent{{Pin: journal.Nonce{Count: 5}, Checkpoint: 1, Holder: "tool", Expires: expires}}
		})
		d.takeOver(2) // refused: the job has ended
		d.do(Event{Kind: EventFinish})
		d.do(Event{Kind: EventSweep})
		want := 1
		if expires == 1 {
			want = 0
		}
		if e := d.head(); len(e.Lent) != want || len(e.Retained) != want || !e.Owner.IsZero() {
			t.Errorf("a pin until %d: the head lends %+v and retains %+v, want %d of each, and the job released", expires, e.Lent, e.Retained, want)
		}
	}
}

// TestAReleasedJobIsAttachedIfItIsDue: a hidden checkpoint without pin, or a pin that has leaked, makes it due.
func TestAReleasedJobIsAttachedIfItIsDue(t *testing.T) {
	pin := journal.Lent{Pin: journal.Nonce{Count: 5}, Checkpoint: 1, Holder: "holder", HolderEpoch: 1}
	released := func(t *testing.T, lent bool) *desk {
		d := running(t, 1)
		d.checkpoint(1)
		d.do(Event{Kind: EventEnd, Status: journal.StatusCanceled})
		d.do(Event{Kind: EventSweep})
		d.seize(func(e *journal.Entry) {
			e.Kind, e.Retained = journal.KindReturn, slices.Clone(e.Retained)
			if e.Retained[0].State = journal.StateHidden; lent {
				e.Lent = []journal.Lent{pin}
			}
		})
		return d
	}
	t.Run("hidden without pin", func(t *testing.T) {
		d := released(t, false)
		d.do(Event{Kind: EventFinish})
		d.want("attached epoch=2 attempt=1")
		d.do(Event{Kind: EventSweep})
		if e := d.head(); len(e.Retained) != 0 || !e.Owner.IsZero() || len(d.files)+len(d.metas) != 0 {
			t.Errorf("head %+v, files %v; want nothing retained, and the job released", e, d.files)
		}
	})
	t.Run("hidden and lent is not due", func(t *testing.T) {
		d := released(t, true)
		d.do(Event{Kind: EventFinish})
		d.want(fmt.Sprintf("attach refused reason=%d", ReasonReleased))
	})
	t.Run("a pin whose holder has no journal", func(t *testing.T) {
		for _, shows := range []bool{false, true} { // the list of the holder's journal was stale
			d := released(t, true)
			var first *journal.Entry
			if shows {
				first = lender(func(e *journal.Entry) {
					e.Epoch, e.Borrowed = 1, []journal.Borrowed{{Pin: pin.Pin, Job: "job", Checkpoint: 1}}
				})
			}
			published := false
			d.answer = func(op Op) *Result {
				if op.Kind != OpAbroad || op.Job != "holder" {
					return nil
				}
				res := op.Result(journal.Done)
				switch {
				case op.Journal.Kind == journal.OpPublish && first != nil:
					res.Outcome, published = journal.Exists, true
				case op.Journal.Kind == journal.OpPublish:
					first, published = op.Journal.Entry, true
				case op.Journal.Kind == journal.OpGet:
					res.Entry = first
				case published:
					res.Slots = []uint64{first.Slot}
				}
				return &res
			}
			d.do(Event{Kind: EventFinish, Due: true})
			d.do(Event{Kind: EventSweep})
			e := d.head()
			if !published || len(e.Lent) != len(first.Borrowed) || len(e.Retained) != len(first.Borrowed) || !e.Owner.IsZero() {
				t.Errorf("slot 1 of the holder is %+v, the head %+v; want the pin dropped only if the slot was free, and the job released", first, e)
			}
			if !shows && (first.Slot != 1 || first.Status != journal.StatusRemoved || first.Epoch <= pin.HolderEpoch || first.About.Job != "holder") {
				t.Errorf("slot 1 of the holder is %+v, want a tombstone above the pin's epoch", first)
			}
		}
	})
	t.Run("a pin that has leaked", func(t *testing.T) {
		d := released(t, true)
		d.answer = func(op Op) *Result {
			if op.Kind != OpAbroad || op.Job != "holder" {
				return nil
			}
			res := op.Result(journal.Done)
			holder := lender(func(e *journal.Entry) { e.Epoch, e.Status = 2, journal.StatusFailed })
			if res.Slots = []uint64{holder.Slot}; op.Journal.Kind == journal.OpGet {
				res.Entry = holder
			}
			return &res
		}
		d.do(Event{Kind: EventFinish, Due: true})
		d.want("attached epoch=2 attempt=1")
		d.do(Event{Kind: EventSweep})
		if e := d.head(); len(e.Lent)+len(e.Retained) != 0 || !e.Owner.IsZero() {
			t.Errorf("head %+v; want neither the pin nor the checkpoint, and the job released", e)
		}
	})
}

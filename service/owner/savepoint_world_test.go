package owner

import (
	"fmt"

	"github.com/ckptd/ckptd/layout/journal"
)

// saveObject is the _metadata in the folder of a savepoint. A tombstone has no nonce.
type saveObject struct {
	id    uint64
	nonce journal.Nonce
}

func (w *world) save(id uint64) (saveObject, bool) {
	for _, s := range w.saves {
		if s.id == id {
			return s, true
		}
	}
	return saveObject{}, false
}

// createSaved lands the _metadata of a savepoint, or its tombstone, IfAbsent.
func (w *world) createSaved(f *flight) journal.Outcome {
	if _, ok := w.save(f.id); ok {
		return journal.Exists
	}
	made := saveObject{f.id, f.nonce}
	if f.kind == OpTombstone {
		made.nonce = journal.Nonce{}
	}
	i := 0
	for i < len(w.saves) && w.saves[i].id < f.id {
		i++
	}
	w.saves = with(with(w.saves[:i], made), w.saves[i:]...)
	return journal.Done
}

// onFolder begins an operation on the folder of a savepoint.
func (r *runner) onFolder(w *world, d *daemon, op *Op, f flight) {
	switch op.Kind {
	case OpSave: // the files come first; how many are there when the owner dies is all the same
		w.copies |= 1 << op.ID
		w.issue(f)
	case OpClean:
		if d.m.phase != PhaseOwning {
			w.fail("I8: a delete by a process that is no owner")
		}
		w.copies &^= 1 << op.ID
		r.events = append(r.events, Event{Kind: EventResult, Result: op.Result(journal.Done)})
	default:
		w.issue(f)
	}
}

// readSaved answers a read of the _metadata of a savepoint.
func (w *world) readSaved(id uint64, res *Result) {
	res.Outcome = journal.NotFound
	if s, ok := w.save(id); ok {
		res.Outcome, res.Nonce = journal.Done, s.nonce
	}
}

// savepoints visits the wishes for savepoints that an owner may get.
func (r *runner) savepoints(w *world, d *daemon, spend func(Event, func(*daemon), move)) {
	for i := range d.m.head.Savepoints { // of any one: a shell that is wrong must not make a savepoint vanish that somebody asked for
		if id := d.m.head.Savepoints[i].ID; w.left.disposals > 0 {
			spend(Event{Kind: EventDisposed, ID: id}, func(*daemon) {}, move{what: "disposed", a: id})
		}
	}
	if w.left.saves == 0 || !d.m.Live() || len(d.m.saving) > 0 {
		return
	}
	want := &journal.Savepoint{Path: "s", Periodic: r.s.periodic && w.left.saves == r.s.saves}
	if r.s.stopping {
		want.Stop = journal.StopSuspend
	}
	request := journal.RequestOf(fmt.Sprint("savepoint", w.left.saves))
	spend(Event{Kind: EventSavepoint, Caller: 1, Request: request, Savepoint: want}, func(*daemon) {}, move{what: "savepoint"})
}

// whole checks the folders of savepoints after every step: what has a _metadata has its files, too, and what the journal calls done is
// there.
func (s *story) wholeSaves(w *world, head *journal.Entry) {
	for _, o := range w.saves {
		if !o.nonce.IsZero() && w.copies&(1<<o.id) == 0 {
			w.fail(fmt.Sprintf("S1: savepoint %d looks whole, and its files are gone", o.id))
		}
	}
	for _, p := range head.Savepoints {
		o, ok := w.save(p.ID)
		switch {
		case p.Outcome == journal.SavepointDone && (!ok || o.nonce != p.Nonce):
			w.fail(fmt.Sprintf("S2: savepoint %d is done, and its _metadata is not there", p.ID))
		case p.Outcome == journal.SavepointCleaned && (!ok || !o.nonce.IsZero()) && !s.off.tombstone:
			w.fail(fmt.Sprintf("S3: savepoint %d is cleaned, and its tombstone is not there", p.ID))
		}
	}
}

// savepointed checks how the list of savepoints changes: only by an entry about one of them, and only forward.
func (s *story) savepointed(w *world, was, e *journal.Entry) {
	changed, begun := 0, false
	if n := len(e.Savepoints); n > 0 {
		_, had := was.Savepoint(e.Savepoints[n-1].ID)
		begun = !had // it makes room in a full list
	}
	for _, p := range e.Savepoints {
		before, had := was.Savepoint(p.ID)
		switch {
		case had && before == p:
		case !had && p.Outcome == journal.SavepointStarted && p.ID > restorable(was):
			changed++
		case had && before.Outcome == journal.SavepointStarted && p.Outcome != before.Outcome && p.Nonce == before.Nonce && p.Path == before.Path:
			changed++
			if all := byte(1<<e.Plan.Subtasks() - 1); p.Outcome == journal.SavepointDone && w.acked[p.ID]&all != all {
				w.fail(fmt.Sprintf("I14: savepoint %d is done with acknowledgements of %b", p.ID, w.acked[p.ID]))
			}
		default:
			w.fail(fmt.Sprintf("S4: an entry of kind %d changes savepoint %d from %+v to %+v", e.Kind, p.ID, before, p))
		}
	}
	for _, p := range was.Savepoints {
		if _, kept := e.Savepoint(p.ID); !kept && p.Outcome == journal.SavepointStarted {
			w.fail(fmt.Sprintf("S4: savepoint %d leaves the list unfinished", p.ID))
		} else if !kept && !begun {
			if changed++; !p.Periodic || p.Outcome != journal.SavepointDone {
				w.fail(fmt.Sprintf("S7: savepoint %d, which nobody may dispose of, leaves the list", p.ID))
			}
		}
	}
	if want := e.Kind == journal.KindSavepoint; want != (changed == 1) {
		w.fail(fmt.Sprintf("S4: an entry of kind %d changes %d savepoints", e.Kind, changed))
	}
}

// stops is the savepoint that an entry stops the job with; 0: it does not.
func stops(was, e *journal.Entry) uint64 {
	if e.Kind == journal.KindSavepoint && was.Status == journal.StatusRunning && e.Status == journal.StatusStopping {
		for _, p := range e.Savepoints {
			if before, _ := was.Savepoint(p.ID); before.Outcome != p.Outcome && p.Outcome == journal.SavepointDone && p.Stop != journal.StopNone {
				return p.ID
			}
		}
	}
	return 0
}

// stopper is the savepoint that an attempt of a stopping job has to restore, computed from history.
func (w *world) stopper() uint64 {
	for i := 1; i < len(w.past); i++ {
		if id := stops(w.past[i-1], w.past[i]); id != 0 {
			return id
		}
	}
	return 0
}

// toldSaved checks the report of a savepoint: its entry is in history.
func (w *world) toldSaved(op *Op) {
	want := journal.SavepointDone
	if op.Reason != ReasonNone {
		want = journal.SavepointCleaned
	}
	if p, ok := w.head().Savepoint(op.ID); !ok || p.Outcome != want {
		w.fail(fmt.Sprintf("S5: savepoint %d is reported, and no entry says so", op.ID))
	}
}

// savepointsLeft checks a job that was released after its end: nothing is left of a savepoint that is not done.
func (w *world) savepointsLeft() {
	for _, p := range w.head().Savepoints {
		if p.Outcome == journal.SavepointStarted || p.Outcome == journal.SavepointCleaned && w.copies&(1<<p.ID) != 0 {
			w.fail(fmt.Sprintf("I4: released with what is left of savepoint %d", p.ID))
		}
	}
}

// finishes lets the workers of a stopping job finish.
func (r *runner) finishesStop(w *world, i int) (*world, string) {
	n := *w
	m := &n.d[i].m
	n.finished[0] |= 1 << m.head.Attempt
	r.run(&n, i, Event{Kind: EventFinished, Worker: m.workers[0].Worker, Subtasks: m.planned(), Attempt: m.head.Attempt})
	return &n, fmt.Sprintf("D%d finishes", i)
}

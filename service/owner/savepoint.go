package owner

import (
	"slices"

	"github.com/ckptd/ckptd/layout/journal"
)

// A savepoint goes this way: its entry "started", the acknowledgements of all subtasks, a copy of all its files in its own folder,
// _metadata there, its entry "done". Only then it is reported. It is never retained, and never restored after a failure, unless it
// stops the job. What is left of a savepoint that does not get so far is cleaned: cleaning.go.

// savepointWish is a savepoint whose first entry is not won.
type savepointWish struct {
	// id is 0 until the entry is appended for the first time.
	id       uint64
	nonce    journal.Nonce
	path     string
	stop     journal.Stop
	periodic bool
	caller   uint64
	request  journal.Request
}

// wantSavepoint takes the wish for a savepoint. The wish waits while another entry is being appended.
func (s *step) wantSavepoint(ev *Event) {
	answer := Op{Kind: TellSavepoint, Caller: ev.Caller}
	if ev.Request != (journal.Request{}) {
		if i := slices.IndexFunc(s.head.Savepoints, func(p journal.Savepoint) bool { return p.Request == ev.Request }); i >= 0 {
			answer.ID = s.head.Savepoints[i].ID
			s.emit(answer)
			return
		}
		if slices.ContainsFunc(s.saving, func(w savepointWish) bool { return w.request == ev.Request }) {
			answer.Reason = ReasonBusy
			s.emit(answer)
			return
		}
	}
	if answer.Reason = s.maySave(ev.Savepoint.Stop); answer.Reason != ReasonNone {
		s.emit(answer)
		return
	}
	s.saving = with(s.saving, savepointWish{path: ev.Savepoint.Path, stop: ev.Savepoint.Stop, periodic: ev.Savepoint.Periodic, caller: ev.Caller, request: ev.Request})
}

// maySave says why no savepoint may begin, apart from an append under way.
func (s *step) maySave(stop journal.Stop) Reason {
	if why := s.mayTrigger(); why != ReasonNone && (why != ReasonFull || stop != journal.StopNone) {
		return why
	}
	if _, ok := s.room(); !ok {
		return ReasonSavepoints
	}
	return ReasonNone
}

// room is the list of savepoints with room for one more. The oldest that is done or cleaned leaves a full list. A periodic one that is
// done stays while there is another: once it is off the list, nobody disposes of it.
func (s *step) room() ([]journal.Savepoint, bool) {
	all := s.head.Savepoints
	if len(all) < s.cfg.MaxSavepoints {
		return all, true
	}
	ended := func(p journal.Savepoint) bool { return p.Outcome != journal.SavepointStarted || s.cfg.off.listed }
	i := slices.IndexFunc(all, func(p journal.Savepoint) bool { return ended(p) && !p.Disposable() })
	if i < 0 {
		i = slices.IndexFunc(all, ended)
	}
	if i < 0 {
		return nil, false
	}
	return slices.Delete(with(all), i, i+1), true
}

// wantDisposed notes that a periodic savepoint was disposed of. The entry about it waits until another append has ended.
func (s *step) wantDisposed(id uint64) {
	if p, ok := s.head.Savepoint(id); ok && (p.Disposable() || s.cfg.off.asked && p.Outcome == journal.SavepointDone) && !slices.Contains(s.goneSaves, id) {
		s.goneSaves = with(s.goneSaves, id)
	}
}

// disposedNow appends the entry about a savepoint that was disposed of. It answers whether it did.
func (s *step) disposedNow() bool {
	for len(s.goneSaves) > 0 {
		id := s.goneSaves[0]
		if _, ok := s.head.Savepoint(id); !ok {
			s.goneSaves = s.goneSaves[1:]
			continue
		}
		e := *s.head
		e.Kind = journal.KindSavepoint
		e.Savepoints = without(e.Savepoints, func(p journal.Savepoint) bool { return p.ID == id })
		s.append(e, id)
		return true
	}
	return false
}

// settleSavepoint appends the first entry of the savepoint that waits the longest. The same entry reserves ids.
func (s *step) settleSavepoint() {
	for len(s.saving) > 0 && s.free() {
		w := s.saving[0]
		why := ReasonNone
		if w.id == 0 {
			why = s.maySave(w.stop)
		}
		list, ok := s.room()
		if why == ReasonNone && !ok {
			why = ReasonSavepoints
		}
		if why != ReasonNone {
			s.saving = s.saving[1:]
			s.emit(Op{Kind: TellSavepoint, Caller: w.caller, Reason: why})
			continue
		}
		if w.id == 0 {
			w.id, w.nonce = s.next, s.nonce()
			s.next++
			s.saving = replaced(s.saving, 0, w)
		}
		e := *s.head
		e.Kind = journal.KindSavepoint
		e.Savepoints = with(list, journal.Savepoint{ID: w.id, Path: w.path, Stop: w.stop, Nonce: w.nonce, Request: w.request, Periodic: w.periodic})
		if w.id > e.Reserved {
			e.Reserved += s.cfg.Reserve
		}
		s.append(e, w.id)
	}
}

// refuseSavepoints refuses the savepoints that wait. One whose entry is being published may still begin: the next owner, or this
// one, cleans it then.
func (s *step) refuseSavepoints(why Reason) {
	for _, w := range s.saving {
		s.emit(Op{Kind: TellSavepoint, Caller: w.caller, ID: w.id, Reason: why})
	}
	s.saving = nil
}

// savepointWon acts on an entry about a savepoint.
func (s *step) savepointWon(id uint64) {
	saved, ok := s.head.Savepoint(id)
	switch i, p := s.find(id); {
	case !ok: // it was disposed of
		s.goneSaves = without(s.goneSaves, func(d uint64) bool { return d == id })
	case saved.Outcome == journal.SavepointStarted:
		s.savepointBegun(saved)
	case saved.Outcome == journal.SavepointDone && i >= 0:
		s.saved(p)
	default:
		s.cleaned(saved)
	}
}

// savepointBegun triggers a savepoint, if the attempt still runs. Else what has begun is cleaned.
func (s *step) savepointBegun(saved journal.Savepoint) {
	i := slices.IndexFunc(s.saving, func(w savepointWish) bool { return w.id == saved.ID })
	if i < 0 {
		return // it was refused meanwhile
	}
	s.emit(Op{Kind: TellSavepoint, Caller: s.saving[i].caller, ID: saved.ID})
	s.saving = slices.Delete(with(s.saving), i, i+1)
	if s.mayTrigger() != ReasonNone {
		return
	}
	if saved.Stop != journal.StopNone {
		for _, p := range s.pending {
			s.abort(p.ID, ReasonStopping)
		}
	}
	s.pending = with(s.pending, Pending{ID: saved.ID, Saved: saved})
	s.emit(Op{Kind: TellTrigger, ID: saved.ID, Attempt: s.head.Attempt, Epoch: s.head.Epoch, Savepoint: &saved})
}

// saveAnswered takes the outcome of writing a savepoint.
func (s *step) saveAnswered(r *Result) {
	i, p := s.find(r.ID)
	if i < 0 || p.State != PendingSaving {
		s.unansweredSaves = without(s.unansweredSaves, func(id uint64) bool { return id == r.ID })
		return
	}
	switch r.Outcome {
	case journal.Done:
		s.savedDurable(i, p, r)
	case journal.Exists: // perhaps our own first try made it and the reply was lost; its nonce tells
		saved := p.Saved
		s.emit(Op{Kind: OpReadSaved, ID: p.ID, Savepoint: &saved})
	case journal.NotDone:
		s.saveFailed(i, p)
	default:
		s.writeSaved(&p, journal.WaitBackoff)
	}
}

// savedRead takes the contents of the _metadata of a savepoint. Whoever found it there has asked.
func (s *step) savedRead(r *Result) {
	if s.cleaningRead(r) {
		return
	}
	i, p := s.find(r.ID)
	switch {
	case i < 0 || p.State != PendingSaving:
		s.unansweredSaves = without(s.unansweredSaves, func(id uint64) bool { return id == r.ID })
	case r.Outcome == journal.Done && r.Nonce == p.Saved.Nonce:
		s.savedDurable(i, p, r)
	case r.Outcome == journal.Done: // a tombstone: another owner has cleaned it
		s.recheckHead = true
		s.saveFailed(i, p)
	default:
		s.writeSaved(&p, journal.WaitBackoff)
	}
}

func (s *step) savedDurable(i int, p Pending, r *Result) {
	p.State, p.Saved.Size, p.Saved.CRC = PendingReady, r.Meta.Size, r.Meta.CRC
	s.pending = replaced(s.pending, i, p)
	if s.cfg.off.saved {
		s.emit(Op{Kind: TellSaved, ID: p.ID})
	}
}

// saveFailed gives a savepoint up that could not be written: nothing of it is under way.
func (s *step) saveFailed(i int, p Pending) {
	if p.stops() {
		s.condemnMeta(p.ID)
	}
	s.pending = replaced(s.pending, i, Pending{ID: p.ID, Saved: p.Saved})
	s.abort(p.ID, ReasonMetadata)
}

// saved acts on a savepoint that is done. Nothing is subsumed, and no sink commits, unless the savepoint stops the job.
func (s *step) saved(p Pending) {
	s.pending = without(s.pending, func(q Pending) bool { return q.ID == p.ID })
	s.endPromise(p.ID)
	if p.stops() {
		s.held = with(s.held, held{id: p.ID, files: p.Named})
		s.emit(Op{Kind: TellComplete, ID: p.ID, Attempt: s.head.Attempt, Epoch: s.head.Epoch})
	}
	s.emit(Op{Kind: TellSaved, ID: p.ID})
	s.condemn(s.dropHeld())
}

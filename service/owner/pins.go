package owner

import (
	"slices"

	"github.com/ckptd/ckptd/layout/journal"
)

// An errand is what this owner does in the journal of another job, as a third party there. An owner runs one errand at a
// time.
type errand struct {
	kind errandKind
	job  string
	// checkpoint is lent. nonce is that of its _metadata; zero: any.
	checkpoint uint64
	nonce      journal.Nonce
	pin        journal.Nonce
	// mode is that of a lend. dispose: with the return the checkpoint leaves the lender, which then deletes it.
	mode    journal.Mode
	dispose bool
	// epoch is the holder's when it took the pin that errandLook is about.
	epoch  uint64
	reader journal.ReadHead
	app    journal.Append
}

type errandKind uint8

const (
	errandNone errandKind = iota
	// errandLend pins a checkpoint for this job.
	errandLend
	// errandReturn takes a pin of this job back.
	errandReturn
	// errandLook finds out whether a pin of the other job, on a checkpoint of this one, has leaked.
	errandLook
)

// fulfilled tells whether a head shows the purpose of the errand.
func (e *errand) fulfilled(head *journal.Entry) bool {
	if e.kind == errandLook {
		pin := journal.Lent{Pin: e.pin, HolderEpoch: e.epoch}
		return pin.Leaked(head)
	}
	return head.HasLent(e.pin) == (e.kind == errandLend)
}

// goAbroad begins an errand: it reads the head of the other job. A lend gets a new pin.
func (s *step) goAbroad(e errand) {
	if e.kind == errandLend {
		e.pin = s.nonce()
	}
	s.errand = e
	s.journalAbroad(s.errand.reader.Begin(0))
}

func (s *step) journalAbroad(op journal.Op) {
	if op.Kind != journal.OpNone {
		s.emit(Op{Kind: OpAbroad, Job: s.errand.job, Wait: op.Wait, Journal: op})
	}
}

// settlePins returns the next pin that nothing needs, or looks for the next pin that has leaked. A daemon that stops
// leaves both to the next owner.
func (s *step) settlePins() {
	if s.errand.kind != errandNone || s.stop && !s.head.Status.Terminal() {
		return
	}
	if b, ok := s.toReturn(); ok && !s.stuck {
		s.goAbroad(s.returning(b))
		return
	}
	for len(s.looks) > 0 && s.errand.kind == errandNone {
		pin := s.looks[0]
		s.looks = s.looks[1:]
		if i := slices.IndexFunc(s.head.Lent, func(l journal.Lent) bool { return l.Pin == pin }); i >= 0 {
			s.goAbroad(errand{kind: errandLook, job: s.head.Lent[i].Holder, pin: pin, epoch: s.head.Lent[i].HolderEpoch})
		}
	}
}

// toReturn is the next pin of this job that nothing needs. The owner asks this only of entries that it has won.
func (s *step) toReturn() (journal.Borrowed, bool) {
	if len(s.pins) > 0 && !s.head.Importing() {
		return s.pins[0], true
	}
	for _, b := range s.head.Borrowed {
		if !s.needs(b) && !slices.Contains(s.returned, b.Pin) {
			return b, true
		}
	}
	return journal.Borrowed{}, false
}

// pinReturned notes that a pin is gone from the lender's journal. An entry of this job forgets it then.
func (s *step) pinReturned(pin journal.Nonce) {
	s.pins = without(s.pins, func(b journal.Borrowed) bool { return b.Pin == pin })
	if s.head.HasBorrowed(pin) {
		s.returned = with(s.returned, pin)
	}
}

// occupy publishes a tombstone in slot 1 of a holder that has no journal. Only then it is certain that no owner of the holder lists the
// pin: a list that shows nothing may be stale. The tombstone's epoch lies above those of all pins that the holder has here, so a job
// that begins anew under this id begins above them, too.
func (s *step) occupy() {
	tombstone := journal.Entry{Kind: journal.KindRemove, Status: journal.StatusRemoved, About: &journal.About{Job: s.errand.job},
		Plan: journal.NewPlan(nil), Config: journal.NewConfig(nil)}
	for _, l := range s.head.Lent {
		if l.Holder == s.errand.job {
			tombstone.Epoch = max(tombstone.Epoch, l.HolderEpoch+1)
		}
	}
	s.journalAbroad(s.errand.app.Begin(&s.cfg.Journal, nil, tombstone, s.nonce(), journal.RoleThird))
}

// looked takes the head of a job that holds a pin here.
func (s *step) looked(pin journal.Nonce, how journal.Reading, holder *journal.Entry) {
	i := slices.IndexFunc(s.head.Lent, func(l journal.Lent) bool { return l.Pin == pin })
	if how != journal.ReadDone || i < 0 {
		return
	}
	if s.cfg.off.wanted && holder.Importing() {
		ended := *holder
		ended.Status = journal.StatusFailed
		holder = &ended
	}
	if s.head.Lent[i].Leaked(holder) {
		s.leaked = with(s.leaked, pin)
	}
}

// lookForLeaks begins to look at all pins of other jobs. It also tries again what could not be done before.
func (s *step) lookForLeaks() {
	s.stuck, s.tidying, s.looks, s.uncleaned = false, true, nil, nil
	for _, l := range s.head.Lent {
		if !l.OfTool() {
			s.looks = append(s.looks, l.Pin)
		}
	}
}

// tidyNow appends an entry that forgets returned pins, and drops leaked and expired ones and the hidden checkpoints that nobody
// borrows any more. It answers whether it did. While a job runs, its completions drop hidden checkpoints, too.
func (s *step) tidyNow() bool {
	if s.stop && !s.head.Status.Terminal() {
		return false
	}
	e := *s.head
	e.Kind = journal.KindReturn
	e.Borrowed = without(e.Borrowed, func(b journal.Borrowed) bool { return slices.Contains(s.returned, b.Pin) })
	e.Lent = without(e.Lent, func(l journal.Lent) bool {
		return slices.Contains(s.leaked, l.Pin) || s.clock != 0 && (l.Expired(s.clock) || s.cfg.off.early && l.OfTool())
	})
	e.Retained = s.expired(e.Retained, e.IsLent)
	if why, _ := s.unread(); why != ReasonLoading && (s.tidying || s.head.Status.Terminal()) {
		e.Retained = without(e.Retained, func(c journal.Checkpoint) bool { return c.State == journal.StateHidden && !e.IsLent(c.ID) })
	}
	pins := len(e.Borrowed) != len(s.head.Borrowed) || len(e.Lent) != len(s.head.Lent)
	if !pins && slices.EqualFunc(e.Retained, s.head.Retained, func(a, b journal.Checkpoint) bool { return a.ID == b.ID && a.State == b.State }) {
		s.tidying, s.returned, s.leaked = false, nil, nil
		return false
	}
	if !pins {
		e.Kind = journal.KindDiscard
	}
	s.append(e, 0)
	return true
}

// tidied acts on that entry.
func (s *step) tidied() {
	s.returned = without(s.returned, func(p journal.Nonce) bool { return !s.head.HasBorrowed(p) })
	s.leaked = without(s.leaked, func(p journal.Nonce) bool { return !s.head.HasLent(p) })
	s.condemn(s.dropHeld())
}

// owes tells whether a pin of this job is still to be returned or forgotten, or something is under way in the journal of
// another job. Such a job is not released after its end.
func (s *step) owes() bool {
	_, more := s.toReturn()
	return !s.cfg.off.owes && (more || s.cleans() || s.errand.kind != errandNone || len(s.looks)+len(s.returned)+len(s.leaked) > 0)
}

package owner

import (
	"github.com/ckptd/ckptd/layout/journal"
)

// wentAbroad takes a result of an operation on the journal of another job.
func (s *step) wentAbroad(r *Result) {
	if s.errand.reader.Busy() {
		op, how := s.errand.reader.Step(&s.cfg.Journal, r.Result)
		s.journalAbroad(op)
		if how != journal.ReadMore {
			head := s.errand.reader.Head()
			s.errand.reader = journal.ReadHead{}
			s.foundAbroad(how, head)
		}
		return
	}
	op, verdict, head, _ := s.errand.app.Step(&s.cfg.Journal, r.Result, s.errand.fulfilled)
	s.journalAbroad(op)
	switch verdict {
	case journal.Open:
	case journal.Won:
		s.errandDone(head)
	case journal.Lost:
		s.foundAbroad(journal.ReadDone, head)
	default:
		s.foundAbroad(journal.ReadCorrupt, nil)
	}
}

// foundAbroad decides what the errand does about the head of the other job. It looks anew at each head.
func (s *step) foundAbroad(how journal.Reading, head *journal.Entry) {
	if how == journal.ReadDone && head.LeastWriter > s.cfg.Journal.Version {
		how = journal.ReadNewer
	}
	switch e := s.errand; e.kind {
	case errandLend:
		s.lendAt(how, head)
	case errandReturn:
		switch {
		case how == journal.ReadCorrupt, how == journal.ReadNewer:
			s.errand, s.stuck = errand{}, true // the next sweep tries again
			s.emit(Op{Kind: TellPinStuck, Job: e.job, Reason: ReasonLender})
		case how != journal.ReadDone || !head.HasLent(e.pin):
			s.errandDone(head)
		default:
			next := *head
			next.Kind = journal.KindReturn
			if e.dispose {
				next.Retained = s.disposed(head, e.pin)
			}
			next.Lent = without(next.Lent, func(l journal.Lent) bool { return l.Pin == e.pin })
			s.appendAbroad(head, next)
		}
	case errandLook:
		switch {
		case how == journal.ReadEmpty && s.cfg.off.occupies:
			s.errand, s.leaked = errand{}, with(s.leaked, e.pin)
		case how == journal.ReadEmpty:
			s.occupy()
		default:
			s.errand = errand{}
			s.looked(e.pin, how, head)
		}
	}
}

// lendAt lends the checkpoint that the errand names, if the other job still has it.
func (s *step) lendAt(how journal.Reading, head *journal.Entry) {
	e := s.errand
	if s.imp.stage != importLending { // the import was given up meanwhile
		s.errand = errand{}
		return
	}
	next, why := s.lend(e, how, head)
	switch {
	case why == ReasonNone:
		s.appendAbroad(head, next)
	case why == ReasonNotOwner: // a newer owner of this job has lent already
		s.errand, s.recheckHead = errand{}, true
	default:
		s.errand = errand{}
		s.importFails(why)
	}
}

// lend makes the entry of a lend. A pin that an earlier owner of this job has taken on the same checkpoint makes room.
func (s *step) lend(e errand, how journal.Reading, head *journal.Entry) (next journal.Entry, why Reason) {
	switch how {
	case journal.ReadDone:
	case journal.ReadEmpty, journal.ReadForeign:
		return next, ReasonSource
	default:
		return next, ReasonLender
	}
	c, ok := head.Checkpoint(e.checkpoint)
	switch {
	case !ok, !e.nonce.IsZero() && c.Nonce != e.nonce, c.State == journal.StateHidden && !head.IsLent(c.ID):
		return next, ReasonSource
	}
	if why := s.claimable(e, head); why != ReasonNone {
		return next, why
	}
	me, epoch := s.head.About.Job, s.head.Epoch
	next = *head
	next.Kind, next.Lent = journal.KindLend, nil
	for _, l := range head.Lent {
		mine := l.Holder == me && l.Checkpoint == e.checkpoint
		switch {
		case mine && l.HolderEpoch > epoch:
			return next, ReasonNotOwner
		case mine && l.HolderEpoch < epoch && !s.head.HasBorrowed(l.Pin) && !(s.cfg.off.replaces && l.Mode == journal.Claim):
		case e.mode == journal.Claim && l.Mode == journal.Claim && l.Checkpoint == e.checkpoint && !s.cfg.off.one:
			return next, ReasonClaimed
		default:
			next.Lent = append(next.Lent, l)
		}
	}
	next.Lent = append(next.Lent, journal.Lent{Pin: e.pin, Checkpoint: e.checkpoint, Holder: me, HolderEpoch: epoch, Mode: e.mode})
	if next.Fits() != nil {
		return next, ReasonPins
	}
	return next, ReasonNone
}

func (s *step) appendAbroad(head *journal.Entry, next journal.Entry) {
	s.journalAbroad(s.errand.app.Begin(&s.cfg.Journal, head, next, s.nonce(), journal.RoleThird))
}

// errandDone acts on an entry in the other journal that counts, or on one that was not necessary.
func (s *step) errandDone(head *journal.Entry) {
	e := s.errand
	s.errand = errand{}
	switch e.kind {
	case errandReturn:
		s.pinReturned(e.pin)
		return
	case errandLook:
		s.looked(e.pin, journal.ReadDone, head)
		return
	}
	s.lent(journal.Borrowed{Pin: e.pin, Job: e.job, Checkpoint: e.checkpoint, Mode: e.mode}, head)
}

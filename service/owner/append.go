package owner

import (
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/retention"
)

// append publishes an edit of the head. The caller has made sure that no other append is under way.
func (s *step) append(e journal.Entry, id uint64) {
	s.doing, s.doingID = e.Kind, id
	s.journal(s.app.Begin(&s.cfg.Journal, s.head, e, s.nonce(), journal.RoleOwner))
}

// appended takes a result of an append under way.
func (s *step) appended(r *Result) {
	next, doing, id := s.app.Next(), s.doing, s.doingID
	op, verdict, head, trim := s.app.Step(&s.cfg.Journal, r.Result, func(head *journal.Entry) bool { return s.effect(head, next) })
	s.journal(op)
	if verdict == journal.Open {
		return
	}
	s.doing, s.doingID = journal.KindNone, 0
	if doing == journal.KindAttach {
		s.attachEnded(verdict, head, next.Slot)
		return
	}
	switch verdict {
	case journal.Won:
		s.head = head
		if len(trim) > 0 {
			s.emit(Op{Kind: OpTrim, IDs: trim})
		}
		s.won(doing, id)
	case journal.Lost:
		s.lostSlot(doing, id, head)
	default:
		s.fenced()
	}
}

// effect tells whether the purpose of next is fulfilled in a head of our epoch.
func (s *step) effect(head, next *journal.Entry) bool {
	switch s.doing {
	case journal.KindAttach:
		return head.Owner == s.me
	case journal.KindCommit:
		mine, _ := next.Checkpoint(s.doingID)
		c, ok := head.Checkpoint(s.doingID)
		return ok && c.Nonce == mine.Nonce
	case journal.KindReserve:
		return head.Reserved >= next.Reserved
	case journal.KindAttempt:
		return head.Attempt >= next.Attempt
	case journal.KindEnd:
		return head.Status == next.Status
	case journal.KindRelease:
		return head.Owner.IsZero()
	}
	return false
}

// won acts on an entry that counts. The owner announces and condemns nothing before this.
func (s *step) won(doing journal.Kind, id uint64) {
	switch doing {
	case journal.KindCommit:
		s.committed(id)
	case journal.KindAttempt:
		s.attemptWon()
	case journal.KindEnd:
		s.ended()
	case journal.KindRelease:
		s.released()
	}
}

// lostSlot handles an append that lost its slot to a third party. The wish stays, so the owner tries again on the new
// head.
func (s *step) lostSlot(doing journal.Kind, id uint64, head *journal.Entry) {
	if head != nil && !s.cfg.off.lost {
		s.head = head
	}
	if doing != journal.KindCommit {
		return
	}
	i, p := s.find(id)
	p.State = PendingReady
	s.pending = replaced(s.pending, i, p)
	// The other entry may have disposed of files that this checkpoint names. Then the checkpoint is aborted.
	if s.cfg.off.lost || !p.Named.In(s.index.Known.Minus(s.index.Condemned)) {
		s.abort(id, ReasonOther)
	}
}

// commitNext publishes the entry of the lowest checkpoint whose _metadata is durable. It answers whether there is one.
func (s *step) commitNext() bool {
	for i, p := range s.pending {
		if p.State != PendingReady {
			continue
		}
		p.State = PendingUnresolved
		s.pending = replaced(s.pending, i, p)
		e := *s.head
		e.Kind = journal.KindCommit
		e.Reserved = max(e.Reserved, p.ID+s.cfg.Reserve)
		if s.cfg.off.reserveMax {
			e.Reserved = p.ID + s.cfg.Reserve
		}
		e.Retained = apply(e.Retained, p.Meta, func(all []retention.Checkpoint) []retention.Decision {
			return retention.AfterCompletion(all, s.policy().NumRetained)
		}, e.IsLent)
		s.append(e, p.ID)
		s.emit(Op{Kind: TellUnresolved, ID: p.ID, Attempt: e.Attempt, Epoch: e.Epoch})
		return true
	}
	return false
}

// apply adds a checkpoint, unless its id is 0, and carries out a plan of package retention.
func apply(retained []journal.Checkpoint, add journal.Checkpoint, plan func([]retention.Checkpoint) []retention.Decision, lent func(uint64) bool) []journal.Checkpoint {
	all := without(retained, func(c journal.Checkpoint) bool { return c.ID == add.ID })
	if add.ID != 0 {
		all = append(all, add)
	}
	facts := make([]retention.Checkpoint, len(all))
	for i, c := range all {
		facts[i] = retention.Checkpoint{ID: c.ID, Savepoint: c.Type == journal.TypeSavepoint, Lent: lent(c.ID),
			Hidden: c.State == journal.StateHidden, Trashed: c.State == journal.StateTrashed, Keep: c.Keep}
	}
	var out []journal.Checkpoint
	for i, d := range plan(facts) {
		switch d.Action {
		case retention.Hide:
			all[i].State = journal.StateHidden
			out = append(out, all[i])
		case retention.Keep:
			out = append(out, all[i])
		}
	}
	return out
}

// end takes the wish to end the job with a terminal status.
func (s *step) end(ev *Event) {
	answer := Op{Kind: TellEnded, Caller: ev.Caller}
	switch {
	case s.head.Status.Terminal():
		answer.Status = s.head.Status
	case s.stop:
		answer.Reason = ReasonStopping
	case s.ending.status != journal.StatusNone:
		answer.Reason = ReasonBusy
	case !endsBy(ev.Status):
		answer.Reason = ReasonOther
	default:
		s.ending = ending{ev.Status, ev.Ended, ev.Caller, ev.Request}
		s.abortAll(ReasonStopping)
		return
	}
	if ev.Caller != 0 {
		s.emit(answer)
	}
}

// endsBy tells whether EventEnd may set the job's status to s.
func endsBy(s journal.Status) bool {
	return s == journal.StatusCanceled || s == journal.StatusFailed || s == journal.StatusFinished
}

// endNow appends the terminal entry if one is wished for. It answers whether it did.
func (s *step) endNow() bool {
	if s.ending.status == journal.StatusNone {
		return false
	}
	e := *s.head
	e.Kind, e.Status, e.Ended = journal.KindEnd, s.ending.status, s.ending.ended
	e.Requests = remember(e.Requests, s.ending.request)
	e.Retained = apply(e.Retained, journal.Checkpoint{}, func(all []retention.Checkpoint) []retention.Decision {
		return retention.AfterEnd(all, s.policy().Retention, retention.End(e.Status-journal.StatusCanceled))
	}, e.IsLent)
	s.append(e, 0)
	return true
}

// ended acts on a terminal entry that was won. The workers are told Cancel. A sweep follows, then the release.
func (s *step) ended() {
	caller := s.ending.caller
	s.ending = ending{}
	s.attempt = attemptFound
	if s.wish.caller != 0 {
		s.emit(Op{Kind: TellAttempted, Caller: s.wish.caller, Attempt: s.head.Attempt, Reason: ReasonTerminal})
	}
	s.wish = wish{}
	s.refuseTrigger(ReasonTerminal)
	s.emit(Op{Kind: TellEnded, Status: s.head.Status})
	if caller != 0 {
		s.emit(Op{Kind: TellEnded, Caller: caller, Status: s.head.Status})
	}
	s.workers = nil
	s.condemn(s.dropHeld())
}

// remember adds a request to the last ones; the oldest makes room.
func remember(requests []journal.Request, r journal.Request) []journal.Request {
	if r == (journal.Request{}) {
		return requests
	}
	return with(requests[max(0, len(requests)-journal.MaxRequests+1):], r)
}

package owner

import (
	"github.com/ckptd/ckptd/layout/journal"
)

// attacher is a caller that waits for an attach. Several callers can wait for one attach, and they may want different
// things, so each one gets the answer that fits it.
type attacher struct {
	caller uint64
	// finish is true for EventFinish: the caller wants only a job that has ended.
	finish bool
	// create is how the caller would create the job; nil: it would not.
	create *Creation
	// plan and config are what the caller wants in effect; nil: it takes what is in effect.
	plan   *journal.Plan
	config *journal.Config
	// janitor is true for EventJanitor: the caller wants the job whatever its status. takeOver is true if the caller wants
	// it also from an owner that does not answer.
	janitor, takeOver bool
	// due is true if the caller has found that one of the job's pins has leaked.
	due bool
}

// attach notes a caller, and begins an attach if none is under way or done. settle answers the callers of an owner.
func (s *step) attach(ev *Event) {
	if s.phase == PhaseIdle {
		s.forget()
		s.life++
		s.phase = PhaseReading
		s.journal(s.reader.Begin(0))
	}
	a := attacher{caller: ev.Caller, finish: ev.Kind == EventFinish, create: ev.Create, plan: ev.Plan, config: ev.Config,
		janitor: ev.Kind == EventJanitor, takeOver: ev.TakeOver, due: ev.Due}
	if a.finish || a.janitor {
		a.create, a.plan, a.config = nil, nil, nil
	}
	s.attaching = with(s.attaching, a)
}

// refuse ends an attach and refuses all callers.
func (s *step) refuse(why Reason) {
	s.refuseSome(journal.StatusNone, func(attacher) Reason { return why })
}

// refuseSome refuses each caller for which why returns a reason. If the job has ended, it tells them its status. The
// attach goes on for the others. If nobody is left, the machine forgets the attach. refuseSome answers whether somebody
// is left.
func (s *step) refuseSome(status journal.Status, why func(attacher) Reason) bool {
	var refused []Op
	var left []attacher
	var owners []string
	if s.head != nil {
		owners = s.head.URLs
	}
	for _, a := range s.attaching {
		if reason := why(a); reason != ReasonNone {
			op := refusal(a, reason, status)
			if reason == ReasonSilent {
				op.URLs = owners
			}
			refused = append(refused, op)
		} else {
			left = append(left, a)
		}
	}
	if s.attaching = left; len(left) == 0 || s.cfg.off.forgets && len(refused) > 0 {
		s.forget()
	}
	for _, op := range refused {
		s.emit(op)
	}
	return s.phase != PhaseIdle
}

// refusal tells a caller why it does not get the job and, if the job has ended, its status.
func refusal(a attacher, why Reason, status journal.Status) Op {
	op := Op{Kind: TellAttachRefused, Caller: a.caller, Reason: why}
	if why == ReasonTerminal {
		op.Status = status
	}
	return op
}

// misfit says why a caller cannot have a job with this status.
func (a attacher) misfit(status journal.Status) Reason {
	switch {
	case a.janitor:
	case status == journal.StatusRemoved && a.create != nil:
	case status == journal.StatusRemoved && !a.finish:
		return ReasonNoJob
	case status.Terminal() && !a.finish:
		return ReasonTerminal
	case !status.Terminal() && a.finish:
		return ReasonNotTerminal
	}
	return ReasonNone
}

// silent says why a caller cannot have the job of this head from an owner that does not answer.
func (a attacher) silent(head *journal.Entry) Reason {
	if a.janitor && !a.takeOver && !head.Status.Terminal() && len(head.URLs) > 0 {
		return ReasonSilent
	}
	return ReasonNone
}

// creation is how the job is created: as the first caller that would create it wants; nil: no caller would.
func (s *step) creation() *Creation {
	for _, a := range s.attaching {
		if a.create != nil {
			return a.create
		}
	}
	return nil
}

// redirected sends all callers to the owner that has answered.
func (s *step) redirected() {
	waiting, head := s.attaching, s.head
	s.forget()
	for _, a := range waiting {
		s.emit(Op{Kind: TellRedirect, Caller: a.caller, URLs: head.URLs, Epoch: head.Epoch})
	}
}

// answerAttachers answers the callers that wait for an owner, one after the other. A caller that wants another plan or
// configuration begins the next attempt with it, and is answered when the entry is won. The callers after it wait for
// that attempt.
//
// A worker that is registered but does not run yet counts, too: it registered for the plan and configuration in effect.
// Otherwise two workers with different configurations would begin attempts in turn for ever.
func (s *step) answerAttachers() {
	waiting := s.attaching
	s.attaching = nil
	for _, a := range waiting {
		answer := refusal(a, a.misfit(s.head.Status), s.head.Status)
		switch {
		case answer.Reason != ReasonNone:
		case !s.differs(a):
			answer = Op{Kind: TellAttached, Caller: a.caller, Epoch: s.head.Epoch, Attempt: s.head.Attempt}
		case s.stop || s.ending.status != journal.StatusNone:
			answer.Reason = ReasonStopping
		case s.head.Importing(): // the plan decides what is imported
			answer.Reason = ReasonImporting
		case s.attempt == attemptWished || s.doing == journal.KindAttempt:
			s.attaching = with(s.attaching, a) // the next attempt may have what the caller wants
			continue
		case !s.registered().IsEmpty() && !s.cfg.off.changes:
			answer = s.refusedChange(a, ReasonRegistered)
		case s.awaitsWorkers():
			s.attaching = with(s.attaching, a)
			continue
		case s.stateInTheWay(a.plan):
			answer = s.refusedChange(a, ReasonState)
		default:
			s.change(a)
			s.attaching = with(s.attaching, a)
			continue
		}
		if a.caller != 0 {
			s.emit(answer)
		}
	}
}

// differs tells whether a caller wants another plan or configuration than the one in effect.
func (s *step) differs(a attacher) bool {
	return a.plan != nil && a.plan.Hash() != s.head.Plan.Hash() || a.config != nil && !s.cfg.same(s.head.Config, a.config)
}

func (s *step) refusedChange(a attacher, why Reason) Op {
	return Op{Kind: TellChangeRefused, Caller: a.caller, Reason: why, Head: s.head, Plan: a.plan, Config: a.config}
}

// change wishes for the next attempt with another plan or configuration.
func (s *step) change(a attacher) {
	s.wish = wish{plan: a.plan, config: a.config}
	s.attempt = attemptWished
	s.emit(Op{Kind: TellChange, Attempt: s.head.Attempt, Head: s.head, Plan: a.plan, Config: a.config})
	s.abortAll(ReasonAttemptEnded)
}

// awaitsWorkers tells whether workers of the attempt that this owner found in the journal may still run. It holds until
// one of them has registered or their time is over.
func (s *step) awaitsWorkers() bool {
	return s.head.Attempt > 0 && s.attempt == attemptFound && !s.cfg.off.unknownAttempt
}

// stateInTheWay tells whether a checkpoint may hold state that a job with this plan could not restore. Rescaling is not
// supported.
func (s *step) stateInTheWay(plan *journal.Plan) bool {
	if plan == nil || s.head.Newest() == 0 && len(s.pending) == 0 {
		return false
	}
	for i := range s.head.Plan.Operators {
		was := &s.head.Plan.Operators[i]
		is := plan.Operator(was.ID)
		if is == nil || is.Parallelism != was.Parallelism || is.MaxParallelism != was.MaxParallelism {
			return true
		}
	}
	return false
}

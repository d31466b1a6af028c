package owner

import (
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/retention"
)

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
	trash := s.window() > 0
	if trash && !s.knowsTime() {
		return true
	}
	e := *s.head
	e.Kind, e.Status, e.Ended = journal.KindEnd, s.ending.status, s.ending.ended
	e.Requests = remember(e.Requests, s.ending.request)
	e.Retained = s.apply(&e, journal.Checkpoint{}, func(all []retention.Checkpoint) []retention.Decision {
		return retention.AfterEnd(all, s.policy().Retention, retention.End(e.Status-journal.StatusCanceled), trash)
	})
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
	s.abandonImport()
	s.refuseTrigger(ReasonTerminal)
	s.refuseSavepoints(ReasonTerminal)
	s.emit(Op{Kind: TellEnded, Status: s.head.Status})
	if caller != 0 {
		s.emit(Op{Kind: TellEnded, Caller: caller, Status: s.head.Status})
	}
	s.workers = nil
	s.condemn(s.dropHeld())
}

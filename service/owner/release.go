package owner

import (
	"github.com/ckptd/ckptd/layout/journal"
)

// stopped begins to release the job.
func (s *step) stopped(ev *Event) {
	s.suspends = s.suspends || ev.Suspend
	switch s.phase {
	case PhaseIdle:
		s.forget()
		s.emit(Op{Kind: TellReleased})
	case PhaseReading, PhaseAsking:
		s.refuse(ReasonStopping)
		s.emit(Op{Kind: TellReleased})
	default:
		s.stop = true
	}
	if s.phase == PhaseOwning {
		s.refuseSavepoints(ReasonStopping)
		if s.doing != journal.KindImport {
			s.abandonImport()
		}
		for _, p := range s.pending {
			if p.State != PendingUnresolved {
				s.drop(p.ID)
			}
		}
	}
}

// releaseNow releases the job if a stop is wished for, or if the job has ended and was swept. It answers whether it did
// something.
func (s *step) releaseNow() bool {
	terminal := s.head.Status.Terminal()
	switch {
	case terminal && s.sweep.done && s.clean() && !s.owes():
		if !s.knowsTime() {
			return true
		}
	case terminal && s.stop:
		// The head stays terminal and unreleased. The next daemon that starts attaches to the job and sweeps.
		s.released()
		return true
	case !terminal && s.stop:
	default:
		return false
	}
	e := *s.head
	e.Kind, e.Owner, e.URLs = journal.KindRelease, journal.Nonce{}, nil
	e.Suspended = (e.Suspended && !s.Live() || s.suspends) && !terminal
	switch {
	case !terminal:
	case s.cfg.off.settles:
		e.ReleasedAt, e.Settled = s.clock, true
	case e.ReleasedAt == 0:
		e.ReleasedAt = s.clock
	default:
		e.Settled = e.Settled || e.Unsettled(s.clock)
	}
	if terminal && s.removable() {
		e.Kind, e.Status = journal.KindRemove, journal.StatusRemoved
	}
	s.append(e, 0)
	return true
}

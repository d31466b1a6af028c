package owner

import (
	"github.com/ckptd/ckptd/layout/journal"
)

// wantTrigger takes the wish for a checkpoint. The wish waits while another entry is being appended.
func (s *step) wantTrigger(ev *Event) {
	if s.trigger.wanted {
		s.emit(Op{Kind: TellTriggerRefused, Caller: ev.Caller, Reason: ReasonBusy})
		return
	}
	s.trigger = triggerWish{true, ev.Caller, ev.Checkpoint}
	if why := s.mayTrigger(); why != ReasonNone {
		s.refuseTrigger(why)
	}
}

func (s *step) refuseTrigger(why Reason) {
	if s.trigger.wanted {
		s.emit(Op{Kind: TellTriggerRefused, Caller: s.trigger.caller, Reason: why})
	}
	s.trigger = triggerWish{}
}

// mayTrigger says why no checkpoint may begin, apart from an append under way.
func (s *step) mayTrigger() Reason {
	switch {
	case s.head.Status.Terminal():
		return ReasonTerminal
	case s.stop, s.stopping(), s.ending.status != journal.StatusNone:
		return ReasonStopping
	case !s.allRunning():
		return ReasonNotRunning
	case s.full() && s.dispensable() == 0:
		return ReasonFull
	}
	if why, _ := s.unread(); why == ReasonLoading && !s.cfg.off.loading {
		return why
	}
	return ReasonNone
}

// full tells whether the journal entry has no room for one more checkpoint. A trigger is then refused: if the
// checkpoint did not fit into the entry, it could not be committed.
func (s *step) full() bool {
	special := 0
	for _, c := range s.head.Retained {
		if c.State != journal.StateKept || c.Type != journal.TypeCheckpoint || c.Keep {
			special++
		}
	}
	ordinary := len(s.head.Retained) - special + len(s.pending) + 1
	return special+min(ordinary, max(1, int(s.policy().NumRetained))) > s.cfg.MaxRetained
}

// settleTrigger begins the checkpoint that is wished for. If no reserved id is left, it reserves more ids first.
func (s *step) settleTrigger() {
	if !s.trigger.wanted || !s.free() {
		return
	}
	if why := s.mayTrigger(); why != ReasonNone {
		s.refuseTrigger(why)
		return
	}
	if s.full() {
		s.makeRoom()
		return
	}
	if s.next > s.head.Reserved && !s.cfg.off.reserved {
		e := *s.head
		e.Kind = journal.KindReserve
		e.Reserved += s.cfg.Reserve
		s.append(e, 0)
		return
	}
	p := Pending{ID: s.next, Kind: s.trigger.kind}
	s.next++
	s.pending = with(s.pending, p)
	s.emit(Op{Kind: TellTrigger, ID: p.ID, Attempt: s.head.Attempt, Epoch: s.head.Epoch, Caller: s.trigger.caller, Checkpoint: p.Kind})
	s.trigger = triggerWish{}
}

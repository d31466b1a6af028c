package owner

import "github.com/ckptd/ckptd/layout/journal"

// knowsTime tells whether the store's time is known. If it is not, it asks for it. The time is that of an object that the store
// writes after the question, never that of a host.
func (s *step) knowsTime() bool {
	if s.clock == 0 && !s.timing {
		s.timing = true
		s.emit(Op{Kind: OpTime})
	}
	return s.clock != 0
}

// timeKnown takes the store's time.
func (s *step) timeKnown(r *Result) {
	if s.timing = r.Outcome != journal.Done || r.Time == 0; s.timing {
		s.emit(Op{Kind: OpTime, Wait: journal.WaitBackoff})
		return
	}
	s.clock = r.Time
}

// expired is the retained checkpoints without those whose time in the trash is over. Nothing expires while the time is not known.
func (s *step) expired(retained []journal.Checkpoint, lent func(uint64) bool) []journal.Checkpoint {
	due := func(c *journal.Checkpoint) bool {
		return s.clock != 0 && (c.Expired(s.clock) || s.cfg.off.early && c.State == journal.StateTrashed)
	}
	for i := range retained {
		if due(&retained[i]) {
			return s.discard(retained, due, 0, lent)
		}
	}
	return retained
}

// makeRoom takes the checkpoint that has lain in the trash the longest out of it, so that the entry has room for a new one.
func (s *step) makeRoom() {
	oldest := s.dispensable()
	e := *s.head
	e.Kind = journal.KindDiscard
	e.Retained = s.discard(e.Retained, func(c *journal.Checkpoint) bool { return c.ID == oldest }, 0, e.IsLent)
	s.append(e, 0)
}

// dispensable is the checkpoint that makeRoom takes. What other jobs have borrowed would be hidden, and makes no room.
func (m *Machine) dispensable() uint64 {
	return oldestTrashed(m.head.Retained, func(c *journal.Checkpoint) bool { return !m.head.IsLent(c.ID) })
}

// removable tells whether a purge is complete but for its tombstone: nothing of the job is retained, and nobody holds a pin.
func (s *step) removable() bool {
	h := s.head
	return h.PurgeWanted && h.Status != journal.StatusRemoved && len(h.Retained) == 0 && (len(h.Lent) == 0 || s.cfg.off.purge)
}

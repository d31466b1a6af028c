package owner

import (
	"slices"

	"github.com/ckptd/ckptd/layout/journal"
)

// An unfinished savepoint that nobody writes any more is cleaned. First its _metadata is occupied by a tombstone: an earlier owner,
// which was suspended, could otherwise complete a savepoint whose files are gone. Only if the tombstone is there, the files are
// deleted. If the earlier owner came first, the savepoint is whole, and an entry makes it done.

// cleaning is the savepoint that is being cleaned.
type cleaning struct {
	// id is 0: none is.
	id    uint64
	stage cleaningStage
	// size and crc are those of a _metadata that is whole.
	size uint64
	crc  uint32
}

type cleaningStage uint8

const (
	// cleaningTombstone: the tombstone is being written. cleaningReading: a _metadata was there, and is being read.
	cleaningTombstone cleaningStage = iota
	cleaningReading
	// cleaningFolder: the objects of the folder are being deleted. cleaningAgain: those that came late.
	cleaningFolder
	cleaningAgain
	// cleaningClean: the folder is clean. cleaningWhole: the savepoint is whole. Its entry waits until another append has ended.
	cleaningClean
	cleaningWhole
)

// settleCleaning begins to clean the next unfinished savepoint.
func (s *step) settleCleaning() {
	if s.cleaning.id != 0 || s.stop && !s.head.Status.Terminal() {
		return
	}
	if i := slices.IndexFunc(s.head.Savepoints, s.abandoned); i >= 0 {
		s.cleaning = cleaning{id: s.head.Savepoints[i].ID}
		if s.cfg.off.tombstone {
			s.cleaning.stage = cleaningFolder
			s.onFolder(OpClean, journal.WaitNot)
			return
		}
		s.onFolder(OpTombstone, journal.WaitNot)
		return
	}
}

// relistNow begins to list the folder of a cleaned savepoint again, if it was cleaned not long ago. It answers whether it waits for
// the time.
func (s *step) relistNow() bool {
	if len(s.relists) == 0 || s.cleaning.id != 0 {
		return false
	}
	if !s.knowsTime() {
		return true
	}
	for len(s.relists) > 0 && s.cleaning.id == 0 {
		saved, ok := s.head.Savepoint(s.relists[0])
		s.relists = s.relists[1:]
		// Twice the time: the sweep that settles an ended job comes after it.
		if ok && s.clock < saved.EndedAt+2*uint64(journal.SettleAfter.Milliseconds()) {
			s.cleaning = cleaning{id: saved.ID, stage: cleaningAgain}
			s.onFolder(OpClean, journal.WaitNot)
		}
	}
	return false
}

// abandoned tells whether a savepoint is unfinished and nobody here writes it.
func (m *Machine) abandoned(p journal.Savepoint) bool {
	i, _ := m.find(p.ID)
	return p.Outcome == journal.SavepointStarted && i < 0 && !slices.Contains(m.unansweredSaves, p.ID) && !slices.Contains(m.uncleaned, p.ID)
}

// cleans tells whether a savepoint is being cleaned, or waits for it.
func (m *Machine) cleans() bool {
	return m.cleaning.id != 0 || len(m.relists)+len(m.unansweredSaves) > 0 || slices.ContainsFunc(m.head.Savepoints, m.abandoned)
}

// lookForLate begins to list the folders of the cleaned savepoints again: an upload of an earlier owner may have landed late.
func (s *step) lookForLate() {
	s.relists = nil
	for i := range s.head.Savepoints {
		if p := &s.head.Savepoints[i]; p.Outcome == journal.SavepointCleaned {
			s.relists = append(s.relists, p.ID)
		}
	}
}

// onFolder emits one operation on the savepoint that is being cleaned.
func (s *step) onFolder(kind OpKind, wait journal.Wait) {
	saved, ok := s.head.Savepoint(s.cleaning.id)
	if !ok {
		s.cleaning = cleaning{}
		return
	}
	s.emit(Op{Kind: kind, ID: saved.ID, Savepoint: &saved, Wait: wait})
}

// leave gives the savepoint up until the next sweep.
func (s *step) leave() {
	s.uncleaned = with(s.uncleaned, s.cleaning.id)
	s.cleaning = cleaning{}
}

func (s *step) tombstoneAnswered(r *Result) {
	if r.ID != s.cleaning.id || s.cleaning.stage != cleaningTombstone {
		return
	}
	switch r.Outcome {
	case journal.Done:
		s.cleaning.stage = cleaningFolder
		s.onFolder(OpClean, journal.WaitNot)
	case journal.Exists:
		s.cleaning.stage = cleaningReading
		s.onFolder(OpReadSaved, journal.WaitNot)
	case journal.NotDone:
		s.leave()
	default:
		s.onFolder(OpTombstone, journal.WaitBackoff)
	}
}

// cleaningRead takes the _metadata that was there before the tombstone. It answers whether it was that one.
func (s *step) cleaningRead(r *Result) bool {
	if r.ID != s.cleaning.id || s.cleaning.stage != cleaningReading {
		return false
	}
	saved, _ := s.head.Savepoint(r.ID)
	switch {
	case r.Outcome == journal.Done && r.Nonce == saved.Nonce:
		s.cleaning.stage, s.cleaning.size, s.cleaning.crc = cleaningWhole, r.Meta.Size, r.Meta.CRC
	case r.Outcome == journal.Done, r.Outcome == journal.Corrupt: // a tombstone: this owner's first try, or an earlier owner's
		s.cleaning.stage = cleaningFolder
		s.onFolder(OpClean, journal.WaitNot)
	case r.Outcome == journal.NotFound:
		s.cleaning.stage = cleaningTombstone
		s.onFolder(OpTombstone, journal.WaitBackoff)
	case r.Outcome == journal.Newer, r.Outcome == journal.NotDone:
		s.leave()
	default:
		s.onFolder(OpReadSaved, journal.WaitBackoff)
	}
	return true
}

func (s *step) folderCleaned(r *Result) {
	again := s.cleaning.stage == cleaningAgain
	switch {
	case r.ID != s.cleaning.id || s.cleaning.stage != cleaningFolder && !again:
	case again && r.Outcome != journal.Unknown:
		s.cleaning = cleaning{}
	case r.Outcome == journal.Done:
		s.cleaning.stage = cleaningClean
	case r.Outcome == journal.NotDone:
		s.leave()
	default:
		s.onFolder(OpClean, journal.WaitBackoff)
	}
}

// cleanedNow appends the entry about a savepoint that was cleaned, or found whole. It answers whether it did. A savepoint that was
// found whole does not stop its job: nobody knows what the sinks have committed since.
func (s *step) cleanedNow() bool {
	outcome := journal.SavepointCleaned
	switch s.cleaning.stage {
	case cleaningWhole:
		outcome = journal.SavepointDone
	case cleaningClean:
	default:
		return false
	}
	if s.cleaning.id == 0 || !s.knowsTime() {
		return false
	}
	e := *s.head
	e.Kind = journal.KindSavepoint
	e.Savepoints = endedSavepoint(e.Savepoints, s.cleaning.id, outcome, s.clock, func(p *journal.Savepoint) {
		p.Stop, p.Size, p.CRC = journal.StopNone, s.cleaning.size, s.cleaning.crc
	})
	s.append(e, s.cleaning.id)
	return true
}

// cleaned acts on that entry.
func (s *step) cleaned(saved journal.Savepoint) {
	s.cleaning = cleaning{}
	tell := Op{Kind: TellSaved, ID: saved.ID}
	if saved.Outcome == journal.SavepointCleaned {
		tell.Reason = ReasonCleaned
	}
	s.emit(tell)
}

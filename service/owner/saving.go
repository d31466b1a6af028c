package owner

import (
	"github.com/ckptd/ckptd/layout/journal"
)

// stopping tells whether a savepoint stops the job, or is about to.
func (m *Machine) stopping() bool {
	if m.head.Status == journal.StatusStopping {
		return true
	}
	for i := range m.pending {
		if m.pending[i].stops() {
			return true
		}
	}
	for i := range m.saving {
		if m.saving[i].id != 0 && m.saving[i].stop != journal.StopNone {
			return true
		}
	}
	return false
}

// StopsWithSavepoint tells whether a savepoint that is being taken will stop the job.
func (m *Machine) StopsWithSavepoint() bool { return m.stopping() }

// save writes a savepoint, now that all subtasks have acknowledged it. The shell copies what the acknowledgements name.
func (s *step) save(p Pending) Pending {
	p.State = PendingSaving
	s.writeSaved(&p, journal.WaitNot)
	return p
}

func (s *step) writeSaved(p *Pending, wait journal.Wait) {
	saved := p.Saved
	s.emit(Op{Kind: OpSave, ID: p.ID, Nonce: saved.Nonce, Savepoint: &saved, Files: p.Named, Epoch: s.head.Epoch, Attempt: s.head.Attempt, Wait: wait})
}

// appendSaved publishes the entry that makes a savepoint done. If it stops the job, the same entry says so, and retains the
// savepoint's twin in the job's folder, which every later attempt restores.
func (s *step) appendSaved(p *Pending) {
	e := *s.head
	e.Kind = journal.KindSavepoint
	e.Savepoints = endedSavepoint(e.Savepoints, p.ID, journal.SavepointDone, s.clock, func(v *journal.Savepoint) { v.Size, v.CRC = p.Saved.Size, p.Saved.CRC })
	if p.stops() {
		e.Status = journal.StatusStopping
		e.Retained = with(e.Retained, p.Meta)
		for i := len(e.Retained) - 1; i > 0 && e.Retained[i].ID < e.Retained[i-1].ID; i-- {
			e.Retained[i], e.Retained[i-1] = e.Retained[i-1], e.Retained[i]
		}
	}
	s.append(e, p.ID)
}

package owner

import (
	"slices"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
)

// condemn judges what an entry that was won leaves behind, and carries the verdicts out. It is called right after the
// entry was won.
func (s *step) condemn(dropped []uint64) {
	s.left = with(s.left, dropped...)
	s.carryOut(s.leftBehind(s.left, s.cfg.off))
	s.judged()
}

// condemnMeta condemns the _metadata of a checkpoint that came to nothing.
func (s *step) condemnMeta(id uint64) {
	s.left = with(s.left, id)
	s.carryOut([]Judgement{s.dropped(id, s.cfg.off)})
	s.judged()
}

// judged forgets the _metadata that were condemned. While nothing may be condemned, it keeps them: they go before the files that
// they name, when the time has come.
func (s *step) judged() {
	if why, _ := s.unread(); why == ReasonNone || s.cfg.off.unread {
		s.left = nil
	}
}

// carryOut marks for deletion what is judged dead.
func (s *step) carryOut(all []Judgement) {
	var files incremental.Builder[incremental.File]
	for _, j := range all {
		switch {
		case !j.Verdict.Dead() || j.Verdict == VerdictCondemned:
		case j.Checkpoint != 0:
			s.metas = with(s.metas, j.Checkpoint)
		default:
			files.Add(j.File)
		}
	}
	s.index.Condemned = s.index.Condemned.Or(files.Set())
}

// deleteNext deletes what is condemned: first the _metadata, and the files after the store has answered.
func (s *step) deleteNext() {
	switch {
	case len(s.deletingMetas) > 0 || !s.deleting.IsEmpty():
	case len(s.metas) > 0 && !(s.cfg.off.order && !s.index.Condemned.IsEmpty()):
		s.deleteMetas(journal.WaitNot)
	case !s.index.Condemned.IsEmpty():
		some := s.index.Condemned
		if s.cfg.DeleteAtOnce > 0 {
			some = some.First(s.cfg.DeleteAtOnce)
		}
		s.deleteFiles(some, journal.WaitNot)
	}
}

func (s *step) deleteMetas(wait journal.Wait) {
	s.deletingMetas = s.metas
	s.emit(Op{Kind: OpDeleteMetas, IDs: s.metas, Wait: wait})
}

func (s *step) deleteFiles(files incremental.Files, wait journal.Wait) {
	s.deleting = files
	s.emit(Op{Kind: OpDeleteFiles, Files: s.deleting, Wait: wait})
}

func (s *step) metasDeleted(r *Result) {
	gone := r.IDs
	if r.Outcome == journal.Done {
		gone = s.deletingMetas
	}
	all := s.deletingMetas
	s.deletesFail = false
	s.metas = without(s.metas, func(id uint64) bool { return slices.Contains(gone, id) })
	s.deletingMetas = nil
	if !slices.ContainsFunc(all, func(id uint64) bool { return !slices.Contains(gone, id) }) {
		return
	}
	s.deletesFail = true
	s.deleteMetas(journal.WaitBackoff)
}

func (s *step) filesDeleted(r *Result) {
	gone := r.Files.And(s.deleting)
	if r.Outcome == journal.Done {
		gone = s.deleting
	}
	if s.cfg.off.failed {
		gone = s.deleting
	}
	all := s.deleting.In(gone)
	s.index.Gone(gone)
	s.deleting = incremental.Files{}
	s.deletesFail = !all
	switch {
	case all:
	case len(s.metas) > 0: // condemned meanwhile; a _metadata is deleted before the files that it names
		s.deleteMetas(journal.WaitBackoff)
	default: // with all others: those that failed may fail again, and must not keep the others waiting
		s.deleteFiles(s.index.Condemned, journal.WaitBackoff)
	}
}

// clean tells whether no object waits for its delete and no write of a _metadata is unanswered.
func (m *Machine) clean() bool {
	return len(m.unansweredMetas) == 0 && len(m.metas) == 0 && m.index.Condemned.IsEmpty() && len(m.deletingMetas) == 0 && m.deleting.IsEmpty()
}

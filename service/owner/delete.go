package owner

import (
	"slices"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
)

// condemn marks for deletion all files that are neither reachable nor promised, and the _metadata of checkpoints that
// left the head. It is called right after an entry was won. It does nothing while a retained _metadata is not read or
// cannot be read; a later sweep finds the same objects.
func (s *step) condemn(metas []uint64) {
	if why, _ := s.unread(); why != ReasonNone && !s.cfg.off.unread {
		return
	}
	s.condemnMetas(metas)
	promised := s.promised()
	if s.cfg.off.promises {
		promised = incremental.Files{}
	}
	s.index.Condemned = s.index.Condemned.Or(s.index.Idle(promised))
}

// condemnMetas marks the _metadata of checkpoints for deletion.
func (s *step) condemnMetas(ids []uint64) {
	if why, _ := s.unread(); why != ReasonNone && !s.cfg.off.unread {
		return
	}
	for _, id := range ids {
		if !slices.Contains(s.metas, id) {
			s.metas = with(s.metas, id)
		}
	}
}

// deleteNext deletes what is condemned: first the _metadata, and the files after the store has answered.
func (s *step) deleteNext() {
	switch {
	case len(s.deletingMetas) > 0 || !s.deleting.IsEmpty():
	case len(s.metas) > 0 && !(s.cfg.off.order && !s.index.Condemned.IsEmpty()):
		s.deleteMetas(journal.WaitNot)
	case !s.index.Condemned.IsEmpty():
		s.deleteFiles(journal.WaitNot)
	}
}

func (s *step) deleteMetas(wait journal.Wait) {
	s.deletingMetas = s.metas
	s.emit(Op{Kind: OpDeleteMetas, IDs: s.metas, Wait: wait})
}

func (s *step) deleteFiles(wait journal.Wait) {
	s.deleting = s.index.Condemned
	s.emit(Op{Kind: OpDeleteFiles, Files: s.deleting, Wait: wait})
}

func (s *step) metasDeleted(r *Result) {
	gone := r.IDs
	if r.Outcome == journal.Done {
		gone = s.deletingMetas
	}
	all := s.deletingMetas
	s.metas = without(s.metas, func(id uint64) bool { return slices.Contains(gone, id) })
	s.deletingMetas = nil
	if !slices.ContainsFunc(all, func(id uint64) bool { return !slices.Contains(gone, id) }) {
		return
	}
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
	switch {
	case all:
	case len(s.metas) > 0: // condemned meanwhile; a _metadata is deleted before the files that it names
		s.deleteMetas(journal.WaitBackoff)
	default:
		s.deleteFiles(journal.WaitBackoff)
	}
}

// clean tells whether no object waits for its delete and no write of a _metadata is unanswered.
func (m *Machine) clean() bool {
	return len(m.unansweredMetas) == 0 && len(m.metas) == 0 && m.index.Condemned.IsEmpty() && len(m.deletingMetas) == 0 && m.deleting.IsEmpty()
}

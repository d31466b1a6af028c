package owner

import (
	"slices"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
)

// heldRead takes the contents of the _metadata of a retained checkpoint. It answers whether it was one.
func (s *step) heldRead(r *Result) bool {
	for i, h := range s.held {
		if h.id == r.ID && h.state == heldLoading {
			s.loaded(i, r)
			return true
		}
	}
	return false
}

func (s *step) loaded(i int, r *Result) {
	h := s.held[i]
	c, _ := s.head.Checkpoint(h.id)
	switch r.Outcome {
	case journal.Done:
		h.state = heldRead
		if r.Nonce != c.Nonce {
			h.state = heldUnreadable
		}
	case journal.NotFound:
		h.state = heldMissing
	case journal.Corrupt, journal.Newer:
		h.state = heldUnreadable
	default: // the read failed; that does not make the _metadata unreadable
		s.emit(Op{Kind: OpReadMeta, ID: h.id, Nonce: c.Nonce, Wait: journal.WaitBackoff})
		return
	}
	h.files = r.Files.Or(s.foreignRead(r.ForeignFiles))
	s.setHeld(i, h)
	s.index.Known = s.index.Known.Or(r.Files)
	if !s.cfg.off.atAttach {
		s.index.AtAttach = s.index.AtAttach.Or(r.Files)
	}
	if h.state == heldUnreadable {
		s.emit(Op{Kind: TellDegraded, ID: h.id, Reason: ReasonDegraded})
	}
}

func (s *step) setHeld(i int, h held) {
	s.held = replaced(s.held, i, h)
	s.reachable()
}

// reachable recomputes the files that the held checkpoints name.
func (s *step) reachable() {
	var all incremental.Files
	for _, h := range s.held {
		all = all.Or(h.files)
	}
	s.index.Reachable = all
}

// ask reads the head again if recheckHead is set or a _metadata is missing. It answers whether an append may begin now.
func (s *step) ask() bool {
	if !s.free() {
		return false
	}
	if s.recheckHead {
		s.recheckHead = false
		s.journal(s.reader.Begin(s.head.Slot))
		return false
	}
	for _, h := range s.held {
		if h.state == heldMissing {
			s.missingMeta = h.id
			s.journal(s.reader.Begin(s.head.Slot))
			return false
		}
	}
	return true
}

// missingMetaChecked takes the head that ask has read. If its epoch is another, a new owner has taken the job and may
// have dropped the checkpoint. If its epoch is ours, the missing _metadata is lost.
func (s *step) missingMetaChecked(how journal.Reading, head *journal.Entry) {
	if how != journal.ReadDone || head.Epoch != s.head.Epoch {
		s.fenced()
		return
	}
	s.head = head
	for i, h := range s.held {
		if h.id == s.missingMeta && h.state == heldMissing {
			h.state = heldUnreadable
			s.setHeld(i, h)
			s.emit(Op{Kind: TellDegraded, ID: h.id, Reason: ReasonDegraded})
		}
	}
	s.missingMeta = 0
}

// unread says why nothing may be condemned or swept: the _metadata of the checkpoint id is not read yet, or cannot be
// read, and may name any file.
func (m *Machine) unread() (why Reason, id uint64) {
	for _, h := range m.held {
		switch h.state {
		case heldLoading, heldMissing:
			return ReasonLoading, h.id
		case heldUnreadable:
			why, id = ReasonDegraded, h.id
		}
	}
	return why, id
}

// dropHeld removes the held checkpoints that left the head, and returns their ids. A hidden checkpoint whose last pin
// was returned stays until an entry drops it, because its files must not be deleted before its _metadata.
func (s *step) dropHeld() (gone []uint64) {
	var keep []held
	for _, h := range s.held {
		if c, ok := s.head.Checkpoint(h.id); ok && !(s.cfg.off.hidden && c.State == journal.StateHidden || s.cfg.off.trash && c.State == journal.StateTrashed) {
			keep = append(keep, h)
		} else {
			gone = append(gone, h.id)
		}
	}
	was, _ := s.unread()
	s.held = keep
	s.reachable()
	if now, _ := s.unread(); was == ReasonDegraded && now == ReasonNone {
		s.emit(Op{Kind: TellDegraded})
	}
	return gone
}

// foreignRead notes the foreign files that the _metadata of a retained checkpoint names, and returns them all.
func (s *step) foreignRead(read []Foreign) (all incremental.Files) {
	for _, f := range read {
		all = all.Or(f.Files)
		i := slices.IndexFunc(s.foreign, func(g Foreign) bool { return g.Job == f.Job })
		if i < 0 {
			s.foreign = with(s.foreign, f)
			continue
		}
		s.foreign = replaced(s.foreign, i, Foreign{f.Job, s.foreign[i].Files.Or(f.Files)})
	}
	return all
}

// foreignFiles returns the foreign files in the folder of a job; "": of all jobs.
func (m *Machine) foreignFiles(job string) (all incremental.Files) {
	for _, f := range m.foreign {
		if job == "" || f.Job == job {
			all = all.Or(f.Files)
		}
	}
	return all
}

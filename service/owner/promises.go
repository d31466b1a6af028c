package owner

import (
	"github.com/ckptd/ckptd/incremental"
)

func (s *step) promise(id uint64, files incremental.Files) {
	if files.IsEmpty() {
		return
	}
	for i, p := range s.promises {
		if p.id == id {
			p.files = p.files.Or(files)
			s.promises = replaced(s.promises, i, p)
			return
		}
	}
	s.promises = with(s.promises, promise{id, files})
}

func (s *step) endPromise(id uint64) {
	s.promises = without(s.promises, func(p promise) bool { return p.id == id })
}

func (m *Machine) promisedTo(id uint64) incremental.Files {
	for _, p := range m.promises {
		if p.id == id {
			return p.files
		}
	}
	return incremental.Files{}
}

// promised is all files that are promised to a pending checkpoint.
func (m *Machine) promised() (all incremental.Files) {
	for _, p := range m.promises {
		all = all.Or(p.files)
	}
	return all
}

// floor is a checkpoint id: no checkpoint below it can be acknowledged any more. Uploads are accepted for every
// reserved id. No checkpoint of an ended job can be acknowledged, so its floor lies above all reserved ids.
func (m *Machine) floor() uint64 {
	switch {
	case m.imp.id != 0:
		return m.imp.id
	case len(m.pending) > 0:
		return m.pending[0].ID
	case m.head.Status.Terminal():
		return max(m.next, m.head.Reserved+1)
	}
	return m.next
}

// find is the pending checkpoint of that id, or -1.
func (m *Machine) find(id uint64) (int, Pending) {
	for i, p := range m.pending {
		if p.ID == id {
			return i, p
		}
	}
	return -1, Pending{}
}

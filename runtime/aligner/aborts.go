package aligner

import "slices"

func (m *Machine) wasAborted(id uint64) bool {
	_, found := slices.BinarySearch(m.aborts, id)
	return found || id <= m.abortsBelow
}

func (m *Machine) remember(id uint64) {
	i, found := slices.BinarySearch(m.aborts, id)
	if found || id <= m.abortsBelow {
		return
	}
	m.aborts = slices.Insert(m.aborts, i, id)
	if len(m.aborts) > rememberedAborts {
		m.abortsBelow = m.aborts[0]
		m.aborts = slices.Delete(m.aborts, 0, 1)
	}
}

// forgetAborts drops the ids that current has passed.
func (m *Machine) forgetAborts() {
	i, found := slices.BinarySearch(m.aborts, m.current)
	if found {
		i++
	}
	m.aborts = slices.Delete(m.aborts, 0, i)
}

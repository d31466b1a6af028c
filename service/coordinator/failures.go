package coordinator

// failures counts consecutive failed checkpoints as Flink does: only certain reasons count, an id counts once however many
// subtasks decline it, and what is older than the last success does not count.
type failures struct {
	tolerable     int
	consecutive   int
	ids           map[uint64]bool // counted since the last reset
	lastSucceeded uint64
}

// failed counts a failure and reports whether there are now more than are tolerated; if so, counting begins anew. Id 0 is a
// failure before there was an id: each of those counts.
func (f *failures) failed(id uint64, r Reason) bool {
	if !r.counted() || f.ids[id] || (id != 0 && id <= f.lastSucceeded) {
		return false
	}
	if id != 0 {
		if f.ids == nil {
			f.ids = map[uint64]bool{}
		}
		f.ids[id] = true
	}
	f.consecutive++
	if f.tolerable >= Never || f.consecutive <= f.tolerable {
		return false
	}
	f.reset()
	return true
}

// succeeded resets the count, unless a newer checkpoint already did.
func (f *failures) succeeded(id uint64) {
	if id <= f.lastSucceeded {
		return
	}
	f.lastSucceeded = id
	f.reset()
}

func (f *failures) reset() { f.consecutive, f.ids = 0, nil }

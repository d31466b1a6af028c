package coordinator

// failures counts consecutive failed checkpoints as Flink does: only certain reasons count, an id counts once (the machine
// hears of its end once, however many subtasks declined it), and what is older than the last success does not count.
type failures struct {
	tolerable     int
	consecutive   int
	lastSucceeded uint64
}

// failed counts a failure and reports whether there are now more than are tolerated; if so, counting begins anew. Id 0 is a
// failure before there was an id: each of those counts.
func (f *failures) failed(id uint64, r Reason) bool {
	if !r.counted() || (id != 0 && id <= f.lastSucceeded) {
		return false
	}
	f.consecutive++
	if f.consecutive <= f.tolerable {
		return false
	}
	f.consecutive = 0
	return true
}

// succeeded resets the count, unless a newer checkpoint already did.
func (f *failures) succeeded(id uint64) {
	if id > f.lastSucceeded {
		f.lastSucceeded, f.consecutive = id, 0
	}
}

package coordinator

// failures counts consecutive failed checkpoints as Flink does. Only certain reasons count. An id counts once, however many
// subtasks declined it. A checkpoint older than the last complete one does not count.
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

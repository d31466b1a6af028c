package journal

import "time"

// SettleAfter is the time between the release of an ended job and its very last sweep. A write that its owner began before may
// land in between: the owner was paused, say.
const SettleAfter = 24 * time.Hour

// Due tells whether the entry asks for an owner although nobody needs the job, whatever the time is. There are three cases: a
// checkpoint is hidden, and no job has a pin on it any more; a person wants the job purged, and no pin is in the way; or the job
// has ended, and a savepoint of it is unfinished.
func (e *Entry) Due() bool {
	if e.PurgeWanted && e.Status != StatusRemoved && len(e.Lent) == 0 {
		return true
	}
	for _, c := range e.Retained {
		if c.State == StateHidden && !e.IsLent(c.ID) {
			return true
		}
	}
	return e.Status.Terminal() && e.HasUnfinished()
}

// HasUnfinished tells whether a savepoint was begun, and is neither done nor cleaned.
func (e *Entry) HasUnfinished() bool {
	for i := range e.Savepoints {
		if e.Savepoints[i].Outcome == SavepointStarted {
			return true
		}
	}
	return false
}

// DueAt is Due at a time of the store's clock (milliseconds since 1970): the time may also have come for a checkpoint to leave
// the trash, for a pin to expire, or for the last sweep of an ended job.
func (e *Entry) DueAt(now uint64) bool {
	return e.Due() || e.Expired(now) || e.Unsettled(now)
}

// Expired tells whether the time has come for a checkpoint to leave the trash, or for a pin to stop counting.
func (e *Entry) Expired(now uint64) bool {
	for i := range e.Lent {
		if e.Lent[i].Expired(now) {
			return true
		}
	}
	for i := range e.Retained {
		if e.Retained[i].Expired(now) {
			return true
		}
	}
	return false
}

// Unsettled tells whether the time has come to sweep an ended job once more.
func (e *Entry) Unsettled(now uint64) bool {
	return e.ReleasedAt != 0 && !e.Settled && now >= e.ReleasedAt+uint64(SettleAfter.Milliseconds())
}

// Timed tells whether the time can make the job due.
func (e *Entry) Timed() bool {
	if e.ReleasedAt != 0 && !e.Settled {
		return true
	}
	for i := range e.Lent {
		if e.Lent[i].Expires != 0 {
			return true
		}
	}
	for i := range e.Retained {
		if e.Retained[i].State == StateTrashed && e.Retained[i].TrashUntil != 0 {
			return true
		}
	}
	return false
}

// Expired tells whether the time has come for the checkpoint to leave the trash.
func (c *Checkpoint) Expired(now uint64) bool {
	return c.State == StateTrashed && c.TrashUntil != 0 && now >= c.TrashUntil
}

// Expired tells whether the pin has stopped counting.
func (l *Lent) Expired(now uint64) bool { return l.Expires != 0 && now >= l.Expires }

// leastWriter is the least version that knows every field which the entry uses and which decides something.
func (e *Entry) leastWriter() uint32 {
	if e.Timed() || e.Settled || e.ReleasedAt != 0 {
		return 2
	}
	return 1
}

package journal

// Kind says why an entry was appended. It is for checkers and people, never for decisions. A reader keeps a kind that
// it does not know: a newer version appended that entry.
type Kind uint32

// The kinds of entry.
const (
	KindNone Kind = iota
	// KindAttach takes the job over: the epoch rises by one.
	KindAttach
	// KindAttempt begins an attempt.
	KindAttempt
	// KindCommit completes a checkpoint.
	KindCommit
	// KindReserve reserves checkpoint ids.
	KindReserve
	// KindEnd makes the status terminal.
	KindEnd
	// KindRelease gives the ownership up.
	KindRelease
	// KindLend pins a checkpoint for another job.
	KindLend
	// KindReturn gives a pin back.
	KindReturn
	// KindImport adds the checkpoint that the job begins from.
	KindImport
	// KindDiscard puts a checkpoint into the trash, or removes it.
	KindDiscard
	// KindUndelete brings a checkpoint back.
	KindUndelete
	// KindTag changes the tags of a checkpoint.
	KindTag
	// KindSavepoint says that a savepoint was begun, is done or was cleaned.
	KindSavepoint
	// KindRemove makes the tombstone of a removed job.
	KindRemove
)

// Status is the state of a job. It decides what may happen to the job, so an unknown one makes an entry unreadable
// (ErrNewer).
type Status uint8

// The states of a job.
const (
	StatusNone Status = iota
	StatusRunning
	StatusCanceled
	StatusFailed
	StatusFinished
	// StatusStopping: a savepoint stops the job. Every later attempt restores that savepoint, commits its sinks and
	// ends.
	StatusStopping
	// StatusCopied: the job is a copy of one that lives under another root.
	StatusCopied
	// StatusRemoved: the entry is the tombstone of a removed job.
	StatusRemoved
)

// Terminal tells whether the job has ended: no attempt begins any more, and its owner only sweeps once and releases it.
//
//   - StatusStopping is not terminal. Attempts still begin until the sinks have committed the savepoint. Then the job
//     is finished (protocol, section 3).
//   - StatusCopied is terminal. The copy has no workers: a job that wants its checkpoints restores them under a new job
//     id. The copier owns the copy, and sweeps and releases it like any other ended job (section 5).
//   - StatusRemoved is terminal. A job that uses the id again begins in the next epoch, with the next checkpoint id
//     (section 2).
func (s Status) Terminal() bool { return s != StatusNone && s != StatusRunning && s != StatusStopping }

// Entry is the whole small state of a job. Append and Decode seal an entry. A sealed entry is immutable and shared by
// pointer. An edit makes a copy with new slices.
type Entry struct {
	Slot  uint64
	Epoch uint64
	Kind  Kind
	// LeastReader and LeastWriter are the least format versions that may read, and append after, this entry.
	LeastReader, LeastWriter uint32
	Nonce                    Nonce
	// Ring holds the nonces of the newest entries, oldest first; the last is this entry's own.
	Ring []Nonce
	// Owner is the nonce of the owner's attach; zero: nobody owns the job.
	Owner Nonce
	// URLs say where the owner listens.
	URLs []string
	// Attempt is the number of the running attempt; 0: no attempt has begun. The attempt restores the checkpoint
	// Restore; 0: none.
	Attempt, Restore uint64
	Status           Status
	// Reserved is the highest checkpoint id that may be used. It never goes down.
	Reserved uint64
	// Plan, Config and About are immutable and never nil in a sealed entry.
	Plan   *Plan
	Config *Config
	About  *About
	// Retained is in ascending order of ids, at most MaxRetained long.
	Retained []Checkpoint
	Lent     []Lent
	Borrowed []Borrowed
	// Savepoints are the last MaxSavepoints ones begun.
	Savepoints []Savepoint
	// Requests are the last MaxRequests requests that changed something.
	Requests []Request
	// Import says from which checkpoint the job begins; zero: it began empty.
	Import Import
	// CopiedFrom names the job that this one is a copy of; zero: it is none.
	CopiedFrom Origin
	// PurgeWanted is true when a person wants all objects of the job deleted.
	PurgeWanted bool
	// ReleasedAt is when the job was first released after its end, by the store's clock (milliseconds since 1970); 0: it was
	// not. Settled is true if it was swept once more, at least SettleAfter later.
	ReleasedAt uint64
	Settled    bool
	// Suspended is true if the owner released the job because a person suspended it, and no attempt has begun since. It is for
	// people, never for decisions.
	Suspended bool
	// Ended says when and why the job ended, for people; zero: it has not.
	Ended Ended

	// sum is a hash of all fields above. seal computes it once.
	sum uint64
}

// Checkpoint returns the retained checkpoint of that id.
func (e *Entry) Checkpoint(id uint64) (Checkpoint, bool) {
	for _, c := range e.Retained {
		if c.ID == id {
			return c, true
		}
	}
	return Checkpoint{}, false
}

// Newest is the id of the checkpoint that a new attempt restores: the newest in StateKept that is not a savepoint. 0:
// none.
func (e *Entry) Newest() uint64 {
	var id uint64
	for _, c := range e.Retained {
		if c.State == StateKept && c.Type == TypeCheckpoint {
			id = max(id, c.ID)
		}
	}
	return id
}

// Savepoint returns the savepoint of that id.
func (e *Entry) Savepoint(id uint64) (Savepoint, bool) {
	for i := range e.Savepoints {
		if e.Savepoints[i].ID == id {
			return e.Savepoints[i], true
		}
	}
	return Savepoint{}, false
}

// Requested returns the savepoint that a caller's request id means; none if the id is empty.
func (e *Entry) Requested(id string) (Savepoint, bool) {
	request := RequestOf(id)
	for i := range e.Savepoints {
		if id != "" && e.Savepoints[i].Request == request {
			return e.Savepoints[i], true
		}
	}
	return Savepoint{}, false
}

// Restorable is the id of the checkpoint that a new attempt restores: the newest, or that of the savepoint that stops the job.
// 0: none.
func (e *Entry) Restorable() uint64 {
	if e.Status != StatusStopping {
		return e.Newest()
	}
	var id uint64
	for i := range e.Savepoints {
		if s := &e.Savepoints[i]; s.Stop != StopNone && s.Outcome == SavepointDone {
			id = max(id, s.ID)
		}
	}
	return id
}

// IsLent tells whether another job has a pin on the checkpoint.
func (e *Entry) IsLent(id uint64) bool {
	for _, l := range e.Lent {
		if l.Checkpoint == id {
			return true
		}
	}
	return false
}

// HasLent tells whether the pin is one of those on this job's checkpoints.
func (e *Entry) HasLent(pin Nonce) bool {
	for _, l := range e.Lent {
		if l.Pin == pin {
			return true
		}
	}
	return false
}

// HasBorrowed tells whether the pin is one of this job's on checkpoints of other jobs.
func (e *Entry) HasBorrowed(pin Nonce) bool {
	for _, b := range e.Borrowed {
		if b.Pin == pin {
			return true
		}
	}
	return false
}

// Importing tells whether the job waits for the checkpoint that it begins from. No attempt begins before.
func (e *Entry) Importing() bool { return e.Status == StatusRunning && e.Import.State == ImportWanted }

// Seen tells whether a request was carried out already.
func (e *Entry) Seen(r Request) bool {
	if r == (Request{}) {
		return false
	}
	for _, s := range e.Requests {
		if s == r {
			return true
		}
	}
	return false
}

// InRing tells whether the nonce is in the entry's ring.
func (e *Entry) InRing(n Nonce) bool {
	for _, r := range e.Ring {
		if r == n {
			return true
		}
	}
	return false
}

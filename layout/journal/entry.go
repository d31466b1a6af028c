package journal

// Kind says why an entry was appended. It is for checkers and people, never for decisions.
type Kind uint8

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
)

// Status is the state of a job.
type Status uint8

// The states of a job. All but StatusRunning are terminal.
const (
	StatusNone Status = iota
	StatusRunning
	StatusCanceled
	StatusFailed
	StatusFinished
)

// Terminal tells whether the job is over.
func (s Status) Terminal() bool { return s > StatusRunning }

// Entry is the whole small state of a job. Once sealed (by Append or Decode) it is immutable and shared by pointer: nobody edits
// it or its slices; an edit is a copy with new slices.
type Entry struct {
	Slot  uint64
	Epoch uint64
	Kind  Kind
	// LeastReader and LeastWriter are the least format versions that may read, and append after, this entry.
	LeastReader, LeastWriter uint32
	Nonce                    Nonce
	// Ring is the last nonces of the journal, this entry's own last.
	Ring []Nonce
	// Owner is the nonce of the owner's attach; zero: nobody owns the job.
	Owner Nonce
	// URLs say where the owner listens.
	URLs []string
	// Attempt is the number of the running attempt, 0 before the first; it restores the checkpoint Restore, 0: none.
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

	// sum of everything above, made once, by seal.
	sum uint64
}

// Bounds of an entry's lists and of its encoded size.
const (
	MaxRetained   = 200
	MaxSavepoints = 32
	MaxRequests   = 32
	MaxBytes      = 64 << 10
	MaxConfig     = 2 << 10
)

// About is what the job is called.
type About struct {
	Job string
	// Labels in ascending order of keys.
	Labels []Label
	// RestoredFrom names the checkpoint of another job that this one began from; empty: none.
	RestoredFrom string
}

// Label is one key and value.
type Label struct{ Key, Value string }

// Checkpoint points to a checkpoint's _metadata.
type Checkpoint struct {
	ID    uint64
	Type  CheckpointType
	State CheckpointState
	// Nonce is the one written in the _metadata: an id alone proves nothing.
	Nonce Nonce
	// Bytes and CRC32C of the _metadata.
	Size uint64
	CRC  uint32
	// For people: completion time (milliseconds since 1970), duration (milliseconds), bytes of all state, bytes this one brought.
	CompletedAt, DurationMillis, StateBytes, NewBytes uint64
}

// CheckpointType says what asked for a checkpoint.
type CheckpointType uint8

// The types of checkpoint.
const (
	TypeCheckpoint CheckpointType = iota
	TypeSavepoint
)

// CheckpointState says how a retained checkpoint stands.
type CheckpointState uint8

// The states of a retained checkpoint.
const (
	// StateKept is an ordinary one.
	StateKept CheckpointState = iota
	// StateTrashed was discarded and can still be brought back.
	StateTrashed
	// StateHidden was disposed while lent: its files stay until the last pin is returned.
	StateHidden
)

// Lent is a pin of another job on a checkpoint of this one.
type Lent struct {
	Pin        Nonce
	Checkpoint uint64
	Holder     string
	// HolderEpoch is the epoch of the holder when it took the pin.
	HolderEpoch uint64
}

// Borrowed is a pin of this job on a checkpoint of another one.
type Borrowed struct {
	Pin        Nonce
	Job        string
	Checkpoint uint64
}

// Savepoint is one that was begun.
type Savepoint struct {
	ID   uint64
	Path string
	Done bool
}

// Config is what changes only by an entry that raises the attempt. All durations are in milliseconds.
type Config struct {
	// AtLeastOnce; else exactly once.
	AtLeastOnce                                bool
	IntervalMillis, TimeoutMillis, PauseMillis uint64
	TolerableFailures                          uint32
	Retention                                  Retention
	// NumRetained is at least 1; 0 means 1.
	NumRetained uint32
	// RestartAttempts is how many failures are followed by a restart; 0: the restart strategy is none.
	RestartAttempts    uint32
	RestartDelayMillis uint64
}

// Retention says what a terminal status leaves.
type Retention uint8

// What Flink's execution.checkpointing.externalized-checkpoint-retention knows.
const (
	RetainNothing Retention = iota
	RetainOnFailure
	RetainOnCancellation
)

// Checkpoint returns the retained checkpoint of that id.
func (e *Entry) Checkpoint(id uint64) (Checkpoint, bool) {
	for _, c := range e.Retained {
		if c.ID == id {
			return c, true
		}
	}
	return Checkpoint{}, false
}

// Newest is the id of the newest retained checkpoint that is kept and no savepoint: what a new attempt restores. 0: none.
func (e *Entry) Newest() uint64 {
	var id uint64
	for _, c := range e.Retained {
		if c.State == StateKept && c.Type == TypeCheckpoint {
			id = max(id, c.ID)
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

// InRing tells whether the nonce is among the last ones of the journal.
func (e *Entry) InRing(n Nonce) bool {
	for _, r := range e.Ring {
		if r == n {
			return true
		}
	}
	return false
}

package state

// Record is what flows between operators. Both slices belong to the maker of the record. They are valid until the
// call that passes the record returns, or until the next Next of the source that filled it. Keep a copy, not the
// slices.
type Record struct {
	// Key decides the key group, and so the subtask.
	Key []byte
	// Value has the meaning that the operators agree on.
	Value []byte
}

// Readiness says whether a source has a record at the moment.
type Readiness int

const (
	// NotNow: there is no record at the moment. The source has already waited a little, so the caller may call Next
	// in a loop.
	NotNow Readiness = iota
	// Ready: the record was filled.
	Ready
	// End: the input is at its end, now and at every later call. Position stays at the end.
	End
)

// String returns the name for messages.
func (r Readiness) String() string {
	switch r {
	case NotNow:
		return "not now"
	case Ready:
		return "ready"
	case End:
		return "end"
	}
	return "unknown"
}

// MaxWait is the longest time that Next may take, in milliseconds: barriers and commands wait meanwhile.
const MaxWait = 10

// Source is one subtask's share of an input that can be read again from a position.
type Source interface {
	// Next fills rec with the next record. It returns NotNow instead of blocking for longer than about MaxWait
	// milliseconds.
	Next(rec *Record) (Readiness, error)
	// Position returns the position of the next record and the source's counters: its whole state. The slice is the
	// caller's.
	Position() []byte
	// Seek goes to a position of this or of an earlier instance of the same subtask. The records that follow are
	// exactly those that followed then, and the counters have the values of then. An invalid position, or one of
	// another input, is an error.
	Seek(position []byte) error
	// Progress counts from the beginning of the input, restored positions included. Any goroutine may call it at any
	// time.
	Progress() Progress
	// Close closes files. A second Close does nothing.
	Close() error
}

// Progress is how far a source has read.
type Progress struct {
	// Records is the number of records that Next has returned.
	Records uint64
	// Unparsable counts the skipped parts of the input that were no record.
	Unparsable uint64
}

// Sink writes records so that each is seen exactly once: in transactions, one for each checkpoint, that become
// visible when their checkpoint is complete. In every attempt Restore is called first, then the other methods in any
// order.
type Sink interface {
	// Restore begins the sink of an attempt. restored is the checkpoint that the attempt restores (0: none). state is
	// what PreCommit returned for this checkpoint, in any attempt (nil: none).
	//
	// Restore commits all transactions that state names, because their checkpoint is complete. It discards all other
	// unfinished transactions of lower attempts of this subtask.
	Restore(attempt, restored uint64, state []byte) error
	// Write adds a record to the open transaction.
	Write(rec Record) error
	// PreCommit ends the open transaction under the checkpoint's id, makes it durable and begins another. It returns
	// all transactions that are not committed yet, those of earlier checkpoints too: a Restore of this checkpoint
	// commits them.
	PreCommit(checkpoint uint64) (state []byte, err error)
	// Commit makes all transactions with ids <= checkpoint visible, oldest first; there may be none. It may be called
	// only for a complete checkpoint of this attempt, or for the restored one.
	Commit(checkpoint uint64) error
	// Abort says that a checkpoint will not complete. Its transaction stays, and becomes visible with the next
	// complete checkpoint, because its records come before the barrier of that checkpoint, too.
	Abort(checkpoint uint64)
	// Close discards the open transaction and leaves the pre-committed ones for a later Restore. A second Close does
	// nothing.
	Close() error
}

package state

// Record is what flows between operators. Both slices belong to whoever made the record and are valid until the call that
// passes it returns, or until the next Next of the source that filled it; keep a copy, not the slices.
type Record struct {
	// Key decides the key group, and so the subtask.
	Key []byte
	// Value means what the operators agree on.
	Value []byte
}

// Readiness is what a source has to offer at the moment.
type Readiness int

const (
	// NotNow: nothing at the moment; ask again. The source has already waited a little, so the caller may ask in a loop.
	NotNow Readiness = iota
	// Ready: the record was filled.
	Ready
	// End: the input is at its end, now and at every later call. Position stays that of the end.
	End
)

// String is for messages.
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

// MaxWait is how long Next may take, in milliseconds: barriers and commands wait meanwhile.
const MaxWait = 10

// Source is one subtask's share of an input that can be read again from a position.
type Source interface {
	// Next fills rec with the next record. It does not block for longer than about MaxWait milliseconds: NotNow instead.
	Next(rec *Record) (Readiness, error)
	// Position says where the next record comes from, with the source's counters: its whole state. The slice is the caller's.
	Position() []byte
	// Seek goes to a position of this or of an earlier instance of the same subtask: the records that follow are exactly those that
	// followed then, and the counters are those of then. A position that makes no sense is an error, as is one of another input.
	Seek(position []byte) error
	// Progress counts from the beginning of the input, restored positions included. Safe for use by any goroutine at any time.
	Progress() Progress
	// Close gives up files. A second Close does nothing.
	Close() error
}

// Progress is how far a source has read.
type Progress struct {
	// Records that were handed out.
	Records uint64
	// Unparsable counts pieces of input that were no record; they are skipped.
	Unparsable uint64
}

// Sink writes records to where they are seen exactly once: in transactions, one a checkpoint, that become visible when their
// checkpoint is complete. Restore comes first, in every attempt, then the others in any order.
type Sink interface {
	// Restore begins the sink of an attempt. restored is the checkpoint that the attempt restores (0: none), state what PreCommit of it
	// returned in whichever attempt took it (nil: none). All transactions that state names are committed before Restore returns, as their checkpoint is
	// complete; all other unfinished ones of lower attempts of this subtask are forgotten.
	Restore(attempt, restored uint64, state []byte) error
	// Write adds a record to the open transaction.
	Write(rec Record) error
	// PreCommit ends the open transaction under the checkpoint's id, makes it durable and begins another. It returns all transactions
	// not yet committed, those of earlier checkpoints too: whoever restores this checkpoint commits them.
	PreCommit(checkpoint uint64) (state []byte, err error)
	// Commit makes all transactions with ids <= checkpoint visible, oldest first; none is fine. To be called only when that checkpoint is
	// complete, and only for a checkpoint of this attempt or the one restored.
	Commit(checkpoint uint64) error
	// Abort says that a checkpoint will not complete. Its transaction stays, and becomes visible with the next checkpoint that completes: its
	// records are before that checkpoint's barrier too.
	Abort(checkpoint uint64)
	// Close forgets the open transaction and leaves the pre-committed ones for whoever restores. A second Close does nothing.
	Close() error
}

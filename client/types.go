package client

import "io"

// JobSpec says which job to attach.
type JobSpec struct {
	// ID is 1 to 128 of A-Z a-z 0-9 . _ -, not starting with . or _ or "savepoint-". The caller makes it.
	ID string
	// Plan and Config of an existing job may differ from those in effect only if no worker is registered. They then
	// take effect with the next attempt. nil: unchanged; for a new job, every default.
	Plan   *Plan
	Config *JobConfig
	Labels map[string]string
	// RestoreFrom is the checkpoint that a new job begins from: "<job id>/chk-N", or the path or URL of its folder or its
	// _metadata under the daemon's root. Empty: the job begins without state. A job always goes on from its own newest
	// checkpoint by itself. Operators may leave MaxParallelism 0: it is the checkpoint's.
	RestoreFrom string
	ClaimMode   ClaimMode
	// AllowNonRestoredState leaves out the state of operators that the plan does not have. Without it, such state is
	// refused.
	AllowNonRestoredState bool
	// AllowRunning begins by a label (RestoreFrom: "name=clicks") although a job with that label has not ended.
	AllowRunning bool
}

// ClaimMode says who owns a checkpoint that another job begins from, in Flink's words.
type ClaimMode uint8

const (
	// NoClaim leaves the files with the job that made the checkpoint. That job keeps them until the new job has a
	// checkpoint of its own.
	NoClaim ClaimMode = iota
	// Claim gives the files to the new job: its checkpoints may reuse them, and when none does any more they are deleted.
	// The job that made the checkpoint must have ended.
	Claim
)

// Subtask is one parallel instance of an operator. It is comparable.
type Subtask struct {
	// Operator is the operator's id, as the plan names it.
	Operator string
	// 0 <= Index < the operator's parallelism.
	Index uint32
}

// Registration describes a worker process to the owner.
type Registration struct {
	Subtasks []Subtask
	// ExchangeAddress is the address of this worker's record exchange, for other workers. The daemon does not interpret
	// it.
	ExchangeAddress string
	// Nonce is unique to this process instance. Empty: one is made.
	Nonce string
	// Attempt is the attempt that the process runs already; 0: none.
	Attempt uint64
	// Plan is the plan that the worker's code builds; nil: the job's.
	Plan *Plan
	// Records returns how many records the process's sources have read, restored offsets included. If it is set, the
	// session calls it for each sign of life. It must not block.
	Records func() uint64
}

// Scope says which checkpoints may refer to a file.
type Scope uint8

const (
	// Exclusive state belongs to one checkpoint alone.
	Exclusive Scope = iota
	// Shared state may be referred to by several checkpoints: immutable files of a backend.
	Shared
)

// KeyGroups is an inclusive range of key groups.
type KeyGroups struct {
	Start, End uint32
}

// Handle is one piece of a subtask's state, as a checkpoint keeps it.
type Handle struct {
	// Name is what the engine called the piece.
	Name string
	// InstanceNonce is the backend instance that made the file; its names are unique only within it.
	InstanceNonce string
	Scope         Scope
	// KeyGroups is nil for state that is not keyed.
	KeyGroups *KeyGroups
	// Inline is the state itself if File is nil.
	Inline []byte
	// File is where the state lies: the file, or the segment of it that File names.
	File *File
	// State says what the piece is.
	State *State
}

// Key is the key of the file that the state lies in, for Piece.RestoredKey; empty: the state is inline.
func (h Handle) Key() string {
	if h.File == nil {
		return ""
	}
	return h.File.Key
}

// Size is the piece's length in bytes, as it is stored.
func (h Handle) Size() int64 {
	switch {
	case h.File == nil:
		return int64(len(h.Inline))
	case h.File.Segment != nil:
		return int64(h.File.Segment.Length)
	}
	return int64(h.File.Length)
}

// SubtaskState is all that a subtask has to restore.
type SubtaskState struct {
	Subtask Subtask
	Handles []Handle
	// Finished: the subtask had finished when the checkpoint was taken.
	Finished bool
}

// Snapshot is the part of a checkpoint that some subtasks of this process have made.
type Snapshot struct {
	// Attempt, Epoch and Checkpoint are those of the Trigger, or of the barrier.
	Attempt, Epoch, Checkpoint uint64
	Subtasks                   []SubtaskSnapshot
}

// SubtaskSnapshot is one subtask's part of a checkpoint. No pieces: the subtask has no state.
type SubtaskSnapshot struct {
	Subtask Subtask
	Pieces  []Piece
	// Finished: the subtask has finished for good. It has no pieces.
	Finished bool
}

// Piece is one named piece of state: bytes, or a source of bytes.
type Piece struct {
	// Name is the engine's name for the piece ("offsets", "MANIFEST", "000123.sst"); for shared files the backend's
	// name.
	Name string
	// InstanceNonce is the backend instance that made the file. Required for Shared pieces.
	InstanceNonce string
	Scope         Scope
	// KeyGroups is nil for state that is not keyed.
	KeyGroups *KeyGroups
	// Inline is the state itself, if Open is nil.
	Inline []byte
	// Open opens the state's source, each time from its beginning and with the same bytes. The client reads it once for
	// its sum, and then for each try to send it.
	Open func() (io.ReadCloser, error)
	// Size is the source's length in bytes.
	Size int64
	// RestoredKey is the key of the handle from which this file was restored; empty: it was not restored.
	RestoredKey string
	// State says what the piece is; nil: ManagedKeyed with key groups, else Opaque.
	State *State
	// Segment makes the piece a part of the file that Open opens; Size is the length of the whole file. Segments of one
	// Snapshot with equal InstanceNonce, Name, Scope and Size lie in one file, which is sent once.
	Segment *Segment
	// Compression is the frame table if Open opens a compressed file.
	Compression *Compression
}

// inFile tells whether the piece must be sent as a file, even if it is small.
func (p *Piece) inFile() bool { return p.Segment != nil || p.Compression != nil }

// ReportKind says which state a Report tells.
type ReportKind uint8

const (
	// ReportRunning: the subtasks have restored and process records.
	ReportRunning ReportKind = iota + 1
	// ReportFailed: a subtask failed; Cause says why.
	ReportFailed
	// ReportEndOfData: the source subtasks have read all their input; barriers are still forwarded.
	ReportEndOfData
	// ReportCommitted: the sink subtasks have committed everything up to Checkpoint.
	ReportCommitted
	// ReportFinished: the subtasks are finished for good. When all subtasks of the attempt are, the job is FINISHED. The
	// process goes on until Cancel: if another process fails before, the next attempt runs all subtasks again.
	ReportFinished
	// ReportBacklog: the source subtasks work off a backlog, or do so no more: Backlog says which. It holds until the next such report,
	// their ReportEndOfData or ReportFinished, or the end of the attempt.
	ReportBacklog
)

// Report tells the owner the state of subtasks.
type Report struct {
	Kind    ReportKind
	Attempt uint64
	// Subtasks are those that the report is about; empty: all subtasks of the process.
	Subtasks   []Subtask
	Cause      string
	Checkpoint uint64
	Backlog    bool
}

// Decline says that subtasks could not take part in a checkpoint.
type Decline struct {
	Attempt, Epoch, Checkpoint uint64
	Subtasks                   []Subtask
	// Reason is Flink's name of the reason; empty: CHECKPOINT_DECLINED.
	Reason string
	Cause  string
}

package client

import (
	"io"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// Messages that pass through the SDK unchanged.
type (
	// Plan is the set of operators of an attempt. Every subtask of it must acknowledge a checkpoint.
	Plan = ckptdv1.Plan
	// Operator is one operator of a plan.
	Operator = ckptdv1.Operator
	// JobConfig is how a job is checkpointed and restarted.
	JobConfig = ckptdv1.JobConfig
	// JobStatus is the state of a job in its journal.
	JobStatus = ckptdv1.JobStatus
	// File names a whole file of a job's state.
	File = ckptdv1.FileHandle
)

// DefaultConfig is the configuration of a job with a checkpoint each interval, whose newest checkpoint outlives it, and which is
// restarted three times after failures. Its fields may be changed.
func DefaultConfig(interval time.Duration) *JobConfig {
	return &JobConfig{
		Interval:        durationpb.New(interval),
		Retention:       ckptdv1.Retention_RETENTION_RETAIN_ON_CANCELLATION,
		RestartStrategy: &ckptdv1.RestartStrategy{Attempts: 3, Delay: durationpb.New(time.Second)},
	}
}

// JobSpec says which job to attach.
type JobSpec struct {
	// ID is 1 to 128 of A-Z a-z 0-9 . _ -, not starting with . or _ or "savepoint-". The caller makes it.
	ID     string
	Plan   *Plan
	Config *JobConfig
	Labels map[string]string
}

// Subtask is one parallel instance of an operator. It is comparable.
type Subtask struct {
	// Operator is the operator's id, as the plan names it.
	Operator string
	// 0 <= Index < the operator's parallelism.
	Index uint32
}

// Registration is what a worker process tells of itself.
type Registration struct {
	Subtasks []Subtask
	// ExchangeAddress is where other workers reach this one's record exchange; opaque to the daemon.
	ExchangeAddress string
	// Nonce is unique to this process instance. Empty: one is made.
	Nonce string
	// Attempt is the one the process runs already; 0: none.
	Attempt uint64
	// Plan is what the worker's code builds. nil: the job's.
	Plan *Plan
	// Records is asked, if set, for the number of records that goes with each sign of life: how many the process's sources have
	// read, restored offsets included. It must not block.
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
	File   *File
}

// Size is the piece's length in bytes.
func (h Handle) Size() int64 {
	if h.File == nil {
		return int64(len(h.Inline))
	}
	return int64(h.File.GetLength())
}

// SubtaskState is all that a subtask has to restore.
type SubtaskState struct {
	Subtask Subtask
	Handles []Handle
}

// Snapshot is the part of a checkpoint that some subtasks of this process have made.
type Snapshot struct {
	// Attempt, Epoch and Checkpoint are as Trigger, or the barrier, said.
	Attempt, Epoch, Checkpoint uint64
	Subtasks                   []SubtaskSnapshot
}

// SubtaskSnapshot is one subtask's part of a checkpoint. No pieces: the subtask has no state.
type SubtaskSnapshot struct {
	Subtask Subtask
	Pieces  []Piece
}

// Piece is one named piece of state: bytes, or a source of bytes.
type Piece struct {
	// Name is what the engine calls the piece ("offsets", "MANIFEST", "000123.sst"); for shared files the backend's own name.
	Name string
	// InstanceNonce is the backend instance that made the file. Required for Shared pieces.
	InstanceNonce string
	Scope         Scope
	// KeyGroups is nil for state that is not keyed.
	KeyGroups *KeyGroups
	// Inline is the state itself, if Open is nil.
	Inline []byte
	// Open opens the state's source, each time from its beginning and each time with the same bytes: it is read once for its
	// sum and once or more to be sent.
	Open func() (io.ReadCloser, error)
	// Size is the source's length in bytes.
	Size int64
	// RestoredKey is the key of the handle this file was restored from, if it was.
	RestoredKey string
}

// ReportKind says what a Report tells.
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
	// ReportFinished: the subtasks are finished for good.
	ReportFinished
)

// Report tells the owner how subtasks are.
type Report struct {
	Kind    ReportKind
	Attempt uint64
	// Subtasks is whom it is about; empty: all of the process.
	Subtasks   []Subtask
	Cause      string
	Checkpoint uint64
}

// Decline says that subtasks could not take part in a checkpoint.
type Decline struct {
	Attempt, Epoch, Checkpoint uint64
	Subtasks                   []Subtask
	// Reason is Flink's name of the reason; empty: CHECKPOINT_DECLINED.
	Reason string
	Cause  string
}

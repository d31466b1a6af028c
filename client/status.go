package client

import "time"

// DaemonStatus describes a daemon and the jobs that were asked for.
type DaemonStatus struct {
	Version string
	// Root is where the daemon's checkpoints lie.
	Root string
	// URLs are the addresses of the daemon.
	URLs      []string
	StartedAt time.Time
	Jobs      []JobState
	// MemoryUsed is how many bytes the state of jobs with JobManagerStorage takes, and MemoryLimit the bound; 0: there can be no
	// such jobs.
	MemoryUsed, MemoryLimit uint64
}

// JobState is the current state of a job, as its owner knows it.
type JobState struct {
	Summary JobSummary
	Phase   JobPhase
	// Degraded says why deletes have stopped; empty: they have not.
	Degraded string
	Pending  []PendingCheckpoint
	Workers  []WorkerState
	// Events are the last 256 at most, the newest last. Their numbers count up within one owner's life.
	Events []JobEvent
	// Records is how many records all sources have read, as they last reported.
	Records uint64
	// SourcesAtEnd of the Sources have read all their input.
	SourcesAtEnd, Sources uint32
	// CommittedCheckpoint is the newest checkpoint that every sink has committed; 0: none, or there is no sink.
	CommittedCheckpoint uint64
	// ConsecutiveFailures counts the checkpoints that failed in a row.
	ConsecutiveFailures uint32
	// CondemnedFiles is how many files wait to be deleted.
	CondemnedFiles uint64
	// OwnerNonce names the owner's life that the events belong to.
	OwnerNonce string
	// WaitingForStore says for how long the owner waits for its store, and what the store said last; empty: it does not
	// wait.
	WaitingForStore string
	// Subtasks is the number of subtasks of the plan; SubtasksMissing of them have no worker.
	Subtasks, SubtasksMissing uint32
	// BeganAnew says why a job with JobManagerStorage has begun anew; empty: it has not.
	BeganAnew string
}

// JobSummary describes a job in a list.
type JobSummary struct {
	ID     string
	Status JobStatus
	Labels map[string]string
	// Epoch counts the owners of the job, Attempt its starts.
	Epoch, Attempt uint64
	// OwnerURLs are the addresses of the owner; empty: the job has no owner.
	OwnerURLs []string
	// Retained is how many checkpoints are kept.
	Retained uint32
	// LatestCheckpoint is the newest complete checkpoint; 0: none.
	LatestCheckpoint  uint64
	LatestCompletedAt time.Time
	// Error says why the job's journal cannot be read; the other fields are then empty.
	Error string
	// Checkpoints are the retained ones, oldest first, if the answer was read from a root without a daemon.
	Checkpoints []CheckpointSummary
	// EndedAt and EndReason say when and why the job ended; zero: it has not, or the journal does not say.
	EndedAt   time.Time
	EndReason string
	// RestoredFrom is the checkpoint of another job that the job began from, as "<job id>/chk-N"; empty: none.
	RestoredFrom string
	// InMemory: the job has JobManagerStorage; all that is kept of it is lost with its daemon.
	InMemory bool
}

// CheckpointSummary describes a checkpoint in a list.
type CheckpointSummary struct {
	ID uint64
	// Path is relative to the root: "<job id>/chk-N".
	Path        string
	CompletedAt time.Time
	// StateBytes is the size of all state; NewBytes came with this checkpoint, ReusedBytes with earlier ones.
	StateBytes, NewBytes, ReusedBytes uint64
	// Duration counts from the trigger to completion in an event, and to the last acknowledgement elsewhere. It is in
	// whole milliseconds.
	Duration  time.Duration
	Savepoint bool
}

// CheckpointDetails describes one checkpoint.
type CheckpointDetails struct {
	Summary        CheckpointSummary
	FormatVersion  uint32
	Epoch, Attempt uint64
	Operators      []OperatorSummary
	Files          []FileSummary
	Job            string
	Labels         map[string]string
	TriggeredAt    time.Time
	// Nonce is the name by which the journal knows the _metadata.
	Nonce string
	// MetadataBytes and MetadataCRC32C are the length and the sum of the _metadata.
	MetadataBytes  uint64
	MetadataCRC32C uint32
	// State is what the job's journal says of the checkpoint; 0: there is no journal beside it.
	State CheckpointState
}

// OperatorSummary describes an operator's state in a checkpoint.
type OperatorSummary struct {
	Operator       Operator
	StateBytes     uint64
	InlineBytes    uint64
	FileReferences uint32
	// States are what the state consists of, in the order in which the pieces come.
	States []StateSummary
	// Finished is how many subtasks had finished.
	Finished uint32
	// Keyed: a piece of its state has key groups.
	Keyed bool
}

// StateSummary sums up the pieces of an operator that are of one kind, name, serializer and schema version.
type StateSummary struct {
	// State is without offsets and channel.
	State  State
	Pieces uint32
	// Bytes counts each segment by its own length, and a file once for each piece that is the whole of it.
	Bytes uint64
}

// FileSummary describes a file of a checkpoint.
type FileSummary struct {
	File          File
	Scope         Scope
	InstanceNonce string
	LocalName     string
	// References is how many pieces of state of this checkpoint lie in the file.
	References uint32
	// Presence says whether the file is on storage; 0: nobody has looked.
	Presence FilePresence
	// FoundLength is the length on storage of a file with FileWrongSize.
	FoundLength uint64
	// Pieces are the first 16 pieces of state in the file, in the order of the plan.
	Pieces []PieceSummary
}

// PieceSummary is one use of a file.
type PieceSummary struct {
	Subtask Subtask
	// State is without offsets.
	State State
	// Segment is nil if the piece is the whole file.
	Segment *Segment
}

// PendingCheckpoint is a checkpoint that has begun and is not complete.
type PendingCheckpoint struct {
	Checkpoint  uint64
	TriggeredAt time.Time
	// Acknowledged of the Subtasks have acknowledged the checkpoint.
	Acknowledged, Subtasks uint32
	State                  PendingState
}

// WorkerState describes a registered worker.
type WorkerState struct {
	Nonce           string
	ExchangeAddress string
	Attempt         uint64
	Subtasks        []Subtask
	// LastHeard is the time of the worker's last sign of life.
	LastHeard time.Time
	// Running: all subtasks of the worker run.
	Running bool
}

// JobEvent is something that happened to a job.
type JobEvent struct {
	Sequence uint64
	Time     time.Time
	Kind     JobEventKind
	// Checkpoint and Attempt are what the event is about; 0: none.
	Checkpoint, Attempt uint64
	Text                string
	// Completed describes the checkpoint of EventCompleted; nil for other events.
	Completed *CheckpointSummary
}

// Canceled says how a job ended and which checkpoints are kept.
type Canceled struct {
	Status   JobStatus
	Retained []CheckpointSummary
}

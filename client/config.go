package client

import (
	"strings"
	"time"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// Plan is the set of operators of an attempt. Every subtask of it must acknowledge a checkpoint.
type Plan struct {
	Operators []Operator
}

// Operator is one operator of a plan.
type Operator struct {
	// ID finds the operator's state again after a restart. It is 1 to 128 of A-Z a-z 0-9 . _ -
	ID string
	// Name is for people; it may be empty.
	Name string
	// Parallelism is the number of subtasks.
	Parallelism uint32
	// MaxParallelism is the number of key groups, and fixed for the life of the job. It is at least Parallelism and at
	// most 32768.
	MaxParallelism uint32
	// Triggered: the operator's subtasks are sent Trigger. All others wait for barriers.
	Triggered bool
}

// Subtasks lists every subtask of the plan.
func (p *Plan) Subtasks() []Subtask {
	var all []Subtask
	for _, o := range p.Operators {
		for i := range o.Parallelism {
			all = append(all, Subtask{Operator: o.ID, Index: i})
		}
	}
	return all
}

// JobConfig says how a job is checkpointed and restarted. Its fields are Flink's keys under execution.checkpointing and
// restart-strategy. The zero value is every default.
type JobConfig struct {
	Mode CheckpointingMode
	// Interval is the time between periodic checkpoints. 0, or below 10 ms: no periodic checkpoints.
	Interval time.Duration
	// Timeout bounds a checkpoint, from its trigger to its completion; 0: 10 minutes.
	Timeout time.Duration
	// MinPause is the least time from a completion to the next periodic trigger.
	MinPause time.Duration
	// IntervalDuringBacklog is the time between periodic checkpoints while a source works off a backlog; not less than Interval. 0:
	// Interval; NoInterval: no periodic checkpoints meanwhile.
	IntervalDuringBacklog time.Duration
	// MaxConcurrentCheckpoints is how many checkpoints may be pending at a time; 0: 1.
	MaxConcurrentCheckpoints uint32
	// CheckpointsAfterTasksFinish, if it points at false, begins no checkpoint in an attempt in which a subtask has finished; nil: true.
	CheckpointsAfterTasksFinish *bool
	// TolerableFailedCheckpoints is how many failures in a row do not fail the attempt.
	TolerableFailedCheckpoints uint32
	Retention                  Retention
	// NumRetained is how many complete checkpoints are kept; 0: 1.
	NumRetained     uint32
	RestartStrategy RestartStrategy
	// Trash is how long a checkpoint that a person removes, or that the end of the job drops, can be brought back. 0: as long
	// as the daemon says; negative: not at all.
	Trash time.Duration
	// SavepointDir is the URL below which savepoints lie whose request names no directory; empty: as the daemon says.
	SavepointDir string
	// SavepointInterval is the time from the end of one periodic savepoint to the next; 0: the owner takes none by itself.
	SavepointInterval time.Duration
	// SavepointKeep says which periodic savepoints stay, as "last=3, daily=7"; empty: all.
	SavepointKeep string
	// Storage is where the checkpoints lie.
	Storage Storage
	// MaxStateSize is the largest piece of state in bytes of a job with JobManagerStorage; 0: 5 MiB.
	MaxStateSize uint64
}

// DefaultConfig returns a new configuration: a checkpoint each interval, and the newest checkpoint kept after the job's
// end. Everything else is the daemon's default. The caller may change the fields.
func DefaultConfig(interval time.Duration) *JobConfig {
	return &JobConfig{Interval: interval, Retention: RetainOnCancellation}
}

// CheckpointingMode is Flink's execution.checkpointing.mode. The zero value is ExactlyOnce.
type CheckpointingMode int32

// The modes of checkpointing.
const (
	ExactlyOnce CheckpointingMode = CheckpointingMode(ckptdv1.CheckpointingMode_CHECKPOINTING_MODE_EXACTLY_ONCE)
	AtLeastOnce CheckpointingMode = CheckpointingMode(ckptdv1.CheckpointingMode_CHECKPOINTING_MODE_AT_LEAST_ONCE)
)

// String is Flink's name of the mode.
func (m CheckpointingMode) String() string {
	return flinks(ckptdv1.CheckpointingMode(m).String(), "CHECKPOINTING_MODE_")
}

// CheckpointKind says which state of earlier checkpoints a checkpoint that a person asks for may reuse.
type CheckpointKind int32

// The kinds of checkpoints.
const (
	// ConfiguredCheckpoint is taken as the engine takes it anyhow.
	ConfiguredCheckpoint CheckpointKind = CheckpointKind(ckptdv1.CheckpointKind_CHECKPOINT_KIND_CONFIGURED)
	// FullCheckpoint reuses no file of an earlier checkpoint.
	FullCheckpoint CheckpointKind = CheckpointKind(ckptdv1.CheckpointKind_CHECKPOINT_KIND_FULL)
	// IncrementalCheckpoint does not send again what an earlier checkpoint has.
	IncrementalCheckpoint CheckpointKind = CheckpointKind(ckptdv1.CheckpointKind_CHECKPOINT_KIND_INCREMENTAL)
)

// String is Flink's name of the kind.
func (k CheckpointKind) String() string {
	return flinks(ckptdv1.CheckpointKind(k).String(), "CHECKPOINT_KIND_")
}

// Retention is Flink's execution.checkpointing.externalized-checkpoint-retention: what is kept when the job has ended.
// The zero value is NoExternalizedCheckpoints.
type Retention int32

// The values of Retention.
const (
	NoExternalizedCheckpoints Retention = Retention(ckptdv1.Retention_RETENTION_NO_EXTERNALIZED_CHECKPOINTS)
	DeleteOnCancellation      Retention = Retention(ckptdv1.Retention_RETENTION_DELETE_ON_CANCELLATION)
	RetainOnCancellation      Retention = Retention(ckptdv1.Retention_RETENTION_RETAIN_ON_CANCELLATION)
)

// String is Flink's name of the retention.
func (r Retention) String() string { return flinks(ckptdv1.Retention(r).String(), "RETENTION_") }

// Storage is Flink's execution.checkpointing.storage. The zero value is what the daemon says, else FilesystemStorage.
type Storage int32

// The values of Storage.
const (
	// FilesystemStorage: below the daemon's root.
	FilesystemStorage Storage = Storage(ckptdv1.Storage_STORAGE_FILESYSTEM)
	// JobManagerStorage: in the memory of the daemon that owns the job. The state is lost with the daemon.
	JobManagerStorage Storage = Storage(ckptdv1.Storage_STORAGE_JOBMANAGER)
)

// String is Flink's name of the storage.
func (s Storage) String() string {
	return strings.ToLower(flinks(ckptdv1.Storage(s).String(), "STORAGE_"))
}

// RestartStrategy says when a failed job is restarted. The zero value is the daemon's default.
type RestartStrategy struct {
	Type RestartType
	// Attempts is how many failures a fixed delay restarts after, before the job is FAILED.
	Attempts uint32
	// Delay is the time between a failure and the next attempt, for a fixed delay. 0: 1 s; NoDelay: none.
	Delay time.Duration
	// FailureRate is for the strategy of this name.
	FailureRate FailureRate
	// ExponentialDelay is for the strategy of this name.
	ExponentialDelay ExponentialDelay
}

// NoInterval, NoDelay and NoJitter say that there is none, where 0 means the default.
const (
	NoInterval time.Duration = -1
	NoDelay    time.Duration = -1
	NoJitter   float64       = -1
)

// FailureRate restarts a job until it fails too often within an interval. The zero value has Flink's defaults.
type FailureRate struct {
	// MaxFailures within the interval are followed by a restart; one more ends the job. 0: 1.
	MaxFailures uint32
	// Interval is the time in which failures count. 0: 1 minute.
	Interval time.Duration
	// Delay is the time between a failure and the next attempt. 0: 1 s; NoDelay: none.
	Delay time.Duration
}

// ExponentialDelay waits longer after each failure, and begins anew after a quiet time. The zero value has Flink's
// defaults.
type ExponentialDelay struct {
	// InitialBackoff is the first wait. 0: 1 s.
	InitialBackoff time.Duration
	// MaxBackoff is the longest wait. 0: 1 minute.
	MaxBackoff time.Duration
	// Multiplier makes each wait longer than the one before. It is above 1. 0: 1.5.
	Multiplier float64
	// ResetAfter is how long an attempt must last without failure before the waits begin anew. 0: 1 hour.
	ResetAfter time.Duration
	// Jitter is the share of a wait by which it is made longer or shorter at random, 0 to 1. 0: 0.1; NoJitter: none.
	Jitter float64
	// AttemptsBeforeReset are followed by a restart without such a quiet time; one more ends the job. 0: any number.
	AttemptsBeforeReset uint32
}

// RestartType is Flink's restart-strategy.type.
type RestartType int32

// The types of restart strategies. DefaultRestart is the daemon's default.
const (
	DefaultRestart RestartType = RestartType(ckptdv1.RestartStrategy_TYPE_UNSPECIFIED)
	NoRestart      RestartType = RestartType(ckptdv1.RestartStrategy_TYPE_NONE)
	FixedDelay     RestartType = RestartType(ckptdv1.RestartStrategy_TYPE_FIXED_DELAY)

	FailureRateRestart      RestartType = RestartType(ckptdv1.RestartStrategy_TYPE_FAILURE_RATE)
	ExponentialDelayRestart RestartType = RestartType(ckptdv1.RestartStrategy_TYPE_EXPONENTIAL_DELAY)
)

// String is Flink's name of the type.
func (r RestartType) String() string {
	return flinks(ckptdv1.RestartStrategy_Type(r).String(), "TYPE_")
}

// JobStatus is the state of a job in its journal. All but StatusRunning and StatusStopping are final. The zero value
// means that no status is known.
type JobStatus int32

// The values of JobStatus.
const (
	StatusRunning  JobStatus = JobStatus(ckptdv1.JobStatus_JOB_STATUS_RUNNING)
	StatusCanceled JobStatus = JobStatus(ckptdv1.JobStatus_JOB_STATUS_CANCELED)
	StatusFailed   JobStatus = JobStatus(ckptdv1.JobStatus_JOB_STATUS_FAILED)
	StatusFinished JobStatus = JobStatus(ckptdv1.JobStatus_JOB_STATUS_FINISHED)
	// StatusStopping: the job is stopping with a savepoint.
	StatusStopping JobStatus = JobStatus(ckptdv1.JobStatus_JOB_STATUS_STOPPING)
	// StatusCopied: the job is a copy of a job of another root.
	StatusCopied  JobStatus = JobStatus(ckptdv1.JobStatus_JOB_STATUS_COPIED)
	StatusRemoved JobStatus = JobStatus(ckptdv1.JobStatus_JOB_STATUS_REMOVED)
	// StatusSuspended: a person suspended the job. It goes on when its workers are started again.
	StatusSuspended JobStatus = JobStatus(ckptdv1.JobStatus_JOB_STATUS_SUSPENDED)
)

// String is Flink's name of the status.
func (s JobStatus) String() string { return flinks(ckptdv1.JobStatus(s).String(), "JOB_STATUS_") }

// flinks takes the prefix of the API off a constant's name. What is left is Flink's name.
func flinks(name, prefix string) string { return strings.TrimPrefix(name, prefix) }

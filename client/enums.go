package client

import ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"

// JobPhase says what a job's owner is doing. The zero value means that nothing is known.
type JobPhase int32

// The values of JobPhase.
const (
	// PhaseAttaching: the owner reads the journal of the job, or takes the job over.
	PhaseAttaching JobPhase = JobPhase(ckptdv1.JobPhase_JOB_PHASE_ATTACHING)
	// PhaseWaitingForWorkers: SubtasksMissing subtasks have no worker yet.
	PhaseWaitingForWorkers JobPhase = JobPhase(ckptdv1.JobPhase_JOB_PHASE_WAITING_FOR_WORKERS)
	// PhaseWaitingForAttempt: all subtasks have a worker; the next attempt has not begun.
	PhaseWaitingForAttempt JobPhase = JobPhase(ckptdv1.JobPhase_JOB_PHASE_WAITING_FOR_ATTEMPT)
	// PhaseStarting: an attempt has begun; not all subtasks run yet.
	PhaseStarting JobPhase = JobPhase(ckptdv1.JobPhase_JOB_PHASE_STARTING)
	// PhaseRunning: all subtasks run.
	PhaseRunning JobPhase = JobPhase(ckptdv1.JobPhase_JOB_PHASE_RUNNING)
	// PhaseClearingUp: the job has ended; its owner deletes what is not kept.
	PhaseClearingUp JobPhase = JobPhase(ckptdv1.JobPhase_JOB_PHASE_CLEARING_UP)
	// PhaseImporting: the job waits for the checkpoint of another job that it begins from.
	PhaseImporting JobPhase = JobPhase(ckptdv1.JobPhase_JOB_PHASE_IMPORTING)
)

// String is the value's name in the API, without its prefix.
func (j JobPhase) String() string { return flinks(ckptdv1.JobPhase(j).String(), "JOB_PHASE_") }

// PendingState says how far a pending checkpoint is. The zero value means that nothing is known.
type PendingState int32

// The values of PendingState.
const (
	// PendingOpen: acknowledgements are missing.
	PendingOpen PendingState = PendingState(ckptdv1.PendingState_PENDING_STATE_OPEN)
	// PendingWriting: all subtasks have acknowledged; the owner writes the _metadata.
	PendingWriting PendingState = PendingState(ckptdv1.PendingState_PENDING_STATE_WRITING)
	// PendingUnresolved: the owner waits for the store's answer to the journal entry.
	PendingUnresolved PendingState = PendingState(ckptdv1.PendingState_PENDING_STATE_UNRESOLVED)
)

// String is the value's name in the API, without its prefix.
func (p PendingState) String() string {
	return flinks(ckptdv1.PendingState(p).String(), "PENDING_STATE_")
}

// CheckpointState says what a job's journal says of a checkpoint. The zero value means that nothing is known.
type CheckpointState int32

// The values of CheckpointState.
const (
	// CheckpointKept: the job retains the checkpoint.
	CheckpointKept CheckpointState = CheckpointState(ckptdv1.CheckpointState_CHECKPOINT_STATE_KEPT)
	// CheckpointTrashed: the checkpoint is in the trash, and is deleted when its time there is over.
	CheckpointTrashed CheckpointState = CheckpointState(ckptdv1.CheckpointState_CHECKPOINT_STATE_TRASHED)
	// CheckpointHidden: the checkpoint is disposed of, and kept only because another job still restores from it.
	CheckpointHidden CheckpointState = CheckpointState(ckptdv1.CheckpointState_CHECKPOINT_STATE_HIDDEN)
	// CheckpointNotRetained: the journal does not name the checkpoint.
	CheckpointNotRetained CheckpointState = CheckpointState(ckptdv1.CheckpointState_CHECKPOINT_STATE_NOT_RETAINED)
)

// String is the value's name in the API, without its prefix.
func (c CheckpointState) String() string {
	return flinks(ckptdv1.CheckpointState(c).String(), "CHECKPOINT_STATE_")
}

// FilePresence says what was found where a file should be. The zero value means that nothing is known.
type FilePresence int32

// The values of FilePresence.
const (
	// FilePresent: the file is there.
	FilePresent FilePresence = FilePresence(ckptdv1.FilePresence_FILE_PRESENCE_PRESENT)
	// FileMissing: the file is not there.
	FileMissing FilePresence = FilePresence(ckptdv1.FilePresence_FILE_PRESENCE_MISSING)
	// FileWrongSize: the file has another length.
	FileWrongSize FilePresence = FilePresence(ckptdv1.FilePresence_FILE_PRESENCE_WRONG_SIZE)
)

// String is the value's name in the API, without its prefix.
func (f FilePresence) String() string {
	return flinks(ckptdv1.FilePresence(f).String(), "FILE_PRESENCE_")
}

// JobEventKind says what happened to a job. The zero value means that nothing is known.
type JobEventKind int32

// The values of JobEventKind.
const (
	// EventAttached: this daemon became the job's owner.
	EventAttached JobEventKind = JobEventKind(ckptdv1.JobEventKind_JOB_EVENT_KIND_ATTACHED)
	// EventAttempt: an attempt began; Checkpoint is the checkpoint that it restores.
	EventAttempt JobEventKind = JobEventKind(ckptdv1.JobEventKind_JOB_EVENT_KIND_ATTEMPT)
	// EventRunning: all subtasks run.
	EventRunning JobEventKind = JobEventKind(ckptdv1.JobEventKind_JOB_EVENT_KIND_RUNNING)
	// EventTriggered: a checkpoint began.
	EventTriggered JobEventKind = JobEventKind(ckptdv1.JobEventKind_JOB_EVENT_KIND_TRIGGERED)
	// EventCompleted: a checkpoint is complete and durable.
	EventCompleted JobEventKind = JobEventKind(ckptdv1.JobEventKind_JOB_EVENT_KIND_COMPLETED)
	// EventAborted: a checkpoint was given up.
	EventAborted JobEventKind = JobEventKind(ckptdv1.JobEventKind_JOB_EVENT_KIND_ABORTED)
	// EventNotBegun: a checkpoint that was due, or asked for, could not begin.
	EventNotBegun JobEventKind = JobEventKind(ckptdv1.JobEventKind_JOB_EVENT_KIND_NOT_BEGUN)
	// EventCommitted: every sink has committed a complete checkpoint.
	EventCommitted JobEventKind = JobEventKind(ckptdv1.JobEventKind_JOB_EVENT_KIND_COMMITTED)
	// EventTaskFailed: a worker reported that a subtask failed.
	EventTaskFailed JobEventKind = JobEventKind(ckptdv1.JobEventKind_JOB_EVENT_KIND_TASK_FAILED)
	// EventFailover: the attempt is given up.
	EventFailover JobEventKind = JobEventKind(ckptdv1.JobEventKind_JOB_EVENT_KIND_FAILOVER)
	// EventWorkerLost: a worker broke its stream, or fell silent.
	EventWorkerLost JobEventKind = JobEventKind(ckptdv1.JobEventKind_JOB_EVENT_KIND_WORKER_LOST)
	// EventReplaced: another process runs a worker's subtasks.
	EventReplaced JobEventKind = JobEventKind(ckptdv1.JobEventKind_JOB_EVENT_KIND_REPLACED)
	// EventRefused: a worker was refused: it builds another plan than the one that runs.
	EventRefused JobEventKind = JobEventKind(ckptdv1.JobEventKind_JOB_EVENT_KIND_REFUSED)
	// EventExpired: workers of the attempt that this owner found did not come back in time.
	EventExpired JobEventKind = JobEventKind(ckptdv1.JobEventKind_JOB_EVENT_KIND_EXPIRED)
	// EventEndOfData: all sources have read all their input.
	EventEndOfData JobEventKind = JobEventKind(ckptdv1.JobEventKind_JOB_EVENT_KIND_END_OF_DATA)
	// EventDegraded: a retained _metadata cannot be read: nothing of the job is deleted.
	EventDegraded JobEventKind = JobEventKind(ckptdv1.JobEventKind_JOB_EVENT_KIND_DEGRADED)
	// EventRecovered: all retained _metadata can be read again.
	EventRecovered JobEventKind = JobEventKind(ckptdv1.JobEventKind_JOB_EVENT_KIND_RECOVERED)
	// EventStoreAway: the store does not answer, and the owner waits for the store.
	EventStoreAway JobEventKind = JobEventKind(ckptdv1.JobEventKind_JOB_EVENT_KIND_STORE_AWAY)
	// EventStoreBack: the store answers again.
	EventStoreBack JobEventKind = JobEventKind(ckptdv1.JobEventKind_JOB_EVENT_KIND_STORE_BACK)
	// EventCanceled: a person ended the job.
	EventCanceled JobEventKind = JobEventKind(ckptdv1.JobEventKind_JOB_EVENT_KIND_CANCELED)
	// EventFailed: the job failed, and no restart is left.
	EventFailed JobEventKind = JobEventKind(ckptdv1.JobEventKind_JOB_EVENT_KIND_FAILED)
	// EventFinished: all subtasks finished.
	EventFinished JobEventKind = JobEventKind(ckptdv1.JobEventKind_JOB_EVENT_KIND_FINISHED)
	// EventChanged: the next attempt has another plan or configuration.
	EventChanged JobEventKind = JobEventKind(ckptdv1.JobEventKind_JOB_EVENT_KIND_CHANGED)
	// EventGoodbye: a worker said goodbye; Text says which one.
	EventGoodbye JobEventKind = JobEventKind(ckptdv1.JobEventKind_JOB_EVENT_KIND_GOODBYE)
	// EventImported: the job begins from a checkpoint of another job, which is there now as Checkpoint.
	EventImported JobEventKind = JobEventKind(ckptdv1.JobEventKind_JOB_EVENT_KIND_IMPORTED)
	// EventSavepoint: a savepoint is done, or came to nothing; Text has its place.
	EventSavepoint JobEventKind = JobEventKind(ckptdv1.JobEventKind_JOB_EVENT_KIND_SAVEPOINT)
	// EventSuspended: a person suspends the job; its workers are told to end.
	EventSuspended JobEventKind = JobEventKind(ckptdv1.JobEventKind_JOB_EVENT_KIND_SUSPENDED)
	// EventInMemory: the job's state is lost with the daemon that owns it.
	EventInMemory JobEventKind = JobEventKind(ckptdv1.JobEventKind_JOB_EVENT_KIND_IN_MEMORY)
	// EventBeginsAnew: the job's state was in the memory of a daemon that is gone.
	EventBeginsAnew JobEventKind = JobEventKind(ckptdv1.JobEventKind_JOB_EVENT_KIND_BEGINS_ANEW)
)

// String is the value's name in the API, without its prefix.
func (j JobEventKind) String() string {
	return flinks(ckptdv1.JobEventKind(j).String(), "JOB_EVENT_KIND_")
}

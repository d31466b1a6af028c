package owner

import (
	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
)

// EventKind says what happened.
type EventKind uint8

// The events. The comment of each names the fields of Event that it carries, and the Tell that answers it. An event may
// come in any phase. If it makes no sense there, the machine refuses or ignores it.
const (
	EventNone EventKind = iota
	// EventResult: a storage Op has ended. Result.
	EventResult
	// EventAttach: Caller asks this daemon to own the job (AttachJob). A job that does not exist is begun with Create;
	// if Create is nil, the caller is refused. Plan and Config are what the caller wants in effect; nil: what is in
	// effect. If they differ from it and no worker is registered, they come with the next attempt. Answered by
	// TellAttached, TellRedirect, TellAttachRefused or TellChangeRefused.
	//
	// One attach runs at a time. Callers that come meanwhile wait for it, and each one gets the answer that fits it.
	EventAttach
	// EventFinish: a daemon that starts asks to sweep and release a terminal job whose owner does not answer. Caller.
	// Answered like EventAttach.
	EventFinish
	// EventJanitor: a person's command asks for the job, whatever its status, to do one thing with it. Caller, TakeOver.
	// Another owner that answers keeps the job. A job that has not ended, and whose owner does not answer, is taken over
	// only with TakeOver. An owner without URLs was a command, too, and nobody can ask it. Answered like EventAttach.
	EventJanitor
	// EventStop: the daemon stops gracefully and releases the job, or a person suspends the job (Suspend). Pending checkpoints are
	// forgotten. Answered by TellReleased.
	EventStop

	// EventRegister: a worker's stream is open. Worker, Subtasks, Attempt (which the worker runs; 0: none), Plan. The
	// answer, with the worker's number, may be TellStart, TellReplaced (for this worker or for another), TellEnded,
	// TellReregister or TellPlanRefused. No answer means that the worker is registered.
	EventRegister
	// EventWorkerGone: Worker's stream broke, or the coordinator has given the worker up.
	EventWorkerGone
	// EventRunning: Worker reports that Subtasks run, in Attempt. A worker that registers again has to repeat the
	// report. If its registration carries the report, this event follows EventRegister at once.
	EventRunning
	// EventFinished: Worker reports that Subtasks have finished for good, in Attempt. Ended is for the journal: the owner
	// ends the job as StatusFinished when all subtasks have finished. A worker that registers with a new owner has to
	// repeat the report.
	EventFinished
	// EventRegistrationsExpired: the workers of the attempt that this owner found did not all come back in time. The
	// owner adopts the attempt no more.
	EventRegistrationsExpired
	// EventFailover: Attempt has failed. Its pending checkpoints are aborted (ID unused, Reason carried to TellAbort).
	// The owner adopts and begins no attempt until EventNewAttempt.
	EventFailover
	// EventNewAttempt: begin the attempt after Attempt as soon as all subtasks have a worker. Caller, Request. A Caller
	// is answered by TellAttempted when the entry is won. If Attempt is not the journal's, the answer comes at once and
	// nothing changes. A second caller is refused meanwhile (ReasonBusy).
	EventNewAttempt

	// EventTrigger: begin a checkpoint. Caller, Checkpoint. Answered by TellTrigger or TellTriggerRefused. The trigger waits for an
	// append under way, and for a reservation of ids.
	EventTrigger
	// EventBegin: BeginSnapshot. Caller, Epoch, Attempt, ID, Files (those of the worker's files that Names knows).
	// Answered by TellBegun.
	EventBegin
	// EventAck: Acknowledge. Caller, Epoch, Attempt, ID, Subtasks, Uploads, Files (those that the worker names by short
	// numbers). Answered by TellAcked.
	EventAck
	// EventAbort: abort the checkpoint ID; Reason is carried to TellAbort. Ignored while the checkpoint is unresolved.
	EventAbort
	// EventEnd: end the job with Status: StatusCanceled, StatusFailed or StatusFinished. Ended, Caller, Request.
	// Answered by TellEnded when the entry is won.
	EventEnd
	// EventSweep: sweep now, and look for pins that have leaked. Answered by TellSwept when the sweep has ended, or at once with a Reason. The shell also
	// asks for the last sweep of a terminal job, when its workers are gone.
	EventSweep
	// EventEdit: a person's command. Edit, Caller, Request. Commands wait for the entry under way and are carried out one after
	// the other. Answered by TellEdited; a Request that was carried out before is answered again.
	EventEdit
	// EventSavepoint: a person wants a savepoint. Savepoint, Caller, Request. Answered by TellSavepoint when the savepoint has begun,
	// or was refused. A Request that has begun one is answered again. TellSaved says how it ends.
	EventSavepoint
	// EventDisposed: the shell has disposed of the periodic savepoint ID, which is done. Its entry goes.
	EventDisposed
	// EventCollect: a person's command has listed files and _metadata of the job. The owner condemns those that are dead now.
	// Uploads: the files, with the parts of their names; IDs: the checkpoints whose _metadata was listed.
	EventCollect
)

// Event is an input of the machine. The comment of its EventKind says which fields count.
type Event struct {
	Kind   EventKind
	Result Result
	// Caller is the shell's number of the caller that waits; 0: nobody waits. It comes back in the Tell that answers.
	Caller  uint64
	Request journal.Request
	// Worker is the shell's number of a worker process (of its nonce). It is never 0, and no two processes have the
	// same number in a machine's life.
	Worker         uint32
	Epoch, Attempt uint64
	// ID of a checkpoint.
	ID       uint64
	Subtasks Subtasks
	Files    incremental.Files
	// Uploads are the files that PutState made for this acknowledgement, with the parts of their names.
	Uploads []Found
	IDs     []uint64
	Plan    *journal.Plan
	Config  *journal.Config
	Status  journal.Status
	// Ended says when and why the job ends; the entry keeps it.
	Ended  journal.Ended
	Reason Reason
	Create *Creation
	Edit   *Edit
	// Savepoint: EventSavepoint: the Path and the Stop of the savepoint that is wanted.
	Savepoint *journal.Savepoint
	// Due: EventFinish: the caller has found that a pin on one of the job's checkpoints has leaked, or that the store's time has
	// come for something (journal.Entry.DueAt).
	Due bool
	// Checkpoint is the kind of checkpoint that EventTrigger begins.
	Checkpoint CheckpointKind
	// Suspend: EventStop: a person suspends the job.
	Suspend bool
	// TakeOver: EventJanitor: the job is taken from an owner that does not answer.
	TakeOver bool
}

// CheckpointKind says which state of earlier checkpoints a checkpoint may reuse.
type CheckpointKind uint8

// The kinds of checkpoints.
const (
	// CheckpointConfigured: as the engine does it anyhow.
	CheckpointConfigured CheckpointKind = iota
	// CheckpointFull: no file of another checkpoint is reused.
	CheckpointFull
	// CheckpointIncremental: files that an earlier checkpoint has are not sent again.
	CheckpointIncremental
)

// Subtask is a subtask, by its number in the plan of the journal (journal.Plan.Number).
type Subtask uint32

// Subtasks is a set of subtasks.
type Subtasks = incremental.Set[Subtask]

// Creation holds the contents of a new job's first entry. Immutable.
type Creation struct {
	Plan   *journal.Plan
	Config *journal.Config
	About  *journal.About
	// Import is the checkpoint of another job that the job begins from, wanted; zero: the job begins empty.
	Import journal.Import
	// Above is the largest epoch that a pin of the job in a lender's journal names. The job may have lived before, and its folder was
	// emptied: then it begins above that epoch, so that its own pins replace the old ones.
	Above uint64
	// Life is the number above which all numbers of the job begin: epochs, attempts and checkpoint ids. A job whose journal is lost with
	// its daemon begins anew above all that its workers and sinks have seen. 0: each begins at 1.
	Life uint64
}

// Found is a file with the parts of its name: the epoch in which it was written and the checkpoint it was written for.
type Found struct {
	File              incremental.File
	Epoch, Checkpoint uint64
}

// Foreign is files in the folder of another job.
type Foreign struct {
	Job   string
	Files incremental.Files
}

// Result answers a storage Op. Kind, Life and ID are copied from it.
type Result struct {
	Kind OpKind
	Life uint32
	ID   uint64
	journal.Result
	// Answered: OpAsk: the process with the Op's nonce says that it owns the job. Outcome does not matter.
	Answered bool
	// Nonce: OpReadMeta, OpReadSaved: the nonce in the _metadata. A tombstone of a savepoint has none.
	Nonce journal.Nonce
	// Files: OpReadMeta: all files that the _metadata names (if Corrupt or Newer, as far as it could be read);
	// OpDeleteFiles: the files that are gone.
	Files incremental.Files
	// IDs: OpDeleteMetas: the checkpoints whose _metadata is gone. OpSweep: those whose _metadata the page shows.
	IDs []uint64
	// ForeignFiles: OpReadMeta Done, and OpCreateMeta Done with a Source: the files in the folders of other jobs that the
	// _metadata names, if the job claims its source.
	ForeignFiles []Foreign
	// Jobs: OpReadSource: the jobs in whose folders files of the source lie, but for the source's own.
	Jobs []string
	// Found: OpSweep: the files of the page.
	Found []Found
	// Time: OpTime: the store's time (milliseconds since 1970).
	Time uint64
	// More: OpSweep: another page comes.
	More bool
	// Meta: OpCreateMeta Done: the fields of the journal's Checkpoint: Size, CRC, and those for people. The machine
	// fills in ID and Nonce. OpReadMeta Done: the same fields, as far as they are known. OpSave Done, OpReadSaved Done: Size and CRC.
	Meta journal.Checkpoint
}

// Reason says why something was refused or given up.
type Reason uint8

// The reasons. The coordinator decides on those from ReasonExpired on. The machine carries them from EventAbort and
// EventFailover to TellAbort, and uses only ReasonOther itself.
const (
	ReasonNone Reason = iota
	// ReasonNoJob: there is no such job.
	ReasonNoJob
	// ReasonForeign: the job's folder is not empty, but has no journal.
	ReasonForeign
	// ReasonCorrupt: the head of the journal cannot be read.
	ReasonCorrupt
	// ReasonNewer: the journal asks for a newer version, or for an operation that this version does not have.
	ReasonNewer
	// ReasonTerminal: the job has ended. The caller can begin a new job id.
	ReasonTerminal
	// ReasonNotTerminal: EventFinish found a job that is not terminal.
	ReasonNotTerminal
	// ReasonReleased: EventFinish found a job that was swept and released already.
	ReasonReleased
	// ReasonSilent: the job has not ended, and its owner does not answer. The command did not ask to take the job over.
	ReasonSilent
	// ReasonNotOwner: this daemon does not own the job (any more).
	ReasonNotOwner
	// ReasonEpoch, ReasonAttempt: the call is of another epoch, or of another attempt.
	ReasonEpoch
	ReasonAttempt
	// ReasonNotOpen: the checkpoint is not open.
	ReasonNotOpen
	// ReasonNotPromised: a file named by its number was not promised to this checkpoint.
	ReasonNotPromised
	// ReasonNotNamed: an uploaded file is not named for this epoch and checkpoint.
	ReasonNotNamed
	// ReasonSubtasks: an acknowledgement names no subtasks, subtasks that are not of the plan, or some that have
	// acknowledged already beside some that have not.
	ReasonSubtasks
	// ReasonNotRunning: not all subtasks run.
	ReasonNotRunning
	// ReasonLoading: the _metadata of the retained checkpoints are not all read yet.
	ReasonLoading
	// ReasonBusy: another request of the same kind is under way.
	ReasonBusy
	// ReasonFull: the journal's entry has no room for another retained checkpoint.
	ReasonFull
	// ReasonStopping: the job is being released, or is about to end.
	ReasonStopping
	// ReasonDegraded: a retained _metadata is unreadable; nothing may be deleted.
	ReasonDegraded
	// ReasonPlan: the plan is not the journal's.
	ReasonPlan
	// ReasonRegistered: workers are registered for the plan and configuration in effect.
	ReasonRegistered
	// ReasonState: a checkpoint holds state that a job with another plan could not restore.
	ReasonState
	// ReasonImporting: the job still waits for the checkpoint that it begins from.
	ReasonImporting
	// ReasonSource: the checkpoint that the job begins from is gone. ReasonSourceDamaged: its _metadata cannot be read.
	ReasonSource
	ReasonSourceDamaged
	// ReasonLender: the journal of the job that lends cannot be read, or asks for a newer version.
	ReasonLender
	// ReasonClaimRunning: the job whose checkpoint is to be claimed has not ended. ReasonClaimed: another job claims the
	// checkpoint.
	ReasonClaimRunning
	ReasonClaimed
	// ReasonPins: the journal of the job that lends has no room for another pin.
	ReasonPins
	// ReasonNoCheckpoint: the job does not retain the checkpoint.
	ReasonNoCheckpoint
	// ReasonNewest: the job has not ended, and would restore the checkpoint after a failure.
	ReasonNewest
	// ReasonLent: other jobs have borrowed the checkpoint.
	ReasonLent
	// ReasonTrashed: the checkpoint is in the trash already. ReasonNotTrashed: it is not in the trash.
	ReasonTrashed
	ReasonNotTrashed
	// ReasonTags: the journal's entry has no room for these tags.
	ReasonTags
	// ReasonSavepoints: the journal's entry has no room for another savepoint, and none of those on record may leave it.
	ReasonSavepoints
	// ReasonCleaned: the savepoint came to nothing, and what was written of it is deleted.
	ReasonCleaned
	// ReasonSubsumed: a newer checkpoint completed first.
	ReasonSubsumed
	// ReasonMetadata: the _metadata could not be written.
	ReasonMetadata
	// ReasonAttemptEnded: a new attempt begins.
	ReasonAttemptEnded
	// ReasonExpired: Flink's CHECKPOINT_EXPIRED.
	ReasonExpired
	// ReasonDeclined: Flink's CHECKPOINT_DECLINED.
	ReasonDeclined
	// ReasonFailover: the job fails over.
	ReasonFailover
	// ReasonOther: none of the above; the shell may know more.
	ReasonOther
)

package owner

import (
	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
)

// EventKind says what happened.
type EventKind uint8

// The events. Behind each: the fields of Event it carries, and the Tell that answers it. An event that makes no sense in the
// machine's phase is answered by a refusal or ignored, never a mistake.
const (
	EventNone EventKind = iota
	// EventResult answers a storage Op: Result.
	EventResult
	// EventAttach: somebody asks this daemon to own the job (AttachJob, Register). Create: what to begin the job with if it does
	// not exist; nil: then it is refused. One at a time; while it lasts more are ignored, they wait for the same answer:
	// TellAttached (at once if the job is owned already), TellRedirect, TellAttachRefused. If EventFinish was under way and is refused,
	// ask again.
	EventAttach
	// EventFinish: attach only to sweep and release a terminal job whose owner does not answer (at a daemon's start). Answered
	// like EventAttach.
	EventFinish
	// EventStop: give the job up (graceful stop). What is pending is forgotten. Answered by TellReleased.
	EventStop

	// EventRegister: a worker's stream is open. Worker, Subtasks, Attempt (that it runs; 0: none), Plan. May bring TellStart,
	// TellReplaced (for it or for another), TellEnded, TellReregister or TellPlanRefused, all with the worker's number; silence
	// means: registered.
	EventRegister
	// EventWorkerGone: Worker's stream broke, or it is given up.
	EventWorkerGone
	// EventRunning: Worker reports that Subtasks run, in Attempt. A worker that registers again reports it again.
	EventRunning
	// EventRegistrationsExpired: the workers of the attempt that this owner found do not all come back; it is not adopted any more.
	EventRegistrationsExpired
	// EventFailover: Attempt has failed; its pending checkpoints are aborted (ID unused, Reason carried to TellAbort), and nothing
	// is adopted or begun until EventNewAttempt.
	EventFailover
	// EventNewAttempt: begin the attempt after Attempt as soon as all subtasks have a worker. Plan and Config change
	// with it, nil: as they are. Caller, Request. With a Caller answered by TellAttempted once the journal says so;
	// another Attempt than the journal's is answered at once and changes nothing; so is a second caller meanwhile, and
	// a Plan or Config that comes when the entry is on its way already (ReasonBusy).
	EventNewAttempt

	// EventTrigger: begin a checkpoint. Caller. Answered by TellTrigger or TellTriggerRefused; waits for an append that is under
	// way, and for a reservation of ids.
	EventTrigger
	// EventBegin: BeginSnapshot. Caller, Epoch, Attempt, ID, Files: the numbers of those files that Names knows. Answered by
	// TellBegun.
	EventBegin
	// EventAck: Acknowledge. Caller, Epoch, Attempt, ID, Subtasks, Uploads, Files: those named by their short numbers. Answered by
	// TellAcked.
	EventAck
	// EventAbort: give the checkpoint ID up, Reason carried to TellAbort. Ignored while it is unresolved.
	EventAbort
	// EventEnd: make Status terminal: StatusCanceled, StatusFailed or StatusFinished. Ended, Caller, Request. Answered
	// by TellEnded once the journal says so.
	EventEnd
	// EventSweep: sweep now. Answered by TellSwept at its end, or at once with a Reason. The sweep that releases a terminal job is
	// asked for like any other, when its workers are gone.
	EventSweep
)

// Event is what the shell tells the machine. Which fields count, EventKind says.
type Event struct {
	Kind   EventKind
	Result Result
	// Caller comes back in the Tell that answers; the shell numbers who waits. 0: nobody waits.
	Caller  uint64
	Request journal.Request
	// Worker is the shell's number of a worker process (its nonce); never 0, never of two processes in a machine's life.
	Worker         uint32
	Epoch, Attempt uint64
	// ID of a checkpoint.
	ID uint64
	// Subtasks by their numbers in the plan of the journal (journal.Plan.Number).
	Subtasks incremental.Set
	Files    incremental.Set
	// Uploads are the files that PutState made for this acknowledgement, with what their names say.
	Uploads []Found
	Plan    *journal.Plan
	Config  *journal.Config
	Status  journal.Status
	// Ended says when and why the job ends; the entry keeps it.
	Ended  journal.Ended
	Reason Reason
	Create *Creation
}

// Creation is what a job begins with. Immutable.
type Creation struct {
	Plan   *journal.Plan
	Config *journal.Config
	About  *journal.About
}

// Found is a file with what its name tells: who wrote it for what.
type Found struct {
	File              incremental.File
	Epoch, Checkpoint uint64
}

// Result answers a storage Op. Kind, Life and ID are copied from it.
type Result struct {
	Kind OpKind
	Life uint32
	ID   uint64
	journal.Result
	// Answered: OpAsk: the process with that nonce says that it owns the job. Outcome does not matter.
	Answered bool
	// Nonce that an OpReadMeta found in the _metadata.
	Nonce journal.Nonce
	// Files: OpReadMeta: all files that it names (as far as it could be read, if Corrupt or Newer); OpDeleteFiles: those gone.
	Files incremental.Set
	// IDs: OpDeleteMetas: those gone. OpSweep: the checkpoints whose _metadata the page shows.
	IDs []uint64
	// Found: OpSweep: the files of the page.
	Found []Found
	// More: OpSweep: another page comes.
	More bool
	// Meta: OpCreateMeta Done: what the entry says of it (Size, CRC and what is for people; ID and Nonce are the machine's).
	// OpReadMeta Done: the same, as far as it is known.
	Meta journal.Checkpoint
}

// Reason says why something was refused or given up.
type Reason uint8

// The reasons. Those from ReasonExpired on are only carried: an EventAbort brings them, TellAbort brings them back.
const (
	ReasonNone Reason = iota
	// ReasonNoJob: there is no such job.
	ReasonNoJob
	// ReasonForeign: the job's folder is not empty, but has no journal.
	ReasonForeign
	// ReasonCorrupt: the head of the journal cannot be read.
	ReasonCorrupt
	// ReasonNewer: the journal asks for a newer version, or for something that this one cannot do.
	ReasonNewer
	// ReasonTerminal: the job is over. Begin a new job id.
	ReasonTerminal
	// ReasonNotTerminal: EventFinish found a job that is not terminal.
	ReasonNotTerminal
	// ReasonReleased: EventFinish found nothing left to do.
	ReasonReleased
	// ReasonNotOwner: this daemon does not own the job (any more).
	ReasonNotOwner
	// ReasonEpoch, ReasonAttempt: of another epoch or attempt.
	ReasonEpoch
	ReasonAttempt
	// ReasonNotOpen: the checkpoint is not open.
	ReasonNotOpen
	// ReasonNotPromised: a file named by its number was not promised to this checkpoint.
	ReasonNotPromised
	// ReasonNotNamed: an uploaded file is not named for this epoch and checkpoint.
	ReasonNotNamed
	// ReasonSubtasks: no subtasks, not of the plan, or acknowledged already together with others that were not.
	ReasonSubtasks
	// ReasonNotRunning: not all subtasks run.
	ReasonNotRunning
	// ReasonLoading: the files of the retained checkpoints are not read yet.
	ReasonLoading
	// ReasonBusy: one like it waits already.
	ReasonBusy
	// ReasonFull: the journal's entry has no room for another retained checkpoint.
	ReasonFull
	// ReasonStopping: the job is given up or ends.
	ReasonStopping
	// ReasonDegraded: a retained _metadata is unreadable; nothing may be deleted.
	ReasonDegraded
	// ReasonPlan: another plan than the journal's.
	ReasonPlan
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
	// ReasonOther: the shell knows.
	ReasonOther
)

package owner

import (
	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
)

// OpKind says what an Op asks for: an operation of the store, or a message to a worker, a caller or the coordinator.
type OpKind uint8

// The operations. "->" names the Results that the shell may hand back. Result.Kind, Life and ID are the Op's.
const (
	OpNone OpKind = iota
	// OpJournal: carry out Journal, an operation on the journal -> the Result that the comment of its kind names.
	OpJournal
	// OpAsk: ask the process with Nonce, at each of URLs (1 s each), whether it owns the job. It owns the job if its
	// Machine.Owns(Nonce) is true -> Answered or not.
	OpAsk
	// OpReadMeta: read chk-ID/_metadata whole -> Done{Nonce, Files, Meta}, NotFound, Corrupt{Files}, Newer{Files} (the
	// _metadata holds kinds that this version does not know) or Unknown (the read failed).
	OpReadMeta
	// OpCreateMeta: create chk-ID/_metadata, IfAbsent, with Nonce and the pieces of the accepted acknowledgements
	// -> Done{Meta}, Exists, NotDone (disk full) or Unknown. If it is repeated, the bytes are the same. With a Source, the
	// _metadata holds what Source's holds for the operators of the plan. -> also NotFound, Corrupt or Newer: Source's
	// cannot be read, and nothing was written.
	OpCreateMeta
	// OpAbroad: carry out Journal, an operation on the journal of another job, Job -> as OpJournal.
	OpAbroad
	// OpReadSource: read the _metadata of Source, a checkpoint of another job -> Done{Nonce, Jobs}, NotFound, Corrupt,
	// Newer or Unknown.
	OpReadSource
	// OpTime: write a small object and read the store's time of it -> Done{Time} or Unknown.
	OpTime
	// OpTrim: delete the journal's slots IDs -> nothing.
	OpTrim
	// OpDeleteMetas: delete chk-N/_metadata of each of IDs -> Done (all are gone), or any other outcome with IDs, the
	// ones that are gone.
	OpDeleteMetas
	// OpDeleteFiles: delete Files, in batches -> Done (all are gone), or any other outcome with Files, the ones that
	// are gone. Names may forget the files that are gone.
	OpDeleteFiles
	// OpAbortUnfinished: abort the unfinished writes and uploads below the job's folder whose target is dead
	// (Op.DeadTarget) -> any outcome.
	OpAbortUnfinished
	// OpSave: copy the Files that the pieces of ID name into the folder of Savepoint. Then create _metadata there, IfAbsent, with
	// Savepoint's nonce -> Done{Meta}, Exists, NotDone or Unknown. If it is repeated, the bytes of the _metadata are the same.
	OpSave
	// OpReadSaved: read the _metadata in the folder of Savepoint whole -> Done{Nonce, Meta}, NotFound, Corrupt, Newer or Unknown.
	OpReadSaved
	// OpTombstone: create a tombstone as the _metadata in the folder of Savepoint, IfAbsent -> Done, Exists, NotDone (the store cannot
	// be reached by this daemon) or Unknown.
	OpTombstone
	// OpClean: delete all objects in the folder of Savepoint but its _metadata -> Done, NotDone (the store cannot be reached by this
	// daemon) or Unknown.
	OpClean
	// OpSweep: list shared/ and chk-*/ -> Done{Found, IDs, More} for each page, handed back as it comes. Unknown: the
	// list failed, and the machine begins it again.
	OpSweep

	opTells // all kinds after this one are messages, not operations of the store

	// TellAttached: this process owns the job now, under Epoch. The job's attempt is Attempt (0: none yet). With a
	// Caller, the Tell goes to it alone: the plan and configuration that it wants are in effect.
	TellAttached
	// TellRedirect: to Caller: the process at URLs owns the job, under Epoch.
	TellRedirect
	// TellAttachRefused: to Caller: Reason; with ReasonTerminal also Status, with ReasonSilent the URLs of the owner. If no attach is under way any more, the
	// machine's phase is PhaseIdle.
	TellAttachRefused
	// TellChangeRefused: to Caller: the caller wants Plan and Config, and they cannot replace those in Head. Reason:
	// ReasonRegistered or ReasonState.
	TellChangeRefused
	// TellChange: a caller of EventAttach wants Plan and Config (nil: no change) instead of those in Head. They come
	// with the attempt after Attempt, whose entry follows.
	TellChange
	// TellImported: the job's import is done: it begins from the checkpoint ID.
	TellImported
	// TellImportFailed: the checkpoint ID of Job, from which this job begins, cannot be had. Reason. The shell ends the job
	// as failed.
	TellImportFailed
	// TellPinStuck: a pin in the journal of Job could not be returned. Reason. The next sweep tries again.
	TellPinStuck
	// TellFenced: another daemon took the job. The shell tells the workers Reregister, and tells waiting callers to ask
	// again. The machine has forgotten everything and waits for EventAttach. It ignores the results of earlier
	// operations by their Life.
	TellFenced
	// TellReleased: this process has released the job. The shell tells the workers Reregister. The machine has
	// forgotten everything.
	TellReleased
	// TellDegraded: the _metadata of the checkpoint ID is unreadable, so nothing is deleted. Reason; ReasonNone: every
	// retained _metadata is readable again.
	TellDegraded

	// TellStart: to Worker: begin Attempt, restore the checkpoint ID (0: none). The roster is in Machine.Registrations.
	TellStart
	// TellReplaced: to Worker: another process runs its subtasks; end.
	TellReplaced
	// TellReregister: to Worker: it knows a newer attempt than this owner, or the job is being released. It has to
	// register again, with any daemon.
	TellReregister
	// TellPlanRefused: to Worker: its plan or its subtasks do not fit the journal's plan. Its stream ends with an
	// error.
	TellPlanRefused
	// TellAttempt: an attempt has begun, or was adopted (Adopted). Attempt, ID (of the checkpoint that it restores).
	TellAttempt
	// TellAttempted: to Caller: the journal's attempt is Attempt. With a Reason: no attempt was begun.
	TellAttempted
	// TellAllRunning: all subtasks of Attempt run.
	TellAllRunning
	// TellFinished: all subtasks of Worker have finished in Attempt. The attempt goes on without Worker.
	TellFinished

	// TellTrigger: with a Savepoint, the checkpoint is that savepoint, and nobody waits for it. To all workers with triggered subtasks, and to Caller: the checkpoint ID of Attempt has begun.
	// Repeated: to Worker alone, which may have missed it. A repeated TellComplete or TellAbort with a Worker goes to
	// it alone, too.
	TellTrigger
	// TellTriggerRefused: to Caller: Reason.
	TellTriggerRefused
	// TellBegun: to Caller: Files are known and promised to the checkpoint ID. With a Reason: refused.
	TellBegun
	// TellAcked: to Caller: accepted. The shell keeps the pieces of Subtasks, and of no others, for the _metadata of
	// ID. No Subtasks: the acknowledgement was a repetition. With a Reason: refused.
	TellAcked
	// TellUnresolved: the entry of the checkpoint ID is being published. The checkpoint cannot be aborted before the
	// outcome is known.
	TellUnresolved
	// TellComplete: to all workers: ID is complete, in Attempt. Repeated: a new owner repeats it for its predecessor.
	TellComplete
	// TellAbort: to all workers: the checkpoints ID to Last are aborted, for Reason. Latest is the newest complete one.
	// Repeated: as for TellComplete.
	TellAbort
	// TellEnded: to Caller (if not 0), to Worker (if not 0), else to all workers (Cancel): the job's status is Status.
	// With a Reason: the job was not ended.
	TellEnded
	// TellSwept: to Caller: the sweep has gone through. With a Reason: it was not begun, or did not end.
	TellSwept
	// TellSavepoint: to Caller: its savepoint ID has begun, now or before. With a Reason: it has not.
	TellSavepoint
	// TellSaved: the savepoint ID is done. With ReasonCleaned: it came to nothing, and its folder is clean.
	TellSaved
	// TellEdited: to Caller: its command is carried out, once. With a Reason: it is not, and ID is the checkpoint in the way; 0:
	// none is.
	TellEdited
)

// IsTell tells whether the Op is a message to workers, callers or the coordinator. Any other Op is for the store.
func (k OpKind) IsTell() bool { return k > opTells }

// Op is an output of the machine. The comment of its OpKind says which fields count.
type Op struct {
	Kind OpKind
	// Life goes back in the Result.
	Life    uint32
	Wait    journal.Wait
	Journal journal.Op
	// ID of a checkpoint, Last of a range of them, Latest the newest complete one.
	ID, Last, Latest uint64
	Epoch, Attempt   uint64
	Nonce            journal.Nonce
	// Job is another job.
	Job string
	// Source is a checkpoint of another job.
	Source *journal.Import
	// Savepoint is the savepoint ID as the journal has it.
	Savepoint *journal.Savepoint
	URLs      []string
	Files     incremental.Files
	Subtasks  Subtasks
	IDs       []uint64
	// Floor and Slot: OpAbortUnfinished: see DeadTarget.
	Floor, Slot uint64
	Caller      uint64
	Worker      uint32
	Status      journal.Status
	Reason      Reason
	// Checkpoint: TellTrigger: the kind of the checkpoint.
	Checkpoint CheckpointKind
	// Head, Plan and Config: see TellChangeRefused and TellChange. TellFenced and TellReleased carry the head that the other Tells of
	// the same Step speak of; nil: the machine did not own the job.
	Head   *journal.Entry
	Plan   *journal.Plan
	Config *journal.Config
	// Adopted, Repeated: see TellAttempt, TellComplete, TellAbort.
	Adopted, Repeated bool
}

// Result begins the Result of a storage operation.
func (o *Op) Result(outcome journal.Outcome) Result {
	return Result{Kind: o.Kind, Life: o.Life, ID: o.ID, Result: journal.Result{Outcome: outcome}}
}

// DeadTarget tells whether an unfinished write is dead: its target is a file, named for an epoch and a checkpoint, that
// nobody can acknowledge any more. For a _metadata the caller gives the owner's epoch and the checkpoint. Unfinished
// slots are dead up to Op.Slot.
func (o *Op) DeadTarget(epoch, checkpoint uint64) bool {
	return epoch < o.Epoch || epoch == o.Epoch && checkpoint < o.Floor
}

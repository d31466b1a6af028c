package owner

import (
	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
)

// OpKind says what an Op wants: something of the storage, or something to be told.
type OpKind uint8

// The operations. "->" says which Result the shell hands back; Result.Kind, Life and ID are the Op's.
const (
	OpNone OpKind = iota
	// OpJournal: Journal, an operation on the journal -> Result as its kind says.
	OpJournal
	// OpAsk: ask the process with Nonce, at each of URLs (1 s each), whether it owns the job: it does if its Machine.Owns(Nonce)
	// says so -> Answered or not.
	OpAsk
	// OpReadMeta: read chk-ID/_metadata whole -> Done{Nonce, Files, Meta}, NotFound, Corrupt{Files}, Newer{Files} (it names what we
	// do not know) or Unknown (the read merely failed).
	OpReadMeta
	// OpCreateMeta: create chk-ID/_metadata, IfAbsent, naming Nonce and the pieces that the accepted acknowledgements brought
	// -> Done{Meta}, Exists, NotDone (disk full) or Unknown. Repeated with the same bytes.
	OpCreateMeta
	// OpTrim: delete the journal's slots IDs -> nothing.
	OpTrim
	// OpDeleteMetas: delete chk-N/_metadata of each of IDs -> Done (all) or anything else with IDs, those gone.
	OpDeleteMetas
	// OpDeleteFiles: delete Files, in batches -> Done (all) or anything else with Files, those gone. Names may forget those gone.
	OpDeleteFiles
	// OpAbortUnfinished: give up what is unfinished below the job's folder and dead by its target's name (Op.DeadTarget)
	// -> anything.
	OpAbortUnfinished
	// OpSweep: list shared/ and chk-*/ -> page by page Done{Found, IDs, More}, each handed in when it comes; Unknown: the list
	// failed, it is begun again.
	OpSweep

	opTells // what follows is told, not stored

	// TellAttached: the job is owned now, under Epoch; its attempt is Attempt (0: none yet).
	TellAttached
	// TellRedirect: the process at URLs owns the job, under Epoch.
	TellRedirect
	// TellAttachRefused: Reason.
	TellAttachRefused
	// TellFenced: another daemon took the job. Workers are told Reregister, whoever waits is told to ask again; the machine has
	// forgotten everything, and waits for EventAttach. Replies to earlier operations are ignored by their Life.
	TellFenced
	// TellReleased: the job is let go. Workers are told Reregister. The machine has forgotten everything.
	TellReleased
	// TellDegraded: Reason, and ID of the checkpoint whose _metadata is unreadable: nothing is deleted. ReasonNone: it is over.
	TellDegraded

	// TellStart: to Worker: begin Attempt, restore the checkpoint ID (0: none). The roster is in Machine.Registrations.
	TellStart
	// TellReplaced: to Worker: another process runs its subtasks; end.
	TellReplaced
	// TellReregister: to Worker: it knows more than this owner; register again, somewhere.
	TellReregister
	// TellPlanRefused: to Worker: its plan is not the journal's, and others run the journal's. Its stream ends with an error.
	TellPlanRefused
	// TellAttempt: an attempt has begun, or was adopted (Adopted). Attempt, ID (of the checkpoint it restores).
	TellAttempt
	// TellAttempted: to Caller: the journal's attempt is Attempt. Or it could not be: Reason.
	TellAttempted
	// TellAllRunning: all subtasks of Attempt run.
	TellAllRunning

	// TellTrigger: to all workers (with triggered subtasks) and to Caller: the checkpoint ID of Attempt has begun. Repeated: to Worker
	// alone, which may not have heard; so are a repeated Complete and Abort with a Worker.
	TellTrigger
	// TellTriggerRefused: to Caller: Reason.
	TellTriggerRefused
	// TellBegun: to Caller: Files are known and promised to ID; or Reason.
	TellBegun
	// TellAcked: to Caller: accepted; keep the pieces of Subtasks for ID's _metadata, and only of those (empty: a repetition). Or
	// refused: Reason.
	TellAcked
	// TellUnresolved: the entry of the checkpoint ID is being published; no abort of it until it is known.
	TellUnresolved
	// TellComplete: to all workers: ID is complete, in Attempt. Repeated: a new owner says it again for its predecessor.
	TellComplete
	// TellAbort: to all workers: the checkpoints ID to Last are aborted: Reason. Latest is the newest complete one. Repeated as above.
	TellAbort
	// TellEnded: to Caller (if not 0), to Worker (if not 0), else to all workers (Cancel): the job's status is Status. Or it could
	// not be: Reason.
	TellEnded
	// TellSwept: to Caller: the sweep is over; or it was not begun or not ended: Reason.
	TellSwept
)

// IsTell tells whether it goes to workers, callers and the coordinator; else it is for the storage.
func (k OpKind) IsTell() bool { return k > opTells }

// Op is what the machine wants done. Which fields count, OpKind says.
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
	URLs             []string
	Files, Subtasks  incremental.Set
	IDs              []uint64
	// Floor and Slot: OpAbortUnfinished: see DeadTarget.
	Floor, Slot uint64
	Caller      uint64
	Worker      uint32
	Status      journal.Status
	Reason      Reason
	// Adopted, Repeated: see TellAttempt, TellComplete, TellAbort.
	Adopted, Repeated bool
}

// Result begins the Result of a storage operation.
func (o *Op) Result(outcome journal.Outcome) Result {
	return Result{Kind: o.Kind, Life: o.Life, ID: o.ID, Result: journal.Result{Outcome: outcome}}
}

// DeadTarget tells whether something unfinished whose target is a file written under epoch for a checkpoint is dead: nobody can
// acknowledge it any more. For a _metadata give the owner's epoch and its checkpoint; for slots see Slot: dead up to it.
func (o *Op) DeadTarget(epoch, checkpoint uint64) bool {
	return epoch < o.Epoch || epoch == o.Epoch && checkpoint < o.Floor
}

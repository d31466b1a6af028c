// Package owner owns the decisions of one daemon about one job: it attaches, begins attempts, completes checkpoints,
// deletes objects that nothing needs any more, and releases the job. It follows the commit protocol as a step machine:
// a value without I/O, goroutines, a clock or randomness. Machine.Step takes an event and returns operations: requests
// to the store, and messages to workers, callers and the coordinator (the tells). Its tests search the real machine
// breadth first for orderings that lose a checkpoint.
//
// The package must not know keys, bytes, stores, streams, messages of the API, or time. Package coordinator decides
// when to trigger, how long to wait and how to react to a lost worker; its decisions arrive as events. Files are
// numbers (incremental.Names), subtasks are their numbers in the plan, workers and callers are numbers that the shell
// gives.
//
// # The shell
//
// The shell is the code around the machine. One goroutine for each job owns the machine and feeds it one event after
// the other:
//
//	for ev := range inbox {
//		for _, op := range m.Step(cfg, &ev, ops[:0]) {
//			switch {
//			case op.Kind.IsTell(): tell(op)              // workers, callers, the coordinator; in this order, never blocking
//			default:               go inbox.put(do(op))  // storage; its Result comes back as EventResult, in any order
//			}
//		}
//	}
//
// The shell has these duties:
//
//  1. It hands back one Result for every storage Op except OpTrim: r := op.Result(outcome), filled in as OpKind says.
//     OpSweep gets one Result for each page. The shell never gives an operation up. An operation that fails is
//     Unknown, and the machine emits it again with Wait set. Time-outs are the shell's business.
//  2. Outcomes of mutations are those of package storage: nil is Done, ErrUnknown Unknown, ErrExists Exists, any other
//     error NotDone. Of reads: nil is Done, ErrNotFound NotFound, bytes that cannot be decoded Corrupt or Newer, any
//     other error Unknown. A Get of a slot must not be a dirty read: on file storage the shell fsyncs the directory
//     first.
//  3. OpCreateMeta writes the same bytes each time it is emitted for an ID: the pieces of accepted acknowledgements
//     (TellAcked.Subtasks), and Op.Nonce in the header. The shell forgets the pieces when TellComplete or TellAbort
//     names the ID, and at TellFenced and TellReleased.
//  4. Files get their numbers from incremental.Names: acknowledged uploads, files read from a _metadata, and files
//     that a sweep lists. The shell may begin a new Names at each TellAttached. The machine ignores Results of an
//     older Life, but a shell that renews Names must drop them itself. After OpDeleteFiles is Done the shell calls
//     Names.Forget.
//  5. BeginSnapshot: the shell looks each file up (Names.Lookup) and sends EventBegin with the numbers found. The
//     files in TellBegun.Files are known (their short number may be the file's number + 1); the worker has to send all
//     others. Acknowledge: short numbers become Files, uploads become Uploads with the parts of their names
//     (layout.ParseFileName).
//  6. PutState at the owner needs Epoch, Attempt and Reserved of Head, and the open checkpoints of Pending.
//  7. Workers: EventRegister when a stream opens; EventWorkerGone when it ends, unless another stream of the same
//     process has replaced it; EventRunning for Report{running}. A Start's roster is in Registrations. The shell ends
//     the stream after TellReplaced, TellEnded and TellPlanRefused.
//  8. The shell asks for sweeps: after TellAttached (in the background, when workers have been served), hourly, and
//     when a person asks. It asks for the sweep of a terminal job when the workers have left or were given up, and the
//     uploads at this daemon have ended. After one sweep that began after the terminal entry, the machine releases the
//     job.
//  9. A caller that waits (Caller not 0) gets exactly one answer: the Tell that names it, or TellFenced or
//     TellReleased, which answer all callers.
//  10. EventEdit is a person's command. It carries a request id, without which its repetition is not recognized.
//  11. OpAbroad goes to the journal of another job, as OpJournal goes to this one's. The files of an import lie in other
//     jobs' folders: they get no numbers, and OpReadMeta leaves them out. After TellImportFailed the shell ends the job
//     as failed (EventEnd), with the cause. If something is due of a released job, the shell sends EventFinish.
//
// # What the coordinator is told
//
//	TellAttached          Attached{Attempt}
//	TellChange            NewAttempt{Attempt}
//	TellAttempt           Configured{the settings in Head().Config}, then AttemptStarting{Attempt, the workers in
//	                      Registrations}, begun or adopted
//	TellAllRunning        AllRunning
//	TellTrigger           TriggerAccepted;   TellTriggerRefused  TriggerRefused
//	TellUnresolved        Unresolved
//	TellComplete          Completed, unless Repeated;   TellAbort  Aborted for each id, unless Repeated
//	TellReplaced          WorkerDead;   TellFinished  WorkerFinished
//	TellFenced            Fenced;   TellEnded  Terminal
//
// The coordinator's decisions become events: Trigger EventTrigger, Abort EventAbort, Failover EventFailover,
// StartAttempt EventNewAttempt (of its Attempt, without Request), FailJob EventEnd{StatusFailed}, WorkerLost
// EventWorkerGone, RegistrationsExpired EventRegistrationsExpired.
//
// The machine begins an attempt by itself in two cases only: the job has none yet, or a new owner cannot adopt the
// attempt in the journal. In both it waits until every subtask has a worker.
//
// # Where to read
//
// From top to bottom; calls go down:
//
//	step.go, appended.go              takes an event or a result, and settles what can begin then
//	attach.go, attaching.go           the attach and its callers
//	end.go, release.go                the end of the job and of the ownership
//	attempt.go, finish.go             workers and attempts; the job that ends by itself
//	checkpoint.go, commit.go          snapshots, acknowledgements, the _metadata, the commit
//	savepoint.go, cleaning.go         savepoints: from the wish to the report; what is left of those that failed
//	saving.go                         a savepoint's files and its last entry
//	edit.go, trash.go, discard.go     people's commands; the store's time; what leaves use
//	abroad.go, import.go, pins.go     what happens in other jobs' journals; the import; pins
//	claim.go, elsewhere.go            what CLAIM adds to them; an import from another root
//	sweep.go, verdict.go              what a sweep finds, and why each object stays or goes
//	abort.go, trigger.go, delete.go   a checkpoint's begin and abort; what is condemned
//	held.go, promises.go, subtasks.go what is retained, promised, registered
//	append.go, machine.go             one entry; the state
//	attemptstate.go                   the states of an attempt, drawn
//	event.go, op.go, views.go         what goes in, what comes out, what the shell may look at
//	off.go                            rules that tests switch off
//
// # The life of a machine
//
//	idle --EventAttach--> reading --> asking --> attaching --Won--> owning --> idle (TellFenced, TellReleased)
//	  ^                      |           |           | not won: from reading
//	  +----- refused --------+-----------+ redirect
package owner

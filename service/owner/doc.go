// Package owner owns what one daemon does with one job: it attaches, begins attempts, completes checkpoints, deletes what nothing
// needs any more and lets go. It follows the commit protocol to the letter, as a step machine: a value without I/O, goroutines, a
// clock or randomness. Machine.Step takes an event and gives operations for the storage and things to be told. Its tests search
// the real machine breadth first for orderings that lose a checkpoint.
//
// It must not know keys, bytes, stores, streams, the API's messages, nor time: when to trigger, how long to wait and what to do
// about a lost worker is decided elsewhere (package coordinator) and comes in as events. Files are numbers (incremental.Names),
// subtasks are their numbers in the plan, workers and callers are the shell's numbers.
//
// # The shell
//
// One goroutine a job owns the machine and feeds it one event after the other:
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
// What it owes the machine:
//
//  1. Every storage Op but OpTrim gets its Results: r := op.Result(outcome), filled in as OpKind says. One for each, but for
//     OpSweep, which gets one for each page. Nothing is given up: what fails is Unknown, and the machine gives it out again with
//     Wait set. Time-outs are the shell's.
//  2. Outcomes of mutations are those of package storage: nil Done, ErrUnknown Unknown, ErrExists Exists, the rest NotDone. Reads:
//     nil Done, ErrNotFound NotFound, what cannot be decoded Corrupt or Newer, the rest Unknown. A Get of a slot must not be a
//     dirty read: on file storage the directory is fsynced before.
//  3. OpCreateMeta writes the same bytes each time it is given out for an ID: those pieces that accepted acknowledgements brought
//     (TellAcked.Subtasks), Op.Nonce in its header. When TellComplete or TellAbort names the ID, or TellFenced, TellReleased come,
//     the pieces are forgotten.
//  4. Names: numbers come from incremental.Names: those of acknowledged uploads, of files read from _metadata and of files that a
//     sweep lists. A new Names may begin with each TellAttached; Results of an older Life are ignored whatever they hold, but a
//     shell that renews Names must drop them itself. After OpDeleteFiles is Done, Names.Forget.
//  5. BeginSnapshot: Names.Lookup each file; EventBegin with the numbers found; TellBegun.Files are known (their short number may
//     be the file's number + 1), all others are to be sent. Acknowledge: short numbers back to Files, uploads to Uploads with what
//     their names say (layout.ParseFileName).
//  6. PutState needs nothing of the machine at the owner but Head: Epoch, Reserved.
//  7. Workers: EventRegister when a stream is open, EventWorkerGone when it ends (not for a stream that another one of the same
//     process has replaced), EventRunning for Report{running}. A Start's roster is in Registrations. After TellReplaced, TellEnded
//     and TellPlanRefused the stream ends.
//  8. Sweeps are the shell's to ask for: after TellAttached (in the background, when workers have been served), hourly, when a
//     person asks, and for a terminal job when its workers have left or were given up and its uploads at this daemon have ended.
//     Once a sweep has gone through after the terminal entry, the machine releases the job by itself.
//  9. A caller that waits (Caller not 0) gets exactly one answer: the Tell, or TellFenced or TellReleased, which answer them all.
//
// # What the coordinator is told
//
//	TellAttached          Attached{Attempt}
//	TellAttempt           Configured{what Head().Config means}, then AttemptStarting{Attempt, the workers in Registrations}, begun or adopted
//	TellAllRunning        AllRunning
//	TellTrigger           TriggerAccepted;   TellTriggerRefused  TriggerRefused
//	TellUnresolved        Unresolved
//	TellComplete          Completed, unless Repeated;   TellAbort  Aborted for each id, unless Repeated
//	TellReplaced          WorkerDead
//	TellFenced            Fenced;   TellEnded  Terminal
//
// and what it decides becomes: Trigger EventTrigger, Abort EventAbort, Failover EventFailover, StartAttempt EventNewAttempt (of
// its Attempt, without Request), FailJob EventEnd{StatusFailed}, WorkerLost EventWorkerGone, RegistrationsExpired
// EventRegistrationsExpired.
//
// An attempt begins without being asked for in two cases only: the job has none yet; or a new owner finds that it cannot adopt
// the one in the journal. Both wait until every subtask has a worker.
//
// # The life of a machine
//
//	idle --EventAttach--> reading --> asking --> attaching --Won--> owning --> idle (TellFenced, TellReleased)
//	  ^                      |           |           | not won: from reading
//	  +----- refused --------+-----------+ redirect
package owner

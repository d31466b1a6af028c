// Package coordinator owns when things happen to one job. It decides when to trigger a checkpoint and when a pending one has
// waited too long. It decides when failed checkpoints or lost workers end an attempt, when the next attempt begins, and when
// the job has failed.
//
// The machine is a value without I/O, goroutines or a clock. Step takes the time and an event and returns decisions.
// NextDeadline returns the time at which the shell sends a Tick if no event comes before.
//
// The coordinator never decides what is safe; the owner machine does. The owner hands out checkpoint ids, counts
// acknowledgements and completes checkpoints. It may refuse or delay every decision of the coordinator. So a wrong or late
// decision costs time, never state.
//
// A failure is what the restart strategy counts: a report of a worker, a lost worker, or too many failed checkpoints. A process that
// says goodbye is no failure. The next attempt is then begun at once, and waits for another process. An attempt does not need a
// process whose subtasks have all finished.
//
// What waits for its turn is in requests.go, the clock of periodic checkpoints in timer.go, and what is triggered or pending in
// schedule.go.
//
// It must not know storage, journals, the API's messages, or how a decision is carried out.
//
//	suspended --AttemptStarting--> starting --AllRunning--> running     only here checkpoints are triggered
//	    ^                             |                        |
//	    |                             +---- a failure ---------+
//	    |                                      |
//	    |                       restart strategy: Failover, or FailJob -> failing
//	    |                                      v
//	 asked <--StartAttempt, after the delay-- backoff
package coordinator

// Package coordinator owns when things happen to one job: when a checkpoint is triggered, when a pending one has waited too
// long, when failed checkpoints or lost workers end an attempt, when the next attempt begins, and when the job is given up.
//
// It is a value without I/O, goroutines or a clock: Step takes the time and an event and answers decisions; NextDeadline says
// when the shell has to come back with a Tick if nothing happens before. It never decides what is safe. That is the owner
// machine's part: it hands out checkpoint ids, counts acknowledgements, completes a checkpoint by itself, and may refuse or put
// off whatever is decided here. So a wrong or late decision costs time, never state.
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

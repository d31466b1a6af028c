// Package shell executes the machines of one job: the owner machine (package owner: what is safe) and the coordinator
// (package coordinator: what is due). For each job it owns one goroutine (Job.serve), which exists while there is something to do.
// The goroutine owns both machines and what is known of the job's workers, callers and checkpoints. Events of both machines go
// through one queue, and one loop handles them in order (loop.go).
//
// The package must not know how a store works, what an engine does with its state, how calls reach this daemon, or any
// other job but its journal. It decides nothing itself. Messages of the API are converted by package api.
//
// # Where to read
//
// From top to bottom; a call goes down, and the machines' wishes come back through the interface hand:
//
//	attach.go, register.go, report.go, snapshot.go, acknowledge.go,   a method of Job for each call of the API
//	ackpieces.go, assignment.go, attempt.go, trigger.go, status.go
//	janitor.go, collect.go                                            what a process does that owns a job for one thing only
//	edit.go, suspend.go                                               what people change: remove, bring back, tag, purge; suspend
//	inmemory.go                                                       a job whose state lies in the daemon's memory
//	savepoint.go, claim.go, periodic.go                               what lies in a savepoint's own folder; who claims it; by the clock
//	source.go, sourcerecords.go, damage.go, elsewhere.go, import.go   where a job begins from: another job, or another root
//	run.go                                                            the goroutine: calls, the clock
//	decide.go, tell.go, tellworkers.go, tellcheckpoints.go            what the machines want from workers and callers
//	operations.go, deletes.go, sweeplist.go, metadata.go              what the owner machine wants from the store
//	job.go                                                            what a job is made of; how a call waits for its answer
//	loop.go                                                           the queue and the loop that steps both machines
//	numbers.go, audit.go, awaited.go                                  numbers of files; the record before deletes; who waits for rest
//	uploads.go, workers.go, session.go, callers.go, contents.go,      one thing each, with its own fields
//	history.go, historywrite.go, historytail.go, historyflight.go,    what became of checkpoints, for people; its way to the store
//	acktimes.go
//	acks.go, sweeps.go, outage.go, progress.go, events.go, inbox.go, turns.go
//	logline.go, waited.go, yield.go                                   how loud an event is; what an expired checkpoint waited
//	                                                                  for; how collecting yields to checkpoints
//	env.go, crew.go                                                   what a job needs of its daemon; goroutines for storage operations
//
// A snapshot passes through: coordinator.Trigger (decide.go) -> owner.TellTrigger (tellcheckpoints.go) -> BeginSnapshot
// (snapshot.go) -> PutState (package stream; uploads.go holds the rights) -> Acknowledge (acknowledge.go) ->
// OpCreateMeta (operations.go, metadata.go) -> the journal's entry (operations.go) -> owner.TellComplete
// (tellcheckpoints.go). A restore passes through: owner.TellStart (tellworkers.go) -> Assignment (assignment.go) ->
// GetState (package stream).
package shell

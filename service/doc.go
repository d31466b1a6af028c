// Package service is the daemon without its listener: the handlers of the API, and the shell that executes the machines.
//
// It owns, for each job, one goroutine (job.run) that feeds the owner machine (package owner: what is safe) and the coordinator
// (package coordinator: what is due), carries out the storage operations that come out, and tells workers and callers what
// there is to tell. It must not know how a store works, what an engine does with its state, nor decide anything itself.
//
// # Where to read
//
// A snapshot's way through this package: Register (workers.go) -> coordinator.Trigger and owner.TellTrigger (job_tell.go) ->
// BeginSnapshot (engineservice.go) -> PutState (package stream, judged by uploads.go) -> Acknowledge (acknowledge.go) -> OpCreateMeta
// (job_store.go, content.go) -> the journal's entry (job_store.go, layout/journalio) -> owner.TellComplete (job_tell.go). And back:
// owner.TellStart (job_tell.go) -> Assignment (assignment.go) -> GetState (package stream).
//
// API messages and domain types meet in convert.go only; errors get their codes in errors.go.
package service

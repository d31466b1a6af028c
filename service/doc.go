// Package service is the daemon without its listener: the handlers of the API, and the shell that executes the
// machines.
//
// For each job it owns one goroutine (job.run). The goroutine feeds two machines: the owner machine (package owner:
// what is safe) and the coordinator (package coordinator: what is due). The events of both go through one queue, and one
// loop handles them in order (steps.go). The goroutine carries out the storage operations that the machines ask for, and
// passes their messages on to workers and callers.
//
// The package must not know how a store works, nor what an engine does with its state. It decides nothing itself.
//
// # Where to read
//
// A snapshot passes through this package in this order: Register (workers.go) -> coordinator.Trigger and
// owner.TellTrigger (job_tell.go) -> BeginSnapshot (engineservice.go) -> PutState (package stream, judged by
// uploads.go) -> Acknowledge (acknowledge.go) -> OpCreateMeta (job_store.go, content.go) -> the journal's entry
// (job_store.go, layout/journalio) -> owner.TellComplete (job_tell.go). A restore passes through: owner.TellStart
// (job_tell.go) -> Assignment (assignment.go) -> GetState (package stream).
//
// Only convert.go converts between API messages and domain types. errors.go gives errors their codes.
package service

// Package service is the daemon without its listener: the handlers of the API, and what the jobs of one daemon share.
// It owns the table of jobs that this daemon owns or attaches, the stores, the metrics, and the rules for uploads to
// jobs of other daemons.
//
// A handler finds its job and passes the call on: engineservice.go (engines and other daemons), jobservice.go (people).
// The job answers (package shell). PutState and GetState go to package stream, judged by uploads.go.
//
// A Janitor changes jobs for the command line, in a process that does not listen. A verb that changes a job calls
// (*changer).change of cmd/ckptd with two functions: one that calls the job's owner (client.Admin), and one that calls a
// method of shell.Job, for a job whose owner does not answer or that has none. change picks the right one. The method of
// shell.Job feeds the owner machine one event and waits for its answer; Janitor.Do then waits for the deletes that follow,
// sweeps a job that has ended once more, and releases it.
//
// The package must not know how a store works, how a job executes its machines, nor what an engine does with its state.
// It decides nothing itself.
package service

// Package service is the daemon without its listener: the handlers of the API, and what the jobs of one daemon share.
// It owns the table of jobs that this daemon owns or attaches, the stores, the metrics, and the rules for uploads to
// jobs of other daemons.
//
// A handler finds its job and passes the call on: engineservice.go (engines and other daemons), jobservice.go (people).
// The job answers (package shell). PutState and GetState go to package stream, judged by uploads.go.
//
// The package must not know how a store works, how a job executes its machines, nor what an engine does with its state.
// It decides nothing itself.
package service

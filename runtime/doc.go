// Package runtime runs streaming jobs: a graph of operators, cut into subtasks, spread over worker processes, with exactly-once
// checkpoints kept by ckptd. Its workers use ckptd the way any engine would, through the client.
//
// It owns the graph (Job), the tasks and their loops, the order of a snapshot within a task, and the life of a worker: attempts
// begun, restored, run, stopped. It must not know how a daemon decides, where files lie, nor any particular state backend,
// source or sink; and it starts no processes (the package launcher does).
//
//	Worker ── follows the session's commands; one attempt at a time
//	  └ attempt ── restores, wires the exchange, runs the tasks, sends snapshots and reports
//	      └ task ── a goroutine: the chain of operators of one subtask, its input gate or source, its output writers
//
// # A checkpoint in a task
//
// The barrier goes out first, then every operator of the chain gives its state in the same instant between two records (the
// synchronous part), then records flow on while the files are sent (the asynchronous part). A synchronous part that fails ends the
// attempt; an asynchronous one declines the checkpoint. Each is as in Flink.
package runtime

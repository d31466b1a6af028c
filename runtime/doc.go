// Package runtime runs streaming jobs: a graph of operators, cut into subtasks, spread over worker processes, with
// exactly-once checkpoints kept by ckptd. Its workers use ckptd through the client, as any other engine would.
//
// It owns the graph (Job), the tasks and their loops, the order of a snapshot within a task, and the life of a
// worker: its attempts begin, restore, run and stop. It must not know how a daemon decides, where files lie, or any
// particular state backend, source or sink. It starts no processes; the package launcher does.
//
//	Worker ── follows the session's commands; one attempt at a time
//	  └ attempt ── restores, wires the exchange, runs the tasks, sends snapshots and reports
//	      └ task ── a goroutine: the chain of operators of one subtask, its input gate or source, its output writers
//
// # A checkpoint in a task
//
// First the task sends the barrier. Then every operator of the chain gives its state, all between the same two
// records: the synchronous part. Then records flow on while the files are sent: the asynchronous part. A failure of
// the synchronous part ends the attempt; a failure of the asynchronous part declines the checkpoint. All of this is
// as in Flink.
package runtime

// Package engine is a loop above the calls of package client. An engine implements five methods; the loop does the rest:
// it attaches the job, registers the process, follows commands and new owners, uploads state in parallel, acknowledges
// checkpoints and reports.
//
// It owns the order of an engine's life: Restore, then Snapshot, Committed and Aborted, then Stopped. It must not know
// what the engine computes, nor how a daemon decides.
//
//	status, err := engine.Run(ctx, engine.Options{Client: c, Spec: client.JobSpec{ID: "clicks", Plan: plan}}, myEngine)
//
// # Which call comes when
//
// The loop makes one call of the engine's methods at a time, in this order:
//
//	Restore ─▶ ( Snapshot │ Committed │ Aborted )* ─▶ Stopped ─▶ Restore of the next attempt, or the end of Run
//
// Between Restore and Stopped the engine processes records, in goroutines of its own. So that a checkpoint is a cut
// between two records, Snapshot and the processing need a common lock, or Snapshot hands a barrier to the processing.
//
// # Several operators
//
// Snapshot is called when the owner triggers a checkpoint, for the subtasks of operators that the plan marks as
// triggered. All other subtasks wait for barriers. A barrier carries the Checkpoint; the process that it reaches answers
// with Attempt.Submit.
package engine

package runtime

// The named steps at which a worker calls WorkerOptions.Steps. Tests end the process exactly there.
const (
	// StepRestored: an attempt's state is restored; no task runs yet.
	StepRestored = "restored"
	// StepAfterPreCommit: a sink has pre-committed; no other process knows.
	StepAfterPreCommit = "after-precommit"
	// StepUploading: subtasks' state is about to be sent.
	StepUploading = "uploading"
	// StepAcknowledged: the daemon has accepted the acknowledgement of subtasks.
	StepAcknowledged = "acknowledged"
	// StepBeforeCommit: a checkpoint is complete; the sink has not committed it yet.
	StepBeforeCommit = "before-sink-commit"
	// StepAfterCommit: the sink has committed; no other process knows.
	StepAfterCommit = "after-sink-commit"
)

package runtime

// The named steps at which a worker calls WorkerOptions.Steps, so that tests can end the process exactly there.
const (
	// StepRestored: an attempt's state is restored, nothing runs yet.
	StepRestored = "restored"
	// StepAfterPreCommit: a sink has pre-committed, nobody knows of it yet.
	StepAfterPreCommit = "after-precommit"
	// StepUploading: subtasks' state is about to be sent.
	StepUploading = "uploading"
	// StepAcknowledged: subtasks' part of a checkpoint was acknowledged.
	StepAcknowledged = "acknowledged"
	// StepBeforeCommit: a checkpoint is complete, the sink has not committed yet.
	StepBeforeCommit = "before-sink-commit"
	// StepAfterCommit: the sink has committed, nobody knows of it yet.
	StepAfterCommit = "after-sink-commit"
)

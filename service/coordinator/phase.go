package coordinator

// phase is where the job stands between two attempts.
type phase int

const (
	suspended phase = iota // no attempt runs here, and none is asked for
	starting               // an attempt has begun; not all subtasks run
	running                // all subtasks run: checkpoints are triggered
	backoff                // the attempt failed; the next one begins at restartAt
	asked                  // the next attempt is the owner's to begin
	failing                // FailJob was decided: nothing begins any more, what is pending still comes to an end
	ended                  // terminal, or another daemon's
)

func (p phase) String() string {
	return [...]string{"suspended", "starting", "running", "backoff", "asked", "failing", "ended"}[p]
}

// waitsFor tells a caller who wants a checkpoint why none can begin in this phase.
func (p phase) waitsFor() string {
	return [...]string{
		"no attempt has begun since this daemon took the job", "not all subtasks run yet", "", "it failed, and the next one begins after a delay",
		"the next one waits for its workers", "the job fails", "the job has ended here",
	}[p]
}

package runtime

import (
	"math"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/runtime/exchange"
)

// ending is how far a task of a job that finishes is with its end. First all of its inputs are at their end. The next
// checkpoint that it takes part in holds all that it has done. Once such a checkpoint is complete, the task has finished.
type ending struct {
	// finishes is Job.Finishes.
	finishes bool
	// inputs is the number of input channels whose last record has come.
	inputs int
	// atEnd: no record comes any more.
	atEnd bool
	// last is the first checkpoint after the last record; 0: none yet.
	last uint64
	done bool
}

// inputAtEnd counts an input channel whose last record has come.
func (t *task) inputAtEnd() error {
	if t.end.inputs++; t.end.inputs < t.gate.Channels() {
		return nil
	}
	return t.endOfData()
}

// endOfData tells the tasks behind this one that no record follows.
func (t *task) endOfData() error {
	if !t.end.finishes {
		return nil
	}
	t.end.atEnd = true
	return t.broadcast(exchange.EndOfData, 0)
}

// taken notes that the task has taken its part of a checkpoint.
func (t *task) taken(checkpoint uint64) {
	if t.end.atEnd && t.end.last == 0 {
		t.end.last = checkpoint
	}
}

// covered notes that a checkpoint is complete, and that the sink has committed it.
func (t *task) covered(checkpoint uint64) {
	if t.end.last != 0 && checkpoint >= t.end.last && !t.end.done {
		t.end.done = true
		t.callbacks.finished()
	}
}

// finishes reports that the task has finished for good. It reads nothing more, and waits for the end of the job.
func (t *task) finishes() {
	t.holds = math.MaxUint64
	t.callbacks.report(client.Report{Kind: client.ReportFinished, Subtasks: t.subtasks})
}

// taskFinished counts a task that has finished. The worker reports its tasks as finished only when all of them have.
// Until then each of them takes part in checkpoints, so the worker must not look as if the attempt could do without it.
func (a *attempt) taskFinished() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.finished++; a.finished < len(a.tasks) {
		return
	}
	for _, t := range a.tasks {
		a.reporter.set(client.Report{Kind: client.ReportFinished, Subtasks: t.subtasks})
	}
}

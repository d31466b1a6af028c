package service

import (
	"time"

	"github.com/ckptd/ckptd/service/owner"
)

// An owner sweeps soon after its attach, and then at intervals. The last sweep of an ended job waits for the workers: a
// sweep before their last uploads would miss the files.
const (
	firstSweep = 2 * time.Second        // from the attach to the first sweep
	sweepEvery = time.Hour              // between sweeps
	leaveTime  = 5 * time.Second        // how long the workers of an ended job are waited for
	lookAgain  = 100 * time.Millisecond // between two looks whether they have left
)

// sweepState is when a job sweeps next.
type sweepState struct {
	due time.Time // zero: no sweep is planned
	// leaveBy ends the wait for the workers of an ended job; zero: the job has not ended.
	leaveBy time.Time
	running bool
}

// sweepIfDue begins a sweep if one is due.
func (j *job) sweepIfDue() {
	now := time.Now()
	if j.sweep.due.IsZero() || now.Before(j.sweep.due) || j.sweep.running {
		return
	}
	if !j.sweep.leaveBy.IsZero() && !j.quiet(now) {
		j.sweep.due = now.Add(lookAgain)
		return
	}
	j.sweep.due = now.Add(sweepEvery)
	j.beginSweep(0)
}

// beginSweep begins a sweep for a caller; 0: no caller waits.
func (j *job) beginSweep(caller uint64) {
	j.sweep.running = true
	j.feed(owner.Event{Kind: owner.EventSweep, Caller: caller})
}

// swept notes the end of a sweep. A sweep that failed is begun again later.
func (j *job) swept(op *owner.Op) {
	j.sweep.running = false
	switch op.Reason {
	case owner.ReasonNone:
	case owner.ReasonDegraded: // the next sweep begins when the job has recovered
	default:
		j.log.Info("the sweep failed and is repeated", "reason", reasonText(op.Reason))
		j.sweep.due = time.Now().Add(firstSweep)
	}
}

// sweepWhenQuiet plans the last sweep of an ended job for when its workers have left.
func (j *job) sweepWhenQuiet() {
	j.closeUploads()
	now := time.Now()
	j.sweep.leaveBy = now.Add(leaveTime)
	j.sweep.due = now
}

// quiet reports whether no upload runs, and the workers have left or the time for them is over.
func (j *job) quiet(now time.Time) bool {
	if j.uploading() > 0 {
		return false
	}
	return len(j.workers) == 0 || now.After(j.sweep.leaveBy)
}

package service

import (
	"time"

	"github.com/ckptd/ckptd/service/owner"
)

// When an owner sweeps: soon after it took over, when workers have been served, and then now and again. Leaving the workers of an ended job
// some time lets their last uploads end, which a sweep before them would miss.
const (
	firstSweep = 2 * time.Second
	sweepEvery = time.Hour
	leaveTime  = 5 * time.Second
	lookAgain  = 100 * time.Millisecond
)

// sweepState is when a job sweeps next.
type sweepState struct {
	due time.Time // zero: not by itself
	// leaveBy is when the workers of an ended job are not waited for any more; zero: the job has not ended.
	leaveBy time.Time
	running bool
}

// sweepIfDue begins a sweep whose time has come.
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

func (j *job) beginSweep(caller uint64) {
	j.sweep.running = true
	j.feed(owner.Event{Kind: owner.EventSweep, Caller: caller})
}

// swept notes the end of a sweep. One that could not be ended is begun again.
func (j *job) swept(op *owner.Op) {
	j.sweep.running = false
	switch op.Reason {
	case owner.ReasonNone:
	case owner.ReasonDegraded: // nothing is swept until that is over (recovered)
	default:
		j.log.Info("sweep not ended", "reason", reasonText(op.Reason))
		j.sweep.due = time.Now().Add(firstSweep)
	}
}

// sweepWhenQuiet asks for the sweep that lets an ended job go, as soon as its workers have left.
func (j *job) sweepWhenQuiet() {
	j.closeUploads()
	now := time.Now()
	j.sweep.leaveBy = now.Add(leaveTime)
	j.sweep.due = now
}

// quiet tells whether nobody writes for the job any more.
func (j *job) quiet(now time.Time) bool {
	if j.uploading() > 0 {
		return false
	}
	return len(j.workers) == 0 || now.After(j.sweep.leaveBy)
}

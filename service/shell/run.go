package shell

import (
	"context"
	"time"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/service/config"
	"github.com/ckptd/ckptd/service/coordinator"
	"github.com/ckptd/ckptd/service/owner"
)

// New makes a job. Run begins to serve its calls.
func New(env *Env, id string) *Job {
	j := &Job{
		env: env, id: id, log: env.Log.With("job", id), done: make(chan struct{}), calls: newInbox[func()](),
		callers: newCallers(), names: incremental.NewNames(), contents: map[uint64]*content{}, workers: newWorkers(),
	}
	j.cfg = owner.DefaultConfig(journal.NewProcess(), env.URLs, config.Policies(env.Trash))
	j.cfg.Journal.TrustList = env.Facts.ListShowsPublished
	j.cfg.Same = func(a, b *journal.Config) bool {
		keys, err := config.Differences(a, b)
		return err == nil && len(keys) == 0
	}
	j.hand = j
	j.ops, j.stopOps = context.WithCancel(env.Context)
	return j
}

// Run is the job's goroutine. It ends when this daemon does not own the job any more and does not try to, or when the
// daemon ends. It calls ended before Done is closed.
func (j *Job) Run(ended func()) {
	defer close(j.done)
	defer ended()
	defer j.stopOps()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for !j.over {
		j.arm(timer)
		select {
		case <-j.env.Context.Done():
			j.over = true
		case <-timer.C:
			j.tick()
		case <-j.calls.ready():
			calls, _ := j.calls.take()
			for _, f := range calls {
				f()
			}
		}
	}
	j.calls.close()
	j.workers.close()
}

// Release asks the owner machine to release the job.
func (j *Job) Release() { j.do(func() { j.feed(owner.Event{Kind: owner.EventStop}) }) }

// arm sets the timer to the next deadline of the sweeps or the coordinator.
func (j *Job) arm(timer *time.Timer) {
	next := j.sweeps.next()
	if j.coord != nil {
		if at, ok := j.coord.NextDeadline(); ok && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	wait := time.Hour
	if !next.IsZero() {
		wait = max(0, time.Until(next))
	}
	timer.Reset(wait)
}

// tick does what has become due.
func (j *Job) tick() {
	j.coordinate(coordinator.Tick{})
	j.sweepIfDue()
}

// sweepIfDue begins a sweep if one is due. The last sweep of an ended job waits until no upload runs, and the workers
// have left or the time for them is over.
func (j *Job) sweepIfDue() {
	if j.sweeps.begin(time.Now(), func() bool { return j.uploads.running() == 0 }, j.workers.none) {
		j.feed(owner.Event{Kind: owner.EventSweep})
	}
}

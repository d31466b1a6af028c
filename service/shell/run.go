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

// New makes a job. Begin begins to serve its calls.
func New(env *Env, id string) *Job {
	j := &Job{
		env: env, id: id, log: env.Log.With("job", id), done: make(chan struct{}),
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

// Begin lets the job's goroutine serve its calls. The job ends when this daemon does not own it any more and does not try to, or when
// the daemon ends. It calls ended before Done is closed.
func (j *Job) Begin(ended func()) {
	j.env.Background.Add(1)
	j.onEnd, j.forgetDaemon = ended, context.AfterFunc(j.env.Context, func() { j.do(func() { j.over = true }) })
	j.calls.begin(func() { j.env.crew.run(j.env.Context, j.serve) })
}

// serve is the job's goroutine. It ends when there is nothing to do, and the next call begins another.
func (j *Job) serve() {
	for calls := j.calls.take(nil); calls != nil; calls = j.calls.take(calls) {
		for _, f := range calls {
			f()
		}
		if j.over {
			j.end()
			return
		}
		j.arm()
	}
}

// end refuses all later calls, and says that the job has ended.
func (j *Job) end() {
	j.calls.close()
	j.workers.close()
	if j.timer != nil {
		j.timer.Stop()
	}
	j.forgetDaemon()
	j.stopOps()
	j.onEnd()
	close(j.done)
	j.env.Background.Done()
}

// Release asks the owner machine to release the job.
func (j *Job) Release() { j.do(func() { j.feed(owner.Event{Kind: owner.EventStop}) }) }

// arm sets the timer to the next deadline of the sweeps, the coordinator or the history.
func (j *Job) arm() {
	next := j.sweeps.next()
	if j.coord != nil {
		if at, ok := j.coord.NextDeadline(); ok && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	if at := j.periodicDue(); !at.IsZero() && (next.IsZero() || at.Before(next)) {
		next = at
	}
	if at := j.nextHistory(); !at.IsZero() && (next.IsZero() || at.Before(next)) {
		next = at
	}
	wait := time.Hour
	if !next.IsZero() {
		wait = max(0, time.Until(next))
	}
	if j.timer == nil {
		j.timer = time.AfterFunc(wait, func() { j.do(j.tick) })
	} else {
		j.timer.Reset(wait)
	}
}

// tick does what has become due.
func (j *Job) tick() {
	j.coordinate(coordinator.Tick{})
	j.savePeriodically()
	j.sweepIfDue()
	j.writeHistoryIfDue(time.Now())
}

// sweepIfDue begins a sweep if one is due. The last sweep of an ended job waits until no upload runs, and the workers
// have left or the time for them is over.
func (j *Job) sweepIfDue() {
	now := time.Now()
	if j.env.taking.Load() > 0 {
		j.sweeps.yield(now)
	}
	if j.sweeps.begin(now, func() bool { return j.uploads.running() == 0 }, j.workers.none) {
		j.feed(owner.Event{Kind: owner.EventSweep})
	}
}

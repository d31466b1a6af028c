package shell

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/config"
	"github.com/ckptd/ckptd/service/owner"
)

// The owner takes savepoints by itself if the job's configuration says so. The journal has on record when the last one ended, so the next
// one is due at the same time whoever owns the job then. One that the schedule does not keep is disposed of: first the folder, then its
// entry. A savepoint that a person asked for, and one that a job has claimed, are never touched.

// periodicAgain is after how long a periodic savepoint that could not begin is tried again.
const periodicAgain = 10 * time.Second

// periodic is what a job does about its periodic savepoints.
type periodic struct {
	// from is the configuration of which says is the interpretation.
	from *journal.Config
	says config.PeriodicSavepoints
	// notBefore puts the next one off after one that could not begin.
	notBefore time.Time
	// disposing: a savepoint is being disposed of. settled are those that were, and those that another job has claimed. failed are those
	// that could not be, and are tried again the next time.
	disposing       bool
	settled, failed []uint64
}

// schedule is what the job's configuration says about periodic savepoints.
func (p *periodic) schedule(c *journal.Config) *config.PeriodicSavepoints {
	if p.from != c {
		p.from, p.says = c, config.PeriodicSavepoints{}
		if j, err := config.Interpret(c); err == nil {
			p.says = j.Periodic
		}
	}
	return &p.says
}

// periodicDue is when the next periodic savepoint begins; zero: something else has to happen first.
func (j *Job) periodicDue() (due time.Time) {
	head := j.m.Head()
	if head == nil || j.coord == nil || j.suspending || head.Status != journal.StatusRunning {
		return due
	}
	every := j.periodic.schedule(head.Config).Every
	if every == 0 || !j.m.AllRunning() || j.m.StopsWithSavepoint() {
		return due
	}
	due = j.periodic.notBefore
	for i := range head.Savepoints {
		switch p := &head.Savepoints[i]; {
		case !p.Periodic:
		case p.Outcome == journal.SavepointStarted:
			return time.Time{}
		case due.Before(time.UnixMilli(int64(p.EndedAt)).Add(every)):
			due = time.UnixMilli(int64(p.EndedAt)).Add(every)
		}
	}
	if due.IsZero() { // the first one
		due = time.Now()
	}
	return due
}

// savePeriodically begins a periodic savepoint if one is due.
func (j *Job) savePeriodically() {
	due, now := j.periodicDue(), time.Now()
	if due.IsZero() || now.Before(due) {
		return
	}
	j.periodic.notBefore = now.Add(min(periodicAgain, j.periodic.says.Every))
	failed := func(err error) {
		if err != nil {
			j.warn(j.ops, "a periodic savepoint could not begin", "error", err)
		}
	}
	at, err := j.savepointPlace("")
	if err != nil {
		failed(err)
		return
	}
	caller := j.wait(func(op *owner.Op) { failed(j.refusal(op)) })
	j.feed(owner.Event{Kind: owner.EventSavepoint, Caller: caller, Savepoint: &journal.Savepoint{Path: at, Periodic: true}})
}

// disposePeriodic disposes of the oldest periodic savepoint that the schedule does not keep, then of the next one. It is called when a
// savepoint is done, and after sweeps; what fails is tried again after the next one.
func (j *Job) disposePeriodic() {
	if !j.periodic.disposing {
		j.periodic.failed = nil
		j.disposeNextPeriodic()
	}
}

func (j *Job) disposeNextPeriodic() {
	head := j.m.Head()
	if head == nil || j.coord == nil || j.suspending || head.Status != journal.StatusRunning || j.periodic.disposing {
		return
	}
	saved, ok := j.periodic.schedule(head.Config).Dropped(head, slices.Concat(j.periodic.settled, j.periodic.failed))
	if !ok {
		return
	}
	j.periodic.disposing = true
	j.env.Background.Add(1)
	j.env.crew.run(j.env.Context, func() {
		defer j.env.Background.Done()
		err := j.env.disposeOwn(j.ops, saved.Path, saved.Nonce, j.id)
		if err == nil {
			j.env.Step(StepDisposed)
		}
		j.do(func() { j.periodicDisposed(&saved, err) })
	})
}

func (j *Job) periodicDisposed(saved *journal.Savepoint, err error) {
	j.periodic.disposing = false
	switch {
	case err == nil:
		j.event(ckptdv1.JobEventKind_JOB_EVENT_KIND_SAVEPOINT, &ckptdv1.JobEvent{CheckpointId: saved.ID, Text: "disposed of, as the schedule says: " + saved.Path})
		j.feed(owner.Event{Kind: owner.EventDisposed, ID: saved.ID})
	case !errors.Is(err, errClaimed):
		j.warn(j.ops, "cannot dispose of a periodic savepoint", "folder", saved.Path, "error", err)
		j.periodic.failed = append(j.periodic.failed, saved.ID)
		j.disposeNextPeriodic()
		return
	}
	j.periodic.settled = append(j.periodic.settled, saved.ID)
	j.disposeNextPeriodic()
}

// errClaimed is the error for a savepoint that belongs to another job.
var errClaimed = errors.New("another job has claimed the savepoint")

// disposeOwn claims a savepoint for its own job, so that nobody else can claim it any more, and deletes it.
func (e *Env) disposeOwn(ctx context.Context, folder string, nonce journal.Nonce, job string) error {
	f, err := e.openFolder(ctx, folder, false)
	if err != nil {
		return err
	}
	if err := f.holds(ctx, nonce); err != nil { // another savepoint is not claimed, either
		return errors.Join(err, f.close())
	}
	key := f.prefix + layout.ClaimName
	if err = create(ctx, f.place.Store, key, []byte(job)); err != nil {
		by, readErr := readSmall(ctx, f.place.Store, key)
		switch {
		case readErr == nil && string(by) == job:
			err = nil
		case readErr == nil:
			err = fmt.Errorf("%w: job %s", errClaimed, by)
		case !errors.Is(readErr, storage.ErrNotFound):
			err = errors.Join(err, readErr)
		}
	}
	if err = errors.Join(err, f.close()); err != nil {
		return err
	}
	return e.dispose(ctx, folder, nonce, job)
}

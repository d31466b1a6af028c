package runner

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/cmd/ckptd/launch"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// stopWithin bounds the savepoint that stops a job.
const stopWithin = 5 * time.Minute

// stop stops the job because a person has asked: with a savepoint, if the configuration names where savepoints lie, or
// else it is suspended.
func (r *Runner) stop(ctx context.Context) error {
	if r.o.Config.Job.GetSavepointDir() == "" {
		return r.suspend()
	}
	r.say.Event("stop: a savepoint is taken, and the job ends with it")
	ctx, cancel := context.WithTimeoutCause(ctx, stopWithin, errors.New("the savepoint takes too long"))
	defer cancel()
	saved, err := r.savepoint(ctx)
	if err != nil {
		return errors.Join(fmt.Errorf("run: stop with a savepoint: %w. The job is suspended instead", err), r.suspend())
	}
	for r.watch.ended == ckptdv1.JobStatus_JOB_STATUS_UNSPECIFIED {
		r.poll(ctx)
		if !launch.Sleep(ctx, pollEvery) {
			return fmt.Errorf("run: savepoint %s is taken, but the end of the job is not known: %w", saved.GetPath(), context.Cause(ctx))
		}
	}
	if r.watch.ended != ckptdv1.JobStatus_JOB_STATUS_FINISHED {
		_, err := r.over()
		return fmt.Errorf("run: savepoint %s is taken, but: %w", saved.GetPath(), err)
	}
	r.say.Event("the job is FINISHED, with savepoint %s", saved.GetPath())
	r.say.Line("")
	r.say.Line("go on from it, as a new job:")
	r.say.Line("  %s", r.o.Next+saved.GetPath())
	return nil
}

// savepoint takes the savepoint that stops the job.
func (r *Runner) savepoint(ctx context.Context) (*ckptdv1.Savepoint, error) {
	saved, err := r.admin.Savepoint(ctx, &ckptdv1.TriggerSavepointRequest{
		JobId: r.o.Spec.ID, RequestId: "run-stop-" + r.o.Spec.ID, Stop: ckptdv1.SavepointStop_SAVEPOINT_STOP_SUSPEND,
	})
	for err == nil && saved.GetOutcome() == ckptdv1.SavepointOutcome_SAVEPOINT_OUTCOME_STARTED {
		if !launch.Sleep(ctx, pollEvery) {
			return nil, context.Cause(ctx)
		}
		res, askErr := r.admin.Savepoints(ctx, r.o.Spec.ID)
		if askErr != nil && !errors.Is(askErr, client.ErrUnavailable) {
			r.poll(ctx)
			if r.watch.ended == ckptdv1.JobStatus_JOB_STATUS_FINISHED { // the daemon no longer owns the job
				return saved, nil
			}
			return nil, askErr
		}
		for _, s := range res.GetSavepoints() {
			if s.GetCheckpointId() == saved.GetCheckpointId() {
				saved = s
			}
		}
	}
	switch {
	case err != nil:
		return nil, err
	case saved.GetOutcome() == ckptdv1.SavepointOutcome_SAVEPOINT_OUTCOME_CLEANED:
		return nil, errors.New("it came to nothing, and what was written of it is deleted")
	case saved.GetStop() == ckptdv1.SavepointStop_SAVEPOINT_STOP_UNSPECIFIED:
		return nil, fmt.Errorf("savepoint %s is whole, but its owner died before the job could stop", saved.GetPath())
	}
	return saved, nil
}

// suspend leaves the job as it is: the workers say goodbye, which is no failure, and the same command goes on with the
// newest checkpoint.
func (r *Runner) suspend() error {
	r.say.Event("suspended: the job can go on from its newest checkpoint")
	r.say.Line("")
	r.say.Line("go on with the same job:")
	r.say.Line("  %s", r.o.Again)
	return exit.With(exit.Interrupted, errors.New("run: interrupted; the job is suspended"))
}

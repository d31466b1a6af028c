package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/launch"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

const (
	// lastCheckpointTries bounds the tries of the last checkpoint. Each failure is printed.
	lastCheckpointTries = 10
	// letGo bounds the time that workers and daemon take to release a canceled job.
	letGo = 15 * time.Second
)

// Follow watches the job, kills processes, and returns when the sinks have committed all of the input.
func (d *Demo) Follow(ctx context.Context) error {
	for failures := 0; ; {
		s := d.Poll(ctx)
		d.recovered()
		if err := d.broken(); err != nil {
			return err
		}
		switch {
		case s == nil:
		case d.due(s):
			if err := d.kill(ctx, s); err != nil {
				return err
			}
		case d.Watch.Running && s.GetSources() > 0 && s.GetSourcesAtEnd() == s.GetSources():
			done, err := d.lastCheckpoint(ctx)
			if done {
				return nil
			}
			if err != nil {
				if failures++; failures == lastCheckpointTries {
					return fmt.Errorf("demo: the last checkpoint: %w", err)
				}
				launch.Sleep(ctx, min(pollEvery<<failures, sayEvery)) // the store may not answer for a moment
			}
		}
		if !launch.Sleep(ctx, d.pause()) {
			return context.Cause(ctx)
		}
	}
}

// errStoppedThere is in the chain of broken's error if somebody has stopped the job with a savepoint.
var errStoppedThere = errors.New("it was stopped with a savepoint")

// broken is an error if the job has ended, or cannot go on.
func (d *Demo) broken() error {
	if s := d.Watch.ended; s != ckptdv1.JobStatus_JOB_STATUS_UNSPECIFIED {
		if d.o.Keep && s == ckptdv1.JobStatus_JOB_STATUS_CANCELED {
			return errors.New("demo: the job was canceled before its input was read")
		}
		if s == ckptdv1.JobStatus_JOB_STATUS_FINISHED {
			return fmt.Errorf("demo: %w", errStoppedThere)
		}
		return fmt.Errorf("demo: the job is %s%s", output.Enum(s, "JOB_STATUS_"), because(d.Watch.cause))
	}
	for _, w := range d.Workers {
		select {
		case <-w.Done():
			if w.Err() != nil {
				return fmt.Errorf("demo: a worker does not run any more: %w: %s", w.Err(), launch.LastLine(w.Log()))
			}
		default:
		}
	}
	return nil
}

// lastCheckpoint triggers a checkpoint after the last record, and waits until every sink has committed it. If the job
// fails meanwhile, it restores, and the caller calls lastCheckpoint again.
func (d *Demo) lastCheckpoint(ctx context.Context) (done bool, err error) {
	epoch, attempt := d.Watch.Epoch, d.Watch.Attempt
	try, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	res, err := d.Admin.Trigger(try, d.ID)
	if err != nil {
		return false, err
	}
	id := res.GetCheckpoint().GetCheckpointId()
	for {
		s := d.Poll(ctx)
		switch {
		case s != nil && s.GetCommittedCheckpointId() >= id:
			d.final = id
			d.say.Event("every sink has committed checkpoint %d", id)
			return true, nil
		case s != nil && (d.Watch.Epoch != epoch || d.Watch.Attempt != attempt || !d.Watch.Running):
			return false, nil
		case try.Err() != nil:
			return false, fmt.Errorf("not every sink has committed checkpoint %d: %w", id, context.Cause(try))
		}
		if !launch.Sleep(ctx, pollEvery) {
			return false, context.Cause(ctx)
		}
	}
}

// Cancel ends the job, and waits until the daemon has released it.
func (d *Demo) Cancel(ctx context.Context) error {
	try, stop := context.WithTimeout(ctx, letGo)
	defer stop()
	for {
		_, err := d.Admin.Cancel(try, d.ID)
		if err == nil {
			break
		}
		if !launch.Sleep(try, pollEvery) {
			return fmt.Errorf("demo: cancel: %w", err)
		}
	}
	d.Poll(ctx)
	return d.AwaitLetGo(ctx)
}

// AwaitLetGo waits until the workers of a canceled job have ended, and the daemon has swept and released the job.
func (d *Demo) AwaitLetGo(ctx context.Context) error {
	try, stop := context.WithTimeout(ctx, letGo)
	defer stop()
	for _, w := range d.Workers {
		select {
		case <-w.Done():
		case <-try.Done():
			return fmt.Errorf("demo: a worker does not end: %s", launch.LastLine(w.Log()))
		}
	}
	for !d.released(try) {
		if !launch.Sleep(try, pollEvery) {
			return fmt.Errorf("demo: the daemon does not let the job go: %s", launch.LastLine(d.Daemon.Log()))
		}
	}
	return nil
}

// released tells whether the journal names no owner of the job.
func (d *Demo) released(ctx context.Context) bool {
	if d.inMemory() {
		res, err := d.Admin.Status(ctx)
		return err == nil && len(res.GetJobs()) == 0
	}
	opened, err := drivers.Open(ctx, d.Root, true)
	if err != nil {
		return false
	}
	defer opened.Close()
	return !Owned(ctx, opened.Store, d.ID)
}

// Owned tells whether a journal names an owner of its job, as far as it can be read.
func Owned(ctx context.Context, s storage.Store, job string) bool {
	res, err := catalog.New(s).Journal(ctx, job)
	if err != nil {
		return true
	}
	entries := res.GetEntries()
	return entries[len(entries)-1].GetOwnerNonce() != ""
}

// goOn leaves the job running until somebody cancels it, or ctx ends: then it cancels the job.
func (d *Demo) goOn(ctx context.Context) error {
	d.say.Line("")
	d.say.Line("the job goes on; end it by Ctrl-C, or from another terminal by")
	d.say.Line("  %s cancel %s --server %s", launch.Program(), d.ID, output.ShellWord(d.URL))
	d.say.Line("")
	for d.Watch.ended == ckptdv1.JobStatus_JOB_STATUS_UNSPECIFIED {
		d.Poll(ctx)
		if !launch.Sleep(ctx, pollEvery) {
			return d.Cancel(context.WithoutCancel(ctx))
		}
	}
	return d.AwaitLetGo(ctx)
}

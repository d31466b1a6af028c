package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

const (
	// lastCheckpointTries bounds how often the last checkpoint is tried; each failure was said.
	lastCheckpointTries = 10
	// letGo is how long workers and daemon may take to let a canceled job go.
	letGo = 15 * time.Second
)

// follow watches the job, kills processes, and returns when the sinks have committed all of the input.
func (d *demo) follow(ctx context.Context) error {
	for failures := 0; ; {
		s := d.poll(ctx)
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
		case d.watch.running && s.GetSources() > 0 && s.GetSourcesAtEnd() == s.GetSources():
			done, err := d.lastCheckpoint(ctx)
			if done {
				return nil
			}
			if err != nil {
				if failures++; failures == lastCheckpointTries {
					return fmt.Errorf("demo: the last checkpoint: %w", err)
				}
				sleep(ctx, min(pollEvery<<failures, sayEvery)) // the store may be away for a moment
			}
		}
		if !sleep(ctx, d.pause()) {
			return context.Cause(ctx)
		}
	}
}

// broken says whether the job has ended, or cannot go on.
func (d *demo) broken() error {
	if s := d.watch.ended; s != ckptdv1.JobStatus_JOB_STATUS_UNSPECIFIED {
		if d.o.keep && s == ckptdv1.JobStatus_JOB_STATUS_CANCELED {
			return errors.New("demo: the job was canceled before its input was read")
		}
		return fmt.Errorf("demo: the job is %s%s", enumText(s, "JOB_STATUS_"), because(d.watch.cause))
	}
	for _, w := range d.workers {
		select {
		case <-w.Done():
			if w.Err() != nil {
				return fmt.Errorf("demo: a worker does not run any more: %w: %s", w.Err(), lastLine(w.Log()))
			}
		default:
		}
	}
	return nil
}

// lastCheckpoint triggers a checkpoint after the last record, and waits until every sink has committed it. A failure in between
// restores, and does the same again.
func (d *demo) lastCheckpoint(ctx context.Context) (done bool, err error) {
	epoch, attempt := d.watch.epoch, d.watch.attempt
	try, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	res, err := d.admin.Trigger(try, d.id)
	if err != nil {
		return false, err
	}
	id := res.GetCheckpoint().GetCheckpointId()
	for {
		s := d.poll(ctx)
		switch {
		case s != nil && s.GetCommittedCheckpointId() >= id:
			d.final = id
			d.say.event("every sink has committed checkpoint %d", id)
			return true, nil
		case s != nil && (d.watch.epoch != epoch || d.watch.attempt != attempt || !d.watch.running):
			return false, nil
		case try.Err() != nil:
			return false, fmt.Errorf("not every sink has committed checkpoint %d: %w", id, context.Cause(try))
		}
		if !sleep(ctx, pollEvery) {
			return false, context.Cause(ctx)
		}
	}
}

// cancel ends the job, and waits until it was let go.
func (d *demo) cancel(ctx context.Context) error {
	try, stop := context.WithTimeout(ctx, letGo)
	defer stop()
	for {
		_, err := d.admin.Cancel(try, d.id)
		if err == nil {
			break
		}
		if !sleep(try, pollEvery) {
			return fmt.Errorf("demo: cancel: %w", err)
		}
	}
	d.poll(ctx)
	return d.awaitLetGo(ctx)
}

// awaitLetGo waits until the workers of a canceled job have ended, and the daemon has cleared up.
func (d *demo) awaitLetGo(ctx context.Context) error {
	try, stop := context.WithTimeout(ctx, letGo)
	defer stop()
	for _, w := range d.workers {
		select {
		case <-w.Done():
		case <-try.Done():
			return fmt.Errorf("demo: a worker does not end: %s", lastLine(w.Log()))
		}
	}
	for !d.released(try) {
		if !sleep(try, pollEvery) {
			return fmt.Errorf("demo: the daemon does not let the job go: %s", lastLine(d.daemon.Log()))
		}
	}
	return nil
}

// released tells whether the journal says that nobody owns the job any more.
func (d *demo) released(ctx context.Context) bool {
	opened, err := openStore(ctx, d.root, true)
	if err != nil {
		return false
	}
	defer opened.Close()
	return !owned(ctx, opened.Store, d.id)
}

// owned tells whether a journal names an owner of its job, as far as it can be read.
func owned(ctx context.Context, s storage.Store, job string) bool {
	res, err := catalog.New(s).Journal(ctx, job)
	if err != nil {
		return true
	}
	entries := res.GetEntries()
	return entries[len(entries)-1].GetOwnerNonce() != ""
}

// goOn leaves the job running until ctx ends or somebody cancels it.
func (d *demo) goOn(ctx context.Context) error {
	d.say.line("")
	d.say.line("the job goes on; end it by Ctrl-C, or from another terminal by")
	d.say.line("  %s cancel %s --server %s", program(), d.id, d.url)
	d.say.line("")
	for d.watch.ended == ckptdv1.JobStatus_JOB_STATUS_UNSPECIFIED {
		d.poll(ctx)
		if !sleep(ctx, pollEvery) {
			return nil
		}
	}
	return d.awaitLetGo(ctx)
}

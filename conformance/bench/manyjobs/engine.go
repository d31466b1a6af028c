package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ckptd/ckptd/client"
)

// An engine is one job.
type engine struct {
	job     *client.Job
	session *client.Session
	tally   *tally
	attempt uint64
}

// mine is what each job runs.
var mine = []client.Subtask{{Operator: "one", Index: 0}}

// attachers is how many jobs attach at a time.
const attachers = 64

// attachAll attaches jobs, 64 at a time, and passes each to then.
func attachAll(ctx context.Context, c *client.Client, jobs int, interval time.Duration, then func(*client.Job) error) error {
	var attaching errgroup.Group
	attaching.SetLimit(attachers)
	for i := range jobs {
		attaching.Go(func() error {
			job, err := c.AttachJob(ctx, spec(fmt.Sprintf("many-%05d", i), interval))
			if err != nil {
				return err
			}
			return then(job)
		})
	}
	return attaching.Wait()
}

// spec is a job of one subtask.
func spec(id string, interval time.Duration) client.JobSpec {
	plan := &client.Plan{Operators: []client.Operator{{ID: "one", Name: "one", Parallelism: 1, MaxParallelism: 1, Triggered: true}}}
	return client.JobSpec{ID: id, Plan: plan, Config: client.DefaultConfig(interval)}
}

// register makes this process the worker of a job.
func register(ctx context.Context, job *client.Job, t *tally) (*engine, error) {
	session, err := job.Register(ctx, client.Registration{Subtasks: mine})
	if err != nil {
		return nil, err
	}
	return &engine{job: job, session: session, tally: t}, nil
}

// run obeys the daemon until ctx ends.
func (e *engine) run(ctx context.Context) error {
	defer e.session.Close()
	open := map[uint64]time.Time{}
	for {
		cmd, err := e.session.Next(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		switch cmd := cmd.(type) {
		case client.Start:
			e.attempt = cmd.Attempt
			err = e.job.Report(ctx, client.Report{Kind: client.ReportRunning, Attempt: e.attempt})
		case client.Trigger:
			open[cmd.Checkpoint] = time.Now()
			err = e.snapshot(ctx, cmd)
		case client.Complete:
			e.tally.complete(time.Since(open[cmd.Checkpoint]))
			delete(open, cmd.Checkpoint)
		case client.Abort:
			e.tally.abort()
			delete(open, cmd.Checkpoint)
		case client.Cancel, client.Replaced:
			return fmt.Errorf("job %s ended", e.job.ID())
		}
		if err != nil && ctx.Err() == nil {
			fmt.Fprintf(os.Stderr, "manyjobs: %s: %v\n", e.job.ID(), err)
		}
	}
}

func (e *engine) snapshot(ctx context.Context, cmd client.Trigger) error {
	state := fmt.Sprintf("state of checkpoint %d", cmd.Checkpoint)
	return e.job.Snapshot(ctx, client.Snapshot{
		Attempt: cmd.Attempt, Epoch: cmd.Epoch, Checkpoint: cmd.Checkpoint,
		Subtasks: []client.SubtaskSnapshot{{Subtask: mine[0], Pieces: []client.Piece{{
			Name: fmt.Sprintf("s-%d", cmd.Checkpoint), InstanceNonce: e.session.Nonce(), Scope: client.Exclusive, Size: int64(len(state)),
			Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(state)), nil },
		}}}},
	})
}

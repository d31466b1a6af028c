// Command calls is the engine of exampleengine, made of the six calls themselves.
//
// It owns a number and a loop. It must not know anything of ckptd but package client. Kill it at any moment and start it
// again: it goes on from the newest complete checkpoint. docs/your-engine.md walks through it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ckptd/ckptd/client"
)

func main() {
	daemons := flag.String("daemon", "http://127.0.0.1:7420", "the daemon: http://host:port or unix:/path; several: separated by commas")
	id := flag.String("job", "counter", "the job's id")
	interval := flag.Duration("interval", 500*time.Millisecond, "the time between two checkpoints")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, strings.Split(*daemons, ","), *id, *interval, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "calls:", err)
		os.Exit(1)
	}
}

// mine is what this process runs: the only subtask of the only operator.
var mine = []client.Subtask{{Operator: "counter", Index: 0}}

// engine is the loop's state. attempt is 0 while nothing runs.
type engine struct {
	job     *client.Job
	session *client.Session
	out     io.Writer
	attempt uint64
	count   uint64
}

func run(ctx context.Context, daemons []string, id string, interval time.Duration, out io.Writer) error {
	c, err := client.New(daemons)
	if err != nil {
		return err
	}
	defer c.Close()
	plan := &client.Plan{Operators: []client.Operator{
		{ID: "counter", Name: "counter", Parallelism: 1, MaxParallelism: 1, Triggered: true},
	}}
	// Call 1: somebody has to own the job.
	config := client.DefaultConfig(interval)
	config.RestartStrategy = client.RestartStrategy{Type: client.FixedDelay, Attempts: 1_000_000, Delay: interval / 5}
	job, err := c.AttachJob(ctx, client.JobSpec{ID: id, Plan: plan, Config: config})
	if err != nil {
		return err
	}
	// Call 2: here we are; what shall we do?
	session, err := job.Register(ctx, client.Registration{Subtasks: mine})
	if err != nil {
		return err
	}
	defer session.Close()
	e := &engine{job: job, session: session, out: out}
	for {
		// Between commands the engine does its work: 100 records a second.
		wait, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
		cmd, err := session.Next(wait)
		cancel()
		switch {
		case err == nil:
			if done, err := e.obey(ctx, cmd); done || err != nil {
				return err
			}
		case ctx.Err() != nil:
			return nil
		case !errors.Is(err, context.DeadlineExceeded):
			return err
		case e.attempt != 0:
			e.count++
		}
	}
}

// obey does what a command says; done ends the process.
func (e *engine) obey(ctx context.Context, cmd client.Command) (done bool, err error) {
	switch cmd := cmd.(type) {
	case client.Start:
		return false, e.start(ctx, cmd)
	case client.Trigger:
		e.snapshot(ctx, cmd)
	case client.Complete:
		fmt.Fprintf(e.out, "checkpoint %d is complete\n", cmd.Checkpoint)
		if cmd.Ends && cmd.Attempt == e.attempt { // the job stops with this savepoint
			return false, e.job.Report(ctx, client.Report{Kind: client.ReportFinished, Attempt: cmd.Attempt, Subtasks: mine})
		}
	case client.Cancel:
		fmt.Fprintf(e.out, "the job is over: %s\n", cmd.Status)
		return true, nil
	case client.Replaced:
		fmt.Fprintln(e.out, "another process counts now")
		return true, nil
	}
	return false, nil
}

// start begins an attempt from what the newest complete checkpoint says. A Start that comes twice is only reported again.
func (e *engine) start(ctx context.Context, cmd client.Start) error {
	running := client.Report{Kind: client.ReportRunning, Attempt: cmd.Attempt}
	if cmd.Attempt == e.attempt {
		return e.job.Report(ctx, running)
	}
	e.attempt, e.count = 0, 0
	states, err := e.job.Assignment(ctx, cmd.Attempt, mine) // call 3: what have I to restore?
	switch {
	case errors.Is(err, client.ErrStaleAttempt):
		return nil // a newer Start follows
	case err != nil:
		return err
	}
	for _, h := range states[0].Handles {
		b, err := e.job.ReadAll(ctx, h) // call 4: give it to me
		if err != nil {
			return err
		}
		if e.count, err = strconv.ParseUint(string(b), 10, 64); err != nil {
			return err
		}
	}
	fmt.Fprintf(e.out, "attempt %d restored checkpoint %d: %d\n", cmd.Attempt, cmd.Restore, e.count)
	e.attempt = cmd.Attempt
	err = e.job.Report(ctx, running) // call 5: I run
	if err == nil && cmd.Ends {      // an earlier attempt died before it could finish with the savepoint
		err = e.job.Report(ctx, client.Report{Kind: client.ReportFinished, Attempt: cmd.Attempt, Subtasks: mine})
	}
	return err
}

// snapshot makes the count durable. A checkpoint that fails is no reason to stop: it is declined, and there will be
// another. Without the decline, the owner would wait for the checkpoint's time-out.
func (e *engine) snapshot(ctx context.Context, cmd client.Trigger) {
	if cmd.Attempt != e.attempt {
		return
	}
	state := strconv.FormatUint(e.count, 10)
	fmt.Fprintf(e.out, "checkpoint %d has %s\n", cmd.Checkpoint, state)
	err := e.job.Snapshot(ctx, client.Snapshot{ // call 6: this is my part of the checkpoint
		Attempt: cmd.Attempt, Epoch: cmd.Epoch, Checkpoint: cmd.Checkpoint,
		Subtasks: []client.SubtaskSnapshot{{Subtask: mine[0], Pieces: []client.Piece{{
			Name: fmt.Sprintf("count-%d", cmd.Checkpoint), InstanceNonce: e.session.Nonce(), Scope: client.Shared, Size: int64(len(state)),
			Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(state)), nil },
		}}}},
	})
	if err != nil {
		fmt.Fprintf(e.out, "checkpoint %d failed: %v\n", cmd.Checkpoint, err)
		_ = e.job.Decline(ctx, client.Decline{ // an error says that the checkpoint is over
			Attempt: cmd.Attempt, Epoch: cmd.Epoch, Checkpoint: cmd.Checkpoint, Subtasks: mine, Cause: err.Error(),
		})
	}
}

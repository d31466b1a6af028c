package engine

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/ckptd/ckptd/client"
)

// Options says which subtasks of which job this process runs. Client and Spec are required.
type Options struct {
	Client *client.Client
	Spec   client.JobSpec
	// Subtasks are those of this process; nil: all of Spec.Plan.
	Subtasks []client.Subtask
	// Sinks are the subtasks that commit something outside in Committed. The loop reports their commits, so that the
	// job's status shows them.
	Sinks []client.Subtask
	// ExchangeAddress is where other processes reach this one's exchange of records. The roster shows it to them.
	ExchangeAddress string
	// Records returns how many records the sources of this process have read; nil: not told.
	Records func() uint64
	// Log receives what fails and is repeated; nil: nothing is logged.
	Log *slog.Logger
}

// loop is one Run. The goroutine of Run reads commands; another one calls the engine, so that a command can end a call
// that takes long.
type loop struct {
	Options
	engine  Engine
	job     *client.Job
	session *client.Session

	// reading is the attempt that the newest Start named; the reader alone uses it.
	reading *Attempt
	// attempt is the attempt that this process runs, restored is true once the engine was told to restore it, and
	// committed is its newest complete checkpoint; the caller alone uses them.
	attempt   *Attempt
	restored  bool
	committed uint64
}

// call is a command with the attempt that it is for; nil: none that the process runs.
type call struct {
	command client.Command
	attempt *Attempt
}

// Run runs subtasks of a job until the job ends, and returns how it ended. It returns client.ErrReplaced when another
// process runs the subtasks, the cause of ctx when ctx ends, and client's errors when the job cannot be attached. The
// engine has stopped when Run returns.
func Run(ctx context.Context, o Options, e Engine) (client.JobStatus, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Subtasks == nil && o.Spec.Plan != nil {
		o.Subtasks = o.Spec.Plan.Subtasks()
	}
	job, err := o.Client.AttachJob(ctx, o.Spec)
	if err != nil {
		return 0, fmt.Errorf("engine: %w", err)
	}
	session, err := job.Register(ctx, client.Registration{Subtasks: o.Subtasks, ExchangeAddress: o.ExchangeAddress, Records: o.Records})
	if err != nil {
		return 0, fmt.Errorf("engine: %w", err)
	}
	defer session.Close()
	l := &loop{Options: o, engine: e, job: job, session: session}
	calls := newQueue()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for c, ok := calls.take(); ok; c, ok = calls.take() {
			l.obey(ctx, c)
		}
	}()
	end, err := l.read(ctx, calls)
	calls.close()
	<-done
	l.stop(ctx, end)
	if end.Reason == Ended {
		err = nil
	}
	return end.Status, err
}

// read passes commands to the caller until the session ends, and says how it ended.
func (l *loop) read(ctx context.Context, calls *queue) (Stop, error) {
	defer func() {
		if l.reading != nil {
			l.reading.stop()
		}
	}()
	for {
		cmd, err := l.session.Next(ctx)
		if err != nil {
			return Stop{Reason: Leaving}, fmt.Errorf("engine: %w", err)
		}
		switch cmd := cmd.(type) {
		case client.Cancel:
			return Stop{Reason: Ended, Status: cmd.Status, Cause: cmd.Reason}, nil
		case client.Replaced:
			return Stop{Reason: Replaced}, fmt.Errorf("engine: job %s: %w", l.job.ID(), client.ErrReplaced)
		case client.Start:
			l.starting(ctx, cmd)
		}
		calls.put(call{cmd, l.reading})
	}
}

// starting makes the attempt of a Start, and ends the one before: a call that still runs for it can return.
func (l *loop) starting(ctx context.Context, cmd client.Start) {
	if l.reading != nil {
		if cmd.Attempt <= l.reading.Number {
			return
		}
		l.reading.stop()
	}
	a := &Attempt{
		Number: cmd.Attempt, Restored: cmd.Restore, Ends: cmd.Ends, Roster: cmd.Roster, Config: cmd.Config, Job: l.job, Instance: l.session.Nonce(),
		log: l.Log, open: map[uint64]*begun{},
	}
	a.ctx, a.stop = context.WithCancel(ctx)
	l.reading = a
}

// obey carries out one command.
func (l *loop) obey(ctx context.Context, c call) {
	a := c.attempt
	switch cmd := c.command.(type) {
	case client.Start:
		switch {
		case a != l.attempt:
			l.stop(ctx, Stop{Reason: Restarting})
			l.start(a)
		case cmd.Attempt == a.Number:
			a.again()
		}
	case client.Trigger:
		if l.runs(a, cmd.Attempt) && a.begins(cmd.Checkpoint, cmd.Savepoint) {
			l.snapshot(a, Checkpoint{ID: cmd.Checkpoint, Epoch: cmd.Epoch, Time: cmd.Time, Kind: cmd.Kind, Savepoint: cmd.Savepoint, Stops: cmd.Stops, Drains: cmd.Drains})
		}
	case client.Complete:
		if l.runs(a, cmd.Attempt) {
			if l.complete(ctx, a, Checkpoint{ID: cmd.Checkpoint, Epoch: cmd.Epoch}) && cmd.Ends {
				a.Finished()
			}
		}
	case client.Abort:
		if l.runs(a, cmd.Attempt) {
			l.complete(ctx, a, Checkpoint{ID: cmd.LatestComplete, Epoch: cmd.Epoch})
			if a.endOf(cmd.Checkpoint) {
				l.engine.Aborted(ctx, Checkpoint{ID: cmd.Checkpoint, Epoch: cmd.Epoch})
			}
		}
	}
}

// runs tells whether the engine runs the attempt that a command names.
func (l *loop) runs(a *Attempt, number uint64) bool {
	return a != nil && a == l.attempt && a.Number == number
}

// start lets the engine restore an attempt.
func (l *loop) start(a *Attempt) {
	if a.ctx.Err() != nil {
		return // a newer command has ended it already
	}
	states, err := l.job.Assignment(a.ctx, a.Number, l.Subtasks)
	if err != nil && (a.ctx.Err() != nil || overtaken(err)) {
		return
	}
	l.attempt, l.restored, l.committed = a, err == nil, a.Restored
	if l.restored {
		a.States = states
		err = l.engine.Restore(a.ctx, a)
	}
	switch {
	case a.ctx.Err() != nil:
	case err != nil:
		l.Log.Warn("restore failed", "attempt", a.Number, "checkpoint", a.Restored, "error", err)
		a.Fail(err)
	default:
		a.mu.Lock()
		a.running = true
		a.mu.Unlock()
		a.again()
		if a.Ends { // Restore has committed what the savepoint had prepared
			a.Finished()
		}
	}
}

func (l *loop) snapshot(a *Attempt, c Checkpoint) {
	parts, err := l.engine.Snapshot(a.ctx, c)
	switch {
	case a.ctx.Err() != nil:
	case err != nil:
		l.Log.Warn("checkpoint failed", "checkpoint", c.ID, "attempt", a.Number, "error", err)
		a.decline(a.ctx, c, l.Subtasks, err)
	default:
		a.Submit(c, parts)
	}
}

// complete tells the engine that a checkpoint is complete, once, and in their order.
func (l *loop) complete(ctx context.Context, a *Attempt, c Checkpoint) (committed bool) {
	if c.ID <= l.committed {
		return true
	}
	l.committed = c.ID
	sent := a.endUpTo(c.ID)
	if err := l.engine.Committed(ctx, c); err != nil {
		if ctx.Err() == nil {
			l.Log.Warn("commit failed", "checkpoint", c.ID, "attempt", a.Number, "error", err)
			a.Fail(fmt.Errorf("commit of checkpoint %d: %w", c.ID, err))
		}
		return false
	}
	for _, id := range sent {
		l.engine.Aborted(ctx, Checkpoint{ID: id, Epoch: c.Epoch, Savepoint: true})
	}
	if len(l.Sinks) > 0 {
		a.send(client.Report{Kind: client.ReportCommitted, Attempt: a.Number, Subtasks: l.Sinks, Checkpoint: c.ID})
	}
	return true
}

// stop ends the engine's attempt, if there is one.
func (l *loop) stop(ctx context.Context, why Stop) {
	if l.attempt == nil {
		return
	}
	l.attempt.close()
	if l.restored {
		l.engine.Stopped(context.WithoutCancel(ctx), why)
	}
	l.attempt, l.restored = nil, false
}

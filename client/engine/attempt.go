package engine

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"

	"github.com/ckptd/ckptd/client"
)

// Attempt is one run of the job between two failures. Its methods may be called by any goroutine until Stopped returns;
// after that they do nothing.
type Attempt struct {
	Number uint64
	// Restored is the checkpoint that is restored; 0: begin empty.
	Restored uint64
	// Ends: the job stops with the savepoint that is restored. Restore commits what it had prepared, and no record is to be processed.
	Ends bool
	// States is what the subtasks of this process restore, in the order of their registration.
	States []client.SubtaskState
	// Roster says where each subtask of the job runs, and Config how the job is checkpointed.
	Roster []client.RosterEntry
	Config *client.JobConfig
	// Job fetches state: Fetch, Open, ReadAll.
	Job *client.Job
	// Instance is unique to this process: the InstanceNonce of its shared files.
	Instance string

	log *slog.Logger
	// ctx ends when the attempt is over.
	ctx  context.Context
	stop context.CancelFunc

	mu sync.Mutex
	// open are the checkpoints that were begun and have not ended.
	open map[uint64]*begun
	// running: Restore has succeeded.
	running bool
	// failed is the first failure of the attempt.
	failed *client.Report
	over   bool
	// backlogs are reports of backlogs in their order. The goroutine that sends the first one sends all of them.
	backlogs []client.Report
	wg       sync.WaitGroup
}

// begun is a checkpoint under way, with its uploads.
type begun struct {
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	// savepoint: no later checkpoint ends it while one of its uploads runs. uploads counts those.
	savepoint bool
	uploads   int
}

// Submit uploads and acknowledges the part that subtasks have of a checkpoint, in the background. The pieces are frozen
// copies. Committed, Aborted or Stopped says when nobody reads them any more.
func (a *Attempt) Submit(c Checkpoint, parts []client.SubtaskSnapshot) {
	if len(parts) == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		return
	}
	b := a.beginLocked(c.ID, c.Savepoint)
	b.uploads++
	b.wg.Go(func() {
		a.upload(b.ctx, c, parts)
		a.mu.Lock()
		defer a.mu.Unlock()
		b.uploads--
	})
}

// beginLocked returns the checkpoint under way. If there is none, it begins one.
func (a *Attempt) beginLocked(id uint64, savepoint bool) *begun {
	b := a.open[id]
	if b == nil {
		b = &begun{savepoint: savepoint}
		b.ctx, b.cancel = context.WithCancel(a.ctx)
		a.open[id] = b
	}
	return b
}

// begins tells whether a triggered checkpoint is new to the attempt.
func (a *Attempt) begins(id uint64, savepoint bool) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, twice := a.open[id]; twice || !a.running || a.failed != nil {
		return false
	}
	a.beginLocked(id, savepoint)
	return true
}

// upload makes the parts durable and acknowledges them. A checkpoint that cannot be taken is declined, so that nobody
// waits for its time-out.
func (a *Attempt) upload(ctx context.Context, c Checkpoint, parts []client.SubtaskSnapshot) {
	err := a.Job.Snapshot(ctx, client.Snapshot{Attempt: a.Number, Epoch: c.Epoch, Checkpoint: c.ID, Subtasks: parts})
	switch {
	case err == nil, ctx.Err() != nil, overtaken(err):
		return
	}
	a.log.Warn("checkpoint failed", "checkpoint", c.ID, "attempt", a.Number, "error", err)
	var subtasks []client.Subtask
	for _, p := range parts {
		subtasks = append(subtasks, p.Subtask)
	}
	a.decline(ctx, c, subtasks, err)
}

func (a *Attempt) decline(ctx context.Context, c Checkpoint, subtasks []client.Subtask, cause error) {
	d := client.Decline{Attempt: a.Number, Epoch: c.Epoch, Checkpoint: c.ID, Subtasks: subtasks, Cause: cause.Error()}
	if err := a.Job.Decline(ctx, d); err != nil && ctx.Err() == nil && !overtaken(err) {
		a.log.Warn("decline not delivered: the checkpoint ends with its time-out", "checkpoint", c.ID, "error", err)
	}
}

// end ends the uploads of the checkpoints that over names, and waits for them. It tells which ones were under way.
func (a *Attempt) end(over func(id uint64, b *begun) bool) (known []uint64) {
	a.mu.Lock()
	var ended []*begun
	for id, b := range a.open {
		if over(id, b) {
			known, ended = append(known, id), append(ended, b)
			delete(a.open, id)
		}
	}
	a.mu.Unlock()
	for _, b := range ended {
		b.cancel()
		b.wg.Wait()
	}
	slices.Sort(known)
	return known
}

// endOf ends one checkpoint, and tells whether it was under way.
func (a *Attempt) endOf(checkpoint uint64) bool {
	return len(a.end(func(id uint64, _ *begun) bool { return id == checkpoint })) > 0
}

// endUpTo ends a complete checkpoint, and the earlier ones with it. A savepoint goes on until all of it is sent. It returns those that were sent:
// nobody reads their copies any more.
func (a *Attempt) endUpTo(complete uint64) (sent []uint64) {
	a.end(func(id uint64, b *begun) bool { return id == complete || id < complete && !b.savepoint })
	return a.end(func(id uint64, b *begun) bool { return id < complete && b.uploads == 0 })
}

// Fail reports that subtasks broke while they processed; none: all of this process. The owner begins the next attempt,
// or ends the job by its restart strategy. Only the first failure of an attempt counts.
func (a *Attempt) Fail(cause error, subtasks ...client.Subtask) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over || a.failed != nil {
		return
	}
	a.failed = &client.Report{Kind: client.ReportFailed, Attempt: a.Number, Subtasks: subtasks, Cause: cause.Error()}
	a.sendLocked(*a.failed)
}

// EndOfData reports that source subtasks have read all their input; none: all of this process.
func (a *Attempt) EndOfData(subtasks ...client.Subtask) {
	a.send(client.Report{Kind: client.ReportEndOfData, Attempt: a.Number, Subtasks: subtasks})
}

// Backlog reports that source subtasks work off a backlog (on), or do so no more; none: all of this process. Meanwhile the job's
// IntervalDuringBacklog applies. EndOfData ends the backlog, too. Each attempt begins without a backlog.
func (a *Attempt) Backlog(on bool, subtasks ...client.Subtask) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		return
	}
	a.backlogs = append(a.backlogs, client.Report{Kind: client.ReportBacklog, Attempt: a.Number, Subtasks: subtasks, Backlog: on})
	if len(a.backlogs) == 1 {
		a.wg.Go(a.sendBacklogs)
	}
}

// sendBacklogs sends the reports of backlogs one after the other: the last one has to be heard last.
func (a *Attempt) sendBacklogs() {
	for {
		a.mu.Lock()
		r := a.backlogs[0]
		a.mu.Unlock()
		a.deliver(r)
		a.mu.Lock()
		a.backlogs = a.backlogs[1:]
		done := len(a.backlogs) == 0
		a.mu.Unlock()
		if done {
			return
		}
	}
}

// Finished reports that subtasks are finished for good; none: all of this process.
func (a *Attempt) Finished(subtasks ...client.Subtask) {
	a.send(client.Report{Kind: client.ReportFinished, Attempt: a.Number, Subtasks: subtasks})
}

func (a *Attempt) send(r client.Report) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.over {
		a.sendLocked(r)
	}
}

// sendLocked reports in the background.
func (a *Attempt) sendLocked(r client.Report) {
	a.wg.Go(func() { a.deliver(r) })
}

// deliver sends a report. The session carries reports that hold to later owners. A failure is no such report, so it is repeated until it
// is heard or the attempt is over.
func (a *Attempt) deliver(r client.Report) {
	for {
		err := a.Job.Report(a.ctx, r)
		if err == nil || a.ctx.Err() != nil || overtaken(err) {
			return
		}
		a.log.Warn("report not delivered", "attempt", a.Number, "error", err)
		if r.Kind != client.ReportFailed || !errors.Is(err, client.ErrUnavailable) {
			return
		}
	}
}

// again repeats what was reported about the attempt: the owner has sent its Start twice.
func (a *Attempt) again() {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.failed != nil:
		a.sendLocked(*a.failed)
	case a.running:
		a.sendLocked(client.Report{Kind: client.ReportRunning, Attempt: a.Number})
	}
}

// close ends the attempt: its context, uploads and reports.
func (a *Attempt) close() {
	a.mu.Lock()
	a.over = true
	a.mu.Unlock()
	a.stop()
	a.end(func(uint64, *begun) bool { return true })
	a.wg.Wait()
}

// overtaken tells whether a call was refused because its checkpoint or its attempt was over already.
func overtaken(err error) bool {
	return slices.ContainsFunc([]error{client.ErrNotOpen, client.ErrStaleEpoch, client.ErrStaleAttempt, client.ErrJobTerminal, client.ErrReplaced},
		func(e error) bool { return errors.Is(err, e) })
}

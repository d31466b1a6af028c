package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/runtime/exchange"
)

// lossGrace is how long a worker waits before it reports a broken channel. The worker at the other end may have
// ended the attempt on command, and this worker is about to receive the same command.
const lossGrace = 50 * time.Millisecond

var (
	errStopped  = errors.New("attempt stopped")
	errJobEnded = errors.New("job ended")
)

// attempt is one attempt of the job in this worker, from Start to the end of its tasks.
type attempt struct {
	worker   *worker
	start    client.Start
	dir      string
	reporter *reporter
	uploads  *uploads

	// ctx ends with the tasks; reporting ends after the last report about them.
	ctx          context.Context
	cancel       context.CancelCauseFunc
	reporting    context.Context
	endReporting context.CancelFunc
	// running is closed when all goroutines of the tasks have ended; wg also counts the goroutines that report.
	running  chan struct{}
	wg       sync.WaitGroup
	declines sync.WaitGroup // goroutines that decline checkpoints

	mu sync.Mutex
	// tasks is set once the tasks run.
	tasks  []*task
	failed bool
	// finished counts the tasks that have finished.
	finished int
}

// begin starts an attempt in the background.
func (w *worker) begin(ctx context.Context, start client.Start) *attempt {
	a := &attempt{worker: w, start: start, running: make(chan struct{})}
	a.dir = filepath.Join(w.Dir, fmt.Sprintf("attempt-%d", start.Attempt))
	a.ctx, a.cancel = context.WithCancelCause(ctx)
	a.reporting, a.endReporting = context.WithCancel(ctx)
	a.reporter = newReporter(w.Coordinator, start.Attempt)
	a.uploads = &uploads{ctx: a.ctx, attempt: start.Attempt, snapshot: w.Coordinator.Snapshot, callbacks: a.callbacks(), running: map[uint64]*upload{}}
	a.wg.Go(func() { a.reporter.run(a.reporting) })
	a.wg.Go(func() {
		defer close(a.running)
		a.run()
	})
	return a
}

// stop ends the attempt, and waits until all its goroutines have ended; cause says why.
func (a *attempt) stop(cause error) {
	a.cancel(cause)
	<-a.running
	a.endReporting()
	a.wg.Wait()
}

// run runs the whole attempt, from the assignment to the removal of local files.
func (a *attempt) run() {
	defer os.RemoveAll(a.dir)
	tasks, err := a.restore()
	defer closeAll(tasks)
	if err != nil {
		a.fail(nil, err)
		<-a.ctx.Done()
		return
	}
	a.worker.step(StepRestored)
	defer a.unwire(tasks)
	if err := a.wire(tasks); err != nil {
		a.fail(nil, err)
		<-a.ctx.Done()
		return
	}
	a.mu.Lock()
	a.tasks = tasks
	a.mu.Unlock()
	a.reportRunning(tasks)
	if a.start.Ends { // the sinks have committed what they had prepared
		for _, t := range tasks {
			t.finishes()
		}
	}
	a.worker.Log.Info("running", restored(a.start, "tasks", len(tasks))...)
	var wg sync.WaitGroup
	for _, t := range tasks {
		wg.Go(func() {
			if err := t.run(a.ctx); err != nil {
				a.fail(t, err)
			}
		})
	}
	<-a.ctx.Done()
	a.unwire(tasks)
	wg.Wait()
	if context.Cause(a.ctx) == errJobEnded {
		a.lastCommits(tasks)
	}
	a.uploads.stop()
	a.declines.Wait()
}

// restored adds the attempt to the attributes of a log line, and the checkpoint that it restores, if there is one.
func restored(s client.Start, args ...any) []any {
	args = append([]any{"attempt", s.Attempt}, args...)
	if s.Restore != 0 {
		args = append(args, "restored", s.Restore)
	}
	return args
}

// reportRunning reports that the tasks run, and which checkpoint the sinks committed when they were restored.
func (a *attempt) reportRunning(tasks []*task) {
	a.reporter.set(client.Report{Kind: client.ReportRunning})
	for _, t := range tasks {
		if last := t.chain[len(t.chain)-1]; last.sink != nil && a.start.Restore > 0 {
			a.reporter.set(client.Report{Kind: client.ReportCommitted, Subtasks: []client.Subtask{last.subtask}, Checkpoint: a.start.Restore})
		}
	}
}

// fail reports why the attempt fails, and ends it in this worker. t is the task that failed, nil if no single task
// did. Only the first failure counts.
//
// The owner must hear the cause before the channels to other workers break. Otherwise it might first hear another
// worker's report of a lost channel, and show that as the cause. No new attempt can begin before the owner hears a
// failure.
func (a *attempt) fail(t *task, err error) {
	a.mu.Lock()
	first := !a.failed && a.ctx.Err() == nil
	a.failed = a.failed || first
	a.mu.Unlock()
	if !first {
		return
	}
	r := client.Report{Kind: client.ReportFailed, Cause: err.Error()}
	if t != nil {
		r.Subtasks, r.Cause = t.subtasks, fmt.Sprintf("task %s: %v", t.name(), err)
	}
	if errors.Is(err, exchange.ErrLost) {
		a.cancel(err)
		a.wg.Go(func() { a.lost(r) })
		return
	}
	a.worker.Log.Warn("failed", "attempt", a.start.Attempt, "cause", r.Cause)
	a.reporter.set(r)
	a.wg.Go(func() {
		select {
		case <-a.reporter.heard:
		case <-a.ctx.Done():
		}
		a.cancel(err)
	})
}

// lost reports a broken channel, unless the attempt ends on command meanwhile. Then nothing has failed.
func (a *attempt) lost(r client.Report) {
	select {
	case <-time.After(lossGrace):
		a.worker.Log.Warn("failed", "attempt", a.start.Attempt, "cause", r.Cause)
		a.reporter.set(r)
	case <-a.reporting.Done():
		a.worker.Log.Debug("channel closed", "attempt", a.start.Attempt, "cause", r.Cause)
	}
}

// lastCommits commits the checkpoints for which the sinks have not processed the command yet. The job has ended, so
// no restore would commit them.
func (a *attempt) lastCommits(tasks []*task) {
	for _, t := range tasks {
		for _, l := range t.mail.take() {
			if l.complete == 0 {
				continue
			}
			if err := t.commit(l.complete); err != nil {
				a.worker.Log.Error("the last commit failed", "task", t.name(), "checkpoint", l.complete, "error", err)
			}
		}
	}
}

func closeAll(tasks []*task) {
	for _, t := range tasks {
		for _, o := range t.chain {
			o.close() // nothing depends on its error any more
		}
	}
}

// post puts a letter into the mailboxes of the running tasks that match.
func (a *attempt) post(l letter, match func(*task) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, t := range a.tasks {
		if match(t) {
			t.mail.put(l)
		}
	}
}

// records returns how many records the sources have read; false before they run.
func (a *attempt) records() (n uint64, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, t := range a.tasks {
		if s := t.chain[0].source; s != nil {
			n += s.Progress().Records
		}
	}
	return n, a.tasks != nil
}

func (a *attempt) callbacks() callbacks {
	return callbacks{
		send:     func(s taskSnapshot) { a.uploads.add(s) },
		decline:  a.decline,
		report:   a.reporter.set,
		step:     a.worker.step,
		finished: a.taskFinished,
		warn:     a.worker.Log.With("attempt", a.start.Attempt).Warn,
	}
}

// decline tells the coordinator in the background. A lost decline does no harm, because the checkpoint still times
// out.
func (a *attempt) decline(checkpoint, epoch uint64, subtasks []client.Subtask, reason, cause string) {
	log := a.worker.Log.With("attempt", a.start.Attempt, "checkpoint", checkpoint)
	if cause == "" { // another checkpoint has overtaken this one
		log.Info("checkpoint declined", "reason", reason)
	} else {
		log.Warn("checkpoint declined", "reason", reason, "cause", cause)
	}
	a.declines.Go(func() {
		d := client.Decline{Attempt: a.start.Attempt, Epoch: epoch, Checkpoint: checkpoint, Subtasks: subtasks, Reason: reason, Cause: cause}
		if err := a.worker.Coordinator.Decline(a.ctx, d); err != nil && a.ctx.Err() == nil && !overtaken(err) {
			log.Warn("decline not delivered", "error", err)
		}
	})
}

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

// lossGrace is how long a worker keeps to itself that a channel broke: the worker at the other end may have ended the attempt because
// it was told to, and this one is about to be told the same.
const lossGrace = 50 * time.Millisecond

var (
	errStopped  = errors.New("attempt stopped")
	errJobEnded = errors.New("job ended")
)

// attempt is one attempt of the job in this worker, from Start to the end of its tasks.
type attempt struct {
	worker *worker
	start  client.Start
	dir    string
	facts  *facts
	ups    *uploads

	// ctx ends with the tasks, telling with the last word about them.
	ctx        context.Context
	cancel     context.CancelCauseFunc
	telling    context.Context
	endTelling context.CancelFunc
	// running is closed when nothing of the tasks remains; wg also has the telling.
	running chan struct{}
	wg      sync.WaitGroup
	small   sync.WaitGroup // declines

	mu sync.Mutex
	// tasks is set once they run.
	tasks  []*task
	failed bool
}

// begin starts an attempt in the background.
func (w *worker) begin(ctx context.Context, start client.Start) *attempt {
	a := &attempt{worker: w, start: start, running: make(chan struct{})}
	a.dir = filepath.Join(w.Dir, fmt.Sprintf("attempt-%d", start.Attempt))
	a.ctx, a.cancel = context.WithCancelCause(ctx)
	a.telling, a.endTelling = context.WithCancel(ctx)
	a.facts = newFacts(w.Coordinator, start.Attempt)
	a.ups = &uploads{ctx: a.ctx, attempt: start.Attempt, snapshot: w.Coordinator.Snapshot, around: a.surroundings(), running: map[uint64]*upload{}}
	a.wg.Go(func() { a.facts.run(a.telling) })
	a.wg.Go(func() {
		defer close(a.running)
		a.run()
	})
	return a
}

// stop ends the attempt for a cause and waits until nothing of it is left.
func (a *attempt) stop(cause error) {
	a.cancel(cause)
	<-a.running
	a.endTelling()
	a.wg.Wait()
}

// run does everything from the assignment to the removal of local files.
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
	a.tellRunning(tasks)
	a.worker.Log.Info("running", "attempt", a.start.Attempt, "restored", a.start.Restore, "tasks", len(tasks))
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
	a.ups.stop()
	a.small.Wait()
}

// tellRunning also says what the sinks committed when they were restored.
func (a *attempt) tellRunning(tasks []*task) {
	a.facts.tell(client.Report{Kind: client.ReportRunning})
	for _, t := range tasks {
		if last := t.chain[len(t.chain)-1]; last.sink != nil && a.start.Restore > 0 {
			a.facts.tell(client.Report{Kind: client.ReportCommitted, Subtasks: []client.Subtask{last.subtask}, Checkpoint: a.start.Restore})
		}
	}
}

// fail says why the attempt fails and ends it in this worker; t is nil if no single task is to blame. Only the first counts. The cause is
// heard before the channels to other workers break: else one of them might be heard first, and people read that a channel was lost.
// While nobody hears it no new attempt can begin either.
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
	a.worker.Log.Error("failed", "attempt", a.start.Attempt, "cause", r.Cause)
	a.worker.session.SetAttempt(0)
	if errors.Is(err, exchange.ErrLost) {
		a.cancel(err)
		a.wg.Go(func() {
			select {
			case <-time.After(lossGrace):
				a.facts.tell(r)
			case <-a.telling.Done():
			}
		})
		return
	}
	a.facts.tell(r)
	a.wg.Go(func() {
		select {
		case <-a.facts.heard:
		case <-a.ctx.Done():
		}
		a.cancel(err)
	})
}

// lastCommits commits what the sinks were told to but had no time for: nobody will restore this job and make it good.
func (a *attempt) lastCommits(tasks []*task) {
	for _, t := range tasks {
		for _, l := range t.mail.take() {
			if l.complete == 0 {
				continue
			}
			if err := t.commit(l.complete); err != nil {
				a.worker.Log.Error("last commit", "task", t.name(), "checkpoint", l.complete, "error", err)
			}
		}
	}
}

func closeAll(tasks []*task) {
	for _, t := range tasks {
		for _, o := range t.chain {
			o.close() // nothing depends on it any more
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

// records is how many the sources have read; false before they run.
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

func (a *attempt) surroundings() surroundings {
	return surroundings{
		send:    func(p part) { a.ups.add(p) },
		decline: a.decline,
		tell:    a.facts.tell,
		step:    a.worker.step,
	}
}

// decline tells the coordinator in the background. That nobody hears it is no harm: the checkpoint's time-out remains.
func (a *attempt) decline(checkpoint, epoch uint64, subtasks []client.Subtask, reason, cause string) {
	a.worker.Log.Info("declined", "attempt", a.start.Attempt, "checkpoint", checkpoint, "reason", reason, "cause", cause)
	a.small.Go(func() {
		d := client.Decline{Attempt: a.start.Attempt, Epoch: epoch, Checkpoint: checkpoint, Subtasks: subtasks, Reason: reason, Cause: cause}
		if err := a.worker.Coordinator.Decline(a.ctx, d); err != nil && a.ctx.Err() == nil && !overtaken(err) {
			a.worker.Log.Warn("decline not delivered", "checkpoint", checkpoint, "error", err)
		}
	})
}

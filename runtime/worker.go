package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/runtime/exchange"
	"github.com/ckptd/ckptd/runtime/state"
)

// WorkerOptions says what a worker runs and what it uses. JobID, Job, Coordinator, Network and Dir are required.
type WorkerOptions struct {
	JobID string
	Job   *Job
	// The worker runs the subtasks whose index modulo Workers is Number. Workers 0 means 1.
	Number, Workers int
	Coordinator     Coordinator
	Network         exchange.Network
	// Dir is a folder of this worker alone, for local files of an attempt. Files of earlier workers in it are
	// removed.
	Dir string
	// Nonce names this process instance. If it is empty, the worker makes one.
	Nonce string
	// Steps, if not nil, is called at the named steps (Step…) by any goroutine. It is for tests.
	Steps func(name string)
	// Log receives what the worker does; nil means no log.
	Log *slog.Logger
}

// worker is one worker of the job, in this process.
type worker struct {
	WorkerOptions
	server  *exchange.Server
	session Session
	current atomic.Pointer[attempt]
	// read is the last known number of records, for the time between attempts.
	read atomic.Uint64
}

// RunWorker runs one worker of a job. It returns nil when the job has ended. It returns an error when another process
// has replaced this worker (client.ErrReplaced), when ctx ends, or when no daemon can be reached for good. On return
// everything is released.
func RunWorker(ctx context.Context, o WorkerOptions) error {
	w := &worker{WorkerOptions: o}
	if err := w.prepare(); err != nil {
		return err
	}
	l, address, err := w.Network.Listen()
	if err != nil {
		return fmt.Errorf("runtime: worker %d: listen: %w", w.Number, err)
	}
	w.server = exchange.NewServer(l, w.JobID)
	defer w.server.Close()
	alive, end := untilGoodbye(ctx)
	defer end(nil)
	w.session, err = w.Coordinator.Register(alive, client.Registration{
		Subtasks: w.Job.subtasksOf(w.Number, w.Workers), ExchangeAddress: address, Nonce: w.Nonce, Plan: w.Job.Plan(), Records: w.records,
	})
	if err != nil {
		return fmt.Errorf("runtime: worker %d: register: %w", w.Number, err)
	}
	defer w.stop(errStopped)
	defer w.session.Close()
	w.Log.Info("registered", "workers", w.Workers, "nonce", w.Nonce, "exchange", address)
	for {
		cmd, err := w.session.Next(ctx)
		if err != nil {
			return w.ended(err)
		}
		if done, err := w.obey(alive, cmd); done {
			return err
		}
	}
}

// untilGoodbye returns the context of what the worker runs. When ctx ends, the worker first says goodbye and then stops
// its tasks: if their channels broke first, other workers might report a failure before the owner hears the goodbye. A
// crash, which tests simulate, ends everything at once.
func untilGoodbye(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	alive, end := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		if cause := context.Cause(ctx); errors.Is(cause, client.ErrCrash) {
			end(cause)
		}
	})
	return alive, func(cause error) { stop(); end(cause) }
}

func (w *worker) prepare() error {
	if w.Workers == 0 {
		w.Workers = 1
	}
	if w.Number < 0 || w.Number >= w.Workers {
		return fmt.Errorf("runtime: worker: number %d of %d workers", w.Number, w.Workers)
	}
	if err := w.Job.Validate(); err != nil {
		return err
	}
	if w.Nonce == "" {
		w.Nonce = state.NewInstance()
	}
	if w.Log == nil {
		w.Log = slog.New(slog.DiscardHandler)
	}
	w.Log = w.Log.With("worker", w.Number)
	if err := os.RemoveAll(w.Dir); err != nil {
		return fmt.Errorf("runtime: worker %d: clear %s: %w", w.Number, w.Dir, err)
	}
	if err := os.MkdirAll(w.Dir, 0o777); err != nil {
		return fmt.Errorf("runtime: worker %d: %w", w.Number, err)
	}
	return nil
}

// ended returns the worker's result for the error that ended its session.
func (w *worker) ended(err error) error {
	if errors.Is(err, client.ErrJobTerminal) {
		return nil
	}
	return fmt.Errorf("runtime: worker %d: %w", w.Number, err)
}

// obey carries out one command; done reports that it was the last.
func (w *worker) obey(ctx context.Context, cmd client.Command) (done bool, err error) {
	switch cmd := cmd.(type) {
	case client.Start:
		w.start(ctx, cmd)
	case client.Trigger:
		if a := w.running(cmd.Attempt); a != nil {
			a.post(letter{trigger: cmd.Checkpoint, epoch: cmd.Epoch, stops: cmd.Stops, drains: cmd.Drains}, func(t *task) bool { return t.gate == nil })
		}
	case client.Complete:
		if a := w.running(cmd.Attempt); a != nil && cmd.Ends {
			a.post(letter{complete: cmd.Checkpoint, ends: true}, func(*task) bool { return true })
			return false, nil
		}
		w.complete(cmd.Attempt, cmd.Checkpoint)
	case client.Abort:
		w.complete(cmd.Attempt, cmd.LatestComplete)
		if a := w.running(cmd.Attempt); a != nil {
			a.uploads.abort(cmd.Checkpoint)
			a.post(letter{abort: cmd.Checkpoint}, func(*task) bool { return true })
		}
	case client.Cancel:
		w.jobEnded(cmd)
		w.stop(errJobEnded)
		return true, nil
	case client.Replaced:
		return true, fmt.Errorf("runtime: worker %d: %w", w.Number, client.ErrReplaced)
	}
	return false, nil
}

// jobEnded logs the end of the job. A job that has failed needs a person.
func (w *worker) jobEnded(c client.Cancel) {
	level, args := slog.LevelInfo, []any{"status", c.Status}
	if c.Status == client.StatusFailed {
		level = slog.LevelError
	}
	if c.Reason != "" {
		args = append(args, "reason", c.Reason)
	}
	w.Log.Log(context.Background(), level, "job ended", args...)
}

// running returns the current attempt if it has this number, else nil.
func (w *worker) running(attempt uint64) *attempt {
	if a := w.current.Load(); a != nil && a.start.Attempt == attempt {
		return a
	}
	return nil
}

// complete lets the sinks commit a checkpoint, and tells the sources that want to know. The checkpoint that the attempt restored is committed already.
func (w *worker) complete(attempt, checkpoint uint64) {
	if a := w.running(attempt); a != nil && checkpoint > a.start.Restore {
		a.post(letter{complete: checkpoint}, (*task).hearsComplete)
	}
}

// start begins an attempt after the one before has ended completely. The owner may repeat the Start of the current
// attempt; then the worker only repeats its reports.
func (w *worker) start(ctx context.Context, cmd client.Start) {
	if a := w.current.Load(); a != nil {
		if cmd.Attempt < a.start.Attempt {
			return
		}
		if cmd.Attempt == a.start.Attempt {
			a.reporter.again()
			return
		}
	}
	w.stop(errStopped)
	w.Log.Info("start", restored(cmd, "epoch", cmd.Epoch)...)
	w.current.Store(w.begin(ctx, cmd))
}

// stop ends the current attempt, if there is one; cause says why.
func (w *worker) stop(cause error) {
	a := w.current.Load()
	if a == nil {
		return
	}
	w.records()
	a.stop(cause)
}

// records returns the number of records that the sources of this worker have read.
func (w *worker) records() uint64 {
	if a := w.current.Load(); a != nil {
		if n, ok := a.records(); ok {
			w.read.Store(n)
		}
	}
	return w.read.Load()
}

func (w *worker) step(name string) {
	if w.Steps != nil {
		w.Steps(name)
	}
}

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

// WorkerOptions says what a worker runs and with whom. JobID, Job, Coordinator, Network and Dir are required.
type WorkerOptions struct {
	JobID string
	Job   *Job
	// The worker runs the subtasks whose index modulo Slots is Slot; Slots 0 means 1.
	Slot, Slots int
	Coordinator Coordinator
	Network     exchange.Network
	// Dir is a folder of this worker alone, for what lives as long as an attempt. What lies there of former lives is removed.
	Dir string
	// Nonce names this process instance; empty: one is made.
	Nonce string
	// Steps is called at the named steps (Step…), by any goroutine; nil in production.
	Steps func(name string)
	// Log takes what the worker does; nil: nothing is logged.
	Log *slog.Logger
}

// worker is a slot of the job in this process.
type worker struct {
	WorkerOptions
	server  *exchange.Server
	session Session
	current atomic.Pointer[attempt]
	// read is the last known number of records, while no attempt runs.
	read atomic.Uint64
}

// RunWorker runs one slot of a job until the job has ended (nil), another process took the slot over (client.ErrReplaced in the
// chain), ctx ends, or nothing more can be learned from any daemon. On return nothing of it is left.
func RunWorker(ctx context.Context, o WorkerOptions) error {
	w := &worker{WorkerOptions: o}
	if err := w.prepare(); err != nil {
		return err
	}
	l, address, err := w.Network.Listen()
	if err != nil {
		return fmt.Errorf("runtime: worker %d: listen: %w", w.Slot, err)
	}
	w.server = exchange.NewServer(l, w.JobID)
	defer w.server.Close()
	w.session, err = w.Coordinator.Register(ctx, client.Registration{
		Subtasks: w.Job.subtasksOf(w.Slot, w.Slots), ExchangeAddress: address, Nonce: w.Nonce, Plan: w.Job.Plan(), Records: w.records,
	})
	if err != nil {
		return fmt.Errorf("runtime: worker %d: register: %w", w.Slot, err)
	}
	defer w.session.Close()
	defer w.stop(errStopped)
	w.Log.Info("registered", "slots", w.Slots, "nonce", w.Nonce, "exchange", address)
	for {
		cmd, err := w.session.Next(ctx)
		if err != nil {
			return w.ended(err)
		}
		if done, err := w.obey(ctx, cmd); done {
			return err
		}
	}
}

func (w *worker) prepare() error {
	if w.Slots == 0 {
		w.Slots = 1
	}
	if w.Slot < 0 || w.Slot >= w.Slots {
		return fmt.Errorf("runtime: worker: slot %d of %d", w.Slot, w.Slots)
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
	w.Log = w.Log.With("slot", w.Slot)
	if err := os.RemoveAll(w.Dir); err != nil {
		return fmt.Errorf("runtime: worker %d: clear %s: %w", w.Slot, w.Dir, err)
	}
	if err := os.MkdirAll(w.Dir, 0o777); err != nil {
		return fmt.Errorf("runtime: worker %d: %w", w.Slot, err)
	}
	return nil
}

// ended gives the end of a session its meaning.
func (w *worker) ended(err error) error {
	if errors.Is(err, client.ErrJobTerminal) {
		return nil
	}
	return fmt.Errorf("runtime: worker %d: %w", w.Slot, err)
}

// obey follows one command; done says that it was the last.
func (w *worker) obey(ctx context.Context, cmd client.Command) (done bool, err error) {
	switch cmd := cmd.(type) {
	case client.Start:
		w.start(ctx, cmd)
	case client.Trigger:
		if a := w.running(cmd.Attempt); a != nil {
			a.post(letter{trigger: cmd.Checkpoint, epoch: cmd.Epoch}, func(t *task) bool { return t.gate == nil })
		}
	case client.Complete:
		w.complete(cmd.Attempt, cmd.Checkpoint)
	case client.Abort:
		w.complete(cmd.Attempt, cmd.LatestComplete)
		if a := w.running(cmd.Attempt); a != nil {
			a.ups.abort(cmd.Checkpoint)
			a.post(letter{abort: cmd.Checkpoint}, func(*task) bool { return true })
		}
	case client.Cancel:
		w.Log.Info("job ended", "status", cmd.Status, "reason", cmd.Reason)
		w.stop(errJobEnded)
		return true, nil
	case client.Replaced:
		return true, fmt.Errorf("runtime: worker %d: %w", w.Slot, client.ErrReplaced)
	}
	return false, nil
}

// running is the current attempt if it is this one.
func (w *worker) running(attempt uint64) *attempt {
	if a := w.current.Load(); a != nil && a.start.Attempt == attempt {
		return a
	}
	return nil
}

// complete has the sinks commit. What the attempt began with is complete and committed already.
func (w *worker) complete(attempt, checkpoint uint64) {
	if a := w.running(attempt); a != nil && checkpoint > a.start.Restore {
		a.post(letter{complete: checkpoint}, func(t *task) bool { return t.chain[len(t.chain)-1].sink != nil })
	}
}

// start begins an attempt once the one before has ended entirely. The owner may say the same Start again: then it only has to hear
// how things are.
func (w *worker) start(ctx context.Context, cmd client.Start) {
	if a := w.current.Load(); a != nil {
		if cmd.Attempt < a.start.Attempt {
			return
		}
		if cmd.Attempt == a.start.Attempt {
			a.facts.again()
			return
		}
	}
	w.stop(errStopped)
	w.Log.Info("start", "attempt", cmd.Attempt, "restore", cmd.Restore, "epoch", cmd.Epoch)
	w.session.SetAttempt(cmd.Attempt)
	w.current.Store(w.begin(ctx, cmd))
}

// stop ends the current attempt for a cause, if there is one.
func (w *worker) stop(cause error) {
	a := w.current.Load()
	if a == nil {
		return
	}
	w.records()
	a.stop(cause)
}

// records is how many records the sources of this worker have read.
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

package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	goruntime "runtime"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/ckptd/ckptd/runtime/exchange"
)

// LocalOptions says what a Local runs. JobID, Job, Attach and Dir are required.
type LocalOptions struct {
	JobID string
	Job   *Job
	// Workers is the number of slots; 0 means 1.
	Workers int
	// Attach makes the coordinator for one life of a worker: what a process of its own would do first.
	Attach func(ctx context.Context, slot int) (Coordinator, error)
	// Network connects the workers; nil: memory.
	Network exchange.Network
	// Dir is a folder for local state; it is the caller's to remove.
	Dir string
	// Steps is called at the named steps (Step…) of a worker; true kills the worker exactly there. nil: never.
	Steps func(slot int, name string) (kill bool)
	Log   *slog.Logger
}

// Local runs all workers of a job in this process: the same code as in processes of their own, but for the kills, which a process
// would feel more thoroughly.
type Local struct {
	LocalOptions
	cancel context.CancelCauseFunc
	slots  *errgroup.Group

	mu    sync.Mutex
	lives []context.CancelFunc
}

var errKilled = errors.New("killed")

// StartLocal starts the workers.
func StartLocal(ctx context.Context, o LocalOptions) *Local {
	if o.Network == nil {
		o.Network = exchange.NewMemory()
	}
	o.Workers = max(o.Workers, 1)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	l := &Local{LocalOptions: o, lives: make([]context.CancelFunc, o.Workers)}
	ctx, l.cancel = context.WithCancelCause(ctx)
	l.slots, ctx = errgroup.WithContext(ctx)
	for slot := range o.Workers {
		l.slots.Go(func() error { return l.keep(ctx, slot) })
	}
	return l
}

// Kill ends a worker without a word to anybody, and has another take its place at once.
func (l *Local) Kill(slot int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if end := l.lives[slot]; end != nil {
		end()
	}
}

// Wait waits until all workers have ended: nil if the job has. An error of one ends them all.
func (l *Local) Wait() error {
	err := l.slots.Wait()
	l.cancel(nil)
	return err
}

// Stop ends all workers, as a launcher would.
func (l *Local) Stop() {
	l.cancel(nil)
	_ = l.slots.Wait() // Wait gives the error
}

// keep runs one life of a worker after another, until the job ends.
func (l *Local) keep(ctx context.Context, slot int) error {
	for life := 0; ; life++ {
		alive, end := context.WithCancelCause(ctx)
		l.mu.Lock()
		l.lives[slot] = func() { end(errKilled) }
		l.mu.Unlock()
		err := l.live(alive, slot, life, func() { end(errKilled) })
		killed := errors.Is(context.Cause(alive), errKilled)
		end(nil)
		if killed && ctx.Err() == nil {
			continue
		}
		if ctx.Err() != nil {
			return nil // the error is that of the end
		}
		return err
	}
}

func (l *Local) live(ctx context.Context, slot, life int, kill func()) error {
	c, err := l.Attach(ctx, slot)
	if err != nil {
		return fmt.Errorf("runtime: worker %d: attach: %w", slot, err)
	}
	o := WorkerOptions{
		JobID: l.JobID, Job: l.Job, Slot: slot, Slots: l.Workers, Coordinator: c, Network: l.Network,
		Dir: filepath.Join(l.Dir, fmt.Sprintf("worker-%d-%d", slot, life)), Log: l.Log.With("life", life),
	}
	if l.Steps != nil {
		o.Steps = func(name string) {
			if l.Steps(slot, name) {
				kill()
				goruntime.Goexit() // nothing of this goroutine comes after its death
			}
		}
	}
	return RunWorker(ctx, o)
}

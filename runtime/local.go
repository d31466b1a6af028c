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

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/runtime/exchange"
)

// LocalOptions says what a Local runs. JobID, Job, Attach and Dir are required.
type LocalOptions struct {
	JobID string
	Job   *Job
	// Workers is the number of workers; 0 means 1.
	Workers int
	// Attach returns the coordinator for one life of a worker, as a process of its own would get it at its start.
	Attach func(ctx context.Context, number int) (Coordinator, error)
	// Network connects the workers; nil means connections in memory.
	Network exchange.Network
	// Dir is a folder for local state. The caller removes it.
	Dir string
	// Steps, if not nil, is called at the named steps (Step…) of a worker. If it returns true, the worker is killed
	// exactly there.
	Steps func(number int, name string) (kill bool)
	Log   *slog.Logger
}

// Local runs all workers of a job in this process. It runs the same code as separate processes do; only a kill is
// gentler than the kill of a process.
type Local struct {
	LocalOptions
	cancel context.CancelCauseFunc
	group  *errgroup.Group

	mu    sync.Mutex
	lives []context.CancelFunc
}

var errKilled = fmt.Errorf("killed: %w", client.ErrCrash)

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
	l.group, ctx = errgroup.WithContext(ctx)
	for number := range o.Workers {
		l.group.Go(func() error { return l.keep(ctx, number) })
	}
	return l
}

// Kill ends a worker without a report to any daemon. Another worker takes its place at once.
func (l *Local) Kill(number int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if end := l.lives[number]; end != nil {
		end()
	}
}

// Wait waits until all workers have ended. It returns nil if the job has ended. An error of one worker ends all of
// them.
func (l *Local) Wait() error {
	err := l.group.Wait()
	l.cancel(nil)
	return err
}

// Stop ends all workers, as a launcher would.
func (l *Local) Stop() {
	l.cancel(nil)
	_ = l.group.Wait() // Wait gives the error
}

// keep runs one life of a worker after another, until the job ends.
func (l *Local) keep(ctx context.Context, number int) error {
	for life := 0; ; life++ {
		alive, end := context.WithCancelCause(ctx)
		l.mu.Lock()
		l.lives[number] = func() { end(errKilled) }
		l.mu.Unlock()
		err := l.live(alive, number, life, func() { end(errKilled) })
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

func (l *Local) live(ctx context.Context, number, life int, kill func()) error {
	c, err := l.Attach(ctx, number)
	if err != nil {
		return fmt.Errorf("runtime: worker %d: attach: %w", number, err)
	}
	o := WorkerOptions{
		JobID: l.JobID, Job: l.Job, Number: number, Workers: l.Workers, Coordinator: c, Network: l.Network,
		Dir: filepath.Join(l.Dir, fmt.Sprintf("worker-%d-%d", number, life)), Log: l.Log.With("life", life),
	}
	if l.Steps != nil {
		o.Steps = func(name string) {
			if l.Steps(number, name) {
				kill()
				goruntime.Goexit() // nothing of this goroutine runs after the kill
			}
		}
	}
	return RunWorker(ctx, o)
}

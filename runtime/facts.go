package runtime

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/ckptd/ckptd/client"
)

// Facts are told again after factLow, then with doubling pauses up to factHigh.
const (
	factLow  = 100 * time.Millisecond
	factHigh = time.Second
)

// facts are what the job's owner has to know of an attempt in this worker. They are told again and again: an owner may be new, with an
// empty memory, or may not have known this worker yet when it was told; only repetition needs no knowledge of that. A failure is told
// until it was heard once: it ends the attempt.
type facts struct {
	attempt     uint64
	coordinator Coordinator
	wake        chan struct{}

	mu     sync.Mutex
	all    []client.Report
	failed *client.Report
	// heard is closed when a failure was heard.
	heard chan struct{}
}

func newFacts(c Coordinator, attempt uint64) *facts {
	return &facts{attempt: attempt, coordinator: c, wake: make(chan struct{}, 1), heard: make(chan struct{})}
}

// tell notes a fact; a newer one of the same kind about the same subtasks replaces it. A failure is told once in an attempt.
func (f *facts) tell(r client.Report) {
	r.Attempt = f.attempt
	f.mu.Lock()
	i := slices.IndexFunc(f.all, func(x client.Report) bool { return x.Kind == r.Kind && slices.Equal(x.Subtasks, r.Subtasks) })
	switch {
	case r.Kind == client.ReportFailed:
		f.failed, f.all = &r, nil
	case i < 0:
		f.all = append(f.all, r)
	default:
		f.all[i] = r
	}
	f.mu.Unlock()
	f.again()
}

// again has everything told soon.
func (f *facts) again() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// run tells facts until ctx ends.
func (f *facts) run(ctx context.Context) {
	pause, epoch := factLow, uint64(0)
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
			pause = factLow
		case <-timer.C:
			pause = min(2*pause, factHigh)
		}
		if now := f.coordinator.Epoch(); now != epoch {
			pause, epoch = factLow, now
		}
		f.tellAll(ctx)
		timer.Reset(pause)
	}
}

// tellAll says everything once.
func (f *facts) tellAll(ctx context.Context) {
	f.mu.Lock()
	failed, level := f.failed, merge(f.all)
	f.mu.Unlock()
	if failed != nil {
		if err := f.coordinator.Report(ctx, *failed); err == nil || overtaken(err) {
			f.mu.Lock()
			f.failed = nil
			f.mu.Unlock()
			close(f.heard)
		}
		return
	}
	for _, r := range level {
		if err := f.coordinator.Report(ctx, r); err != nil {
			return // later
		}
	}
}

// merge puts facts together that differ in their subtasks only.
func merge(all []client.Report) []client.Report {
	var out []client.Report
	for _, r := range all {
		i := slices.IndexFunc(out, func(x client.Report) bool { return x.Kind == r.Kind && x.Checkpoint == r.Checkpoint })
		if i < 0 {
			r.Subtasks = slices.Clone(r.Subtasks)
			out = append(out, r)
			continue
		}
		out[i].Subtasks = append(out[i].Subtasks, r.Subtasks...)
	}
	return out
}

package runtime

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/ckptd/ckptd/client"
)

const (
	// factPause is between two tries to tell a fact.
	factPause = 200 * time.Millisecond
	// factTick is how often it is looked whether the job has a new owner.
	factTick = 500 * time.Millisecond
)

// facts are what the job's owner has to know of an attempt in this worker: each is told until the owner has heard it, and again to every
// new owner, whose memory is empty.
type facts struct {
	attempt     uint64
	coordinator Coordinator
	wake        chan struct{}

	mu  sync.Mutex
	all []fact
}

type fact struct {
	report client.Report
	// heard is the epoch whose owner has heard it; 0: none.
	heard uint64
}

func newFacts(c Coordinator, attempt uint64) *facts {
	return &facts{attempt: attempt, coordinator: c, wake: make(chan struct{}, 1)}
}

// tell notes a fact; a newer one of the same kind about the same subtasks replaces it.
func (f *facts) tell(r client.Report) {
	f.mu.Lock()
	r.Attempt = f.attempt
	i := slices.IndexFunc(f.all, func(x fact) bool {
		return x.report.Kind == r.Kind && slices.Equal(x.report.Subtasks, r.Subtasks)
	})
	if i < 0 {
		f.all = append(f.all, fact{report: r})
	} else {
		f.all[i] = fact{report: r}
	}
	f.mu.Unlock()
	f.nudge()
}

// again forgets who has heard what.
func (f *facts) again() {
	f.mu.Lock()
	for i := range f.all {
		f.all[i].heard = 0
	}
	f.mu.Unlock()
	f.nudge()
}

func (f *facts) nudge() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// run tells facts until ctx ends.
func (f *facts) run(ctx context.Context) {
	tick := time.NewTicker(factTick)
	defer tick.Stop()
	for {
		pause := !f.tellAll(ctx)
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
		case <-tick.C:
		}
		if pause {
			select {
			case <-ctx.Done():
				return
			case <-time.After(factPause):
			}
		}
	}
}

// tellAll tries each fact once that the present owner has not heard. False: some remain.
func (f *facts) tellAll(ctx context.Context) bool {
	all := true
	for {
		epoch := f.coordinator.Epoch()
		r, ok := f.unheard(epoch)
		if !ok {
			return all
		}
		if err := f.coordinator.Report(ctx, r); err != nil && !overtaken(err) {
			f.nudge()
			return false
		}
		f.mark(r, epoch)
	}
}

func (f *facts) unheard(epoch uint64) (client.Report, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, x := range f.all {
		if x.heard != max(epoch, 1) {
			return x.report, true
		}
	}
	return client.Report{}, false
}

// mark notes that a fact was heard, unless it has changed meanwhile.
func (f *facts) mark(r client.Report, epoch uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.all {
		x := &f.all[i]
		if x.report.Kind == r.Kind && x.report.Checkpoint == r.Checkpoint && slices.Equal(x.report.Subtasks, r.Subtasks) {
			x.heard = max(epoch, 1)
		}
	}
}

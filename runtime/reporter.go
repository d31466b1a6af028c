package runtime

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/ckptd/ckptd/client"
)

// Reports are repeated after firstPause, then with doubling pauses up to longestPause.
const (
	firstPause   = 100 * time.Millisecond
	longestPause = time.Second
)

// A reporter tells the job's owner the state of an attempt in this worker, again and again. The owner may be new,
// with an empty memory, or may not have known this worker when a report came. The worker cannot know this, so it
// repeats.
//
// A failure ends the attempt; it is repeated only until it was received once.
type reporter struct {
	attempt     uint64
	coordinator Coordinator
	wake        chan struct{}

	mu     sync.Mutex
	all    []client.Report
	failed *client.Report
	// heard is closed once the owner has received a failure.
	heard chan struct{}
}

func newReporter(c Coordinator, attempt uint64) *reporter {
	return &reporter{attempt: attempt, coordinator: c, wake: make(chan struct{}, 1), heard: make(chan struct{})}
}

// set records a report. It replaces an earlier report of the same kind about the same subtasks. An attempt reports one
// failure at most.
func (p *reporter) set(r client.Report) {
	r.Attempt = p.attempt
	p.mu.Lock()
	i := slices.IndexFunc(p.all, func(x client.Report) bool { return x.Kind == r.Kind && slices.Equal(x.Subtasks, r.Subtasks) })
	switch {
	case r.Kind == client.ReportFailed:
		p.failed, p.all = &r, nil
	case i < 0:
		p.all = append(p.all, r)
	default:
		p.all[i] = r
	}
	p.mu.Unlock()
	p.soon()
}

// soon makes run send all reports soon.
func (p *reporter) soon() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// run sends the reports until ctx ends.
func (p *reporter) run(ctx context.Context) {
	pause, epoch := firstPause, uint64(0)
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
			pause = firstPause
		case <-timer.C:
			pause = min(2*pause, longestPause)
		}
		if now := p.coordinator.Epoch(); now != epoch {
			pause, epoch = firstPause, now
		}
		p.sendAll(ctx)
		timer.Reset(pause)
	}
}

// sendAll sends every report once.
func (p *reporter) sendAll(ctx context.Context) {
	p.mu.Lock()
	failed, level := p.failed, merge(p.all)
	p.mu.Unlock()
	if failed != nil {
		if err := p.coordinator.Report(ctx, *failed); err == nil || overtaken(err) {
			p.mu.Lock()
			p.failed = nil
			p.mu.Unlock()
			close(p.heard)
		}
		return
	}
	for _, r := range level {
		if err := p.coordinator.Report(ctx, r); err != nil {
			return // the next round sends it
		}
	}
}

// merge joins reports that differ only in their subtasks.
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

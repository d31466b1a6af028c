package runtime

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/ckptd/ckptd/client"
)

// A report that no owner has received is repeated after firstPause, then with doubling pauses up to longestPause.
const (
	firstPause   = 100 * time.Millisecond
	longestPause = time.Second
)

// A reporter tells the job's owner the state of an attempt in this worker, each report until it was received once. The
// coordinator's session tells later owners what still holds.
type reporter struct {
	attempt     uint64
	coordinator Coordinator
	wake        chan struct{}

	mu     sync.Mutex
	all    []*fact
	failed *client.Report
	// heard is closed once the owner has received a failure.
	heard chan struct{}
}

// fact is a report that holds until the attempt's end.
type fact struct {
	client.Report
	told bool
}

func newReporter(c Coordinator, attempt uint64) *reporter {
	return &reporter{attempt: attempt, coordinator: c, wake: make(chan struct{}, 1), heard: make(chan struct{})}
}

// set records a report. It replaces an earlier report of the same kind about the same subtasks, unless both say the same:
// an owner repeats commands, and a worker then finds that all is done. An attempt reports one failure at most.
func (p *reporter) set(r client.Report) {
	r.Attempt = p.attempt
	p.mu.Lock()
	i := slices.IndexFunc(p.all, func(x *fact) bool { return x.Kind == r.Kind && slices.Equal(x.Subtasks, r.Subtasks) })
	switch {
	case r.Kind == client.ReportFailed:
		p.failed, p.all = &r, nil
	case i < 0:
		p.all = append(p.all, &fact{Report: r})
	case p.all[i].Checkpoint != r.Checkpoint:
		p.all[i] = &fact{Report: r}
	}
	p.mu.Unlock()
	p.soon()
}

// again makes run send all reports once more.
func (p *reporter) again() {
	p.mu.Lock()
	for i, f := range p.all {
		p.all[i] = &fact{Report: f.Report}
	}
	p.mu.Unlock()
	p.soon()
}

// soon makes run send what was not received yet.
func (p *reporter) soon() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// run sends the reports until ctx ends.
func (p *reporter) run(ctx context.Context) {
	pause := firstPause
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
		timer.Stop()
		if !p.sendAll(ctx) {
			timer.Reset(pause)
		}
	}
}

// sendAll sends every report that was not received yet. It is false if one still was not.
func (p *reporter) sendAll(ctx context.Context) bool {
	p.mu.Lock()
	failed := p.failed
	left := slices.DeleteFunc(slices.Clone(p.all), func(f *fact) bool { return f.told })
	p.mu.Unlock()
	if failed != nil {
		if !p.send(ctx, *failed) {
			return false
		}
		p.mu.Lock()
		p.failed = nil
		p.mu.Unlock()
		close(p.heard)
		return true
	}
	for len(left) > 0 {
		var together []*fact
		var r client.Report
		r, together, left = merge(left)
		if !p.send(ctx, r) {
			return false
		}
		p.mu.Lock()
		for _, f := range together {
			f.told = true
		}
		p.mu.Unlock()
	}
	return true
}

// send is true if nobody needs the report any more: the owner has it, or the job has gone on without it.
func (p *reporter) send(ctx context.Context, r client.Report) bool {
	err := p.coordinator.Report(ctx, r)
	return err == nil || overtaken(err) && !errors.Is(err, client.ErrStaleEpoch)
}

// merge joins the first report with those that differ only in their subtasks, and returns the others apart.
func merge(all []*fact) (r client.Report, together, others []*fact) {
	r = all[0].Report
	r.Subtasks = nil
	for _, f := range all {
		if f.Kind != r.Kind || f.Checkpoint != r.Checkpoint {
			others = append(others, f)
			continue
		}
		together = append(together, f)
		r.Subtasks = append(r.Subtasks, f.Subtasks...)
	}
	return r, together, others
}

package engine_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/client/engine"
	"github.com/ckptd/ckptd/conformance/daemontest"
	"github.com/ckptd/ckptd/layout/storage/mem"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// probe is an engine of one subtask that writes down the calls of the loop.
type probe struct {
	mu      sync.Mutex
	calls   []string
	busy    bool
	t       *testing.T
	attempt *engine.Attempt
	// These replace what the methods do.
	restore   func(ctx context.Context, a *engine.Attempt) error
	snapshot  func(c engine.Checkpoint) ([]client.SubtaskSnapshot, error)
	committed func(c engine.Checkpoint) error
	changed   chan struct{}
}

func newProbe(t *testing.T) *probe { return &probe{t: t, changed: make(chan struct{})} }

// enter notes a call. Two calls at a time are a fault of the loop.
func (p *probe) enter(format string, args ...any) func() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.busy {
		p.t.Errorf("call %s while another one runs", fmt.Sprintf(format, args...))
	}
	p.busy = true
	p.calls = append(p.calls, fmt.Sprintf(format, args...))
	close(p.changed)
	p.changed = make(chan struct{})
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.busy = false
	}
}

func (p *probe) Restore(ctx context.Context, a *engine.Attempt) error {
	defer p.enter("restore %d", a.Number)()
	p.attempt = a
	if p.restore != nil {
		return p.restore(ctx, a)
	}
	return nil
}

func (p *probe) Snapshot(_ context.Context, c engine.Checkpoint) ([]client.SubtaskSnapshot, error) {
	defer p.enter("snapshot")()
	if p.snapshot != nil {
		return p.snapshot(c)
	}
	return part("x"), nil
}

func (p *probe) Committed(_ context.Context, c engine.Checkpoint) error {
	defer p.enter("committed")()
	if p.committed != nil {
		return p.committed(c)
	}
	return nil
}

func (p *probe) Aborted(context.Context, engine.Checkpoint) { p.enter("aborted")() }

func (p *probe) Stopped(_ context.Context, s engine.Stop) { p.enter("stopped %s", s.Reason)() }

// await waits until the calls hold what is asked for, in this order, others between.
func (p *probe) await(want ...string) {
	p.t.Helper()
	timer := time.After(20 * time.Second)
	for {
		p.mu.Lock()
		calls, changed := slices.Clone(p.calls), p.changed
		p.mu.Unlock()
		i := 0
		for _, c := range calls {
			if i < len(want) && c == want[i] {
				i++
			}
		}
		if i == len(want) {
			return
		}
		select {
		case <-changed:
		case <-timer:
			p.t.Fatalf("called were %q, want %q among them", calls, want)
		}
	}
}

var counter = &client.Plan{Operators: []client.Operator{{ID: "count", Parallelism: 1, MaxParallelism: 1, Triggered: true}}}

func part(state string) []client.SubtaskSnapshot {
	return []client.SubtaskSnapshot{{Subtask: counter.Subtasks()[0], Pieces: []client.Piece{{Name: "n", Inline: []byte(state)}}}}
}

// ended is what Run returned.
type ended struct {
	status client.JobStatus
	err    error
}

// run runs the probe until the test ends or stop is called.
func run(t *testing.T, d *daemontest.Daemon, p *probe) (stop context.CancelFunc, done <-chan ended, admin *client.Admin) {
	t.Helper()
	c, err := client.New([]string{d.URL()})
	if err != nil {
		t.Fatal(err)
	}
	config := client.DefaultConfig(20 * time.Millisecond)
	config.RestartStrategy = client.RestartStrategy{Type: client.FixedDelay, Attempts: 100, Delay: time.Millisecond}
	config.TolerableFailedCheckpoints = 100
	ctx, stop := context.WithCancel(t.Context())
	out := make(chan ended, 1)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		s, err := engine.Run(ctx, engine.Options{Client: c, Spec: client.JobSpec{ID: "j", Plan: counter, Config: config}, Sinks: counter.Subtasks()}, p)
		out <- ended{s, err}
	}()
	t.Cleanup(func() { stop(); <-gone; c.Close() })
	return stop, out, c.Admin()
}

// A life in order: restore, checkpoints, and the end of the job.
func TestLife(t *testing.T) {
	p := newProbe(t)
	_, done, admin := run(t, daemontest.Start(t), p)
	p.await("restore 1", "snapshot", "committed", "snapshot", "committed")
	for {
		s, err := admin.JobStatus(t.Context(), "j", 0)
		if err != nil {
			t.Fatal(err)
		}
		if s.Jobs[0].CommittedCheckpoint > 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if _, err := admin.Cancel(t.Context(), "j"); err != nil {
		t.Fatal(err)
	}
	if e := <-done; e.status != client.StatusCanceled || e.err != nil {
		t.Errorf("ended with %v, %v; want CANCELED", e.status, e.err)
	}
	p.await("restore 1", "stopped the job has ended")
}

// When Run's context ends, the engine is stopped, and the error says why.
func TestLeaving(t *testing.T) {
	p := newProbe(t)
	stop, done, _ := run(t, daemontest.Start(t), p)
	p.await("committed")
	stop()
	if e := <-done; !errors.Is(e.err, context.Canceled) {
		t.Errorf("ended with %v, want the context's error", e.err)
	}
	p.await("stopped leaving")
}

// A second process takes the subtasks over. The first one stops.
func TestReplaced(t *testing.T) {
	d := daemontest.Start(t)
	first, second := newProbe(t), newProbe(t)
	_, done, _ := run(t, d, first)
	first.await("committed")
	run(t, d, second)
	if e := <-done; !errors.Is(e.err, client.ErrReplaced) {
		t.Errorf("ended with %v, want ErrReplaced", e.err)
	}
	first.await("stopped replaced")
	second.await("restore 2", "committed")
}

// Failures begin the next attempt: of a restore, of the processing, of a commit. Each attempt is stopped once.
func TestFailures(t *testing.T) {
	p := newProbe(t)
	p.restore = func(_ context.Context, a *engine.Attempt) error {
		switch a.Number {
		case 1:
			return errors.New("no room")
		case 2:
			a.Fail(errors.New("a poisoned record"))
		}
		return nil
	}
	p.committed = func(engine.Checkpoint) error {
		if p.attempt.Number == 3 {
			return errors.New("the sink is away")
		}
		return nil
	}
	_, _, admin := run(t, daemontest.Start(t), p)
	p.await("restore 1", "stopped restarting", "restore 2", "stopped restarting", "restore 3", "committed", "stopped restarting", "restore 4", "committed")
	s, err := admin.JobStatus(t.Context(), "j", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"no room", "a poisoned record", "the sink is away"} {
		if !strings.Contains(fmt.Sprint(s), want) {
			t.Errorf("the events do not say %q, want the cause of each failure", want)
		}
	}
}

// A checkpoint that the engine or the store cannot take is aborted, and the attempt goes on.
func TestAborts(t *testing.T) {
	t.Run("SC-11", func(t *testing.T) {
		d := daemontest.Start(t)
		p := newProbe(t)
		n := 0
		p.snapshot = func(engine.Checkpoint) ([]client.SubtaskSnapshot, error) {
			switch n++; n {
			case 1:
				return nil, errors.New("no room for a copy")
			case 2: // the source breaks while it is uploaded
				return []client.SubtaskSnapshot{{Subtask: counter.Subtasks()[0], Pieces: []client.Piece{{
					Name: "x", InstanceNonce: "i", Scope: client.Shared, Size: 1,
					Open: func() (io.ReadCloser, error) { return nil, errors.New("the file is gone") },
				}}}}, nil
			}
			return part("x"), nil
		}
		run(t, d, p)
		p.await("restore 1", "snapshot", "aborted", "snapshot", "aborted", "snapshot", "committed")
		d.SetStore(func(m mem.Mutation) mem.Outcome {
			if m.Op == mem.OpCommit && strings.HasSuffix(m.Key, "_metadata") {
				return mem.Failed()
			}
			return mem.Done()
		})
		p.await("committed", "snapshot", "aborted")
		d.SetStore(nil)
		p.await("committed", "snapshot", "aborted", "snapshot", "committed")
		if p.attempt.Number != 1 {
			t.Errorf("attempt %d, want 1", p.attempt.Number)
		}
	})
}

// What a barrier brings is submitted by any goroutine, after Snapshot has returned nothing.
func TestSubmit(t *testing.T) {
	p := newProbe(t)
	p.snapshot = func(c engine.Checkpoint) ([]client.SubtaskSnapshot, error) {
		a := p.attempt
		go a.Submit(c, part("late"))
		return nil, nil
	}
	run(t, daemontest.Start(t), p)
	p.await("snapshot", "committed", "snapshot", "committed")
}

// What the engine reports of its sources reaches the owner.
func TestEndOfData(t *testing.T) {
	p := newProbe(t)
	p.restore = func(_ context.Context, a *engine.Attempt) error {
		a.EndOfData(counter.Subtasks()...)
		return nil
	}
	_, _, admin := run(t, daemontest.Start(t), p)
	for {
		s, err := admin.JobStatus(t.Context(), "j", 0)
		if err == nil && len(s.Jobs) == 1 && s.Jobs[0].SourcesAtEnd == 1 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	p.await("restore 1")
}

// A restore that takes long ends with its attempt.
func TestRestoreEndsWithItsAttempt(t *testing.T) {
	p := newProbe(t)
	p.restore = func(ctx context.Context, a *engine.Attempt) error {
		if a.Number == 1 {
			<-ctx.Done()
			return context.Cause(ctx)
		}
		return nil
	}
	_, _, admin := run(t, daemontest.Start(t), p)
	p.await("restore 1")
	if _, err := admin.Cancel(t.Context(), "j"); err != nil {
		t.Fatal(err)
	}
	p.await("restore 1", "stopped the job has ended")
}

// While the daemon is down, the engine goes on, and afterwards its attempt does.
func TestDaemonRestarts(t *testing.T) {
	d := daemontest.Start(t)
	p := newProbe(t)
	run(t, d, p)
	p.await("committed")
	p.mu.Lock()
	p.calls = nil
	p.mu.Unlock()
	d.Restart()
	p.await("snapshot", "committed", "snapshot", "committed")
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.calls {
		if strings.HasPrefix(c, "restore") || strings.HasPrefix(c, "stopped") {
			t.Errorf("%s after the daemon was restarted, want the attempt to go on", c)
		}
	}
}

// What the engine reports of backlogs reaches the owner in its order.
func TestBacklog(t *testing.T) {
	d := daemontest.Start(t)
	c, err := client.New([]string{d.URL()})
	if err != nil {
		t.Fatal(err)
	}
	p := newProbe(t)
	p.restore = func(_ context.Context, a *engine.Attempt) error {
		for range 20 {
			a.Backlog(false, counter.Subtasks()...)
			a.Backlog(true)
		}
		return nil
	}
	config := client.DefaultConfig(50 * time.Millisecond)
	config.IntervalDuringBacklog, config.MaxConcurrentCheckpoints = client.NoInterval, 3
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := engine.Run(ctx, engine.Options{Client: c, Spec: client.JobSpec{ID: "j", Plan: counter, Config: config}}, p)
		done <- err
	}()
	t.Cleanup(func() { stop(); <-done; c.Close() })
	count := func() int {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.calls)
	}
	p.await("restore 1")
	for before, tries := -1, 0; count() != before; tries++ { // until all is heard, and what was planned before is over
		if tries == 50 {
			t.Fatal("checkpoints go on during the backlog")
		}
		before = count()
		time.Sleep(200 * time.Millisecond)
	}
	kinds := make(chan client.CheckpointKind, 100)
	p.snapshot = func(c engine.Checkpoint) ([]client.SubtaskSnapshot, error) {
		kinds <- c.Kind
		return part("x"), nil
	}
	if _, err := c.Admin().TriggerKind(ctx, "j", client.FullCheckpoint); err != nil {
		t.Fatal(err)
	}
	if kind := <-kinds; kind != client.FullCheckpoint {
		t.Errorf("the engine is told a checkpoint of kind %v, want FULL", kind)
	}
	p.attempt.Backlog(false)
	if kind := <-kinds; kind != client.ConfiguredCheckpoint {
		t.Errorf("the engine is told a checkpoint of kind %v, want CONFIGURED", kind)
	}
}

// Command manyjobs measures a daemon that many small jobs share: `make bench-long`.
//
// It owns the jobs: each has one subtask with a few bytes of state, and a checkpoint each interval. It must not know
// how a daemon works: it talks to one by the SDK, as an engine does. The daemon is another process, so that its memory is
// measured alone.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ckptd/ckptd/client"
)

func main() {
	daemon := flag.String("daemon", "http://127.0.0.1:7420", "the daemon's `URL`")
	jobs := flag.Int("jobs", 1000, "how many jobs")
	interval := flag.Duration("interval", time.Second, "the time between two checkpoints of a job")
	lasts := flag.Duration("for", 10*time.Minute, "how long to measure")
	every := flag.Duration("every", 10*time.Second, "how often to print a line")
	pid := flag.Int("pid", 0, "the daemon's process `id`: its memory is printed, too")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *daemon, *jobs, *interval, *lasts, *every, *pid); err != nil {
		fmt.Fprintln(os.Stderr, "manyjobs:", err)
		os.Exit(1)
	}
}

// attachers is how many jobs attach at a time.
const attachers = 64

func run(ctx context.Context, daemon string, jobs int, interval, lasts, every time.Duration, pid int) error {
	c, err := client.New([]string{daemon})
	if err != nil {
		return err
	}
	defer c.Close()
	t := &tally{out: json.NewEncoder(os.Stdout), pid: pid}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var running errgroup.Group
	var attaching errgroup.Group
	attaching.SetLimit(attachers)
	began := time.Now()
	for i := range jobs {
		attaching.Go(func() error {
			e, err := attach(ctx, c, fmt.Sprintf("many-%05d", i), interval, t)
			if err == nil {
				running.Go(func() error { return e.run(ctx) })
			}
			return err
		})
	}
	if err := attaching.Wait(); err != nil {
		cancel()
		return errors.Join(err, running.Wait())
	}
	fmt.Fprintf(os.Stderr, "manyjobs: %d jobs attached in %v\n", jobs, time.Since(began).Round(time.Millisecond))
	t.take()
	for end := time.Now().Add(lasts); time.Now().Before(end) && ctx.Err() == nil; {
		select {
		case <-ctx.Done():
		case <-time.After(every):
			t.print(every)
		}
	}
	cancel()
	return running.Wait()
}

// An engine is one job.
type engine struct {
	job     *client.Job
	session *client.Session
	tally   *tally
	attempt uint64
}

// mine is what each job runs.
var mine = []client.Subtask{{Operator: "one", Index: 0}}

func attach(ctx context.Context, c *client.Client, id string, interval time.Duration, t *tally) (*engine, error) {
	plan := &client.Plan{Operators: []client.Operator{{ID: "one", Name: "one", Parallelism: 1, MaxParallelism: 1, Triggered: true}}}
	job, err := c.AttachJob(ctx, client.JobSpec{ID: id, Plan: plan, Config: client.DefaultConfig(interval)})
	if err != nil {
		return nil, err
	}
	session, err := job.Register(ctx, client.Registration{Subtasks: mine})
	if err != nil {
		return nil, err
	}
	return &engine{job: job, session: session, tally: t}, nil
}

// run obeys the daemon until ctx ends.
func (e *engine) run(ctx context.Context) error {
	defer e.session.Close()
	open := map[uint64]time.Time{}
	for {
		cmd, err := e.session.Next(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		switch cmd := cmd.(type) {
		case client.Start:
			e.attempt = cmd.Attempt
			err = e.job.Report(ctx, client.Report{Kind: client.ReportRunning, Attempt: e.attempt})
		case client.Trigger:
			open[cmd.Checkpoint] = time.Now()
			err = e.snapshot(ctx, cmd)
		case client.Complete:
			e.tally.complete(time.Since(open[cmd.Checkpoint]))
			delete(open, cmd.Checkpoint)
		case client.Abort:
			e.tally.abort()
			delete(open, cmd.Checkpoint)
		case client.Cancel, client.Replaced:
			return fmt.Errorf("job %s ended", e.job.ID())
		}
		if err != nil && ctx.Err() == nil {
			fmt.Fprintf(os.Stderr, "manyjobs: %s: %v\n", e.job.ID(), err)
		}
	}
}

func (e *engine) snapshot(ctx context.Context, cmd client.Trigger) error {
	state := fmt.Sprintf("state of checkpoint %d", cmd.Checkpoint)
	return e.job.Snapshot(ctx, client.Snapshot{
		Attempt: cmd.Attempt, Epoch: cmd.Epoch, Checkpoint: cmd.Checkpoint,
		Subtasks: []client.SubtaskSnapshot{{Subtask: mine[0], Pieces: []client.Piece{{
			Name: fmt.Sprintf("s-%d", cmd.Checkpoint), InstanceNonce: e.session.Nonce(), Scope: client.Exclusive, Size: int64(len(state)),
			Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(state)), nil },
		}}}},
	})
}

// A tally is what happened since the last line. It is safe for concurrent use.
type tally struct {
	out *json.Encoder
	pid int

	mu        sync.Mutex
	durations []time.Duration
	aborted   int
}

func (t *tally) complete(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.durations = append(t.durations, d)
}

func (t *tally) abort() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.aborted++
}

func (t *tally) take() (durations []time.Duration, aborted int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	durations, aborted = t.durations, t.aborted
	t.durations, t.aborted = nil, 0
	return durations, aborted
}

// A line is what one period showed.
type line struct {
	PerSecond float64 `json:"per_second"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
	Aborted   int     `json:"aborted"`
	Resident  int     `json:"resident_mib,omitempty"`
}

func (t *tally) print(period time.Duration) {
	durations, aborted := t.take()
	slices.Sort(durations)
	at := func(q float64) float64 {
		if len(durations) == 0 {
			return 0
		}
		return float64(durations[int(q*float64(len(durations)-1))].Microseconds()) / 1000
	}
	_ = t.out.Encode(line{
		PerSecond: float64(len(durations)) / period.Seconds(), P50: at(0.5), P99: at(0.99), Aborted: aborted, Resident: resident(t.pid),
	})
}

// resident returns the resident memory of a process in MiB; 0 if it is not known.
func resident(pid int) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for l := range strings.Lines(string(text)) {
		var kib int
		if n, _ := fmt.Sscanf(l, "VmRSS: %d kB", &kib); n == 1 {
			return kib >> 10
		}
	}
	return 0
}

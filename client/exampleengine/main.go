// Command exampleengine is an engine in about 100 lines: it counts, and ckptd keeps its count.
//
// It owns a number and a loop. It must not know anything of ckptd but package client and the loop above it. Kill it at any
// moment and start it again: it goes on from the newest complete checkpoint. docs/your-engine.md walks through it.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/client/engine"
)

func main() {
	daemons := flag.String("daemon", "http://127.0.0.1:7420", "the daemon: http://host:port or unix:/path; several: separated by commas")
	id := flag.String("job", "counter", "the job's id")
	interval := flag.Duration("interval", 500*time.Millisecond, "the time between two checkpoints")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, strings.Split(*daemons, ","), *id, *interval, os.Stdout)
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "exampleengine:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, daemons []string, id string, interval time.Duration, out io.Writer) error {
	c, err := client.New(daemons)
	if err != nil {
		return err
	}
	defer c.Close()
	config := client.DefaultConfig(interval)
	config.RestartStrategy = client.RestartStrategy{Type: client.FixedDelay, Attempts: 1_000_000, Delay: interval / 5}
	status, err := engine.Run(ctx, engine.Options{Client: c, Spec: client.JobSpec{ID: id, Config: config, Plan: &client.Plan{
		Operators: []client.Operator{{ID: "counter", Name: "counter", Parallelism: 1, MaxParallelism: 1, Triggered: true}},
	}}}, &counter{out: out})
	if err == nil {
		fmt.Fprintf(out, "the job is over: %s\n", status)
	}
	return err
}

// counter is the engine: one subtask, whose state is a number.
type counter struct {
	out io.Writer

	mu      sync.Mutex
	count   uint64
	attempt *engine.Attempt
	stop    context.CancelFunc
	counted sync.WaitGroup
}

// Restore takes the count over, and begins to count.
func (c *counter) Restore(ctx context.Context, a *engine.Attempt) error {
	c.attempt, c.count, c.stop = a, 0, func() {}
	for _, h := range a.States[0].Handles {
		b, err := a.Job.ReadAll(ctx, h)
		if err != nil {
			return err
		}
		if c.count, err = strconv.ParseUint(string(b), 10, 64); err != nil {
			return err
		}
	}
	fmt.Fprintf(c.out, "attempt %d restored checkpoint %d: %d\n", a.Number, a.Restored, c.count)
	ctx, c.stop = context.WithCancel(ctx)
	c.counted.Go(func() { c.run(ctx) })
	return nil
}

// run processes 100 records a second.
func (c *counter) run(ctx context.Context) {
	records := time.NewTicker(10 * time.Millisecond)
	defer records.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-records.C:
			c.mu.Lock()
			c.count++
			c.mu.Unlock()
		}
	}
}

// Snapshot copies the count between two records. The loop uploads the copy while the engine counts on.
func (c *counter) Snapshot(_ context.Context, cp engine.Checkpoint) ([]client.SubtaskSnapshot, error) {
	c.mu.Lock()
	state := strconv.FormatUint(c.count, 10)
	c.mu.Unlock()
	fmt.Fprintf(c.out, "checkpoint %d has %s\n", cp.ID, state)
	return []client.SubtaskSnapshot{{Subtask: c.attempt.States[0].Subtask, Pieces: []client.Piece{{
		Name: fmt.Sprintf("count-%d", cp.ID), InstanceNonce: c.attempt.Instance, Scope: client.Shared, Size: int64(len(state)),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(state)), nil },
	}}}}, nil
}

// Committed hears that a checkpoint is durable. A sink would commit its transactions here.
func (c *counter) Committed(_ context.Context, cp engine.Checkpoint) error {
	fmt.Fprintf(c.out, "checkpoint %d is complete\n", cp.ID)
	return nil
}

// Aborted has nothing to release: the copy is a string.
func (c *counter) Aborted(_ context.Context, cp engine.Checkpoint) {
	fmt.Fprintf(c.out, "checkpoint %d is aborted\n", cp.ID)
}

// Stopped stops counting. The next attempt begins with what it restores.
func (c *counter) Stopped(_ context.Context, s engine.Stop) {
	c.stop()
	c.counted.Wait()
	fmt.Fprintf(c.out, "stopped: %s\n", s.Reason)
}

package engine_test

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/client/engine"
	"github.com/ckptd/ckptd/conformance/daemontest"
)

// sum is an engine of one subtask, whose state is a number.
type sum struct {
	value   atomic.Int64
	attempt *engine.Attempt
	done    func()
}

func (s *sum) Restore(ctx context.Context, a *engine.Attempt) error {
	s.attempt = a
	s.value.Store(0)
	for _, h := range a.States[0].Handles {
		b, err := a.Job.ReadAll(ctx, h)
		if err != nil {
			return err
		}
		n, err := strconv.ParseInt(string(b), 10, 64)
		if err != nil {
			return err
		}
		s.value.Store(n)
	}
	fmt.Println("attempt", a.Number, "begins with", s.value.Load())
	s.value.Add(42) // the records
	return nil
}

func (s *sum) Snapshot(context.Context, engine.Checkpoint) ([]client.SubtaskSnapshot, error) {
	state := strconv.AppendInt(nil, s.value.Load(), 10)
	return []client.SubtaskSnapshot{{Subtask: s.attempt.States[0].Subtask, Pieces: []client.Piece{{Name: "sum", Inline: state}}}}, nil
}

func (s *sum) Committed(_ context.Context, c engine.Checkpoint) error {
	if c.ID == 1 {
		fmt.Println("checkpoint 1 is complete")
		s.done()
	}
	return nil
}

func (s *sum) Aborted(context.Context, engine.Checkpoint) {}

func (s *sum) Stopped(_ context.Context, why engine.Stop) {
	fmt.Println("stopped:", why.Reason)
}

// An engine runs until its job ends. A person ends this one after the first checkpoint.
func ExampleRun() {
	d := daemontest.Open()
	defer d.Close()
	ctx := context.Background()
	c, err := client.New([]string{d.URL()})
	if err != nil {
		panic(err)
	}
	defer c.Close()
	spec := client.JobSpec{ID: "sum", Config: client.DefaultConfig(20 * time.Millisecond), Plan: &client.Plan{
		Operators: []client.Operator{{ID: "sum", Parallelism: 1, MaxParallelism: 1, Triggered: true}},
	}}
	canceled := make(chan error, 1)
	status, err := engine.Run(ctx, engine.Options{Client: c, Spec: spec}, &sum{done: func() {
		go func() {
			_, err := c.Admin().Cancel(ctx, "sum")
			canceled <- err
		}()
	}})
	fmt.Println(status, err, <-canceled)
	// Output:
	// attempt 1 begins with 0
	// checkpoint 1 is complete
	// stopped: the job has ended
	// CANCELED <nil> <nil>
}

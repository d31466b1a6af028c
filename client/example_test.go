package client_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/conformance/daemontest"
)

var plan = &client.Plan{Operators: []client.Operator{
	{ID: "counter", Name: "counts clicks", Parallelism: 1, MaxParallelism: 128, Triggered: true},
}}

// The six calls: a life of an engine, until its second checkpoint is complete.
func Example() {
	d := daemontest.Open()
	defer d.Close()
	ctx := context.Background()
	c, err := client.New([]string{d.URL()})
	check(err)
	defer c.Close()
	job, err := c.AttachJob(ctx, client.JobSpec{ID: "clicks", Plan: plan, Config: client.DefaultConfig(20 * time.Millisecond)}) // 1
	check(err)
	mine := plan.Subtasks()
	session, err := job.Register(ctx, client.Registration{Subtasks: mine}) // 2
	check(err)
	for complete := 0; complete < 2; {
		cmd, err := session.Next(ctx)
		check(err)
		switch cmd := cmd.(type) {
		case client.Start:
			states, err := job.Assignment(ctx, cmd.Attempt, mine) // 3
			check(err)
			for _, h := range states[0].Handles {
				_, err := job.ReadAll(ctx, h) // 4
				check(err)
			}
			fmt.Println("attempt", cmd.Attempt, "restores", len(states[0].Handles), "pieces")
			check(job.Report(ctx, client.Report{Kind: client.ReportRunning, Attempt: cmd.Attempt})) // 5
		case client.Trigger:
			check(job.Snapshot(ctx, client.Snapshot{ // 6
				Attempt: cmd.Attempt, Epoch: cmd.Epoch, Checkpoint: cmd.Checkpoint,
				Subtasks: []client.SubtaskSnapshot{{Subtask: mine[0], Pieces: []client.Piece{{Name: "count", Inline: []byte("42")}}}},
			}))
		case client.Complete:
			complete++
			fmt.Println("checkpoint", cmd.Checkpoint, "is complete")
		}
	}
	// Output:
	// attempt 1 restores 0 pieces
	// checkpoint 1 is complete
	// checkpoint 2 is complete
}

func ExampleDefaultConfig() {
	config := client.DefaultConfig(500 * time.Millisecond)
	config.Timeout = time.Minute
	config.NumRetained = 3
	config.RestartStrategy = client.RestartStrategy{Type: client.FixedDelay, Attempts: 10, Delay: time.Second}
	fmt.Println(config.Interval, config.Retention, config.RestartStrategy.Type)
	// Output: 500ms RETAIN_ON_CANCELLATION FIXED_DELAY
}

func ExamplePlan_Subtasks() {
	p := client.Plan{Operators: []client.Operator{
		{ID: "source", Parallelism: 2, MaxParallelism: 128, Triggered: true},
		{ID: "sink", Parallelism: 1, MaxParallelism: 128},
	}}
	fmt.Println(p.Subtasks())
	// Output: [{source 0} {source 1} {sink 0}]
}

// A job that is canceled keeps its state by its configuration, and cannot be attached again.
func ExampleClient_Admin() {
	d := daemontest.Open()
	defer d.Close()
	ctx := context.Background()
	c, err := client.New([]string{d.URL()})
	check(err)
	defer c.Close()
	_, err = c.AttachJob(ctx, client.JobSpec{ID: "clicks", Plan: plan})
	check(err)
	_, err = c.Admin().Cancel(ctx, "clicks")
	check(err)
	_, err = c.AttachJob(ctx, client.JobSpec{ID: "clicks", Plan: plan})
	fmt.Println(errors.Is(err, client.ErrJobTerminal), client.EndedWith(err))
	// Output: true CANCELED
}

// A configuration in effect has every default filled in.
func ExampleJob_Config() {
	d := daemontest.Open()
	defer d.Close()
	c, err := client.New([]string{d.URL()})
	check(err)
	defer c.Close()
	job, err := c.AttachJob(context.Background(), client.JobSpec{ID: "clicks", Plan: plan, Config: client.DefaultConfig(time.Second)})
	check(err)
	config := job.Config()
	fmt.Println(config.Mode, config.Interval, config.Timeout, config.NumRetained)
	// Output: EXACTLY_ONCE 1s 10m0s 1
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

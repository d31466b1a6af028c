package client_test

import (
	"context"
	"fmt"
	"time"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/client/engine"
	"github.com/ckptd/ckptd/conformance/daemontest"
)

// constant is an engine whose state never changes.
type constant struct{ client.Subtask }

func (constant) Restore(context.Context, *engine.Attempt) error { return nil }
func (c constant) Snapshot(context.Context, engine.Checkpoint) ([]client.SubtaskSnapshot, error) {
	return []client.SubtaskSnapshot{{Subtask: c.Subtask, Pieces: []client.Piece{{Name: "count", Inline: []byte("42")}}}}, nil
}
func (constant) Committed(context.Context, engine.Checkpoint) error { return nil }
func (constant) Aborted(context.Context, engine.Checkpoint)         {}
func (constant) Stopped(context.Context, engine.Stop)               {}

// runClicks runs the job clicks until it ends. Its checkpoints are taken by Trigger only.
func runClicks(ctx context.Context, c *client.Client) (ended chan error) {
	ended = make(chan error, 1)
	spec := client.JobSpec{ID: "clicks", Plan: plan, Config: &client.JobConfig{Retention: client.RetainOnCancellation}}
	go func() {
		_, err := engine.Run(ctx, engine.Options{Client: c, Spec: spec}, constant{plan.Subtasks()[0]})
		ended <- err
	}()
	return ended
}

// A program waits until a job runs, takes a checkpoint, looks at the checkpoint and ends the job.
func ExampleAdmin() {
	d := daemontest.Open()
	defer d.Close()
	ctx := context.Background()
	c, err := client.New([]string{d.URL()})
	check(err)
	defer c.Close()
	ended := runClicks(ctx, c)
	admin := c.Admin()
	for {
		status, err := admin.JobStatus(ctx, "clicks", 0)
		if err == nil && status.Jobs[0].Phase == client.PhaseRunning {
			break
		}
		time.Sleep(time.Millisecond)
	}
	done, err := admin.Trigger(ctx, "clicks")
	check(err)
	fmt.Println(done.Path, "is complete:", done.StateBytes, "bytes of state")

	details, err := admin.Show(ctx, "clicks", done.ID)
	check(err)
	for _, o := range details.Operators {
		fmt.Println("operator", o.Operator.Name, "with", o.Operator.Parallelism, "subtask,", o.InlineBytes, "bytes inline")
	}
	canceled, err := admin.Cancel(ctx, "clicks")
	check(err)
	fmt.Println(canceled.Status, "keeps", canceled.Retained[0].Path)
	check(<-ended)
	// Output:
	// clicks/chk-1 is complete: 2 bytes of state
	// operator counts clicks with 1 subtask, 2 bytes inline
	// CANCELED keeps clicks/chk-1
}

// The state of a job and what happened to it.
func ExampleAdmin_JobStatus() {
	d := daemontest.Open()
	defer d.Close()
	ctx := context.Background()
	c, err := client.New([]string{d.URL()})
	check(err)
	defer c.Close()
	_, err = c.AttachJob(ctx, client.JobSpec{ID: "clicks", Plan: plan})
	check(err)
	status, err := c.Admin().JobStatus(ctx, "clicks", 0)
	check(err)
	job := status.Jobs[0]
	fmt.Println(job.Summary.ID, job.Summary.Status, job.Phase, job.SubtasksMissing, "of", job.Subtasks)
	for _, e := range job.Events {
		fmt.Println(e.Kind, time.Since(e.Time) < time.Minute)
	}
	// Output:
	// clicks RUNNING WAITING_FOR_WORKERS 1 of 1
	// ATTACHED true
}

// The jobs under the daemon's root, also those that have ended.
func ExampleAdmin_Jobs() {
	d := daemontest.Open()
	defer d.Close()
	ctx := context.Background()
	c, err := client.New([]string{d.URL()})
	check(err)
	defer c.Close()
	for _, id := range []string{"clicks", "orders"} {
		_, err = c.AttachJob(ctx, client.JobSpec{ID: id, Plan: plan})
		check(err)
	}
	_, err = c.Admin().Cancel(ctx, "orders")
	check(err)
	jobs, err := c.Admin().Jobs(ctx)
	check(err)
	for _, j := range jobs {
		fmt.Println(j.ID, j.Status, !j.EndedAt.IsZero())
	}
	// Output:
	// clicks RUNNING false
	// orders CANCELED true
}

// A checkpoint needs running subtasks: here no worker has registered any.
func ExampleAdmin_Trigger() {
	d := daemontest.Open()
	defer d.Close()
	ctx := context.Background()
	c, err := client.New([]string{d.URL()})
	check(err)
	defer c.Close()
	_, err = c.AttachJob(ctx, client.JobSpec{ID: "clicks", Plan: plan})
	check(err)
	_, err = c.Admin().Trigger(ctx, "clicks")
	kept, listErr := c.Admin().Checkpoints(ctx, "clicks")
	check(listErr)
	fmt.Println(err != nil, len(kept))
	// Output: true 0
}

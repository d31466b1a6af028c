package service_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage/mem"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// runEngine runs an engine with one subtask. Its state is the number of its starts and the checkpoint's id.
func runEngine(ctx context.Context, t *testing.T, urls []string, id string, heard chan<- client.Command) {
	c, err := client.New(urls)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	job, err := c.AttachJob(ctx, client.JobSpec{ID: id, Plan: sdkPlan(onePlan()), Config: client.ConfigFrom(defaultConfig(20 * time.Millisecond))})
	if err != nil {
		t.Error("attach:", err)
		return
	}
	mine := []client.Subtask{{Operator: "count"}}
	s, err := job.Register(ctx, client.Registration{Subtasks: mine})
	if err != nil {
		t.Error("register:", err)
		return
	}
	defer s.Close()
	for {
		cmd, err := s.Next(ctx)
		if err != nil {
			return
		}
		switch cmd := cmd.(type) {
		case client.Start:
			states, err := job.Assignment(ctx, cmd.Attempt, mine)
			if err != nil {
				t.Error("assignment:", err)
				return
			}
			if (cmd.Restore == 0) != (len(states[0].Handles) == 0) {
				t.Errorf("restore %d: %d handles", cmd.Restore, len(states[0].Handles))
			}
			if err := job.Report(ctx, client.Report{Kind: client.ReportRunning, Attempt: cmd.Attempt}); err != nil {
				t.Error("report:", err)
			}
		case client.Trigger:
			err := job.Snapshot(ctx, client.Snapshot{Attempt: cmd.Attempt, Epoch: cmd.Epoch, Checkpoint: cmd.Checkpoint,
				Subtasks: []client.SubtaskSnapshot{{Subtask: mine[0], Pieces: []client.Piece{{Name: "n", Inline: fmt.Append(nil, cmd.Checkpoint)}}}}})
			if err != nil && ctx.Err() == nil {
				t.Log("snapshot:", err)
			}
		}
		select {
		case heard <- cmd:
		case <-ctx.Done():
			return
		}
	}
}

// waitComplete waits for n Complete commands and returns the last. A Start of another attempt fails the test.
func waitComplete(ctx context.Context, t *testing.T, heard <-chan client.Command, n int, attempt uint64) client.Complete {
	t.Helper()
	for {
		select {
		case cmd := <-heard:
			switch cmd := cmd.(type) {
			case client.Start:
				if cmd.Attempt != attempt {
					t.Fatalf("started in attempt %d, want %d", cmd.Attempt, attempt)
				}
			case client.Complete:
				if n--; n == 0 {
					return cmd
				}
			}
		case <-ctx.Done():
			t.Fatal("no checkpoint completed in time, want one")
		}
	}
}

func TestCheckpointsOfOneWorker(t *testing.T) {
	root := mem.Open()
	d := startDaemon(t, root, "")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	heard := make(chan client.Command)
	go runEngine(ctx, t, []string{d.http.URL}, "one", heard)
	waitComplete(ctx, t, heard, 5, 1)
	res, err := d.jobService().CancelJob(ctx, &ckptdv1.CancelJobRequest{JobId: "one", RequestId: "r1"})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.GetRetained()) != 1 {
		t.Fatalf("retained %v, want one checkpoint", res.GetRetained())
	}
	d.waitReleased(t)
	var keys []string
	for info, err := range root.Store.List(ctx, "one/") {
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(info.Key, layout.JournalPrefix("one")) && !strings.HasPrefix(info.Key, layout.HistoryPrefix("one")) {
			keys = append(keys, info.Key)
		}
	}
	if want := layout.MetadataKey("one", res.GetRetained()[0].GetCheckpointId()); len(keys) != 1 || keys[0] != want {
		t.Fatalf("on storage: %v, want only %s", keys, want)
	}
}

func TestKilledDaemonTakesItsJobsBack(t *testing.T) {
	root := mem.Open()
	d := startDaemon(t, root, "")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	heard := make(chan client.Command)
	go runEngine(ctx, t, []string{d.http.URL}, "one", heard)
	for epoch := uint64(1); epoch <= 4; epoch++ {
		for waitComplete(ctx, t, heard, 2, 1).Epoch != epoch {
		}
		d.kill()
		d = startDaemon(t, root, d.http.Listener.Addr().String())
	}
}

func TestReleasedJobGoesOnAtAnotherDaemon(t *testing.T) {
	root := mem.Open()
	a, b := startDaemon(t, root, ""), startDaemon(t, root, "")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	heard := make(chan client.Command)
	go runEngine(ctx, t, []string{a.http.URL, b.http.URL}, "one", heard)
	waitComplete(ctx, t, heard, 2, 1)
	if err := a.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	a.http.Close()
	for waitComplete(ctx, t, heard, 1, 1).Epoch != 2 {
	}
}

func TestOwnerThatAnswersIsNotTakenFrom(t *testing.T) {
	root := mem.Open()
	a, b := startDaemon(t, root, ""), startDaemon(t, root, "")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	heard := make(chan client.Command)
	go runEngine(ctx, t, []string{a.http.URL}, "one", heard)
	waitComplete(ctx, t, heard, 1, 1)
	c, err := client.New([]string{b.http.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	job, err := c.AttachJob(ctx, client.JobSpec{ID: "one", Plan: sdkPlan(onePlan())})
	if err != nil {
		t.Fatal(err)
	}
	if job.Epoch() != 1 {
		t.Fatalf("epoch %d, want 1: the owner answers", job.Epoch())
	}
}

package service_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/mem"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
	"github.com/ckptd/ckptd/service"
)

// daemon is a server with a listener of its own.
type daemon struct {
	*service.Server
	http *httptest.Server
}

func startDaemon(t *testing.T, root storage.Opened) *daemon {
	t.Helper()
	d := &daemon{}
	d.http = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { d.Handler().ServeHTTP(w, r) }))
	s, err := service.New(root, &service.Options{URLs: []string{"http://" + d.http.Listener.Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	d.Server = s
	h := s.Handler()
	d.http.Config.Handler = h
	d.http.Start()
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.kill() })
	return d
}

func (d *daemon) kill() {
	d.Close()
	d.http.CloseClientConnections()
	d.http.Close()
}

func onePlan() *client.Plan {
	return &client.Plan{Operators: []*client.Operator{{Id: "count", Parallelism: 1, MaxParallelism: 128, Triggered: true}}}
}

// runEngine is an engine with one subtask that snapshots its number of starts and the checkpoint's id.
func runEngine(ctx context.Context, t *testing.T, url, id string, complete chan<- uint64) {
	c, err := client.New([]string{url})
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	job, err := c.AttachJob(ctx, client.JobSpec{ID: id, Plan: onePlan(), Config: client.Every(20 * time.Millisecond)})
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
			t.Logf("start attempt %d restore %d: %d handles", cmd.Attempt, cmd.Restore, len(states[0].Handles))
			s.SetAttempt(cmd.Attempt)
			if err := job.Report(ctx, client.Report{Kind: client.ReportRunning, Attempt: cmd.Attempt}); err != nil {
				t.Error("report:", err)
			}
		case client.Trigger:
			err := job.Snapshot(ctx, client.Snapshot{Attempt: cmd.Attempt, Epoch: cmd.Epoch, Checkpoint: cmd.Checkpoint,
				Subtasks: []client.SubtaskSnapshot{{Subtask: mine[0], Pieces: []client.Piece{{Name: "n", Inline: fmt.Append(nil, cmd.Checkpoint)}}}}})
			if err != nil && ctx.Err() == nil {
				t.Log("snapshot:", err)
			}
		case client.Complete:
			select {
			case complete <- cmd.Checkpoint:
			case <-ctx.Done():
				return
			}
		}
	}
}

func TestCheckpointsOfOneWorker(t *testing.T) {
	root := mem.Open()
	d := startDaemon(t, root)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	complete := make(chan uint64)
	go runEngine(ctx, t, d.http.URL, "one", complete)
	for range 5 {
		select {
		case id := <-complete:
			t.Log("complete", id)
		case <-ctx.Done():
			t.Fatal("no checkpoint")
		}
	}
	people := ckptdv1connect.NewJobServiceClient(http.DefaultClient, d.http.URL)
	res, err := people.CancelJob(ctx, &ckptdv1.CancelJobRequest{JobId: "one", RequestId: "r1"})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.GetRetained()) != 1 {
		t.Fatalf("retained %v", res.GetRetained())
	}
	d.waitReleased(t, people, "one")
	var keys []string
	for info, err := range root.Store.List(ctx, "one/") {
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(info.Key, layout.JournalPrefix("one")) {
			keys = append(keys, info.Key)
		}
	}
	if want := layout.MetadataKey("one", res.GetRetained()[0].GetCheckpointId()); len(keys) != 1 || keys[0] != want {
		t.Fatalf("on storage: %v, want only %s", keys, want)
	}
}

// waitReleased waits until the daemon has let an ended job go.
func (d *daemon) waitReleased(t *testing.T, people ckptdv1connect.JobServiceClient, id string) {
	t.Helper()
	for {
		res, err := people.GetStatus(t.Context(), &ckptdv1.GetStatusRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if len(res.GetJobs()) == 0 {
			return
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatal("not released")
		}
	}
}

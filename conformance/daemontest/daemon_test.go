package daemontest_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/conformance/daemontest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newClient(t *testing.T, urls ...string) *client.Client {
	t.Helper()
	c, err := client.New(urls, client.WithPatience(200*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

var counter = &client.Plan{Operators: []client.Operator{{ID: "count", Parallelism: 1, MaxParallelism: 1, Triggered: true}}}

// A daemon that is down breaks connections; its next life has the root of the one before. One beside it has the same root.
func TestLives(t *testing.T) {
	d := daemontest.Start(t)
	c := newClient(t, d.URL())
	if _, err := c.AttachJob(t.Context(), client.JobSpec{ID: "j", Plan: counter}); err != nil {
		t.Fatal(err)
	}
	d.Kill()
	if _, err := c.Admin().Jobs(t.Context()); !errors.Is(err, client.ErrUnavailable) {
		t.Errorf("a daemon that is down answered %v, want ErrUnavailable", err)
	}
	d.Restart()
	for _, d := range []*daemontest.Daemon{d, d.Beside()} {
		jobs, err := newClient(t, d.URL()).Admin().Jobs(t.Context())
		if err != nil || len(jobs) != 1 {
			t.Errorf("%s has jobs %v, %v; want one", d.URL(), jobs, err)
		}
	}
}

// A frozen daemon answers when it is thawed, not before.
func TestFreeze(t *testing.T) {
	d := daemontest.Start(t)
	admin := newClient(t, d.URL()).Admin()
	d.Freeze()
	answered := make(chan error, 1)
	go func() {
		_, err := admin.Jobs(t.Context())
		answered <- err
	}()
	select {
	case err := <-answered:
		t.Fatalf("a frozen daemon answered: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	d.Thaw()
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

// A call whose reply is lost is carried out, one that breaks before is not. A stream of state breaks cleanly in both cases.
func TestCallFaults(t *testing.T) {
	for fault, attached := range map[daemontest.CallFault]int{daemontest.NotCarriedOut: 0, daemontest.ReplyLost: 1} {
		d := daemontest.Start(t)
		c := newClient(t, d.URL())
		d.SetCalls(func(string) daemontest.CallFault { return fault })
		if _, err := c.AttachJob(t.Context(), client.JobSpec{ID: "j", Plan: counter}); !errors.Is(err, client.ErrUnavailable) {
			t.Errorf("fault %d: attach gave %v, want ErrUnavailable", fault, err)
		}
		d.SetCalls(nil)
		jobs, err := c.Admin().Jobs(t.Context())
		if err != nil || len(jobs) != attached {
			t.Errorf("fault %d: jobs are %v, %v; want %d", fault, jobs, err, attached)
		}
		uploads(t, d, fault)
	}
}

// uploads takes a checkpoint whose first upload breaks.
func uploads(t *testing.T, d *daemontest.Daemon, fault daemontest.CallFault) {
	t.Helper()
	c, err := client.New([]string{d.URL()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	job, err := c.AttachJob(t.Context(), client.JobSpec{ID: "uploads", Plan: counter, Config: client.DefaultConfig(10 * time.Millisecond)})
	if err != nil {
		t.Fatal(err)
	}
	s, err := job.Register(t.Context(), client.Registration{Subtasks: counter.Subtasks()})
	if err != nil {
		t.Fatal(err)
	}
	tries := 0
	d.SetCalls(func(procedure string) daemontest.CallFault {
		if procedure == "PutState" {
			if tries++; tries == 1 {
				return fault
			}
		}
		return daemontest.Answered
	})
	for done := false; !done; {
		cmd, err := s.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		switch cmd := cmd.(type) {
		case client.Start:
			err = job.Report(t.Context(), client.Report{Kind: client.ReportRunning, Attempt: cmd.Attempt})
		case client.Trigger:
			open := func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("a")), nil }
			err = job.Snapshot(t.Context(), client.Snapshot{
				Attempt: cmd.Attempt, Epoch: cmd.Epoch, Checkpoint: cmd.Checkpoint,
				Subtasks: []client.SubtaskSnapshot{{Subtask: counter.Subtasks()[0], Pieces: []client.Piece{
					{Name: "x", InstanceNonce: "i", Scope: client.Shared, Size: 1, Open: open},
				}}},
			})
			done = true
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if tries < 2 {
		t.Errorf("fault %d: %d tries, want the first one to break", fault, tries)
	}
}

package daemontest_test

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/conformance/daemontest"
)

func TestPutStateFaults(t *testing.T) {
	for _, fault := range []daemontest.CallFault{daemontest.NotCarriedOut, daemontest.ReplyLost} {
		d := daemontest.Start(t)
		c, err := client.New([]string{d.URL()})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		plan := &client.Plan{Operators: []client.Operator{{ID: "a", Parallelism: 1, MaxParallelism: 1, Triggered: true}}}
		job, err := c.AttachJob(t.Context(), client.JobSpec{ID: "j", Plan: plan, Config: client.DefaultConfig(20 * time.Millisecond)})
		if err != nil {
			t.Fatal(err)
		}
		s, err := job.Register(t.Context(), client.Registration{Subtasks: plan.Subtasks()})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for done := 0; done < 30; {
			cmd, err := s.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			switch cmd := cmd.(type) {
			case client.Start:
				job.Report(t.Context(), client.Report{Kind: client.ReportRunning, Attempt: cmd.Attempt})
			case client.Trigger:
				d.SetCalls(func(p string) daemontest.CallFault {
					if p == "PutState" {
						n++
						if n%2 == 1 {
							return fault
						}
					}
					return daemontest.Answered
				})
				t.Log("snapshot", cmd.Checkpoint, fault)
				if err := job.Snapshot(t.Context(), client.Snapshot{Attempt: cmd.Attempt, Epoch: cmd.Epoch, Checkpoint: cmd.Checkpoint,
					Subtasks: []client.SubtaskSnapshot{{Subtask: plan.Subtasks()[0], Pieces: []client.Piece{{Name: "x", InstanceNonce: "i", Scope: client.Shared, Size: 1,
						Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("a")), nil }}}}}}); err != nil {
					t.Fatal(err)
				}
				done++
			}
		}
	}
}

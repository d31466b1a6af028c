package runtime_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/layout/storage/mem"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/runtime"
	"github.com/ckptd/ckptd/runtime/exchange"
)

// TestWorkersStopInPeace stops one of two workers again and again, of a job whose first failure would end it. The other
// worker loses its channels each time, and the job goes on.
func TestWorkersStopInPeace(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, slog.New(slog.DiscardHandler), 1, mem.Rates{})
	c := &clicks{parallelism: 2, records: 1 << 30, users: 20, rate: 1000, target: newTarget()}
	job, network := c.job(), exchange.NewMemory()
	config := client.DefaultConfig(50 * time.Millisecond)
	config.RestartStrategy.Type = client.NoRestart
	life := 0
	start := func(number int) (stop func()) {
		life++
		cl, err := client.New([]string{d.url()})
		if err != nil {
			t.Fatal(err)
		}
		attached, err := cl.AttachJob(t.Context(), client.JobSpec{ID: "clicks", Plan: job.Plan(), Config: config})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		dir := filepath.Join(t.TempDir(), fmt.Sprint(life))
		go func() {
			ended <- runtime.RunWorker(ctx, runtime.WorkerOptions{JobID: "clicks", Job: job, Number: number, Workers: 2,
				Coordinator: runtime.NewCoordinator(attached), Network: network, Dir: dir})
		}()
		return func() { cancel(); <-ended; cl.Close() }
	}
	people, done := d.people()
	defer done()
	workers := [2]func(){start(0), start(1)}
	defer func() { workers[0](); workers[1]() }()
	for attempt := uint64(1); attempt <= 5; attempt++ {
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			s := jobState(t.Context(), people)
			if s.GetSummary().GetAttempt() == attempt && s.GetPhase() == ckptdv1.JobPhase_JOB_PHASE_RUNNING && s.GetCommittedCheckpointId() > 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("attempt %d does not run: %v", attempt, s)
			}
		}
		if attempt < 5 {
			workers[attempt%2]()
			workers[attempt%2] = start(int(attempt % 2))
		}
	}
}

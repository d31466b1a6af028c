package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/ckptd/ckptd/cmd/ckptd/demo"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/runtime"
	"github.com/ckptd/ckptd/service/shell"
)

// Processes killed at random moments, as the demo does it: the counts are exact every time.
func TestRandomKills(t *testing.T) {
	t.Parallel()
	seeds := 3
	if os.Getenv("CKPTD_TEST_FULL") != "" {
		seeds = 10
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprintf("E2E-4 seed %d", seed), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, demo.Options{Seed: seed, Kills: 3, Records: 20_000, Rate: 3500})
			r.must(r.Count(r.ctx))
			for i := range r.Kills {
				r.Kills[i].After /= 2 // on a slow machine recoveries take long, while records flow on
			}
			r.must(r.StartDaemon(r.ctx))
			r.must(r.StartJob(r.ctx))
			r.finish()
			if r.Struck < 2 {
				t.Errorf("%d of 3 kills: not a worker and the daemon", r.Struck)
			}
		})
	}
}

// A process is killed exactly at each phase of a checkpoint, and right after the entry of the cancel. If a worker dies,
// all workers restore. If the daemon dies, no worker does.
func TestKilledAtEachStep(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		step           string
		n              int
		epoch, attempt uint64
	}{
		{runtime.StepRestored, 1, 1, 2},
		{runtime.StepAfterPreCommit, 5, 1, 2},
		{runtime.StepUploading, 5, 1, 2},
		{runtime.StepAcknowledged, 5, 1, 2},
		{runtime.StepBeforeCommit, 4, 1, 2},
		{runtime.StepAfterCommit, 4, 1, 2},
		{shell.StepMetadata, 4, 2, 1},
		{shell.StepCommit, 4, 2, 1},
		{shell.StepEnd, 1, 2, 1},
	} {
		t.Run(c.step, func(t *testing.T) {
			t.Parallel()
			struck := filepath.Join(t.TempDir(), "struck")
			r := newRig(t, demo.Options{}, fmt.Sprintf("%s=%s:%d:%s", killVariable, c.step, c.n, struck))
			r.begin()
			if c.step != shell.StepEnd { // barriers go on after all of the input is read, as long as it takes
				r.await("the step is struck and the job goes on", func(s *ckptdv1.JobState) bool {
					_, err := os.Stat(struck)
					return err == nil && s.GetSummary().GetEpoch() >= c.epoch && s.GetSummary().GetAttempt() >= c.attempt
				})
			}
			r.finish()
			if _, err := os.Stat(struck); err != nil {
				t.Errorf("the step was not struck: %v", err)
			}
			if h := r.head(); h.GetEpoch() != c.epoch || h.GetAttempt() != c.attempt {
				t.Errorf("epoch %d, attempt %d; want %d, %d", h.GetEpoch(), h.GetAttempt(), c.epoch, c.attempt)
			}
		})
	}
}

// A worker and the daemon are killed together. The next owner sees that not all workers of the attempt come back, and
// begins the next attempt.
func TestWorkerAndDaemonKilledTogether(t *testing.T) {
	t.Parallel()
	r := newRig(t, demo.Options{})
	r.begin()
	r.awaitCheckpoints(3)
	_, err := r.Workers[0].Kill()
	r.must(err)
	_, err = r.Daemon.Kill()
	r.must(err)
	r.finish()
	if h := r.head(); h.GetEpoch() != 2 || h.GetAttempt() != 2 {
		t.Errorf("epoch %d, attempt %d", h.GetEpoch(), h.GetAttempt())
	}
}

// A worker is suspended until another process has taken its subtasks, and then woken. It ends and changes nothing.
func TestStoppedWorkerIsReplaced(t *testing.T) {
	t.Parallel()
	r := newRig(t, demo.Options{Records: 20_000})
	r.begin()
	r.awaitCheckpoints(3)
	zombie := r.Workers[0]
	_, err := zombie.Pause()
	r.must(err)
	r.Workers[0], err = r.Worker("worker-0-again", 0, r.Params)
	r.must(err)
	r.await("the next attempt", func(s *ckptdv1.JobState) bool { return r.Watch.Running && r.Watch.Attempt == 2 })
	r.awaitCheckpoints(2)
	_, err = zombie.Resume()
	r.must(err)
	select {
	case <-zombie.Done():
	case <-r.ctx.Done():
		t.Fatal("the woken worker does not end")
	}
	if zombie.Starts() != 1 || zombie.Err() != nil {
		t.Errorf("the woken worker: %d starts, %v", zombie.Starts(), zombie.Err())
	}
	r.awaitCheckpoints(2)
	r.finish()
	if h := r.head(); h.GetEpoch() != 1 || h.GetAttempt() != 2 {
		t.Errorf("epoch %d, attempt %d", h.GetEpoch(), h.GetAttempt())
	}
}

package main

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/ckptd/ckptd/cmd/ckptd/demo"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/cmd/ckptd/launch"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/runtime"
	"github.com/ckptd/ckptd/service/shell"
)

// A job is suspended while the daemon or a worker is killed at a step. It keeps its checkpoints, and nobody works for it. Its workers are
// started again, it goes on from its last checkpoint, and its counts are exact.
func TestSuspendedJobGoesOn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		step string
		n    int
	}{{"", 0}, {shell.StepSuspended, 1}, {shell.StepReleased, 1}, {shell.StepMetadata, 4}, {shell.StepCommit, 4}, {runtime.StepBeforeCommit, 4}, {runtime.StepUploading, 4}} {
		t.Run(cmp.Or(c.step, "undisturbed"), func(t *testing.T) {
			if c.step == shell.StepSuspended && os.Getenv("CKPTD_TEST_FULL") == "" {
				t.Skip("`make test` runs it: the next owner waits 10 seconds for workers that have ended")
			}
			t.Parallel()
			var environment []string
			struck := filepath.Join(t.TempDir(), "struck")
			if c.step != "" {
				environment = append(environment, fmt.Sprintf("%s=%s:%d:%s", killVariable, c.step, c.n, struck))
			}
			r := newRig(t, demo.Options{Records: 15_000, Rate: 5000}, environment...)
			r.begin()
			early := slices.Contains([]string{"", shell.StepSuspended, shell.StepReleased}, c.step)
			r.await("checkpoints", func(s *ckptdv1.JobState) bool {
				recovered := s.GetPhase() == ckptdv1.JobPhase_JOB_PHASE_RUNNING && s.GetSummary().GetEpoch()+s.GetSummary().GetAttempt() > 2
				return r.Watch.Newest >= 3 && (early || recovered) // else the restarted worker begins the job again
			})
			r.suspend()
			r.goOn()
			r.finish()
			if _, err := os.Stat(struck); c.step != "" && err != nil {
				t.Errorf("the step was not struck: %v", err)
			}
		})
	}
}

// suspend suspends the job, with as many tries as a killed daemon makes necessary. Afterwards no worker runs, the journal keeps the
// checkpoints, and the job is no ended one.
func (r *rig) suspend() {
	r.t.Helper()
	var out, errs bytes.Buffer
	for code := exit.Failed; code != exit.Done; {
		if code = run(r.ctx, []string{"suspend", r.ID, "--server", r.URL}, &out, &errs); code != exit.Done && !launch.Sleep(r.ctx, 50*time.Millisecond) {
			r.t.Fatalf("never suspended: %s%s", &out, &errs)
		}
	}
	contains(r.t, out.String(), "suspended", "goes on from")
	for _, w := range r.Workers {
		select {
		case <-w.Done():
		case <-r.ctx.Done():
			r.t.Fatal("a worker of the suspended job does not end")
		}
		r.must(w.Err())
	}
	h := r.head()
	if h.GetOwnerNonce() != "" || h.GetStatus() != ckptdv1.JobStatus_JOB_STATUS_RUNNING || len(h.GetRetained()) == 0 {
		r.t.Errorf("the journal of the suspended job: %v", h)
	}
	job := r.Root + "/" + r.ID
	contains(r.t, ckptd(r.t, exit.Done, "status", job), "suspended")
	contains(r.t, ckptd(r.t, exit.Done, "status", r.ID, "--server", r.URL), "suspended")
	contains(r.t, ckptd(r.t, exit.Done, "suspend", job), "suspended") // again: nothing changes
	contains(r.t, ckptd(r.t, exit.Done, "suspend", r.ID, "--server", r.URL), "suspended")
	ckptd(r.t, exit.Failed, "trigger", r.ID, "--server", r.URL)
}

// goOn starts the workers of a suspended job again.
func (r *rig) goOn() {
	r.t.Helper()
	for slot := range r.Workers {
		w, err := r.Worker(fmt.Sprintf("worker-%d-again", slot), slot, r.Params)
		r.must(err)
		r.Workers[slot] = w
	}
}

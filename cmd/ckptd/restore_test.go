package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ckptd/ckptd/cmd/ckptd/demo"
	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journalio"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/shell"
)

// interrupt cancels a job that has taken some checkpoints, and ends its processes. It returns the newest checkpoint.
func (r *rig) interrupt() string {
	r.t.Helper()
	r.awaitCheckpoints(2)
	r.must(r.Cancel(r.ctx))
	r.must(r.Stop(r.ctx))
	return drivers.Below(r.Root, r.ID+"/"+layout.CheckpointDir(r.head().GetRetained()[0].GetSummary().GetCheckpointId()))
}

// next is a run that goes on from a checkpoint of r.
func (r *rig) next(from string, environment ...string) *rig {
	r.t.Helper()
	return newRig(r.t, demo.Options{Root: r.Root, Output: r.Params.Output, From: from, Records: 40_000, Rate: 10_000}, environment...)
}

func firstRun(t *testing.T) *rig {
	t.Helper()
	r := newRig(t, demo.Options{Records: 40_000, Rate: 10_000})
	r.begin()
	return r
}

// finishRestored waits for the end of a run that went on from another one's checkpoint. It checks the counts of all runs
// together, and that each job's folder holds what its journal reaches: no pin is left.
func (r *rig) finishRestored(jobs ...string) {
	r.t.Helper()
	r.must(r.Follow(r.ctx))
	r.must(r.Cancel(r.ctx))
	exact, err := r.Verdict()
	r.must(err)
	if !exact || !strings.Contains(r.out.String(), "lines of earlier runs") {
		r.t.Error("the counts of all runs together are not exact, or there were no earlier runs")
	}
	r.checkRestores()
	opened, err := drivers.Open(r.ctx, r.bare, false)
	r.must(err)
	defer opened.Close()
	for _, job := range append(jobs, r.ID) {
		keys := slices.DeleteFunc(r.files(), func(key string) bool {
			return key != layout.RootMarkerKey && !strings.HasPrefix(key, layout.JobPrefix(job))
		})
		compareStorage(r.ctx, r.t, opened.Store, job, keys)
		head, _, err := journalio.ReadHead(r.ctx, opened.Store, opened.Facts, job)
		r.must(err)
		if len(head.Lent)+len(head.Borrowed) > 0 {
			r.t.Errorf("job %s still lends %+v and borrows %+v, want neither", job, head.Lent, head.Borrowed)
		}
	}
}

// A job is canceled, a new one begins from its checkpoint, is canceled, and so on: the counts of all together are exact.
func TestRestoredAgainAndAgain(t *testing.T) {
	t.Parallel()
	generations := 2
	if os.Getenv("CKPTD_NIGHTLY") != "" {
		generations = 5
	}
	r := firstRun(t)
	var jobs []string
	for range generations {
		jobs = append(jobs, r.ID)
		from := r.interrupt()
		r = r.next(from)
		r.begin()
	}
	r.finishRestored(jobs...)
}

// The daemon is killed at each step of an import, and of the return: the next one continues.
func TestKilledAtEachStepOfAnImport(t *testing.T) {
	t.Parallel()
	for _, step := range []string{shell.StepLend, shell.StepImportMetadata, shell.StepImport, shell.StepReturn} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			first := firstRun(t)
			from := first.interrupt()
			struck := filepath.Join(t.TempDir(), "struck")
			r := first.next(from, fmt.Sprintf("%s=%s:1:%s", killVariable, step, struck))
			r.begin()
			r.await("the step is struck and the job goes on", func(s *ckptdv1.JobState) bool {
				_, err := os.Stat(struck)
				return err == nil && s.GetSummary().GetEpoch() == 2
			})
			r.finishRestored(first.ID)
		})
	}
}

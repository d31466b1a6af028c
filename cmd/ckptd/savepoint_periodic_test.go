package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/ckptd/ckptd/cmd/ckptd/demo"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/layout"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/shell"
)

// A job takes savepoints by itself, and its daemon is killed at a step of one, or of its disposal. Every savepoint on record that is done is
// whole, the one that a person asked for among them; all others are gone, or are a tombstone. The counts are exact.
func TestPeriodicSavepointsKilled(t *testing.T) {
	t.Parallel()
	for _, step := range []string{shell.StepSaved, shell.StepDisposed, shell.StepSavepointDone} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			dir, struck := filepath.Join(t.TempDir(), "savepoints"), filepath.Join(t.TempDir(), "struck")
			r := newRig(t, demo.Options{Records: 20_000, Rate: 4000}, "CKPTD_SAVEPOINTS="+dir, fmt.Sprintf("%s=%s:3:%s", killVariable, step, struck))
			r.Config.Job.SavepointInterval, r.Config.Job.SavepointKeep = durationpb.New(100*time.Millisecond), "last=2"
			r.begin()
			r.await("the job runs", func(*ckptdv1.JobState) bool { return r.Watch.Running })

			_ = run(r.ctx, []string{"savepoint", r.ID, "--server", r.URL, "--request-id", "mine"}, &r.out, &r.out)
			r.awaitStruck(struck)
			r.await("the job runs again, and takes a savepoint", func(s *ckptdv1.JobState) bool {
				return s.GetPhase() == ckptdv1.JobPhase_JOB_PHASE_RUNNING &&
					run(r.ctx, []string{"savepoint", r.ID, "--server", r.URL, "--request-id", "again"}, &r.out, &r.out) == exit.Done
			})
			r.finish()
			r.must(r.Stop(r.ctx))
			recorded := map[string]bool{}
			var byHand int
			for _, s := range listedSavepoints(t, r.Root+"/"+r.ID) {
				recorded[filepath.Base(folderOf(s))] = true
				_, err := os.Stat(filepath.Join(folderOf(s), layout.MetadataName))
				if s.GetOutcome() == ckptdv1.SavepointOutcome_SAVEPOINT_OUTCOME_DONE {
					contains(t, ckptd(t, exit.Done, "verify", folderOf(s), "--read-data"), "whole")
					if !s.GetPeriodic() {
						byHand++
					}
				}
				if err != nil {
					t.Errorf("savepoint %v is on record: %v", s, err)
				}
			}
			entries, err := os.ReadDir(dir)
			r.must(err)
			for _, e := range entries {
				if !recorded[e.Name()] {
					t.Errorf("%s is left, and not on record", e.Name())
				}
			}
			if byHand == 0 {
				t.Error("no savepoint that was asked for is there")
			}
		})
	}
}

package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ckptd/ckptd/cmd/ckptd/demo"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/layout"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/runtime"
	"github.com/ckptd/ckptd/service/shell"
	"google.golang.org/protobuf/encoding/protojson"
)

// savepointRig is a job without periodic checkpoints whose daemon may write savepoints into dir.
func savepointRig(t *testing.T, environment ...string) (r *rig, dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "savepoints")
	r = newRig(t, demo.Options{Interval: "1h", Records: 30_000, Rate: 5000}, append(environment, "CKPTD_SAVEPOINTS="+dir)...)
	r.begin()
	r.await("records flow", func(s *ckptdv1.JobState) bool { return r.Watch.Running && s.GetRecords() > 1000 })
	return r, dir
}

// savepoints are those that the job's journal has on record.
func (r *rig) savepoints() []*ckptdv1.Savepoint {
	r.t.Helper()
	return listedSavepoints(r.t, r.ID, "--server", r.URL)
}

// listedSavepoints are those that `savepoint --list` with these arguments lists.
func listedSavepoints(t *testing.T, args ...string) []*ckptdv1.Savepoint {
	t.Helper()
	res := &ckptdv1.ListSavepointsResponse{}
	if err := protojson.Unmarshal([]byte(ckptd(t, exit.Done, append([]string{"savepoint", "--list", "--json"}, args...)...)), res); err != nil {
		t.Fatal(err)
	}
	return res.GetSavepoints()
}

// folderOf is the path of a savepoint on this machine.
func folderOf(s *ckptdv1.Savepoint) string { return strings.TrimPrefix(s.GetPath(), "file://") }

// A savepoint is taken of a running job, its job is canceled, and its folder is moved and copied. A new job begins from the new place,
// NO_CLAIM and CLAIM, and the counts of both jobs together are exact.
func TestSavepointIsMovedAndRestored(t *testing.T) {
	t.Parallel()
	for name, claim := range map[string]bool{"SP-1 and SP-2 NO_CLAIM": false, "SP-1 and SP-2 and SP-3 CLAIM": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, dir := savepointRig(t)
			var saved struct{ Path string }
			if err := json.Unmarshal([]byte(ckptd(t, exit.Done, "savepoint", r.ID, "--server", r.URL, "--json")), &saved); err != nil {
				t.Fatal(err)
			}
			r.must(r.Cancel(r.ctx))
			r.must(r.Stop(r.ctx))
			moved := filepath.Join(t.TempDir(), "moved")
			r.must(os.CopyFS(moved, os.DirFS(filepath.Join(dir, filepath.Base(saved.Path)))))
			r.must(os.RemoveAll(dir))
			r.must(os.WriteFile(filepath.Join(moved, "notes.txt"), []byte("mine"), 0o666))
			next := newRig(t, demo.Options{Root: r.Root, Output: r.Params.Output, From: moved, Claim: claim, Records: r.Params.Records, Rate: 10_000})
			next.begin()
			next.finishExact()
			switch _, err := os.Stat(filepath.Join(moved, layout.MetadataName)); {
			case claim && !os.IsNotExist(err):
				t.Errorf("the claimed savepoint is there: %v", err)
			case !claim && err != nil:
				t.Errorf("the savepoint is gone: %v", err)
			}
			if _, err := os.Stat(filepath.Join(moved, "notes.txt")); err != nil {
				t.Errorf("what lies beside a savepoint: %v", err)
			}
			if !claim {
				contains(t, ckptd(t, exit.Done, "dispose", moved), "would delete", "--yes")
				contains(t, ckptd(t, exit.Done, "dispose", moved, "--yes"), "deleted")
				ckptd(t, exit.Failed, "dispose", moved)
			}
		})
	}
}

// The daemon is killed at each step of a savepoint. Afterwards the savepoint is done, or nothing of it is left but a tombstone; the job
// goes on, and its counts are exact.
func TestKilledAtEachStepOfASavepoint(t *testing.T) {
	t.Parallel()
	for step, want := range map[string]ckptdv1.SavepointOutcome{
		shell.StepSavepoint:     ckptdv1.SavepointOutcome_SAVEPOINT_OUTCOME_CLEANED,
		shell.StepSaved:         ckptdv1.SavepointOutcome_SAVEPOINT_OUTCOME_CLEANED,
		shell.StepSavedMetadata: ckptdv1.SavepointOutcome_SAVEPOINT_OUTCOME_DONE,
		shell.StepSavepointDone: ckptdv1.SavepointOutcome_SAVEPOINT_OUTCOME_DONE,
	} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			struck := filepath.Join(t.TempDir(), "struck")
			r, _ := savepointRig(t, fmt.Sprintf("%s=%s:1:%s", killVariable, step, struck))
			_ = run(t.Context(), []string{"savepoint", r.ID, "--server", r.URL, "--detached"}, &r.out, &r.out)
			r.awaitStruck(struck)
			r.await("the savepoint has ended", func(*ckptdv1.JobState) bool {
				all := r.savepoints()
				return len(all) == 1 && all[0].GetOutcome() != ckptdv1.SavepointOutcome_SAVEPOINT_OUTCOME_STARTED
			})
			saved := r.savepoints()[0]
			if saved.GetOutcome() != want {
				t.Errorf("outcome %v, want %v", saved.GetOutcome(), want)
			}
			entries, err := os.ReadDir(folderOf(saved))
			r.must(err)
			if cleaned := want == ckptdv1.SavepointOutcome_SAVEPOINT_OUTCOME_CLEANED; cleaned != (len(entries) == 1) {
				t.Errorf("the folder holds %d objects", len(entries))
			}
			r.finish()
		})
	}
}

// A job is stopped with a savepoint, while its daemon or a worker is killed at a step of it. Either it is FINISHED, or it runs on and
// can be stopped again; a new job goes on from the savepoint, and the counts of both together are exact.
//
// The nightly form repeats each kill, at other moments of the stop.
func TestStoppedWithASavepoint(t *testing.T) {
	t.Parallel()
	const drain, ended = "drain", "ended" // no kills
	ids := map[string]string{
		runtime.StepBeforeCommit: "SP-12 ", runtime.StepAfterCommit: "SP-19 ", runtime.StepUploading: "SP-13 ", shell.StepSavedMetadata: "SP-14 ",
		ended: "SP-16 ", "": "SP-11 and SP-17 ",
	}
	rounds := 1
	if os.Getenv("CKPTD_NIGHTLY") != "" {
		rounds = 5
	}
	for _, step := range []string{"", drain, ended, runtime.StepUploading, shell.StepSavepoint, shell.StepSaved, shell.StepSavedMetadata, shell.StepSavepointDone, shell.StepEnd, runtime.StepBeforeCommit, runtime.StepAfterCommit,
		runtime.StepAcknowledged} {
		for round := range rounds {
			t.Run(fmt.Sprintf("%s%s %d", ids[step], cmp.Or(step, "undisturbed"), round), func(t *testing.T) {
				t.Parallel()
				args := []string{"--savepoint=", "--json"}
				if step == drain {
					args = append(args, "--drain")
				}
				records := uint64(1000 + round*700)
				if step == ended { // all input is read
					records = 30_000 - 1
				}
				stopKilled(t, strings.TrimPrefix(strings.TrimPrefix(step, drain), ended), args, records)
			})
		}
	}
}

// stopKilled stops a job after so many records, while a process is killed at the step; empty: none is.
func stopKilled(t *testing.T, step string, args []string, records uint64) {
	dir, struck := filepath.Join(t.TempDir(), "savepoints"), filepath.Join(t.TempDir(), "struck")
	environment := []string{"CKPTD_SAVEPOINTS=" + dir}
	if step != "" {
		environment = append(environment, fmt.Sprintf("%s=%s:1:%s", killVariable, step, struck))
	}
	r := newRig(t, demo.Options{Interval: "1h", Records: 30_000, Rate: 5000}, environment...)
	r.begin()
	r.await("records flow", func(s *ckptdv1.JobState) bool { return r.Watch.Running && s.GetRecords() > records })
	var out, errs bytes.Buffer
	code := exit.Failed
	if step == "" {
		args = append(args, "--request-id", "once")
	}
	for range 3 {
		out.Reset()
		if code = run(r.ctx, append([]string{"stop", r.ID, "--server", r.URL}, args...), &out, &errs); code == exit.Done {
			break
		}
		r.await("the job runs again", func(s *ckptdv1.JobState) bool {
			all := r.savepoints()
			return r.Watch.Running && s.GetPhase() == ckptdv1.JobPhase_JOB_PHASE_RUNNING && all[len(all)-1].GetOutcome() != ckptdv1.SavepointOutcome_SAVEPOINT_OUTCOME_STARTED
		})
	}
	if _, err := os.Stat(struck); step != "" && err != nil {
		t.Errorf("the step was not struck: %v", err)
	}
	var saved struct{ Path string }
	if err := json.Unmarshal(out.Bytes(), &saved); err != nil || code != exit.Done {
		t.Fatalf("exit code %d: %v\n%s%s", code, err, &out, &errs)
	}
	if got := r.head().GetStatus(); got != ckptdv1.JobStatus_JOB_STATUS_FINISHED {
		t.Errorf("the job is %v, want FINISHED", got)
	}
	if step == "" {
		contains(t, ckptd(t, exit.Done, append([]string{"stop", r.ID, "--server", r.URL}, args...)...), saved.Path)
		contains(t, ckptd(t, exit.Failed, "stop", r.ID, "--server", r.URL, "--savepoint="), "is finished")
		contains(t, ckptd(t, exit.Done, append([]string{"stop", r.Root + "/" + r.ID}, args...)...), saved.Path)
		contains(t, ckptd(t, exit.Done, "savepoint", r.Root+"/"+r.ID, "--request-id", "once"), saved.Path)
	}
	r.must(r.Stop(r.ctx))
	if of := r.written().GetLatest().GetSavepoint(); step == "" && (of.GetKind() != ckptdv1.RecordKind_RECORD_KIND_STOP || of.GetPath() != saved.Path) {
		t.Errorf("the history has %v, want the savepoint that stopped the job", of)
	}
	next := newRig(t, demo.Options{Root: r.Root, Output: r.Params.Output, From: saved.Path, Records: r.Params.Records, Rate: 10_000})
	next.begin()
	next.finishExact()
}

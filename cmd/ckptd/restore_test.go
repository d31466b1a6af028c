package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ckptd/ckptd/cmd/ckptd/demo"
	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/cmd/ckptd/launch"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/journalio"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/shell"
)

// generations is how many jobs go on from one another after the first.
func generations() int {
	if os.Getenv("CKPTD_NIGHTLY") != "" {
		return 5
	}
	return 2
}

// interrupt cancels a job that has taken some checkpoints, and ends its processes. It returns the newest checkpoint.
func (r *rig) interrupt() string {
	r.t.Helper()
	r.awaitCheckpoints(2)
	r.must(r.Cancel(r.ctx))
	r.must(r.Stop(r.ctx))
	r.checkRestores()
	return drivers.Below(r.Root, r.ID+"/"+layout.CheckpointDir(r.head().GetRetained()[0].GetSummary().GetCheckpointId()))
}

// next is a run that goes on from a checkpoint of r.
func (r *rig) next(from string, claim bool, environment ...string) *rig {
	r.t.Helper()
	return newRig(r.t, demo.Options{Root: r.Root, Output: r.Params.Output, From: from, Claim: claim, Records: r.Params.Records, Rate: 10_000}, environment...)
}

// number is the number of a checkpoint, by the end of its URL.
func number(url string) uint64 {
	_, folder := drivers.CutLast(url)
	id, _ := layout.ParseCheckpointDir(folder)
	return id
}

func firstRun(t *testing.T) *rig {
	t.Helper()
	r := newRig(t, demo.Options{Records: 20_000 * uint64(generations()), Rate: 10_000})
	r.begin()
	return r
}

// finishRestored waits for the end of a run that went on from another one's checkpoint. It checks the counts of all runs
// together, and that each job's folder holds what its journal reaches. sources are the checkpoints from which the runs went on,
// by job. Of NO_CLAIM no pin is left, and the sources are there. A source that was claimed is there only while a checkpoint of
// another job still reaches its files.
func (r *rig) finishRestored(claim bool, sources map[string]uint64) {
	r.t.Helper()
	r.finishExact()
	opened, err := drivers.Open(r.ctx, r.bare, false)
	r.must(err)
	defer opened.Close()
	for _, job := range append(slices.Collect(maps.Keys(sources)), r.ID) {
		head := r.settled(opened, job)
		keys := slices.DeleteFunc(r.files(), func(key string) bool {
			return key != layout.RootMarkerKey && !strings.HasPrefix(key, layout.JobPrefix(job))
		})
		compareStorage(r.ctx, r.t, opened.Store, job, keys)
		if !claim && len(head.Lent)+len(head.Borrowed) > 0 {
			r.t.Errorf("job %s still lends %+v and borrows %+v, want neither", job, head.Lent, head.Borrowed)
		}
		source := sources[job]
		if _, kept := head.Checkpoint(source); source != 0 && kept != (!claim || head.IsLent(source)) {
			r.t.Errorf("job %s retains %+v and lends %+v, after another job went on from checkpoint %d", job, head.Retained, head.Lent, source)
		}
	}
	checkTidy(r.t, r.bare)
}

// finishExact waits for the end of a run that went on from another one's checkpoint, and checks the counts of all runs together.
func (r *rig) finishExact() {
	r.t.Helper()
	r.must(r.Follow(r.ctx))
	r.must(r.Cancel(r.ctx))
	exact, err := r.Verdict()
	r.must(err)
	if !exact || !strings.Contains(r.out.String(), "lines of earlier runs") {
		r.t.Error("the counts of all runs together are not exact, or there were no earlier runs")
	}
	r.checkRestores()
}

// checkTidy checks a root whose jobs have ended: gc finds nothing, every byte is whole, and the checkpoints on storage are those that
// ls shows.
func checkTidy(t *testing.T, root string) {
	t.Helper()
	contains(t, ckptd(t, exit.Done, "gc", root), "would delete 0 of")
	ckptd(t, exit.Done, "verify", root, "--read-data")
	var jobs struct {
		Jobs []struct{ Checkpoints []struct{ Path string } }
	}
	if err := json.Unmarshal([]byte(ckptd(t, exit.Done, "ls", root, "--json")), &jobs); err != nil {
		t.Fatal(err)
	}
	var shown, stored []string
	for _, j := range jobs.Jobs {
		for _, c := range j.Checkpoints {
			shown = append(shown, c.Path)
		}
	}
	opened, err := drivers.Open(t.Context(), root, false)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	for _, key := range listed(t.Context(), t, opened.Store) {
		job, name, _ := strings.Cut(key, "/")
		folder, _, _ := strings.Cut(name, "/")
		if _, err := layout.ParseCheckpointDir(folder); err == nil {
			stored = append(stored, job+"/"+folder)
		}
	}
	slices.Sort(shown)
	if stored = slices.Compact(stored); len(shown) == 0 || !slices.Equal(shown, stored) {
		t.Errorf("ls shows %q, and storage holds %q", shown, stored)
	}
}

// settled waits until nobody owns a job and nothing of it is due. It returns the head of its journal.
func (r *rig) settled(opened storage.Opened, job string) *journal.Entry {
	r.t.Helper()
	for {
		head, _, err := journalio.ReadHead(r.ctx, opened.Store, opened.Facts, job)
		r.must(err)
		if head.Owner.IsZero() && !head.Due() {
			return head
		}
		if !launch.Sleep(r.ctx, pollEvery/5) {
			r.t.Fatalf("job %s is still owned, or something of it is due: %+v", job, head)
		}
	}
}

// modes are the claim modes, with their names.
var modes = map[string]bool{"NO_CLAIM": false, "CLAIM": true}

// A job is canceled, a new one begins from its checkpoint, is canceled, and so on. Each import's daemon is killed at another step. The
// counts of all together are exact. With NO_CLAIM the first checkpoint survives, with CLAIM the last (subtest ids: Flink's).
func TestRestoredAgainAndAgain(t *testing.T) {
	t.Parallel()
	steps := []string{shell.StepLend, shell.StepImportMetadata, shell.StepImport}
	for name, claim := range modes {
		t.Run("SR-16/"+name, func(t *testing.T) {
			t.Parallel()
			r := firstRun(t)
			sources := map[string]uint64{}
			for i := range generations() {
				from := r.interrupt()
				sources[r.ID] = number(from)
				struck := filepath.Join(t.TempDir(), "struck")
				r = r.next(from, claim, fmt.Sprintf("%s=%s:1:%s", killVariable, steps[i%len(steps)], struck))
				r.begin()
				r.awaitStruck(struck)
			}
			r.finishRestored(claim, sources)
		})
	}
}

// awaitStruck waits until a daemon was killed at its step, and its next life owns the job.
func (r *rig) awaitStruck(struck string) {
	r.t.Helper()
	r.await("the step is struck and the job goes on", func(s *ckptdv1.JobState) bool {
		_, err := os.Stat(struck)
		return err == nil && s.GetSummary().GetEpoch() == 2
	})
}

// The daemon is killed at each step of an import, and of the return: the next one continues.
func TestKilledAtEachStepOfAnImport(t *testing.T) {
	t.Parallel()
	steps := []string{shell.StepLend, shell.StepImportMetadata, shell.StepImport, shell.StepReturn}
	for name, claim := range modes {
		for _, step := range steps {
			if claim && step != shell.StepReturn && os.Getenv("CKPTD_NIGHTLY") == "" {
				continue // until the return the modes differ in one field of the pin
			}
			t.Run(name+"/"+step, func(t *testing.T) {
				t.Parallel()
				first := firstRun(t)
				from := first.interrupt()
				struck := filepath.Join(t.TempDir(), "struck")
				r := first.next(from, claim, fmt.Sprintf("%s=%s:1:%s", killVariable, step, struck))
				r.begin()
				r.awaitStruck(struck)
				r.finishRestored(claim, map[string]uint64{first.ID: number(from)})
			})
		}
	}
}

// A drill through the daemon fetches the files that another job has lent, as the workers do, and names a damaged one by its job.
func TestDrillOfLentFiles(t *testing.T) {
	t.Parallel()
	first := firstRun(t)
	from := first.interrupt()
	r := newRig(t, demo.Options{Root: first.Root, Output: first.Params.Output, From: from, Interval: "1h", Records: first.Params.Records, Rate: 10_000})
	r.begin()
	r.await("the job runs", func(*ckptdv1.JobState) bool { return r.Watch.Running })
	imported := r.ID + "/" + layout.CheckpointDir(r.head().GetRetained()[0].GetSummary().GetCheckpointId())
	contains(t, ckptd(t, exit.Done, "drill", imported, "--server", r.URL), "whole: fetched", "from daemon "+r.URL)
	opened, err := drivers.Open(r.ctx, r.bare, false)
	r.must(err)
	defer opened.Close()
	show, err := catalog.New(opened.Store).Files(r.ctx, r.ID, number(imported))
	r.must(err)
	for _, f := range show.GetFiles() {
		if f.GetFile().GetJobId() != first.ID {
			continue
		}
		path := filepath.Join(strings.TrimPrefix(r.bare, "file://"), first.ID, f.GetFile().GetKey())
		good, err := os.ReadFile(path)
		r.must(err)
		bad := slices.Clone(good)
		bad[0] ^= 1
		r.must(os.WriteFile(path, bad, 0o666))
		contains(t, ckptd(t, exit.Damage, "drill", imported, "--server", r.URL), "wrong bytes", first.ID+"/"+f.GetFile().GetKey())
		r.must(os.Remove(path))
		contains(t, ckptd(t, exit.Damage, "drill", imported, "--server", r.URL), "missing", first.ID+"/"+f.GetFile().GetKey())
		return
	}
	t.Errorf("the imported checkpoint names no file of job %s", first.ID)
}

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ckptd/ckptd/cmd/ckptd/demo"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/layout"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// memoryRig is a job whose state is in the daemon's memory.
func memoryRig(t *testing.T, o demo.Options, environment ...string) *rig {
	t.Helper()
	r := newRig(t, o, environment...)
	r.Config.Job.Storage = ckptdv1.Storage_STORAGE_JOBMANAGER
	return r
}

// holdsNothing checks that the root holds its marker and nothing of a job.
func (r *rig) holdsNothing() {
	r.t.Helper()
	if got, want := r.files(), []string{layout.RootMarkerKey}; !slices.Equal(got, want) {
		r.t.Errorf("the root holds %q, want %q", got, want)
	}
}

// Workers are killed (SIGKILL), and the attempts restore from the daemon's memory: the counts are exact. The root holds nothing of the
// job, and its end frees the memory.
func TestWorkersOfAJobInMemoryKilled(t *testing.T) {
	t.Parallel()
	r := memoryRig(t, demo.Options{})
	r.begin()
	for _, w := range r.Workers {
		r.awaitCheckpoints(1) // the ids begin at a large number
		r.awaitCheckpoints(2)
		before := r.Watch.Attempt
		_, err := w.Kill()
		r.must(err)
		r.await("the next attempt", func(*ckptdv1.JobState) bool { return r.Watch.Running && r.Watch.Attempt > before })
	}
	r.must(r.Follow(r.ctx))
	contains(t, ckptd(t, exit.Done, "status", "--server", r.URL), "taken by the state of jobs with storage jobmanager, which is lost with the daemon", "IN MEMORY: the state is lost with this daemon")
	contains(t, ckptd(t, exit.Done, "ls", "--server", r.URL), r.ID+": running", "in memory")
	for _, verb := range []string{"gc", "verify", "rm", "trash"} { // no such job would be a lie
		contains(t, ckptd(t, exit.Failed, verb, r.ID, "--server", r.URL), "lies in the memory of this daemon", "ckptd savepoint "+r.ID)
	}
	r.must(r.Cancel(r.ctx))
	exact, err := r.Verdict()
	r.must(err)
	if !exact {
		t.Error("the counts are not exact")
	}
	r.checkRestores()
	r.holdsNothing()
	status, err := r.Admin.Status(r.ctx)
	r.must(err)
	if status.GetMemoryUsed() > 8<<10 || status.GetMemoryLimit() != 256<<20 {
		t.Errorf("%d of %d bytes are taken after the end", status.GetMemoryUsed(), status.GetMemoryLimit())
	}
	contains(t, ckptd(t, exit.Done, "status", r.ID, "--server", r.URL), "canceled", "in memory")
}

// The daemon is killed (SIGKILL): the next one begins the job anew, and says so in status, events and log. Its numbers lie above those of
// the earlier life, so that the workers that lived on and the sinks follow it. The root holds nothing of the job.
func TestDaemonOfAJobInMemoryKilled(t *testing.T) {
	t.Parallel()
	r := memoryRig(t, demo.Options{Records: 1_000_000})
	r.begin()
	r.awaitCheckpoints(1) // the ids begin at a large number
	r.awaitCheckpoints(2)
	epoch, attempt, newest := r.Watch.Epoch, r.Watch.Attempt, r.Watch.Newest
	_, err := r.Daemon.Kill()
	r.must(err)
	r.await("the job begins anew", func(s *ckptdv1.JobState) bool {
		return r.Watch.Running && s.GetBeganAnew() != "" && r.Watch.Newest > newest
	})
	if r.Watch.Epoch <= max(epoch, attempt, newest) || r.Watch.Attempt <= r.Watch.Epoch-1 {
		t.Errorf("epoch %d, attempt %d; want both above %d, %d and %d", r.Watch.Epoch, r.Watch.Attempt, epoch, attempt, newest)
	}
	const anew = "its state was in the memory of a daemon that is gone: the job begins anew"
	contains(t, ckptd(t, exit.Done, "status", r.ID, "--server", r.URL), "IN MEMORY", "BEGAN ANEW: "+anew, "begins anew")
	log, err := os.ReadFile(r.Daemon.Log())
	r.must(err)
	contains(t, string(log), "level=WARN msg=begins-anew", "level=INFO msg=in-memory")
	r.holdsNothing()
	r.must(r.Cancel(r.ctx))
	r.holdsNothing()
}

// A savepoint is the way out of the memory: the job is stopped with one, its daemon is killed, and a job below the root goes on from it.
// The counts of both together are exact.
func TestStoppedOutOfTheMemory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "savepoints")
	r := memoryRig(t, demo.Options{Records: 30_000, Rate: 5000}, "CKPTD_SAVEPOINTS="+dir)
	r.begin()
	r.awaitCheckpoints(1) // the ids begin at a large number
	r.awaitCheckpoints(2)
	var out, errs bytes.Buffer
	if code := run(r.ctx, []string{"stop", r.ID, "--savepoint=", "--server", r.URL, "--json"}, &out, &errs); code != exit.Done {
		t.Fatalf("exit code %d\n%s%s", code, &out, &errs)
	}
	var saved struct{ Path string }
	r.must(json.Unmarshal(out.Bytes(), &saved))
	_, err := r.Daemon.Kill()
	r.must(err)
	r.must(r.Stop(r.ctx))
	r.holdsNothing()
	next := newRig(t, demo.Options{Root: r.Root, Output: r.Params.Output, From: strings.TrimPrefix(saved.Path, "file://"), Records: r.Params.Records, Rate: 10_000}, "CKPTD_SAVEPOINTS="+dir)
	next.begin()
	next.finishExact()
}

// TestNoMemoryForTheDefaultStorage: a daemon without memory for state cannot have jobs in memory by default. Else such jobs would lie below
// the root, unasked.
func TestNoMemoryForTheDefaultStorage(t *testing.T) {
	for size, refused := range map[sizeFlag]bool{"0": true, "0mb": true, "1mb": false} {
		o := serveOptions{listen: "127.0.0.1:0", memoryState: size, jobs: &ckptdv1.JobConfig{Storage: ckptdv1.Storage_STORAGE_JOBMANAGER}}
		if err := o.check(t.Context()); (err != nil) != refused || refused && !strings.Contains(err.Error(), "--memory-state is 0") {
			t.Errorf("--memory-state %s: %v", size, err)
		}
	}
}

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/ckptd/ckptd/cmd/ckptd/demo"
	"github.com/ckptd/ckptd/cmd/ckptd/launch"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/runtime/clicks"
	"github.com/ckptd/ckptd/service/coordinator"
	"github.com/ckptd/ckptd/service/shell"
)

// A worker whose code builds another plan is refused by name while others run the journal's; the job does not notice.
func TestWorkerOfAnotherPlanIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, demo.Options{})
	r.begin()
	r.awaitCheckpoints(1)
	other := r.Params
	other.Parallelism = 3
	w, err := r.Worker("other", 0, other)
	r.must(err)
	for w.Err() == nil {
		if !launch.Sleep(r.ctx, pollEvery) {
			t.Fatal("the worker does not end")
		}
	}
	w.Stop(r.ctx)
	if log, _ := os.ReadFile(w.Log()); !strings.Contains(string(log), "plan: operator sum: parallelism: 2 is in effect, 3 is asked for") {
		t.Errorf("the worker says: %s, want the difference", log)
	}
	r.finish()
	if h := r.head(); h.GetEpoch() != 1 || h.GetAttempt() != 1 {
		t.Errorf("epoch %d, attempt %d", h.GetEpoch(), h.GetAttempt())
	}
}

// A record that fails at every try ends the job by its restart strategy. The demo prints the cause, and the job's
// storage is in order.
func TestPoisonRecordFailsTheJob(t *testing.T) {
	t.Parallel()
	// The daemon forgets the cause when it lets the job go; it waits with that until the cause was read.
	ended := filepath.Join(t.TempDir(), "ended")
	r := newRig(t, demo.Options{}, fmt.Sprintf("%s=%s:1:%s", holdVariable, shell.StepEnd, ended))
	r.Config.Job.RestartStrategy = &ckptdv1.RestartStrategy{
		Type: ckptdv1.RestartStrategy_TYPE_FIXED_DELAY, Attempts: 2, Delay: durationpb.New(10 * time.Millisecond),
	}
	r.Params.Poison = "user-400" // one that comes late
	r.begin()
	r.await("the last attempt's failure is told", func(s *ckptdv1.JobState) bool {
		_, err := os.Stat(ended)
		return err == nil && r.Watch.Blamed == 3
	})
	r.must(os.WriteFile(ended+".go", nil, 0o666))
	err := r.Follow(r.ctx)
	if err == nil || !strings.Contains(err.Error(), "the job is failed") || !strings.Contains(err.Error(), clicks.ErrPoison.Error()) {
		t.Fatalf("the demo ends with %v", err)
	}
	r.must(r.AwaitLetGo(r.ctx))
	h := r.head()
	if h.GetStatus() != ckptdv1.JobStatus_JOB_STATUS_FAILED || h.GetAttempt() != 3 {
		t.Errorf("status %v, attempt %d", h.GetStatus(), h.GetAttempt())
	}
	r.checkStorage()
}

// A second daemon at a socket or port that is taken is told so, and the first goes on.
func TestAddressInUse(t *testing.T) {
	t.Parallel()
	r := newRig(t, demo.Options{})
	r.begin()
	out, err := exec.Command(os.Args[0], "serve", "--root", r.Root, "--listen", r.URL).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "another process answers there") {
		t.Errorf("%v: %s", err, out)
	}
	r.finish()
}

// The disk is full: checkpoints fail, the job goes on, and takes checkpoints again once there is space.
func TestFullDisk(t *testing.T) {
	if os.Getenv("CKPTD_PRIVILEGED") == "" {
		t.Skip("mounts a tmpfs: set CKPTD_PRIVILEGED=1")
	}
	t.Parallel()
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=8m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	r := newRig(t, demo.Options{Records: 40_000})
	r.Root = "file://" + filepath.Join(disk, "root")
	r.bare = r.Root
	r.Config.Job.TolerableFailedCheckpoints = coordinator.Never
	r.begin()
	r.awaitCheckpoints(2)
	ballast := filepath.Join(disk, "ballast")
	fill(t, ballast)
	failed := r.Watch.Failed
	r.await("checkpoints fail", func(*ckptdv1.JobState) bool { return r.Watch.Failed >= failed+3 })
	if !r.Watch.Running || r.Watch.Attempt != 1 {
		t.Errorf("the job does not go on: attempt %d", r.Watch.Attempt)
	}
	r.must(os.Remove(ballast))
	r.awaitCheckpoints(2)
	r.finish()
	if h := r.head(); h.GetEpoch() != 1 || h.GetAttempt() != 1 {
		t.Errorf("epoch %d, attempt %d", h.GetEpoch(), h.GetAttempt())
	}
}

// fill writes a file until nothing fits any more.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 4<<10); ; {
		if _, err := f.Write(block); err != nil {
			return
		}
	}
}

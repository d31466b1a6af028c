package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ckptd/ckptd/cmd/ckptd/demo"
	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/conformance/servers"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/copying"
)

// namesBelow lists the files below a folder, without journals, whose slots differ from run to run.
func namesBelow(t *testing.T, dir string) string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !strings.Contains(path, "_journal") {
			names = append(names, strings.TrimPrefix(path, dir))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, "\n")
}

// The process that copies is killed at each step. What is there is whole, and the same command goes on to the same end.
func TestCopyKilledAtEachStep(t *testing.T) {
	v := newVerbs(t)
	v.try(t, exit.Done, "copy ROOT DIR/undisturbed")
	want := namesBelow(t, filepath.Join(v.dir, "undisturbed"))
	for _, step := range []string{copying.StepAttach, copying.StepFile, copying.StepMetadata, copying.StepCommit, copying.StepRelease} {
		t.Run(step, func(t *testing.T) {
			struck := filepath.Join(t.TempDir(), "struck")
			line := "copy ROOT DIR/" + step
			cmd := exec.CommandContext(t.Context(), os.Args[0], strings.Fields(v.replace.Replace(line))...)
			cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s:1:%s", killVariable, step, struck))
			out, err := cmd.CombinedOutput()
			var ended *exec.ExitError
			if !errors.As(err, &ended) || ended.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Fatalf("%v, want it killed:\n%s", err, out)
			}
			v.try(t, exit.Done, "verify DIR/"+step+" --read-data")
			v.try(t, exit.Done, line)
			v.try(t, exit.Done, "verify DIR/"+step+" --read-data")
			if got := namesBelow(t, filepath.Join(v.dir, step)); got != want {
				t.Errorf("the copy has\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// A job runs on files and is canceled. Its checkpoints are copied to S3, where a new job goes on. The copies of that one come back to
// files, where the next job goes on, and so on: there by ckptd copy, every other time back by a daemon that reads the other root. The
// counts of all together are exact. Both roots are whole, and hold nothing that nobody needs.
func TestCopyToS3AndBack(t *testing.T) {
	t.Parallel()
	kinds := []string{servers.Versitygw}
	if os.Getenv("CKPTD_NIGHTLY") != "" {
		kinds = append(kinds, servers.MinIO)
	}
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			server := servers.StartS3(t, kind, false)
			r := firstRun(t)
			here, there := r.Root, server.URL("copied", "")
			for i := range generations() {
				copied := drivers.Below(r.Root, r.ID)
				if i%2 == 1 {
					copied = ""
				}
				r = r.movedTo(there, r.interrupt(), copied)
				r.begin()
				r = r.movedTo(here, r.interrupt(), drivers.Below(r.Root, r.ID))
				r.begin()
			}
			r.finishExact()
			r.settleAll(here, there)
			checkTidy(t, here)
			checkTidy(t, there)
		})
	}
}

// process runs a command as a process of its own, and returns what it printed.
func (r *rig) process(args ...string) string {
	r.t.Helper()
	out, err := exec.CommandContext(r.ctx, os.Args[0], args...).CombinedOutput()
	if err != nil {
		r.t.Fatalf("%s: %v\n%s", args, err, out)
	}
	r.t.Logf("%s\n%s", args, out)
	return string(out)
}

// movedTo returns a run in another root that goes on from a checkpoint. What is given, a job or a root, is copied there first. Without it
// the run begins directly, past a daemon that may read the checkpoint's root.
func (r *rig) movedTo(root, checkpoint, copied string) *rig {
	r.t.Helper()
	normal, err := drivers.Normal(root)
	r.must(err)
	if copied != "" {
		r.process("copy", copied, root)
		r.process("verify", r.Root, "--read-data")
		r.process("verify", root, "--read-data")
		checkpoint = drivers.Below(normal, r.ID+"/"+layout.CheckpointDir(number(checkpoint)))
	}
	return newRig(r.t, demo.Options{Root: normal, Output: r.Params.Output, From: checkpoint, Records: r.Params.Records, Rate: 10_000})
}

// settleAll waits until no job of the roots is owned, or has something that is due.
func (r *rig) settleAll(roots ...string) {
	r.t.Helper()
	for _, root := range roots {
		opened, err := drivers.Open(r.ctx, root, false)
		r.must(err)
		jobs, err := catalog.New(opened.Store).Jobs(r.ctx)
		r.must(err)
		for _, j := range jobs.GetJobs() {
			r.settled(opened, j.GetJobId())
		}
		r.must(opened.Close())
	}
}

// A job in one root begins from a checkpoint of another root, past a daemon that may read there. The counts of both
// together are exact. A daemon that may not read there says what to do.
func TestBeginsFromAnotherRoot(t *testing.T) {
	t.Parallel()
	first := firstRun(t)
	from := first.interrupt()
	second := newRig(t, demo.Options{Root: filepath.Join(t.TempDir(), "other"), Output: first.Params.Output, From: from, Records: 40_000, Rate: 10_000})
	second.begin()
	second.finishExact()
}

// The places that a daemon may read are whole folders of the same store.
func TestAllowedPlaces(t *testing.T) {
	a := allowed{"/data/one", "s3://b/p?region=r"}
	if err := a.check("restore-from"); err != nil {
		t.Fatal(err)
	}
	for place, want := range map[string]bool{
		"/data/one": true, "/data/one/job/chk-1": true, "file:///data/one/x": true, "/data/one2/job": false, "/data": false, "/data/one/../two": false,
		"/etc/passwd": false, "s3://b/p/job/chk-1?region=r": true, "s3://b/p2/job?region=r": false, "s3://b/p/job": false, "s3://b/p/job?region=r&endpoint=http://evil": false,
	} {
		normal, err := drivers.Normal(place)
		if err != nil {
			t.Fatal(err)
		}
		if got := a.has(normal); got != want {
			t.Errorf("%s is allowed: %t, want %t", place, got, want)
		}
	}
	for _, place := range []string{"/data/one2/a/chk-1", "/etc/passwd"} {
		if _, err := a.open(t.Context(), place); err == nil || !strings.Contains(err.Error(), "--restore-from") {
			t.Errorf("%s: %v, want advice", place, err)
		}
	}
}

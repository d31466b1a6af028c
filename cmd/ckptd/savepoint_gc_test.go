package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/layout"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/shell"
)

// A daemon dies for good in the middle of its second savepoint. `gc` cleans that one, and says so wherever it is looked at. An upload that
// lands in its folder later goes with the next `gc`. The first savepoint, which was reported, keeps every byte.
func TestGCCleansAHalfWrittenSavepoint(t *testing.T) {
	t.Parallel()
	for _, step := range []string{shell.StepSavepoint, shell.StepSaved} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			held := filepath.Join(t.TempDir(), "held")
			r, _ := savepointRig(t, fmt.Sprintf("%s=%s:2:%s", holdVariable, step, held))
			ckptd(t, exit.Done, "savepoint", r.ID, "--server", r.URL)
			go func() {
				_ = run(r.ctx, []string{"savepoint", r.ID, "--server", r.URL, "--detached"}, &r.out, &r.out)
			}()
			r.await("the second savepoint is half written", func(*ckptdv1.JobState) bool { _, err := os.Stat(held); return err == nil })
			_, err := r.Daemon.Pause()
			r.must(err)
			now, cancel := context.WithCancel(r.ctx)
			cancel()
			r.Daemon.Stop(now)
			r.must(r.Stop(r.ctx))
			job := r.Root + "/" + r.ID
			contains(t, ckptd(t, exit.Done, "savepoint", job, "--list"), "done", "begun")
			ckptd(t, exit.Done, "gc", r.Root, "--yes", "--take-over")
			contains(t, ckptd(t, exit.Done, "savepoint", job, "--list"), "done", "came to nothing")

			all := listedSavepoints(t, job)
			whole, half := folderOf(all[0]), folderOf(all[1])
			onlyTombstone(t, half)
			contains(t, ckptd(t, exit.Damage, "show", half), "half-written savepoint, cleaned by gc")
			contains(t, ckptd(t, exit.Done, "show", whole), "savepoint")
			before := namesBelow(t, whole)
			late := layout.FileName{Epoch: 1, Checkpoint: 2, Nonce: layout.NewNonce(), Sequence: 1}.String()
			r.must(os.WriteFile(filepath.Join(half, late), []byte("a zombie's upload"), 0o666))
			ckptd(t, exit.Done, "gc", r.Root, "--yes")
			onlyTombstone(t, half)
			if got := namesBelow(t, whole); got != before || got == "" {
				t.Errorf("the first savepoint has\n%s\nwant\n%s", got, before)
			}
			contains(t, ckptd(t, exit.Done, "verify", whole, "--read-data"), "whole")
			contains(t, ckptd(t, exit.Done, "dispose", half, "--yes"), "deleted")
			if _, err := os.Stat(half); !os.IsNotExist(err) {
				t.Errorf("dispose left the folder of the tombstone: %v", err)
			}
		})
	}
}

func onlyTombstone(t *testing.T, folder string) {
	t.Helper()
	if got := namesBelow(t, folder); got != "/"+layout.MetadataName {
		t.Errorf("the folder of a cleaned savepoint has %q, want its tombstone alone", got)
	}
}

// A plain path is named in errors: it cannot hold a password, as a URL of a server can.
func TestDisposeNamesPlainPaths(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "no savepoint")
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{dir, "file://" + dir} {
		contains(t, ckptd(t, exit.Failed, "dispose", at), "no%20savepoint", "there is no _metadata in it")
	}
	for _, at := range []string{"s3://key:secret@bucket/dir", "s3://bucket/dir?secret=secret"} {
		if said := ckptd(t, exit.Usage, "dispose", at); strings.Contains(said, "secret") {
			t.Errorf("dispose %s says %s", at, said)
		}
	}
}

// A dispose that was killed after the _metadata can be repeated. A savepoint that is being written has no claim, and is refused.
func TestDisposeAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "savepoint-clicks-0f4a5b6c7d8e")
	file := filepath.Join(dir, layout.FileName{Epoch: 1, Checkpoint: 2, Nonce: layout.NewNonce(), Sequence: 1}.String())
	if err := errors.Join(os.Mkdir(dir, 0o777), os.WriteFile(file, []byte("state"), 0o666)); err != nil {
		t.Fatal(err)
	}
	contains(t, ckptd(t, exit.Failed, "dispose", dir, "--yes"), "there is no _metadata in it")
	if err := os.WriteFile(filepath.Join(dir, layout.ClaimName), []byte(layout.DisposeClaim), 0o666); err != nil {
		t.Fatal(err)
	}
	contains(t, ckptd(t, exit.Done, "dispose", dir, "--yes"), "deleted", "2 objects")
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the folder is left: %v", err)
	}
}

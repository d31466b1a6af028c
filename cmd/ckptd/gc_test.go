package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/layouttest"
	"github.com/ckptd/ckptd/layout/storage/file"
)

// collectable is a root on this machine with the job clicks, whose owner does not answer, and with orphans.
func collectable(t *testing.T, orphans int) (root string) {
	t.Helper()
	root = filepath.Join(t.TempDir(), "root")
	opened, err := file.Open(t.Context(), root, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	layouttest.Build(t, opened.Store)
	plantOrphans(t, root, orphans)
	return root
}

// plantOrphans writes files that no checkpoint names, as killed daemons leave them.
func plantOrphans(t testing.TB, root string, n int) {
	t.Helper()
	name := layout.FileName{Epoch: 1, Checkpoint: 1, Nonce: layout.NewNonce()}
	for i := range n {
		name.Sequence = uint64(i)
		if err := os.WriteFile(filepath.Join(root, layout.SharedKey("clicks", name.String())), []byte("orphan"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

// shared counts the shared files of the job.
func shared(t testing.TB, root string) int {
	t.Helper()
	all, err := os.ReadDir(filepath.Join(root, "clicks", "shared"))
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// ckptd runs a command in this process, and wants an exit code.
func ckptd(t testing.TB, want int, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if code := run(t.Context(), args, &out, &errs); code != want {
		t.Fatalf("ckptd %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), code, want, &out, &errs)
	}
	return out.String() + errs.String()
}

// TestGC: a plan changes nothing. An owner that does not answer keeps the job, until it is taken over. The log tells.
func TestGC(t *testing.T) {
	root := collectable(t, 5)
	if err := os.WriteFile(filepath.Join(root, "clicks", "notes.txt"), []byte("mine"), 0o666); err != nil {
		t.Fatal(err)
	}
	before := shared(t, root)
	contains(t, ckptd(t, 0, "gc", root), "does not answer", "--take-over", "5 of", "nothing was changed", "not ckptd's: 1 object")
	contains(t, ckptd(t, exit.Part, "gc", root, "--yes"), "does not answer", "--take-over")
	contains(t, ckptd(t, exit.Failed, "gc", root+"/nobody"), "no such job")
	contains(t, ckptd(t, exit.Usage, "gc", root, "--everything"), "unknown flag")
	if n := shared(t, root); n != before {
		t.Fatalf("%d files, want %d as before", n, before)
	}
	var report struct{ Objects, Bytes string }
	if err := json.Unmarshal([]byte(ckptd(t, 0, "gc", root+"/clicks", "--yes", "--take-over", "--json")), &report); err != nil || report.Objects != "5" || report.Bytes != "30" {
		t.Errorf("the report says %+v, %v; want 5 objects of 30 bytes", report, err)
	}
	if n := shared(t, root); n != before-5 {
		t.Errorf("%d files, want %d", n, before-5)
	}
	contains(t, ckptd(t, 0, "audit", root), "ckptd gc", "clicks/shared/", "of an earlier owner")
	if lines := strings.Count(ckptd(t, 0, "audit", root+"/clicks"), "\n"); lines != 6 {
		t.Errorf("the audit log has %d lines, want a title and 5", lines)
	}
	contains(t, ckptd(t, 0, "gc", root), "would delete 0 of")
	ckptd(t, 0, "verify", root, "--read-data")
	if _, err := os.Stat(filepath.Join(root, "clicks", "notes.txt")); err != nil {
		t.Error("a stranger's file:", err)
	}
}

// TestGCInterrupted: a collection is killed, or interrupted, in the middle of its deletes. What is there is valid, and the
// same command goes on.
func TestGCInterrupted(t *testing.T) {
	const orphans = 6000
	root := collectable(t, orphans)
	left := shared(t, root) - orphans
	for _, c := range []struct {
		signal os.Signal
		when   func() bool
		code   int
	}{
		{syscall.SIGKILL, func() bool { all, _ := os.ReadDir(filepath.Join(root, layout.AuditPrefix)); return len(all) > 0 }, -1},
		{syscall.SIGKILL, func() bool { return shared(t, root) < left+orphans*3/4 }, -1},
		{os.Interrupt, func() bool { return shared(t, root) < left+orphans/2 }, exit.Interrupted},
	} {
		cmd := exec.Command(os.Args[0], "gc", root, "--yes", "--take-over")
		var said bytes.Buffer
		cmd.Stdout, cmd.Stderr = &said, &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		for met := false; !met; {
			select {
			case err := <-ended:
				t.Fatalf("gc ended before it was struck: %v\n%s", err, &said)
			case <-time.After(time.Millisecond):
				met = c.when()
			}
		}
		if err := cmd.Process.Signal(c.signal); err != nil {
			t.Fatal(err)
		}
		<-ended
		if code := cmd.ProcessState.ExitCode(); code != c.code {
			t.Errorf("exit code %d after %v, want %d\n%s", code, c.signal, c.code, &said)
		}
		ckptd(t, 0, "verify", root, "--read-data")
	}
	ckptd(t, 0, "gc", root, "--yes") // a killed command keeps nobody away
	if n := shared(t, root); n != left {
		t.Errorf("%d files are left, want %d", n, left)
	}
	contains(t, ckptd(t, 0, "gc", root), "would delete 0 of")
	ckptd(t, 0, "verify", root, "--read-data")
}

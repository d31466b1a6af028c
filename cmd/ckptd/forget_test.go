package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/layouttest"
)

// TestForgetInterrupted: forget is killed, or interrupted, at each of its changes: after each new entry of the journal, and in the middle
// of the deletes of --prune. What is there is valid, the newest checkpoint stays, and the same command goes on to the end.
func TestForgetInterrupted(t *testing.T) {
	const orphans = 3000
	v := newVerbs(t)
	root := filepath.Join(v.dir, "root")
	v.end(t, layouttest.Running)
	plantOrphans(t, root, orphans)
	store := v.opened(t)
	slot := func() uint64 {
		head, err := catalog.Head(t.Context(), store, layouttest.Running)
		if err != nil {
			t.Fatal(err)
		}
		return head.Slot
	}
	forget := []string{"forget", root, "--keep-last", "1", "--yes", "--prune"}
	for _, c := range []struct {
		signal os.Signal
		when   func(before uint64) bool
		code   int
	}{
		{syscall.SIGKILL, func(before uint64) bool { return slot() >= before+1 }, -1},
		{os.Interrupt, func(before uint64) bool { return slot() >= before+1 }, exit.Interrupted},
		{syscall.SIGKILL, func(before uint64) bool { return slot() >= before+2 }, -1},
		{syscall.SIGKILL, func(before uint64) bool { return slot() >= before+3 || shared(t, root) < orphans }, -1},
		{syscall.SIGKILL, func(uint64) bool { return shared(t, root) < orphans*3/4 }, -1},
		{os.Interrupt, func(uint64) bool { return shared(t, root) < orphans/2 }, exit.Interrupted},
	} {
		plantOrphans(t, root, orphans) // some conditions want them, and the command before may have deleted them all
		cmd := exec.Command(os.Args[0], forget...)
		var said bytes.Buffer
		cmd.Stdout, cmd.Stderr = &said, &said
		before := slot()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		for met := false; !met; {
			select {
			case err := <-ended:
				t.Fatalf("forget ended before it was struck: %v\n%s", err, &said)
			case <-time.After(time.Millisecond):
				met = c.when(before)
			}
		}
		if err := cmd.Process.Signal(c.signal); err != nil {
			t.Fatal(err)
		}
		<-ended
		finished := shared(t, root) == 1 // before the signal came; then the command was not interrupted
		if code := cmd.ProcessState.ExitCode(); code != c.code && !(finished && code == exit.Done) {
			t.Errorf("exit code %d after %v, want %d\n%s", code, c.signal, c.code, &said)
		}
		ckptd(t, exit.Done, "verify", root, "--read-data")
		head, err := catalog.Head(t.Context(), store, layouttest.Running)
		if err != nil {
			t.Fatal(err)
		}
		if c, ok := head.Checkpoint(layouttest.New); !ok || c.State != journal.StateKept {
			t.Fatalf("the newest checkpoint is %+v", c)
		}
	}
	ckptd(t, exit.Done, forget...)
	contains(t, ckptd(t, exit.Done, "gc", root), "would delete 0 of")
	ckptd(t, exit.Done, "verify", root, "--read-data")
	if names := namesBelow(t, root); shared(t, root) != 1 || strings.Contains(names, layout.CheckpointDir(layouttest.Old)) {
		t.Errorf("there are\n%s\nwant checkpoint %d alone", names, layouttest.New)
	}
}

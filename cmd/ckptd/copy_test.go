package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/layout/layouttest"
)

// A root, a job and a checkpoint are copied; a second copy moves nothing; verify agrees with every copy.
func TestCopyVerb(t *testing.T) {
	v := newVerbs(t)
	contains(t, v.try(t, exit.Done, "copy ROOT DIR/dry --dry-run"), "clicks/chk-42  planned", "to be copied: 3 files of 3.3 KiB")
	if _, err := os.Stat(filepath.Join(v.dir, "dry")); err == nil {
		t.Error("a dry run made the target")
	}
	contains(t, v.try(t, exit.Done, "copy ROOT DIR/whole"), "ended: it keeps no checkpoint", "clicks/chk-42  copied   2      3.1 KiB         2          3.1 KiB",
		"clicks/chk-41  copied   2      3.1 KiB         1          200 B", "copied: 3 files of 3.3 KiB")
	contains(t, v.try(t, exit.Done, "copy ROOT/clicks DIR/whole"), "clicks/chk-42  present", "copied: 0 files of 0 B")
	contains(t, v.try(t, exit.Done, "copy ROOT/clicks/chk-41 DIR/alone --self-contained"), "clicks/chk-41  copied   2      3.1 KiB         2")
	v.try(t, exit.Done, "copy clicks/chk-42 DIR/byserver --server SERVER --json")
	for _, copied := range []string{"whole", "alone", "byserver"} {
		v.try(t, exit.Done, "verify DIR/"+copied+" --read-data")
		contains(t, v.try(t, exit.Done, "ls DIR/"+copied), "clicks", "copied")
	}
	contains(t, v.try(t, exit.Done, "files DIR/whole/clicks/chk-42"), layouttest.SharedFile())
	contains(t, v.try(t, exit.Done, "journal show DIR/whole/clicks"), "copied")
	if shared, _ := os.ReadDir(filepath.Join(v.dir, "alone", "clicks", "shared")); len(shared) > 0 {
		t.Errorf("a self-contained copy has %d files in shared/", len(shared))
	}
	// The folder alone is a checkpoint.
	if err := os.Rename(filepath.Join(v.dir, "alone", "clicks", "chk-41"), filepath.Join(v.dir, "anywhere")); err != nil {
		t.Fatal(err)
	}
	contains(t, v.try(t, exit.Done, "verify DIR/anywhere --read-data"), "read: 2 files")
}

// What cannot be copied is refused, and nothing is changed.
func TestCopyRefuses(t *testing.T) {
	v := newVerbs(t)
	v.try(t, exit.Done, "copy ROOT DIR/whole")
	for line, code := range map[string]int{
		"copy":                                   exit.Usage,
		"copy ROOT":                              exit.Usage,
		"copy ROOT DIR/x --parallel 0":           exit.Usage,
		"copy ROOT DIR/x --no-such":              exit.Usage,
		"copy ROOT DIR/x --follow --dry-run":     exit.Usage,
		"copy ROOT/clicks/chk-42 DIR/x --follow": exit.Usage,
		"copy ROOT ROOT":                         exit.Failed,
		"copy ROOT ROOT/clicks":                  exit.Usage,
		"copy ROOT/nobody DIR/x":                 exit.Failed,
		"copy ROOT/clicks/chk-7 DIR/x":           exit.Failed,
		"copy DIR/nowhere DIR/x":                 exit.Failed,
		"copy ROOT DIR":                          exit.Failed,
		// The copy came from elsewhere; and the original is no copy.
		"copy DIR/whole/clicks ROOT":                  exit.Damage,
		"copy ROOT/clicks DIR/whole --self-contained": exit.Damage,
	} {
		out := v.try(t, code, line)
		if strings.Contains(out, "panic") {
			t.Errorf("%s:\n%s", line, out)
		}
	}
	v.try(t, exit.Done, "verify ROOT --read-data")
	v.try(t, exit.Done, "verify DIR/whole --read-data")
}

// A damaged checkpoint is not copied, and the others are.
func TestCopyOfDamage(t *testing.T) {
	v := newVerbs(t)
	v.flip(t, "clicks/"+layouttest.ExclusiveFile(layouttest.New), 120)
	contains(t, v.try(t, exit.Damage, "copy ROOT DIR/part"), "clicks/chk-42  DAMAGED", "clicks/chk-41  copied", "CRC32C")
	v.try(t, exit.Done, "verify DIR/part --read-data")
	v.flip(t, "clicks/"+layouttest.ExclusiveFile(layouttest.New), 120)
	contains(t, v.try(t, exit.Done, "copy ROOT DIR/part"), "clicks/chk-42  copied", "clicks/chk-41  present")
	v.try(t, exit.Done, "verify DIR/part --read-data")
}

// Within one store, the store copies by itself.
func TestCopyWithinTheStore(t *testing.T) {
	v := newVerbs(t)
	contains(t, v.try(t, exit.Done, "copy ROOT DIR/whole"), "by the store itself: 3.3 KiB")
	v.try(t, exit.Done, "verify DIR/whole --read-data")
}

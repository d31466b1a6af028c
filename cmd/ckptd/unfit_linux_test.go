package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/conformance/oddfs"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// On a file system without hard links, and on one that folds case, doctor, serve and demo refuse with exit code 4, the
// reason and advice. They leave nothing there, not even the folder of the root. The test does not run in parallel: this
// process serves the file systems, and must not wait for itself while other tests start processes.
func TestUnfitFolders(t *testing.T) {
	for _, c := range []struct {
		lacks oddfs.Lacks
		text  string
	}{
		{oddfs.Lacks{NoLinks: true}, "has no hard links"},
		{oddfs.Lacks{FoldsCase: true}, "does not tell upper case from lower case"},
	} {
		dir := oddfs.Mount(t, t.TempDir(), c.lacks)
		before := tree(t, dir)
		for _, root := range []string{dir, filepath.Join(dir, "sub", "new")} {
			r, code, said := runDoctor(t, root)
			f := findingOf(r, "open")
			if f == nil {
				f = findingOf(r, "publish")
			}
			if code != exit.Damage || r.GetVerdict() != ckptdv1.Verdict_VERDICT_UNFIT || !strings.Contains(f.GetSeen(), c.text) || f.GetAdvice() == "" {
				t.Errorf("doctor %s: exit code %d, %v\n%s", root, code, r, said)
			}
			if after := tree(t, dir); !slices.Equal(before, after) {
				t.Errorf("doctor %s: before %v, after %v", root, before, after)
			}
			for _, args := range [][]string{
				{"serve", "--root", root, "--listen", "unix:" + filepath.Join(t.TempDir(), "s")},
				{"demo", "--root", root, "--records", "100", "--kills", "0"},
			} {
				out, code := runProcess(nil, args...)
				if code != exit.Damage {
					t.Errorf("%s: exit code %d\n%s", args, code, out)
				}
				for _, want := range []string{c.text, "FUSE", "use a folder", "ckptd doctor "} {
					if !strings.Contains(out, want) {
						t.Errorf("%s: want %q\n%s", args, want, out)
					}
				}
				if after := tree(t, dir); !slices.Equal(before, after) {
					t.Errorf("%s: before %v, after %v", args, before, after)
				}
			}
		}
	}
}

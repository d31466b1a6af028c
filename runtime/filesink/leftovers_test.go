package filesink

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// A sink removes only what earlier attempts of its own subtask left. It keeps the parts of its own attempt, of later
// attempts, and of other subtasks.
func TestLeftovers(t *testing.T) {
	dir := t.TempDir()
	pending := filepath.Join(dir, pendingDir)
	check(t, os.MkdirAll(pending, 0o777))
	const attempt = 5
	var kept []string
	lay := func(name string, keep bool) {
		check(t, os.WriteFile(filepath.Join(pending, name), []byte("a,1\n"), 0o666))
		if keep {
			kept = append(kept, name)
		}
	}
	for _, name := range []string{"job-1", "job-10", "job", "job-1-0000"} {
		for _, subtask := range []uint32{0, 1, 10000} {
			for _, a := range []uint64{1, attempt - 1, attempt, attempt + 1, 50} {
				for _, sequence := range []uint64{1, 12} {
					s := staged{Name: name, Subtask: subtask, Attempt: a, Sequence: sequence}
					lay(s.file(), name != "job-1" || subtask != 0 || a >= attempt)
				}
			}
		}
	}
	for _, name := range []string{"job-1-0000-04-1.csv", "job-1-0000-4-1.csv~", "job-1-0000-4.csv", "job-1-0000-4-1", "x"} {
		lay(name, true)
	}
	begin(t, dir, attempt, 0, nil)
	got := staging(t, dir)
	slices.Sort(kept)
	slices.Sort(got)
	if !slices.Equal(got, kept) {
		t.Errorf("left in the staging folder:\n%q\nwant\n%q", got, kept)
	}
}

// A sink that begins late takes nothing from a sink of the same or a later attempt that is at work.
func TestLateSinksTakeNothing(t *testing.T) {
	for _, late := range []uint64{1, 2, 3} { // the sink at work is of attempt 3
		t.Run(fmt.Sprint("attempt ", late), func(t *testing.T) {
			dir := t.TempDir()
			s := begin(t, dir, 3, 0, nil)
			write(t, s, "a")
			preCommit(t, s, 1)
			write(t, s, "b")
			begin(t, dir, late, 0, nil)
			preCommit(t, s, 2)
			check(t, s.Commit(2))
			want(t, dir, "a", "b")
		})
	}
}

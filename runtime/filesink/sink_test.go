package filesink

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/ckptd/ckptd/runtime/state"
)

func TestMain(m *testing.M) {
	flag.Set("rapid.checks", "200") // steps are fsyncs; the command line can ask for more
	goleak.VerifyTestMain(m)
}

func begin(t testing.TB, dir string, attempt, restored uint64, saved []byte) *Sink {
	t.Helper()
	s, err := New(Options{Dir: dir, Name: "job-1"})
	check(t, err)
	check(t, s.Restore(attempt, restored, saved))
	t.Cleanup(func() { s.Close() })
	return s
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, s *Sink, keys ...string) {
	t.Helper()
	for _, k := range keys {
		check(t, s.Write(state.Record{Key: []byte(k), Value: []byte("1")}))
	}
}

func preCommit(t testing.TB, s *Sink, n uint64) []byte {
	t.Helper()
	p, err := s.PreCommit(n)
	check(t, err)
	return p
}

// visible returns the keys of the published lines.
func visible(t testing.TB, dir string) []string {
	t.Helper()
	var keys []string
	check(t, ReadLines(dir, "job-1", func(k, _ []byte) error { keys = append(keys, string(k)); return nil }))
	return keys
}

func want(t testing.TB, dir string, keys ...string) {
	t.Helper()
	if d := cmp.Diff(keys, visible(t, dir)); d != "" {
		t.Errorf("visible lines (-want +got):\n%s", d)
	}
}

func staging(t testing.TB, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, pendingDir))
	check(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestFlink checks the behaviour of Flink's two-phase sinks that applies here, under the catalogue's ids.
func TestFlink(t *testing.T) {
	t.Run("SN-1", func(t *testing.T) {
		dir := t.TempDir()
		s := begin(t, dir, 1, 0, nil)
		for n, k := range []string{"a", "b", "c"} {
			write(t, s, k)
			preCommit(t, s, uint64(n))
		}
		check(t, s.Commit(1))
		want(t, dir, "a", "b")
		write(t, s, "d")
		if n := len(staging(t, dir)); n != 2 {
			t.Errorf("%d transactions remain, want 2", n)
		}
	})
	t.Run("SN-2", func(t *testing.T) {
		dir := t.TempDir()
		s := begin(t, dir, 1, 0, nil)
		for n, k := range []string{"a", "b", "c"} {
			write(t, s, k)
			preCommit(t, s, uint64(n))
		}
		check(t, s.Commit(2))
		check(t, s.Commit(1))
		want(t, dir, "a", "b", "c")
		if left := staging(t, dir); len(left) != 0 {
			t.Errorf("left in the staging folder: %v, want nothing", left)
		}
	})
	t.Run("SN-3", func(t *testing.T) {
		dir := t.TempDir()
		s := begin(t, dir, 1, 0, nil)
		write(t, s, "a")
		preCommit(t, s, 1)
		write(t, s, "b")
		saved := preCommit(t, s, 2)
		write(t, s, "open")
		begin(t, dir, 2, 2, saved)
		want(t, dir, "a", "b")
		if left := staging(t, dir); len(left) != 0 {
			t.Errorf("left in the staging folder: %v, want nothing", left)
		}
	})
	t.Run("SN-4 and SN-5", func(t *testing.T) { // a part begins with its first record, so the last one was the end
		dir := t.TempDir()
		s := begin(t, dir, 1, 0, nil)
		write(t, s, "a")
		saved := preCommit(t, s, 1)
		if again := preCommit(t, s, 2); !bytes.Equal(again, saved) {
			t.Errorf("a snapshot after the last record changed the state from %s to %s, want no change", saved, again)
		}
		if n := len(staging(t, dir)); n != 1 {
			t.Errorf("%d parts staged, want 1", n)
		}
		begin(t, dir, 2, 2, saved)
		want(t, dir, "a")
	})
	t.Run("SN-6", func(t *testing.T) {
		dir := t.TempDir()
		s := begin(t, dir, 1, 0, nil)
		write(t, s, "a")
		saved := preCommit(t, s, 1)
		check(t, os.RemoveAll(filepath.Join(dir, pendingDir)))
		r, err := New(Options{Dir: dir, Name: "job-1"})
		check(t, err)
		if err := r.Restore(2, 1, saved); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("restore of a part that is gone: %v, want that it does not exist", err)
		}
	})
	t.Run("SN-12", func(t *testing.T) {
		dir := t.TempDir()
		s := begin(t, dir, 1, 0, nil)
		write(t, s, "last")
		preCommit(t, s, 7)
		want(t, dir)
		check(t, s.Commit(7))
		check(t, s.Commit(7))
		want(t, dir, "last")
	})
}

func TestAbortedCheckpointsRecordsComeWithTheNext(t *testing.T) {
	dir := t.TempDir()
	s := begin(t, dir, 1, 0, nil)
	write(t, s, "a")
	preCommit(t, s, 1)
	s.Abort(1)
	write(t, s, "b")
	saved := preCommit(t, s, 2)
	begin(t, dir, 2, 2, saved)
	want(t, dir, "a", "b")
}

func TestEmptyPartsAreNotPublished(t *testing.T) {
	dir := t.TempDir()
	s := begin(t, dir, 1, 0, nil)
	if saved := preCommit(t, s, 1); saved != nil {
		t.Errorf("the state of an empty sink is %s, want nil", saved)
	}
	check(t, s.Commit(1))
	if parts, err := Parts(dir, "job-1"); err != nil || len(parts) != 0 {
		t.Errorf("published parts: %v, %v; want none", parts, err)
	}
}

// TestDurableBeforeItIsPromised compares the system calls with the order that the package comment describes.
func TestDurableBeforeItIsPromised(t *testing.T) {
	dir := t.TempDir()
	var calls []string
	s, err := New(Options{Dir: dir, Name: "job-1", Step: func(call, path string) error {
		rel, _ := filepath.Rel(dir, path)
		calls = append(calls, call+" "+rel)
		return nil
	}})
	check(t, err)
	check(t, s.Restore(1, 0, nil))
	write(t, s, "a")
	preCommit(t, s, 1)
	calls = append(calls, "- pre-committed")
	check(t, s.Commit(1))
	check(t, s.Close())
	wantCalls := []string{
		"mkdir .pending", "fsync ..", "fsync .",
		"create .pending/job-1-0000-1-1.csv",
		"write .pending/job-1-0000-1-1.csv", "fsync .pending/job-1-0000-1-1.csv", "close .pending/job-1-0000-1-1.csv", "fsync .pending",
		"- pre-committed",
		"link job-1-0000-0000000001-0001.csv", "fsync .", "unlink .pending/job-1-0000-1-1.csv",
	}
	if d := cmp.Diff(wantCalls, calls); d != "" {
		t.Errorf("calls (-want +got):\n%s", d)
	}
}

func TestLateRestoreOfAZombieRemovesNothingOfTheNewAttempt(t *testing.T) {
	dir := t.TempDir()
	first := begin(t, dir, 1, 0, nil)
	write(t, first, "a")
	saved := preCommit(t, first, 1)
	third := begin(t, dir, 3, 1, saved)
	write(t, third, "b")
	preCommit(t, third, 2)
	write(t, third, "c")
	begin(t, dir, 2, 1, saved)
	preCommit(t, third, 3)
	check(t, third.Commit(3))
	want(t, dir, "a", "b", "c")
}

func TestOneAttemptHasOneSink(t *testing.T) {
	dir := t.TempDir()
	one, two := begin(t, dir, 1, 0, nil), begin(t, dir, 1, 0, nil)
	write(t, one, "a")
	if err := two.Write(state.Record{Key: []byte("b")}); !errors.Is(err, os.ErrExist) {
		t.Errorf("write of a second sink of one attempt: %v, want that the part exists", err)
	}
	preCommit(t, one, 1)
	check(t, one.Commit(1))
	want(t, dir, "a")
}

func TestWhatIsNotThisPartIsRefused(t *testing.T) {
	stage := func(t *testing.T) (dir string, saved []byte, pending, final string) {
		dir = t.TempDir()
		s := begin(t, dir, 1, 0, nil)
		write(t, s, "a")
		saved = preCommit(t, s, 1)
		part := s.pending[0]
		return dir, saved, part.pending(dir), part.final(dir)
	}
	refused := func(t *testing.T, dir string, saved []byte) {
		t.Helper()
		s, err := New(Options{Dir: dir, Name: "job-1"})
		check(t, err)
		if err := s.Restore(2, 1, saved); err == nil {
			t.Error("restore of a bad state: no error, want one")
		}
		if err := s.Write(state.Record{}); err == nil {
			t.Error("write without Restore: no error, want one")
		}
	}
	t.Run("final name taken by another file", func(t *testing.T) {
		dir, saved, _, final := stage(t)
		check(t, os.WriteFile(final, []byte("b,2\n"), 0o666))
		refused(t, dir, saved)
	})
	t.Run("final name taken and staging gone", func(t *testing.T) {
		dir, saved, pending, final := stage(t)
		check(t, os.WriteFile(final, []byte("longer,2\n"), 0o666))
		check(t, os.Remove(pending))
		refused(t, dir, saved)
	})
	t.Run("cut", func(t *testing.T) {
		dir, saved, pending, _ := stage(t)
		check(t, os.Truncate(pending, 1))
		refused(t, dir, saved)
	})
	for name, bad := range map[string]string{
		"no JSON":             "x",
		"a newer version":     `{"version":2,"parts":[]}`,
		"an unknown field":    `{"version":1,"parts":[],"more":1}`,
		"a later checkpoint":  `{"version":1,"parts":[{"name":"job-1","attempt":1,"sequence":1,"checkpoint":2}]}`,
		"a name with a slash": `{"version":1,"parts":[{"name":"../job-1","attempt":1,"sequence":1,"checkpoint":1}]}`,
		"two parts of one":    `{"version":1,"parts":[{"name":"j","attempt":1,"sequence":1,"checkpoint":1},{"name":"j","attempt":1,"sequence":2,"checkpoint":1}]}`,
	} {
		t.Run("state with "+name, func(t *testing.T) { refused(t, t.TempDir(), []byte(bad)) })
	}
}

func TestNamesAreInverse(t *testing.T) {
	for _, p := range []Part{{"a", 0, 1, 1, CSV}, {"job-1", 12345, 9, 12345, JSONLines}, {"x-0001-0000000001-0001", 1, ^uint64(0), ^uint64(0), CSV}} {
		got, err := ParsePart(p.String())
		if err != nil || got != p {
			t.Errorf("%+v prints as %q, which parses as %+v, %v; want the same", p, p.String(), got, err)
		}
	}
	for _, bad := range []string{"", "a", "a-1-1-1.csv", "a-00001-0000000001-0001.csv", ".a-0001-0000000001-0001.csv", "a-0001-0000000001-0001.csv~", "a-4294967296-0000000001-0001.csv"} {
		if p, err := ParsePart(bad); err == nil {
			t.Errorf("%q parses as %+v, want an error", bad, p)
		}
	}
	for _, bad := range []string{"", ".", "-a", "a/b", strings.Repeat("a", 129)} {
		if _, err := New(Options{Dir: t.TempDir(), Name: bad}); err == nil {
			t.Errorf("name %q is accepted, want an error", bad)
		}
	}
}

func TestPartsAreInOrder(t *testing.T) {
	dir := t.TempDir()
	wantParts := []Part{{"a", 0, 9, 1, CSV}, {"a", 0, 10, 2, JSONLines}, {"a", 1, 1, 1, CSV}}
	for _, p := range append(slices.Clone(wantParts), Part{"b", 0, 1, 1, CSV}) {
		check(t, os.WriteFile(filepath.Join(dir, p.String()), nil, 0o666))
	}
	got, err := Parts(dir, "a")
	check(t, err)
	if d := cmp.Diff(wantParts, got); d != "" {
		t.Error(d)
	}
}

func FuzzLine(f *testing.F) {
	f.Add([]byte("user"), []byte("1"))
	f.Add([]byte("a,\"b\r\n"), []byte(""))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		path := filepath.Join(t.TempDir(), "f")
		line := AppendLine(nil, key, value)
		check(t, os.WriteFile(path, append(slices.Clone(line), line...), 0o666))
		n := 0
		check(t, readFile(path, func(k, v []byte) error {
			n++
			if !bytes.Equal(k, key) || !bytes.Equal(v, value) {
				return fmt.Errorf("%q %q became %q %q", key, value, k, v)
			}
			return nil
		}))
		if n != 2 {
			t.Errorf("%d lines read, want 2", n)
		}
	})
}

func TestMalformedLines(t *testing.T) {
	for _, bad := range []string{"a", "a\n", "a,b", "a,b,c\n", "a\"b,c\n", "\"a\"b,c\n", "\"a", "\"a\""} {
		path := filepath.Join(t.TempDir(), "f")
		check(t, os.WriteFile(path, []byte(bad), 0o666))
		if err := readFile(path, func(_, _ []byte) error { return nil }); err == nil {
			t.Errorf("reading %q: no error, want one", bad)
		}
	}
}

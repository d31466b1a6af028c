package main

import (
	"bytes"
	"encoding/binary"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/crc32c"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/layouttest"
)

// badInput is what a command finds in place of a root with a whole checkpoint 42 of the job clicks.
type badInput struct {
	name string
	// column of this input in the codes of a badLine.
	column int
	// make makes the input, and returns the place of the root.
	make func(t *testing.T, v *verbs) string
}

// The columns of badLine.codes.
const (
	noRoot  = iota // nothing is there, or what is there is no root
	running        // the job has not ended, and its owner does not answer
	lent           // the job has ended, and another job has a pin on checkpoint 42
	damaged        // the job has ended, and the _metadata of checkpoint 42 is damaged or hostile
)

var badInputs = []badInput{
	{"nothing there", noRoot, func(*testing.T, *verbs) string { return "DIR/nowhere" }},
	{"an empty folder", noRoot, func(t *testing.T, v *verbs) string { return v.folder(t, "empty", "") }},
	{"a folder of strangers", noRoot, func(t *testing.T, v *verbs) string { return v.folder(t, "photos", "clicks/cat.jpg") }},
	{"a file", noRoot, func(t *testing.T, v *verbs) string { return v.folder(t, ".", "file") + "file" }},
	{"a job that runs", running, func(*testing.T, *verbs) string { return "DIR/root" }},
	{"a checkpoint that is lent", lent, func(t *testing.T, v *verbs) string {
		v.end(t, layouttest.Running)
		v.lend(t, layouttest.Running, layouttest.New, layouttest.Ended)
		return "DIR/root"
	}},
	{"a _metadata that is cut", damaged, harmed(func(b []byte) []byte { return b[:len(b)-3] }, false)},
	{"an empty _metadata", damaged, harmed(func([]byte) []byte { return nil }, false)},
	{"flipped bytes", damaged, harmed(func(b []byte) []byte { b[len(b)/2] ^= 4; return b }, false)},
	{"a path that leaves the root", damaged, harmed(func(b []byte) []byte {
		name := []byte(path.Base(layouttest.ExclusiveFile(layouttest.New)))
		away := bytes.Repeat([]byte("../"), len(name))[:len(name)]
		return layouttest.Reframe(b, func(p []byte) []byte { return bytes.ReplaceAll(p, name, away) })
	}, true)},
	{"a record of four GiB", damaged, harmed(func(b []byte) []byte {
		return append(b[:layouttest.Preamble:layouttest.Preamble], 0xff, 0xff, 0xff, 0xff, 1, 2, 3)
	}, true)},
	{"two million handles", damaged, harmed(func(b []byte) []byte {
		n := 0
		return layouttest.Reframe(b, func(p []byte) []byte {
			if n++; n != 2 {
				return p
			}
			handles := bytes.Repeat([]byte{0x12, 0}, 1<<20-8)
			return append(binary.AppendUvarint([]byte{5<<3 | 2}, uint64(len(handles))), handles...)
		})
	}, true)},
}

// badLine is a command and its exit codes, one for each column.
type badLine struct {
	line  string
	codes [4]int
	// attaches: the command may take the job for a moment, or hold a checkpoint by a pin, although it is refused later. Its journal grows.
	attaches bool
	// changes are the columns in which the command does its work.
	changes []int
}

var badLines = []badLine{
	{line: "ls PLACE", codes: [4]int{1, 0, 0, 0}},
	{line: "ls PLACE/clicks", codes: [4]int{1, 0, 0, 0}},
	{line: "show PLACE/clicks/chk-42", codes: [4]int{1, 0, 0, 4}},
	{line: "show PLACE/clicks/chk-42 --diff-plan DIR/root/clicks", codes: [4]int{1, 0, 0, 4}},
	{line: "files PLACE/clicks/chk-42", codes: [4]int{1, 0, 0, 4}},
	{line: "journal show PLACE/clicks", codes: [4]int{1, 0, 0, 0}},
	{line: "verify PLACE --read-data", codes: [4]int{1, 0, 0, 4}},
	{line: "verify PLACE/clicks", codes: [4]int{1, 0, 0, 4}},
	{line: "verify PLACE/clicks/chk-42", codes: [4]int{1, 0, 0, 4}},
	{line: "drill PLACE/clicks/chk-42", codes: [4]int{1, 0, 0, 4}},
	{line: "why PLACE/clicks/chk-42/_metadata", codes: [4]int{1, 0, 0, 0}},
	{line: "latest PLACE/clicks", codes: [4]int{1, 0, 0, 0}},
	{line: "latest PLACE --label name=clicks", codes: [4]int{1, 0, 0, 0}},
	{line: "who-uses PLACE/clicks/chk-42", codes: [4]int{1, 0, 0, 0}},
	{line: "trash PLACE", codes: [4]int{1, 0, 0, 0}},
	{line: "audit PLACE", codes: [4]int{1, 0, 0, 0}},
	{line: "copy PLACE DIR/copy", codes: [4]int{1, 0, 0, 4}, attaches: true},
	{line: "copy PLACE/clicks/chk-42 DIR/copy", codes: [4]int{1, 0, 0, 4}, attaches: true},
	{line: "unlock PLACE/clicks --yes", codes: [4]int{1, 1, 0, 1}, attaches: true},
	{line: "gc PLACE --yes", codes: [4]int{1, 3, 0, 3}, attaches: true},
	{line: "tag PLACE/clicks/chk-42 add tag", codes: [4]int{1, 1, 0, 0}, attaches: true},
	{line: "undelete PLACE/clicks/chk-42", codes: [4]int{1, 1, 1, 1}},
	{line: "forget PLACE --keep-last 1 --yes --prune", codes: [4]int{1, 3, 0, 3}, attaches: true, changes: []int{lent}},
	{line: "rm PLACE/clicks/chk-42 --yes", codes: [4]int{1, 1, 1, 0}, changes: []int{damaged}},
	{line: "rm PLACE/clicks --yes", codes: [4]int{1, 1, 1, 0}, changes: []int{damaged}},
	{line: "purge PLACE/clicks --yes", codes: [4]int{1, 1, 3, 0}, changes: []int{lent, damaged}},
}

// badAtMost bounds what a command allocates, whatever it finds.
const badAtMost = 64 << 20

// TestBadInput: each verb, with each input. The exit code is the documented one, an error names the verb, and nothing is changed.
func TestBadInput(t *testing.T) {
	damages := 0
	for _, in := range badInputs {
		t.Run(in.name, func(t *testing.T) {
			if in.column == damaged {
				damages++
			}
			var v *verbs
			place := ""
			for _, l := range badLines {
				if in.column == damaged && damages > 1 && (l.attaches || len(l.changes) > 0) {
					continue // a store's probe takes its time: one damage does for what changes something
				}
				if v == nil {
					v = newVerbs(t)
					place = in.make(t, v)
				}
				before := everything(t, v.dir)
				var start, end runtime.MemStats
				runtime.ReadMemStats(&start)
				out := v.try(t, l.codes[in.column], strings.ReplaceAll(l.line, "PLACE", place))
				runtime.ReadMemStats(&end)
				if n := end.TotalAlloc - start.TotalAlloc; n > badAtMost {
					t.Errorf("%s: %d MiB were allocated, want at most %d", l.line, n>>20, badAtMost>>20)
				}
				verb, _, _ := strings.Cut(l.line, " PLACE")
				if verb, _, _ = strings.Cut(verb, " -"); l.codes[in.column] != exit.Done && !strings.Contains(out, verb) {
					t.Errorf("%s: want an error that names the verb\n%s", l.line, out)
				}
				if in.column == noRoot && !strings.Contains(out, "ckptd serve --root") && !strings.Contains(out, "_metadata: object does not exist") {
					t.Errorf("%s: want an error that says what to do\n%s", l.line, out)
				}
				if slices.Contains(l.changes, in.column) {
					v = nil
					continue
				}
				if after := everything(t, v.dir); !maps.Equal(withoutJournals(before, l.attaches), withoutJournals(after, l.attaches)) {
					t.Errorf("%s: it changed what is on storage, from %q to %q\n%s", l.line, sorted(slices.Collect(maps.Keys(before))), sorted(slices.Collect(maps.Keys(after))), out)
					v = nil
				}
			}
		})
	}
}

// TestBadInputIsAName: a name in place of a JOB or a CHECKPOINT, with a daemon and without: the error is plain.
func TestBadInputIsAName(t *testing.T) {
	v := newVerbs(t)
	t.Chdir(v.dir)
	for _, line := range []string{"rm NAME --yes", "purge NAME --yes", "tag NAME add t", "undelete NAME", "unlock NAME --yes"} {
		for _, name := range []string{"root", "clicks", "chk-42"} {
			for _, server := range []string{"", " --server unix:/nowhere"} {
				full := strings.ReplaceAll(line, "NAME", name) + server
				var out bytes.Buffer
				code := run(t.Context(), strings.Fields(full), &out, &out)
				if code != exit.Failed && code != exit.Usage || !strings.Contains(out.String(), "ckptd: ") {
					t.Errorf("%s: exit code %d, want 1 or 2\n%s", full, code, &out)
				}
			}
		}
	}
}

// harmed makes an ended job whose newest _metadata is changed. named: the journal names what it is then.
func harmed(change func([]byte) []byte, named bool) func(*testing.T, *verbs) string {
	return func(t *testing.T, v *verbs) string {
		t.Helper()
		v.end(t, layouttest.Running)
		at := v.path(layout.MetadataKey(layouttest.Running, layouttest.New))
		good, err := os.ReadFile(at)
		if err != nil {
			t.Fatal(err)
		}
		bad := change(bytes.Clone(good))
		if bytes.Equal(good, bad) {
			t.Fatal("the _metadata is as it was")
		}
		if err := os.WriteFile(at, bad, 0o666); err != nil {
			t.Fatal(err)
		}
		if named {
			appendThird(t, v.opened(t), layouttest.Running, func(e *journal.Entry) {
				e.Retained = slices.Clone(e.Retained)
				e.Retained[1].Size, e.Retained[1].CRC = uint64(len(bad)), crc32c.Sum(bad)
			})
		}
		return "DIR/root"
	}
}

// folder makes a folder, with a file in it that is none of ckptd's, unless its name is empty.
func (v *verbs) folder(t *testing.T, name, file string) string {
	t.Helper()
	dir := filepath.Join(v.dir, name)
	err := os.MkdirAll(filepath.Join(dir, filepath.Dir(file)), 0o777)
	if err == nil && file != "" {
		err = os.WriteFile(filepath.Join(dir, file), []byte("mine"), 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
	return "DIR/" + strings.TrimPrefix(name, ".")
}

// everything are the files below a folder, with their bytes. The copy that a command was to make does not count.
func everything(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(at string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && at == filepath.Join(dir, "copy"):
			return filepath.SkipDir
		case d.IsDir():
			return nil
		}
		b, err := os.ReadFile(at)
		all[strings.TrimPrefix(at, dir+"/")] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// withoutJournals leaves the journals out, if attaches is true.
func withoutJournals(all map[string]string, attaches bool) map[string]string {
	maps.DeleteFunc(all, func(key, _ string) bool { return attaches && strings.Contains(key, "/_journal/") })
	return all
}

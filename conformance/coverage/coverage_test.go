package coverage

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestIDsOf(t *testing.T) {
	for name, want := range map[string]string{
		"CO-1": "CO-1", "CO-27/%d": "CO-27", "SN-4 and SN-5": "SN-4 SN-5", "CC-2 CC-3 a savepoint": "CC-2 CC-3", "SC-7_while_uploading": "SC-7",
		"SN-4_and_SN-5": "SN-4 SN-5", "CO-12a, CO-13": "CO-12a CO-13", "FS-2: refused": "FS-2", "E2E-10": "E2E-10", "XX-1": "", "CO-": "", "as CO-1": "",
		"CO-1-2": "", "CO-1x2": "", "UTF-16": "",
	} {
		if got := strings.Join(idsOf(name), " "); got != want {
			t.Errorf("the name %q begins with %q, want %q", name, got, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, line := range []string{"CO-1", "CO-1 | ", "XX-1 | it works", "CO-1 | it works | later", "CO-1 | it works | no: ", "CO-1 | it works | no"} {
		if rows, err := parse(line); err == nil {
			t.Errorf("%q: %+v, want an error", line, rows)
		}
	}
}

// whole is a catalogue with all ids, each with a subtest.
func whole() ([]Row, *Found) {
	rows, err := Catalogue()
	if err != nil {
		panic(err)
	}
	found := &Found{Places: map[string][]Place{}, Tests: map[string]bool{"TestThere": true}}
	for i := range rows {
		rows[i].Verdict, rows[i].Reason = Shown, ""
		found.Places[rows[i].ID] = []Place{{Package: "service", Test: "TestThere", Subtest: rows[i].ID}}
	}
	return rows, found
}

func TestCheckFindsEachGap(t *testing.T) {
	for name, test := range map[string]struct {
		edit func(rows *[]Row, found *Found)
		want string
	}{
		"whole":                   {func(*[]Row, *Found) {}, ""},
		"a row is missing":        {func(rows *[]Row, _ *Found) { *rows = (*rows)[1:] }, "not in the catalogue"},
		"the last row is missing": {func(rows *[]Row, _ *Found) { *rows = (*rows)[:len(*rows)-1] }, "not in the catalogue"},
		"a row twice":             {func(rows *[]Row, _ *Found) { *rows = append(*rows, (*rows)[0]) }, "twice"},
		"a row too much":          {func(rows *[]Row, _ *Found) { *rows = append(*rows, Row{ID: "SP-21", Verdict: Runtime}) }, "its group does not"},
		"no subtest":              {func(_ *[]Row, f *Found) { delete(f.Places, "CO-1") }, "no subtest"},
		"open":                    {func(rows *[]Row, _ *Found) { (*rows)[0].Verdict = Open }, "open"},
		"excused, but shown":      {func(rows *[]Row, _ *Found) { (*rows)[0].Verdict = No }, "one of them is wrong"},
		"runtime, but shown":      {func(rows *[]Row, _ *Found) { (*rows)[0].Verdict = Runtime }, "one of them is wrong"},
		"a subtest of no row":     {func(_ *[]Row, f *Found) { f.Places["CO-99"] = []Place{{Test: "TestThere"}} }, "no such id"},
		"a reason names no test": {func(rows *[]Row, f *Found) {
			(*rows)[0].Verdict, (*rows)[0].Reason = No, "as TestNotThere shows, and TestThere"
			delete(f.Places, "CO-1")
		}, "names TestNotThere"},
	} {
		t.Run(name, func(t *testing.T) {
			rows, found := whole()
			test.edit(&rows, found)
			problems := Check(rows, found)
			if ok := test.want == "" && len(problems) == 0 || test.want != "" && len(problems) == 1 && strings.Contains(problems[0], test.want); !ok {
				t.Errorf("problems %q, want one with %q", problems, test.want)
			}
		})
	}
}

func TestFind(t *testing.T) {
	root := t.TempDir()
	for name, contents := range map[string]string{
		"a/a_test.go": `package a
import "testing"
func TestA(t *testing.T) {
	t.Run("CO-1", nil)
	t.Run(fmt.Sprintf("CO-2/%d", 1), nil)
	t.Run("CO-3 "+name, nil)
	for _, test := range []struct{ name string }{{"CO-4"}, {name: "CO-5 and CO-6"}} { t.Run(test.name, nil) }
	for name := range map[string]int{"CO-7": 1} { t.Run(name, nil) }
	t.Errorf("CO-8: wrong") // a message shows nothing
}`,
		"a/testdata/BA-1.txt":  "",
		"a/testdata/stories/x": "# CO-9\nsubtest CO-10\nsubtest end\n",
		"b/suite.go":           "package b\nimport \"testing\"\nfunc suite(t *testing.T) { t.Run(\"CO-11\", nil) }",
		"b/other.go":           "package b\nvar x = []string{\"CO-12\"}",
		"c/c_test.go":          "package c\nimport _ \"github.com/ckptd/ckptd/b\"\nimport \"testing\"",
		"bin/a_test.go":        "no Go",
	} {
		file := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(contents), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	found, err := Find(root)
	if err != nil {
		t.Fatal(err)
	}
	for id, test := range map[string]string{"CO-1": "TestA", "CO-2": "TestA", "CO-3": "TestA", "CO-4": "TestA", "CO-5": "TestA", "CO-6": "TestA", "CO-7": "TestA",
		"CO-10": "testdata/stories/x", "CO-11": "suite", "BA-1": "testdata/BA-1.txt"} {
		if p := found.Places[id]; len(p) != 1 || p[0].Test != test {
			t.Errorf("%s: %+v, want it in %s", id, p, test)
		}
	}
	if len(found.Places) != 10 || !found.Tests["TestA"] || found.Tests["suite"] {
		t.Errorf("found %+v", found)
	}
	if calls, want := Calls(found), [][]string{{"-json", "./a"}, {"-json", "./c"}}; !slices.EqualFunc(calls, want, slices.Equal) {
		t.Errorf("calls %q, want %q", calls, want)
	}
	delete(found.Places, "CO-10")
	delete(found.Places, "BA-1")
	if calls := Calls(found); !slices.Equal(calls[0], []string{"-json", "./a", "-run", "^(TestA)$"}) {
		t.Errorf("calls %q, want one function of a", calls)
	}
}

func TestPassed(t *testing.T) {
	passed, err := Passed(strings.NewReader(`{"Action":"start"}
{"Action":"pass","Test":"TestA/CO-1_and_CO-2/quick"}
{"Action":"fail","Test":"TestA/CO-3"}
{"Action":"skip","Test":"TestA/CO-4"}
{"Action":"output","Test":"TestA/CO-5","Output":"x"}
`))
	if err != nil || len(passed) != 2 || !passed["CO-1"] || !passed["CO-2"] {
		t.Errorf("passed %v, %v; want CO-1 and CO-2", passed, err)
	}
	rows, found := whole()
	Check(rows, found)
	if problems := NotPassed(rows, passed); len(problems) != len(rows)-2 || !strings.HasPrefix(problems[0], "CO-3") {
		t.Errorf("%d problems, want all ids but CO-1 and CO-2", len(problems))
	}
	if _, err := Passed(strings.NewReader("{")); err == nil {
		t.Error("half an answer is read without an error")
	}
}

// TestCatalogue: each behaviour has a subtest, or a reason.
func TestCatalogue(t *testing.T) {
	rows, err := Catalogue()
	if err != nil {
		t.Fatal(err)
	}
	found, err := Find("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range Check(rows, found) {
		t.Error(p)
	}
}

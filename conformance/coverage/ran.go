package coverage

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// Calls are the arguments of `go test` that run every subtest of the places: for each package its functions, or the whole package if a
// story or a helper holds a subtest. A suite runs in the first other package, by name, whose
// tests import it.
func Calls(found *Found) (calls [][]string) {
	tests, whole := map[string]map[string]bool{}, map[string]bool{}
	for _, places := range found.Places {
		for _, p := range places {
			pkg := p.Package
			users := slices.DeleteFunc(slices.Clone(found.users[pkg]), func(user string) bool { return user == pkg })
			if p.suite && len(users) > 0 {
				pkg = slices.Min(users)
			}
			if tests[pkg] == nil {
				tests[pkg] = map[string]bool{}
			}
			tests[pkg][p.Test] = true
			whole[pkg] = whole[pkg] || !found.Tests[p.Test]
		}
	}
	for _, pkg := range slices.Sorted(maps.Keys(tests)) {
		call := []string{"-json", "./" + pkg}
		if !whole[pkg] {
			call = append(call, "-run", "^("+strings.Join(slices.Sorted(maps.Keys(tests[pkg])), "|")+")$")
		}
		calls = append(calls, call)
	}
	return calls
}

// Passed reads what `go test -json` prints, and answers the ids of the subtests that passed.
func Passed(r io.Reader) (map[string]bool, error) {
	passed := map[string]bool{}
	for d := json.NewDecoder(r); ; {
		var e struct{ Action, Test string }
		switch err := d.Decode(&e); {
		case errors.Is(err, io.EOF):
			return passed, nil
		case err != nil:
			return passed, fmt.Errorf("read what go test -json printed: %w", err)
		}
		if e.Action != "pass" {
			continue
		}
		for _, name := range strings.Split(e.Test, "/") {
			for _, id := range idsOf(name) {
				passed[id] = true
			}
		}
	}
}

// NotPassed answers what is wrong with checked rows whose tests have run: an id that a source names, and no subtest that passed.
func NotPassed(rows []Row, passed map[string]bool) (problems []string) {
	for _, r := range rows {
		if r.Verdict == Shown && len(r.Places) > 0 && !passed[r.ID] {
			problems = append(problems, fmt.Sprintf("%s: no subtest of its name passed; %s of %s has it", r.ID, r.Places[0].Test, r.Places[0].Package))
		}
	}
	return problems
}

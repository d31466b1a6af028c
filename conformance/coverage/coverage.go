// Package coverage says of each behaviour of Flink's checkpoints which subtest shows it, or why none can.
//
// It owns the catalogue, the search for ids in the repository's tests, and the comparison of both. It must not know what any test does:
// a subtest shows a behaviour if its name begins with the id and it passes.
package coverage

import (
	_ "embed"
	"fmt"
	"regexp"
	"strings"
)

//go:embed catalogue.txt
var catalogue string

// groups has the number of behaviours of each group. They are numbered from 1.
var groups = []struct {
	name  string
	count int
}{
	{"CO", 53}, {"TR", 19}, {"RD", 10}, {"FM", 10}, {"PC", 11}, {"CC", 8}, {"CS", 23}, {"SR", 18}, {"RS", 8}, {"RR", 24}, {"FT", 12}, {"FS", 33},
	{"FG", 18}, {"LR", 8}, {"BA", 16}, {"BU", 13}, {"BX", 21}, {"BT", 13}, {"SC", 11}, {"SN", 12}, {"MT", 9}, {"SP", 20}, {"E2E", 10},
}

// Verdict is why no subtest has to show a behaviour.
type Verdict string

const (
	// Shown: a subtest has to show it.
	Shown Verdict = "shown"
	// Runtime: tasks or operators do it, so it is the work of an engine's runtime.
	Runtime Verdict = "runtime"
	// No: it cannot apply to ckptd.
	No Verdict = "no"
	// Open: nothing shows it yet. It fails the check.
	Open Verdict = "open"
)

// Row is one behaviour of the catalogue.
type Row struct {
	ID        string  `json:"id"`
	Behaviour string  `json:"behaviour"`
	Verdict   Verdict `json:"verdict"`
	// Reason is why the behaviour cannot apply.
	Reason string `json:"reason,omitempty"`
	// Places are the subtests that show it.
	Places []Place `json:"places,omitempty"`
}

// Group is the id's group, like CO.
func (r Row) Group() string { return r.ID[:strings.Index(r.ID, "-")] }

// Place is a subtest, or a file of stories that a test runs.
type Place struct {
	// Package is the folder below the root of the repository.
	Package string `json:"package"`
	// Test is the function that holds the subtest; for a story, its file.
	Test string `json:"test"`
	// Subtest is its name, as far as the source has it.
	Subtest string `json:"subtest"`
	// suite: tests of other packages run it.
	suite bool
}

// Catalogue reads the catalogue.
func Catalogue() ([]Row, error) { return parse(catalogue) }

func parse(text string) (rows []Row, err error) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		parts := strings.SplitN(line, " | ", 3)
		if len(parts) < 2 || !single.MatchString(parts[0]) || parts[1] == "" {
			return nil, fmt.Errorf("the catalogue's line %q is not \"ID | BEHAVIOUR\" or \"ID | BEHAVIOUR | VERDICT\"", line)
		}
		r := Row{ID: parts[0], Behaviour: parts[1], Verdict: Shown}
		if len(parts) == 3 {
			reason, excused := strings.CutPrefix(parts[2], "no: ")
			switch {
			case excused && reason != "":
				r.Verdict, r.Reason = No, reason
			case parts[2] == string(Runtime), parts[2] == string(Open):
				r.Verdict = Verdict(parts[2])
			default:
				return nil, fmt.Errorf("%s: the verdict %q is unknown; allowed is runtime, open, or \"no: \" with a reason", r.ID, parts[2])
			}
		}
		rows = append(rows, r)
	}
	return rows, nil
}

var (
	groupNames = func() string {
		var names []string
		for _, g := range groups {
			names = append(names, g.name)
		}
		return "(?:" + strings.Join(names, "|") + ")-[0-9]+[a-z]?"
	}()
	single  = regexp.MustCompile("^" + groupNames + "$")
	leading = regexp.MustCompile("^(" + groupNames + `)(?:$|[^0-9A-Za-z_-])`)
	between = regexp.MustCompile("^(?: and |, | )")
)

// idsOf are the ids that a subtest's name begins with: one, or several with "and", a comma or a blank between them. Go writes blanks as
// underscores.
func idsOf(name string) (ids []string) {
	name = strings.ReplaceAll(name, "_", " ")
	for {
		m := leading.FindStringSubmatch(name)
		if m == nil {
			return ids
		}
		ids = append(ids, m[1])
		name = name[len(m[1]):]
		gap := between.FindString(name)
		if gap == "" {
			return ids
		}
		name = name[len(gap):]
	}
}

package coverage

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
)

var testName = regexp.MustCompile(`\bTest[A-Z]\w*`)

// Check gives each row its places, and answers what is wrong with the catalogue.
func Check(rows []Row, found *Found) (problems []string) {
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	byID := map[string]bool{}
	for i := range rows {
		r := &rows[i]
		if byID[r.ID] {
			bad("%s: it is in the catalogue twice", r.ID)
		}
		byID[r.ID] = true
		r.Places = found.Places[r.ID]
		switch shown := len(r.Places) > 0; {
		case r.Verdict == Open:
			bad("%s: it is open; write its subtest, or say why it cannot apply", r.ID)
		case r.Verdict == Shown && !shown:
			bad("%s: no subtest has a name that begins with it; write one, or say why it cannot apply", r.ID)
		case r.Verdict != Shown && shown:
			bad("%s: the catalogue says %q, but %s of %s shows it; one of them is wrong", r.ID, r.Verdict, r.Places[0].Test, r.Places[0].Package)
		}
		for _, test := range testName.FindAllString(r.Reason, -1) {
			if !found.Tests[test] {
				bad("%s: its reason names %s, and there is no such test", r.ID, test)
			}
		}
	}
	return append(problems, numbers(byID, found)...)
}

// numbers compares the catalogue and the tests with the numbers of the groups.
func numbers(byID map[string]bool, found *Found) (problems []string) {
	exist := map[string]bool{}
	for _, g := range groups {
		for n := range g.count {
			id := fmt.Sprintf("%s-%d", g.name, n+1)
			exist[id] = true
			if !byID[id] {
				problems = append(problems, id+": it is not in the catalogue")
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		if !exist[id] {
			problems = append(problems, id+": the catalogue has it, but its group does not")
		}
	}
	for _, id := range slices.Sorted(maps.Keys(found.Places)) {
		if p := found.Places[id][0]; !exist[id] {
			problems = append(problems, fmt.Sprintf("%s: %s of %s names it, and there is no such id", id, p.Test, p.Package))
		}
	}
	return problems
}

// Count is how many behaviours of a group have which verdict.
type Count struct {
	Group   string `json:"group"`
	Total   int    `json:"total"`
	Shown   int    `json:"shown"`
	Runtime int    `json:"runtime"`
	No      int    `json:"no"`
}

// Counts sums up checked rows by group, and at last all of them.
func Counts(rows []Row) (counts []Count) {
	all := Count{Group: "all"}
	for _, g := range groups {
		c := Count{Group: g.name}
		for _, r := range rows {
			if r.Group() == g.name {
				c.add(r)
				all.add(r)
			}
		}
		counts = append(counts, c)
	}
	return append(counts, all)
}

func (c *Count) add(r Row) {
	c.Total++
	switch {
	case r.Verdict == Runtime:
		c.Runtime++
	case r.Verdict == No:
		c.No++
	case r.Verdict == Shown && len(r.Places) > 0:
		c.Shown++
	}
}

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// Verdicts over one change.
const (
	noticed  = "noticed"   // a test failed
	hung     = "hung"      // the tests did not end; see the limits in standin.go
	alive    = "alive"     // every test passed
	equal    = "equal"     // the compiler makes the same program of it
	notBuilt = "not built" // it does not compile
	notTried = "not tried" // the time was over
	unclear  = "unclear"   // something outside ended the tests
)

// record is one change and what became of it, a line of the machine-readable list.
type record struct {
	Package string  `json:"package"`
	File    string  `json:"file"`
	Line    int     `json:"line"`
	Column  int     `json:"column,omitempty"`
	Was     string  `json:"was"`
	Now     string  `json:"now"`
	Verdict string  `json:"verdict"`
	By      string  `json:"by,omitempty"`     // the first test that failed
	Slow    bool    `json:"slow,omitempty"`   // only the slow tests noticed, or they ran, too
	Seconds float64 `json:"seconds"`          // of processor time, of the tests
	Reason  string  `json:"reason,omitempty"` // why no test can or should notice, from known.tsv
}

// key names a change by its text, so that it stays known while lines move.
func key(r record) string { return strings.Join([]string{r.File, r.Was, r.Now}, "\t") }

// reason returns why no test can or should notice a change; "" if nobody gave a reason.
func reason(known map[string]string, r record) string {
	if why, ok := known[key(r)]; ok {
		return why
	}
	r.Now = "*"
	return known[key(r)]
}

// readKnown reads the survivors that have a reason: file, line before, line after, reason, with tabs between them. A line after
// of "*" stands for every change of the line.
func readKnown(path string) (map[string]string, error) {
	known := map[string]string{}
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return known, nil
	}
	for n, line := range strings.Split(strings.TrimSpace(string(data)), "\n") {
		if strings.HasPrefix(line, "#") || line == "" {
			continue
		}
		cut := strings.LastIndex(line, "\t")
		if strings.Count(line, "\t") != 3 {
			return nil, fmt.Errorf("%s:%d: want file, before, after and reason, with tabs between them", path, n+1)
		}
		known[line[:cut]] = line[cut+1:]
	}
	return known, err
}

// report prints the score of each package and its survivors, and answers how many have no reason.
func report(w io.Writer, all []record) (left int) {
	var packages []string
	counts := map[string]map[string]int{}
	for _, r := range all {
		if counts[r.Package] == nil {
			counts[r.Package] = map[string]int{}
			packages = append(packages, r.Package)
		}
		counts[r.Package][r.Verdict]++
		if r.Verdict == noticed && r.Slow {
			counts[r.Package]["slow"]++
		}
		if survives(r) && r.Reason != "" {
			counts[r.Package]["reason"]++
		}
	}
	for _, explained := range []bool{true, false} {
		for _, r := range all {
			if !survives(r) || (r.Reason != "") != explained {
				continue
			}
			fmt.Fprintf(w, "%s:%d: %s\n\t- %s\n\t+ %s\n", r.File, r.Line, r.Verdict, r.Was, r.Now)
			if explained {
				fmt.Fprintf(w, "\t  %s\n", r.Reason)
			} else {
				left++
			}
		}
	}
	fmt.Fprintf(w, "\n%-22s %8s %8s %8s %6s %6s %12s %10s\n", "package", "score", "noticed", "by slow", "hung", "alive",
		"for a reason", "not tried")
	for _, p := range packages {
		c := counts[p]
		good := c[noticed] + c[hung]
		score := "-"
		if of := good + c[alive] + c[unclear]; of > 0 {
			score = fmt.Sprintf("%.1f %%", 100*float64(good)/float64(of))
		}
		fmt.Fprintf(w, "%-22s %8s %8d %8d %6d %6d %12d %10d\n", p, score, c[noticed], c["slow"], c[hung], c[alive]+c[unclear],
			c["reason"], c[notTried])
	}
	return left
}

// decided reports whether another run would find the same.
func (r record) decided() bool { return !survives(r) && r.Verdict != notTried }

// survives says whether a change counts against the tests.
func survives(r record) bool {
	return r.Verdict == alive || r.Verdict == unclear
}

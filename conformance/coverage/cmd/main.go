// Command cmd prints each behaviour of Flink's checkpoints with the subtest that shows it, or why none can: `make coverage-of-flink`.
//
// It owns the flags, the output and the exit code: 1 if the catalogue is not whole, 2 for wrong arguments. It must not know what a
// catalogue is: conformance/coverage does.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"strings"
	"text/tabwriter"

	"github.com/ckptd/ckptd/conformance/coverage"
)

func main() {
	asJSON := flag.Bool("json", false, "print JSON")
	run := flag.Bool("run", false, "run the tests, too: an id counts only if a subtest of its name passes")
	root := flag.String("root", ".", "the folder of the repository")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "unexpected argument %q; see -help\n", flag.Arg(0))
		os.Exit(2)
	}
	rows, problems, err := check(*root, *run)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	show := table
	if *asJSON {
		show = printJSON
	}
	if err := show(os.Stdout, rows, problems); err != nil {
		fmt.Fprintln(os.Stderr, "print the catalogue:", err)
		os.Exit(1)
	}
	for _, p := range problems {
		fmt.Fprintln(os.Stderr, p)
	}
	if len(problems) > 0 {
		os.Exit(1)
	}
}

func check(root string, run bool) (rows []coverage.Row, problems []string, err error) {
	rows, err = coverage.Catalogue()
	if err != nil {
		return nil, nil, err
	}
	found, err := coverage.Find(root)
	if err != nil {
		return nil, nil, err
	}
	problems = coverage.Check(rows, found)
	if !run {
		return rows, problems, nil
	}
	passed := map[string]bool{}
	for _, call := range coverage.Calls(found) {
		ids, err := test(root, call)
		if err != nil {
			problems = append(problems, err.Error())
		}
		maps.Copy(passed, ids)
	}
	return rows, append(problems, coverage.NotPassed(rows, passed)...), nil
}

// test runs `go test` and answers the ids that passed. Tests that fail are an error.
func test(root string, call []string) (map[string]bool, error) {
	fmt.Fprintln(os.Stderr, "go test", strings.Join(call, " "))
	cmd := exec.Command("go", append([]string{"test"}, call...)...)
	cmd.Dir, cmd.Stderr = root, os.Stderr
	out, err := cmd.Output()
	if failed := (*exec.ExitError)(nil); err != nil && !errors.As(err, &failed) {
		return nil, fmt.Errorf("go test %s: %w", strings.Join(call, " "), err)
	}
	passed, unread := coverage.Passed(bytes.NewReader(out))
	if err != nil {
		return passed, fmt.Errorf("go test %s: %w; run it without -json to see why", strings.Join(call, " "), err)
	}
	return passed, unread
}

func printJSON(w io.Writer, rows []coverage.Row, problems []string) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(map[string]any{"behaviours": rows, "counts": coverage.Counts(rows), "problems": problems})
}

func table(w io.Writer, rows []coverage.Row, _ []string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		where := string(r.Verdict)
		if r.Reason != "" {
			where += ": " + r.Reason
		}
		for i, p := range r.Places {
			if i == 0 {
				where = ""
			} else {
				where += ", "
			}
			where += p.Package + " " + p.Test
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", r.ID, r.Behaviour, where)
	}
	fmt.Fprintln(t)
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(t, "GROUP\tTOTAL\tSHOWN\tRUNTIME\tNO")
	for _, c := range coverage.Counts(rows) {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\n", c.Group, c.Total, c.Shown, c.Runtime, c.No)
	}
	return t.Flush()
}

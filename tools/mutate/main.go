// Command mutate changes the pure packages in one small place at a time and asks whether their tests notice.
//
// The engine is gremlins (github.com/go-gremlins/gremlins): it finds the places, writes a changed copy of the module, and
// runs `go test` there. This command chooses packages and files, stands in for that `go` (standin.go), and counts.
// docs/testing.md says how to read the result.
package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// target is a package to change.
type target struct {
	dir   string
	files string // regexp of the files to change, "" for all
	slow  string // regexp of the tests that run only against the changes which the others do not notice
}

var targets = []target{
	{dir: "retention"},
	{dir: "incremental"},
	{dir: "runtime/aligner"},
	{dir: "layout/journal"},
	{dir: "layout", files: `^(metadata.*|keys|names)\.go$`, slow: `Root|Probe|Doubt|Survey`},
	{dir: "service/coordinator"},
	{dir: "service/owner", slow: `^(TestSearch|TestTeeth|TestReductions)`},
}

// settings are the command's flags.
type settings struct {
	base, only, out, known, gremlins string
	all, again                       bool
	minutes, workers                 int
	deadline                         time.Time
}

func main() {
	if filepath.Base(os.Args[0]) == "go" {
		os.Exit(standIn(os.Args[1:]))
	}
	var s settings
	flag.StringVar(&s.base, "base", "origin/main", "change the files that differ from the merge base with this commit")
	flag.BoolVar(&s.all, "all", false, "change every file of the packages")
	flag.BoolVar(&s.again, "again", false, "try only what the last run found alive or did not try")
	flag.StringVar(&s.only, "only", "", "only these packages, with commas between them")
	flag.StringVar(&s.out, "out", ".cache/mutate", "folder of the results")
	flag.StringVar(&s.known, "known", "tools/mutate/known.tsv", "the survivors that have a reason")
	flag.StringVar(&s.gremlins, "gremlins", "bin/gremlins", "the engine")
	flag.IntVar(&s.minutes, "minutes", 60, "stop trying changes after this time")
	flag.IntVar(&s.workers, "workers", 0, "changes tried at a time, 0 for one a core")
	flag.Parse()
	s.deadline = time.Now().Add(time.Duration(s.minutes) * time.Minute)
	if err := run(s); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func run(s settings) error {
	known, err := readKnown(s.known)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.out, 0o755); err != nil {
		return err
	}
	var all []record
	for _, t := range targets {
		if s.only != "" && !slices.Contains(strings.Split(s.only, ","), t.dir) {
			continue
		}
		files, skip, err := chosen(s, t)
		if err != nil {
			return err
		}
		if len(files) == 0 {
			continue
		}
		fmt.Printf("%s: %s\n", t.dir, strings.Join(files, " "))
		records, err := try(s, t, skip)
		if err != nil {
			return fmt.Errorf("%s: %w", t.dir, err)
		}
		for i, r := range records {
			if survives(r) {
				records[i].Reason = reason(known, r)
			}
		}
		if err := save(s.results(t), records); err != nil {
			return err
		}
		all = append(all, records...)
	}
	if len(all) == 0 {
		fmt.Println("No file of these packages differs from the merge base with " + s.base + "; ALL=1 takes every file.")
		return nil
	}
	if left := report(os.Stdout, all); left > 0 {
		return fmt.Errorf("%d changes that no test notices have no reason in %s", left, s.known)
	}
	return nil
}

// results is the file of a package's records.
func (s settings) results(t target) string {
	return filepath.Join(s.out, strings.ReplaceAll(t.dir, "/", "-")+".jsonl")
}

// chosen answers the files of a package to change and those to leave alone.
func chosen(s settings, t target) (files, skip []string, err error) {
	entries, err := filepath.Glob(filepath.Join(t.dir, "*.go"))
	if err != nil {
		return nil, nil, err
	}
	var changed []string
	if !s.all {
		for _, args := range [][]string{
			{"diff", "--name-only", "--merge-base", s.base, "--", t.dir},
			{"ls-files", "--others", "--exclude-standard", "--", t.dir},
		} {
			out, err := exec.Command("git", args...).Output()
			if err != nil {
				return nil, nil, fmt.Errorf("git %s: %w: choose another commit with BASE=", strings.Join(args, " "), err)
			}
			changed = append(changed, strings.Fields(string(out))...)
		}
	}
	wanted := regexp.MustCompile(t.files)
	for _, path := range entries {
		name := filepath.Base(path)
		switch {
		case strings.HasSuffix(name, "_test.go"):
		case wanted.MatchString(name) && (s.all || slices.Contains(changed, path)):
			files = append(files, name)
		default:
			skip = append(skip, name)
		}
	}
	return files, skip, nil
}

// try runs the engine over one package.
func try(s settings, t target, skip []string) ([]record, error) {
	tmp, err := os.MkdirTemp("", "mutate-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if err := os.Symlink(self, filepath.Join(tmp, "go")); err != nil {
		return nil, err
	}
	root, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	c := config{Root: root, Dir: t.dir, Slow: t.slow, Log: filepath.Join(tmp, "log"), Was: filepath.Join(tmp, "was"), Deadline: s.deadline}
	if c.Go, err = exec.LookPath("go"); err != nil {
		return nil, err
	}
	if err := c.measure(filepath.Join(root, t.dir), filepath.Join(tmp, "unchanged.test")); err != nil {
		return nil, err
	}
	if s.again {
		c.Before = filepath.Join(root, s.results(t))
	}
	engine, err := filepath.Abs(s.gremlins)
	if err != nil {
		return nil, err
	}
	// The engine's own clock must never decide: it cannot tell a hang from a slow machine. standin.go decides.
	args := []string{"unleash", "--timeout-coefficient", "10000000", "-S", "l", "--workers", strconv.Itoa(s.workers),
		"--invert-assignments", "--invert-bitwise", "--invert-bwassign",
		"--invert-logical", "--invert-loopctrl", "--remove-self-assignments", "-E", "/"}
	for _, name := range skip {
		args = append(args, "-E", "^"+regexp.QuoteMeta(name)+"$")
	}
	for {
		cmd := exec.Command(engine, args...)
		cmd.Dir = t.dir
		cmd.Stderr = os.Stderr
		cmd.Env = append(os.Environ(), "PATH="+tmp+":"+os.Getenv("PATH"), configVariable+"="+c.String())
		if err := runShowing(cmd, "LIVED"); err != nil {
			return nil, err
		}
		records, err := readRecords(c.Log)
		if err != nil || c.Slow == "" || c.SlowPass || !slices.ContainsFunc(records, survives) {
			return records, err
		}
		fmt.Printf("%s: now the slow tests, against what the others did not notice\n", t.dir)
		c.SlowPass, c.Before, c.Log = true, c.Log, filepath.Join(tmp, "slow-log")
	}
}

// runShowing runs the engine and shows the lines that hold a word: its own counts would contradict those of report.
func runShowing(cmd *exec.Cmd, word string) error {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.Contains(lines.Text(), word) {
			fmt.Println(lines.Text())
		}
	}
	return cmd.Wait()
}

// readRecords reads what the stand-in wrote down.
func readRecords(path string) ([]record, error) {
	log, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var records []record
	for line := range bytes.Lines(log) {
		var r record
		if err := json.Unmarshal(line, &r); err != nil {
			return nil, err
		}
		records = append(records, r)
	}
	place := func(r record) string { return fmt.Sprintf("%s:%06d:%06d %s", r.File, r.Line, r.Column, r.Now) }
	slices.SortFunc(records, func(a, b record) int { return cmp.Compare(place(a), place(b)) })
	// A binary minus is both an operation and a sign to the engine: it makes the same change twice.
	return slices.CompactFunc(records, func(a, b record) bool { return place(a) == place(b) }), nil
}

func save(path string, records []record) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	for _, r := range records {
		line, err := json.Marshal(r)
		if err != nil {
			return err
		}
		w.Write(append(line, '\n'))
	}
	return errors.Join(w.Flush(), f.Close())
}

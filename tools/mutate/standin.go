package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"go/format"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// standstill is a variable for the tests only.
var standstill = time.Minute

// configVariable hands the config from the command to its stand-in for `go`.
const configVariable = "CKPTD_MUTATE"

// Limits of one run of tests. A change is hung in two cases. Its tests used cpuFactor times the processor time that they need
// without the change, and at least minCPU. Or all threads slept for the time standstill and used no processor time.
// No other clock counts: a slow or busy machine does not make a change look hung.
const (
	cpuFactor = 10
	minCPU    = 5 * time.Second
	maxMemory = 8 << 20 // KiB of address space; a process that needs more fails, as out of memory
)

// config is what the command tells its stand-in.
type config struct {
	Go        string // the real one
	Root, Dir string // the module, and the package in it
	Path      string // the package's import path
	Slow      string
	Log       string // where records go, a line each
	Before    string // what is known of the changes already, in the form of the log; "": nothing
	SlowPass  bool   // run the slow tests against what Before calls alive
	Was       string // the package's source files as the run began
	Unchanged string // sum of the test binary without a change
	// FastTime and SlowTime are the processor time of the tests without a change.
	FastTime, SlowTime time.Duration
	Deadline           time.Time
}

func (c config) String() string {
	data, _ := json.Marshal(c)
	return string(data)
}

// standIn runs as `go` for the engine. It carries out `go test` of a changed package; the real go gets all else.
// The engine knows three exit codes: 0 the tests passed, 1 they failed, 2 they could not run.
func standIn(args []string) int {
	var c config
	if err := json.Unmarshal([]byte(os.Getenv(configVariable)), &c); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		return 3
	}
	if i := slices.Index(args, "-coverprofile"); i >= 0 {
		// The engine skips lines that no test runs. But in a coverage profile the condition of a `case` never runs.
		// So this profile says that every line runs.
		if err := os.WriteFile(args[i+1], []byte(c.profile()), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, "mutate:", err)
			return 1
		}
		return 0
	}
	if len(args) == 0 || args[0] != "test" {
		cmd := exec.Command(c.Go, args...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			return 1
		}
		return 0
	}
	r, err := c.tryChange()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		r.Verdict, r.By = unclear, err.Error()
	}
	if err := c.appendRecord(r); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		return 3
	}
	switch r.Verdict {
	case noticed, hung:
		return 1
	case notBuilt, notTried, equal:
		return 2
	}
	return 0
}

// profile is a coverage profile in which every line of the package runs.
func (c config) profile() string {
	var b strings.Builder
	b.WriteString("mode: set\n")
	files, _ := filepath.Glob(filepath.Join(c.Root, c.Dir, "*.go"))
	for _, path := range files {
		fmt.Fprintf(&b, "%s/%s:1.1,1000000.1 1 1\n", c.Path, filepath.Base(path))
	}
	return b.String()
}

// tryChange runs the tests in the current folder, which is a changed copy of the package.
func (c config) tryChange() (record, error) {
	r, err := c.difference(".")
	switch {
	case errors.Is(err, errSyntax):
		r.Verdict = notBuilt
		return r, nil
	case err != nil:
		return r, err
	}
	if c.Before != "" {
		before, known, err := c.before(r)
		if err != nil || known && before.decided() {
			return before, err
		}
		if c.SlowPass {
			r = before
		}
	}
	if time.Now().After(c.Deadline) {
		if r.By = "the time was over"; !c.SlowPass {
			r.Verdict = notTried
		}
		return r, nil
	}
	tmp, err := os.MkdirTemp("", "mutate-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(tmp)
	binary := filepath.Join(tmp, "changed.test")
	sum, err := c.build(".", binary)
	if err != nil {
		r.Verdict = notBuilt
		return r, nil
	}
	if sum == c.Unchanged {
		r.Verdict = equal
		return r, nil
	}
	if _, err := os.Stat(filepath.Join(c.Root, c.Dir, "testdata/rapid")); errors.Is(err, os.ErrNotExist) {
		os.RemoveAll("testdata/rapid") // property tests keep failing inputs there; they belong to the change before
	}
	tests, limit := c.fast(), max(minCPU, cpuFactor*c.FastTime)
	if c.SlowPass {
		tests, limit = []string{"-test.run", c.Slow}, max(minCPU, cpuFactor*c.SlowTime)
		r.Slow = true
	}
	res, err := runTests(".", binary, tests, limit)
	r.Verdict, r.By, r.Seconds = res.verdict, res.by, r.Seconds+res.cpu.Seconds()
	return r, err
}

// before returns what is known of the change already.
func (c config) before(r record) (before record, known bool, err error) {
	records, err := readRecords(c.Before)
	if err != nil {
		return r, false, err
	}
	for _, b := range records {
		if b.File == r.File && b.Line == r.Line && b.Was == r.Was && b.Now == r.Now {
			return b, true, nil
		}
	}
	return r, false, nil
}

func (c config) fast() []string {
	if c.Slow == "" {
		return nil
	}
	return []string{"-test.skip", c.Slow}
}

// measure runs the tests without a change, to learn how much processor time they need.
func (c *config) measure(dir, binary string) error {
	list := exec.Command(c.Go, "list", ".")
	list.Dir = dir
	path, err := list.Output()
	if err != nil {
		return err
	}
	c.Path = strings.TrimSpace(string(path))
	if err := c.keepSource(dir); err != nil {
		return err
	}
	if c.Unchanged, err = c.build(dir, binary); err != nil {
		return err
	}
	res, err := runTests(dir, binary, c.fast(), time.Hour)
	c.FastTime = res.cpu
	if err == nil && res.verdict == alive && c.Slow != "" {
		res, err = runTests(dir, binary, []string{"-test.run", c.Slow}, time.Hour)
		c.SlowTime = res.cpu
	}
	if err == nil && res.verdict != alive {
		err = fmt.Errorf("the tests fail without a change: %s", res.by)
	}
	return err
}

// keepSource copies the source files, so that they may be edited while the run goes on.
func (c config) keepSource(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.Was, 0o755); err != nil {
		return err
	}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(filepath.Join(c.Was, filepath.Base(path)), data, 0o644)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// build makes the test binary of a package and answers its sum, which depends on nothing but the program.
func (c config) build(dir, binary string) (sum string, err error) {
	cmd := exec.Command(c.Go, "test", "-c", "-vet=off", "-trimpath", "-buildvcs=false", "-ldflags=-buildid= -s -w", "-o", binary, ".")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go test -c: %w\n%s", err, out)
	}
	data, err := os.ReadFile(binary)
	h := sha256.Sum256(data)
	return hex.EncodeToString(h[:]), err
}

// result tells how a run of tests ended.
type result struct {
	verdict, by string
	cpu         time.Duration
}

var failed = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)|^(panic: .*)|^(fatal error: .*)`)

// runTests runs a test binary, for at most the given processor time.
func runTests(dir, binary string, args []string, limit time.Duration) (result, error) {
	seconds := strconv.Itoa(int(limit/time.Second) + 1)
	args = append([]string{"-c", `ulimit -t "$1" -v "$2"; shift 2; exec "$@"`, "sh", seconds, strconv.Itoa(maxMemory),
		binary, "-test.failfast", "-test.timeout", "0"}, args...)
	cmd := exec.Command("bash", args...)
	cmd.Dir = dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return result{}, err
	}
	ended := make(chan struct{})
	stoodStill := make(chan bool, 1)
	go func() { stoodStill <- killIfStill(cmd.Process, ended) }()
	err := cmd.Wait()
	close(ended)
	still := <-stoodStill
	r := result{cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
	status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
	var exit *exec.ExitError
	switch {
	case err == nil:
		r.verdict = alive
	case !errors.As(err, &exit):
		return r, err
	case still:
		r.verdict, r.by = hung, fmt.Sprintf("stood still for %v", standstill)
	case status.Signal() == syscall.SIGKILL && r.cpu >= limit*3/4: // the kernel counts a little differently for its limit
		r.verdict, r.by = hung, fmt.Sprintf("used %.0f s of processor time", r.cpu.Seconds())
	case status.Signaled():
		r.verdict, r.by = unclear, "ended by the signal "+status.Signal().String()
	default:
		r.verdict = noticed
		if all := failed.FindAllSubmatch(out.Bytes(), -1); len(all) > 0 {
			r.by = string(bytes.Join(all[0][1:], nil))
		}
	}
	return r, nil
}

// killIfStill kills the process if it stands still, and reports whether it did.
func killIfStill(p *os.Process, ended <-chan struct{}) bool {
	last, since := "", time.Now()
	for {
		select {
		case <-ended:
			return false
		case <-time.After(time.Second):
		}
		now, asleep := threadTimes(p.Pid)
		if now != last || !asleep {
			last, since = now, time.Now()
		}
		if time.Since(since) > standstill {
			p.Kill()
			return true
		}
	}
}

// threadTimes returns the processor time of each thread, and whether all of them sleep.
func threadTimes(pid int) (times string, asleep bool) {
	asleep = true
	stats, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, path := range stats {
		data, err := os.ReadFile(path)
		_, rest, ok := strings.Cut(string(data), ") ")
		fields := strings.Fields(rest)
		if err != nil || !ok || len(fields) < 13 {
			continue
		}
		asleep = asleep && fields[0] == "S"
		times += fields[11] + "+" + fields[12] + " "
	}
	return times, asleep && len(stats) > 0
}

// errSyntax: the engine takes the & of an address for an operator. What it makes of that is not Go.
var errSyntax = errors.New("not Go any more")

// difference compares the changed copy with the source as it was and answers where they differ.
func (c config) difference(dir string) (record, error) {
	r := record{Package: c.Dir}
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return r, err
	}
	for _, path := range files {
		name := filepath.Base(path)
		now, err1 := os.ReadFile(path)
		was, err2 := os.ReadFile(filepath.Join(c.Was, name))
		if err := errors.Join(err1, err2); err != nil {
			return r, err
		}
		now, err := format.Source(now) // the engine prints it in a style of its own
		if err != nil {
			r.File, r.Now = c.Dir+"/"+name, err.Error()
			return r, errSyntax
		}
		a, b := strings.Split(string(was), "\n"), strings.Split(string(now), "\n")
		for i := range min(len(a), len(b)) {
			if a[i] == b[i] {
				continue
			}
			r.File, r.Line = c.Dir+"/"+name, i+1
			r.Was, r.Now = strings.TrimSpace(a[i]), strings.TrimSpace(b[i])
			for r.Column = 1; r.Column <= min(len(a[i]), len(b[i])) && a[i][r.Column-1] == b[i][r.Column-1]; r.Column++ {
			}
			return r, nil
		}
	}
	return r, errors.New("the copy does not differ from the source")
}

// appendRecord writes one line. Several stand-ins append to the file at a time.
func (c config) appendRecord(r record) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(c.Log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}

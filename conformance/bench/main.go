// Command bench runs every benchmark beside its limit and puts the figures into docs/benchmarks.md: `make bench`. With -long it runs
// what takes longer, with many jobs, files or bytes, also by conformance/bench/manyjobs: `make bench-long`.
//
// It owns the plan (which benchmarks, for how long), the budgets, and the tables. Each table stands in the page
// between "<!-- bench NAME -->" and "<!-- end -->". It must not know how anything is measured: the benchmarks are
// beside the code they measure, and this program reads their output.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A step is one call of `go test`.
type step struct {
	pkg  string
	args []string
	// times is how often the step is run; the medians count. It is for benchmarks that cannot interleave two methods.
	times int
}

func bench(pkg, pattern, duration string) step {
	return step{pkg, []string{"-run", "^$", "-bench", pattern, "-benchtime", duration}, 1}
}

// The plan takes less than ten minutes on two idle cores.
var plan = []step{
	bench("./layout/storage/s3", "Transfer", "1x"),
	bench("./layout/storage/hdfs", "HDFS$", "1x"),
	bench("./layout/storage/hdfs", "HDFSPublish", "100x"),
	bench("./layout/storage/gcs", "GCS", "1x"),
	bench("./cmd/ckptd", "Daemon", "2s"),
	bench("./cmd/ckptd", "OpenRoot", "10x"),
	bench("./cmd/ckptd", "Copy", "3x"),
	bench("./cmd/ckptd", "Restore$", "3x"),
	bench("./cmd/ckptd", "Delete", "3x"),
	bench("./service", "CommitS3", "50x"),
	bench("./service", "(Commit|Reference)$", "100x"),
	{"./service", []string{"-run", "Memory", "-count", "1", "-v"}, 1},
	bench("./layout/storage/file", "Durable", "2s"),
	bench("./layout/verify", "ReadData", "9x"),
	bench("./service/collect", "Plan", "3x"),
	bench("./service/stream", ".", "7x"),
	{"./runtime", []string{"-run", "^$", "-bench", "Graph/^lsm", "-benchtime", "2s"}, 4},
}

// besidePlan is the step that measures commits beside the plan of a collection. It is no benchmark of `go test`: the daemon is a process of
// its own.
var besidePlan = []string{"go", "run", "./conformance/bench/manyjobs", "-root", "bin", "-jobs", "0", "-sweep", "0", "-back", "0", "-plan", "100000"}

// A longRun says how large its parts are; 0 leaves a part out.
type longRun struct {
	files, deletes, mb int
	manyjobs           []string // arguments
}

// commands returns what a long run consists of.
func (l longRun) commands() [][]string {
	all := [][]string{append([]string{"go", "run", "./conformance/bench/manyjobs"}, l.manyjobs...)}
	test := func(n int, variable, pkg, pattern, duration string) {
		if n > 0 {
			all = append(all, append([]string{"env", fmt.Sprintf("%s=%d", variable, n), "go", "test", "-timeout", "2h"}, append(bench(pkg, pattern, duration).args, pkg)...))
		}
	}
	test(l.files, "CKPTD_FILES", "./service/collect", "Plan", "3x")
	test(l.deletes, "CKPTD_FILES", "./cmd/ckptd", "Delete", "3x")
	test(l.mb, "CKPTD_MB", "./cmd/ckptd", "Peers", "1x")
	return all
}

func main() {
	var l longRun
	flag.IntVar(&l.files, "files", 1_000_000, "over how many files a long run plans a collection; 0: leave this out")
	flag.IntVar(&l.deletes, "deletes", 100_000, "how many objects a long run deletes on S3; 0: leave this out")
	flag.IntVar(&l.mb, "mb", 5000, "the size in MB of the state that a long run keeps by ckptd, restic and kopia; 0: leave this out")
	long := flag.Bool("long", false, "run what takes longer, and write its tables")
	page := flag.String("page", "docs/benchmarks.md", "the `file` whose tables are written anew")
	raw := flag.String("raw", "", "the `file` that keeps what the benchmarks say; bin/bench.txt, or with -long bin/bench-long.txt")
	from := flag.Bool("from-raw", false, "run nothing: make the tables of what -raw has kept")
	flag.Parse()
	if *raw == "" {
		*raw = "bin/bench.txt"
		if *long {
			*raw = "bin/bench-long.txt"
		}
	}
	commands := shortPlan()
	if *long {
		l.manyjobs = flag.Args()
		commands = l.commands()
	}
	if *from {
		commands = nil
	}
	if err := run(*page, *raw, commands, *long); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run runs commands, if there are any, and fills the page.
func run(page, raw string, commands [][]string, long bool) error {
	var failed error // of some benchmarks; the tables show the others
	if len(commands) > 0 {
		failed = runPlan(raw, commands)
	}
	said, err := os.ReadFile(raw)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	filled, err := fill(string(text), parse(string(said)), long)
	if err != nil {
		return fmt.Errorf("%s: %w", page, err)
	}
	return errors.Join(failed, os.WriteFile(page, []byte(filled), 0o666))
}

// shortPlan returns the commands of the plan, each as often as it is run.
func shortPlan() (commands [][]string) {
	for _, s := range plan {
		for range s.times {
			commands = append(commands, append(append([]string{"go", "test"}, s.args...), s.pkg))
		}
	}
	return append(commands, besidePlan)
}

func runPlan(raw string, commands [][]string) error {
	if err := os.MkdirAll(filepath.Dir(raw), 0o777); err != nil {
		return err
	}
	kept, err := os.Create(raw)
	if err != nil {
		return err
	}
	defer kept.Close()
	out := io.MultiWriter(os.Stdout, kept)
	began := time.Now()
	var failed []error
	for _, c := range commands {
		fmt.Fprintf(out, "date: %s\nload: %s\n", time.Now().UTC().Format(time.DateOnly), load())
		cmd := exec.Command(c[0], c[1:]...)
		cmd.Stdout, cmd.Stderr = out, os.Stderr
		if err := cmd.Run(); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), err))
		}
	}
	fmt.Fprintf(out, "load: %s\ntook: %s\n", load(), time.Since(began).Round(time.Second))
	return errors.Join(append(failed, kept.Close())...)
}

// load returns the number of processes that wanted a CPU in the last minute; "?" if the system does not tell.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "?"
	}
	first, _, _ := bytes.Cut(text, []byte(" "))
	return string(first)
}

// Command manyjobs measures a daemon that many small jobs share: `make bench-long`.
//
// It owns the daemon, a process of its own so that its memory and CPU time are measured alone, and the jobs: each has one
// subtask with a few bytes of state. It prints its figures in the form of Go benchmarks, which conformance/bench reads. It
// must not know how a daemon works: it talks to one by the SDK, as an engine does.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/ckptd/ckptd/client"
)

// options are the flags.
type options struct {
	ckptd, root string
	jobs        int
	interval    time.Duration
	lasts       time.Duration
	every       time.Duration
	sweep       int
	plan        int
	back        int
}

func main() {
	var o options
	flag.StringVar(&o.ckptd, "ckptd", "bin/ckptd", "the daemon's `program`")
	flag.StringVar(&o.root, "root", os.TempDir(), "the `folder` in which the daemons' roots are made, and removed again")
	flag.IntVar(&o.jobs, "jobs", 1000, "how many jobs share a daemon; 0: leave this out")
	flag.DurationVar(&o.interval, "interval", time.Second, "the time between two checkpoints of a job")
	flag.DurationVar(&o.lasts, "for", 10*time.Minute, "how long to measure")
	flag.DurationVar(&o.every, "every", 10*time.Second, "how often to print a line meanwhile")
	flag.IntVar(&o.sweep, "sweep", 1_000_000, "how many files a sweep finds beside a job; 0: leave this out")
	flag.IntVar(&o.plan, "plan", 1_000_000, "over how many files a collection is planned beside a job; 0: leave this out")
	flag.IntVar(&o.back, "back", 10_000, "how many idle jobs a daemon takes back; 0: leave this out")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	fmt.Println("cpu:", processor())
	for _, part := range []struct {
		size    int
		measure func(context.Context, options, *daemon) error
	}{{o.jobs, many}, {o.sweep, sweep}, {o.plan, plan}, {o.back, back}} {
		if part.size == 0 {
			continue
		}
		if err := withDaemon(ctx, o, part.measure); err != nil {
			fmt.Fprintln(os.Stderr, "manyjobs:", err)
			os.Exit(1)
		}
	}
}

// withDaemon starts a daemon over a new root, calls measure, and removes both.
func withDaemon(ctx context.Context, o options, measure func(context.Context, options, *daemon) error) error {
	root, err := os.MkdirTemp(o.root, "manyjobs-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(root)
	d, err := newDaemon(o.ckptd, root)
	if err != nil {
		return err
	}
	if err := d.start(ctx); err != nil {
		return err
	}
	defer d.kill()
	return measure(ctx, o, d)
}

// processor names the machine's processor as `go test` does; "?" if the system does not tell.
func processor() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for l := range strings.Lines(string(text)) {
		if name, value, _ := strings.Cut(l, ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "?"
}

// A figure is a value with its unit.
type figure struct {
	value float64
	unit  string
}

// report prints figures as a line of a benchmark.
func report(name string, figures ...figure) {
	fmt.Printf("BenchmarkLong%s-%d\t1", name, runtime.GOMAXPROCS(0))
	for _, f := range figures {
		fmt.Printf("\t%s %s", strconv.FormatFloat(f.value, 'f', 3, 64), f.unit)
	}
	fmt.Println()
}

// connect makes a client of the daemon.
func connect(d *daemon) (*client.Client, error) { return client.New([]string{d.url}) }

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// demoOptions are the flags of demo.
type demoOptions struct {
	input, output, root, config string
	rate                        float64
	kills, parallelism          int
	records, users, seed        uint64
	interval                    string
	keep, clean                 bool
}

// The defaults that the help names.
const (
	demoRecords  = 1_000_000
	demoUsers    = 10_000
	demoInterval = time.Second
	// leastInterval is Flink's.
	leastInterval = 10 * time.Millisecond
	demoLength    = 20 * time.Second
	// killLength is how long a run takes at least, for each kill and two more.
	killLength = 2 * time.Second
	// mostKills take more than five hours; what is far above has no room in memory.
	mostKills  = 10_000
	demoRetain = 3
	// spareRestarts is how many failures besides the kills the job survives: what fails every time has to end.
	spareRestarts = 10
	demoWorkers   = 2
)

func newDemoCmd() *cobra.Command {
	var o demoOptions
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run a streaming job end to end, kill its processes in the middle, and check that the result is exact",
		Long: `Run a streaming job end to end, kill its processes in the middle, and check that the result is exact.

The demo starts a daemon and two workers, which count clicks: source -> filter -> map -> keyBy + sum -> sink, with exactly-once
checkpoints and an incremental LSM state backend. It kills workers and daemon (SIGKILL) while records flow. When the input is read,
every count is compared with a plain recount. Exit code 0 means that all are exact, 4 that they are not.

Checkpoints outlive the run, in a folder of the demo's own; --clean removes it.`,
		Example: `  ckptd demo
  ckptd demo --input access.log --kills 10
  ckptd demo --keep --output /tmp/counts`,
		Args: wantArgs(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(cmd.Flags().Changed); err != nil {
				return err
			}
			if o.clean {
				return cleanDemo(cmd.Context(), cmd.OutOrStdout())
			}
			ctx, stop := untilHungUp(cmd.Context())
			defer stop()
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			return runDemo(ctx, o, &watched{cmd.OutOrStdout(), cancel})
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.input, "input", "", "`file` of clicks: an access log (combined or common), or JSON lines {\"user\": \"...\", \"logged_in\": true}; default: they are generated")
	f.StringVar(&o.output, "output", "", "keep the sink's files in this `folder`: CSV, one line user,count for each click counted")
	f.Uint64Var(&o.records, "records", demoRecords, "how many clicks to generate")
	f.Uint64Var(&o.users, "users", demoUsers, "how many different users the generated clicks have at most")
	f.Float64Var(&o.rate, "rate", 0, "records a second of each source (default: such that the run takes about 20 s, or 2 s for each kill and two more)")
	f.IntVar(&o.kills, "kills", 2, "how many processes to kill: a worker, the daemon, a worker, …")
	f.Uint64Var(&o.seed, "seed", 1, "of the generated clicks and of the moments of the kills")
	f.StringVar(&o.root, "root", "", "where the checkpoints lie: file:///DIR, or s3://BUCKET/PREFIX?region=… (default "+demoRoot()+")")
	f.StringVar(&o.interval, "interval", "", "time between checkpoints, as Flink spells it: 500ms, 1s, 3min (default 1s)")
	f.IntVar(&o.parallelism, "parallelism", demoWorkers, "subtasks of each operator, spread over the two workers")
	f.StringVar(&o.config, "config", "", "YAML or JSON `file` with Flink's keys; flags win over it")
	f.BoolVar(&o.keep, "keep", false, "do not cancel the job at the end: it goes on until Ctrl-C, or \"cancel\" from another terminal")
	f.BoolVar(&o.clean, "clean", false, "remove the default root with all its checkpoints, unless a daemon is at work there; nothing else is done")
	return cmd
}

// watched is an output that says when nobody reads it any more (`| head`): the demo then ends as by Ctrl-C, and clears up.
type watched struct {
	io.Writer
	gone func()
}

func (w *watched) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	if errors.Is(err, syscall.EPIPE) {
		w.gone()
	}
	return n, err
}

// check refuses flags that make no sense, before anything is done.
func (o *demoOptions) check(given func(string) bool) error {
	switch {
	case o.input != "" && (given("records") || given("users")):
		return usagef("demo: --records and --users are for generated clicks, --input reads them from a file")
	case o.clean && (given("root") || given("keep") || given("input") || given("output")):
		return usagef("demo: --clean removes the default root and does nothing else")
	case o.input == "" && (o.records == 0 || o.users == 0):
		return usagef("demo: --records and --users have to be at least 1")
	case given("rate") && !(o.rate > 0 && o.rate <= math.MaxFloat64): // neither NaN nor Inf
		return usagef("demo: --rate %v: has to be a number above 0, as --rate 50000", o.rate)
	case o.kills < 0 || o.kills > mostKills:
		return usagef("demo: --kills %d: has to be 0 to %d, as --kills 2", o.kills, mostKills)
	case o.parallelism < 1 || o.parallelism > 128:
		return usagef("demo: --parallelism %d: has to be 1 to 128, as --parallelism 2", o.parallelism)
	}
	return nil
}

// demoRoot is where checkpoints lie if nobody says otherwise: a folder of this user's, the same for each run.
func demoRoot() string { return filepath.Join(os.TempDir(), fmt.Sprintf("ckptd-demo-%d", os.Getuid())) }

// runDemo is the demo from the first process to the last word.
func runDemo(ctx context.Context, o demoOptions, out io.Writer) (err error) {
	d, err := newDemo(o, out)
	if err != nil {
		return err
	}
	defer func() { err = d.end(ctx, err) }()
	if err := d.count(ctx); err != nil {
		return err
	}
	if err := d.startDaemon(ctx); err != nil {
		return err
	}
	if err := d.startJob(ctx); err != nil {
		return err
	}
	if err := d.follow(ctx); err != nil {
		return err
	}
	if !o.keep {
		if err := d.cancel(ctx); err != nil {
			return err
		}
	}
	exact, err := d.verdict()
	if err != nil {
		return err
	}
	if o.keep {
		if err := d.goOn(ctx); err != nil {
			return err
		}
	}
	d.checkpoints(context.WithoutCancel(ctx))
	if !exact {
		return &statusError{code: exitDamage, err: errors.New("demo: the counts are not exact")}
	}
	return nil
}

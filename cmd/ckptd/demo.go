package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/ckptd/ckptd/cmd/ckptd/demo"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
)

// mostKills bounds --kills. So many kills take more than five hours, and plans of far more do not fit into memory.
const mostKills = 10_000

// demoOptions are the flags of demo.
type demoOptions struct {
	demo.Options
	restore restoreOptions
	config  string
	backend string
	clean   bool
}

func newDemoCmd() *cobra.Command {
	var o demoOptions
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run a streaming job end to end, kill its processes in the middle, and check that the result is exact",
		Long: `Run a streaming job end to end, kill its processes in the middle, and check that the result is exact.

The demo starts a daemon and two workers, which count clicks: source -> filter -> map -> keyBy + sum -> sink, with exactly-once
checkpoints and an incremental LSM state backend (--backend hashmap: state in memory). It kills workers and daemon (SIGKILL) while records flow. When the input is read,
every count is compared with a plain recount, by code that the job does not use. Exit code 0 means that all are exact, 4 that they
are not, 1 that no line of --input is a click.

A line of an access log is a click of its client: an IP address or a host name, with or without Apache's virtual host (host:port)
before it. A line that may mean another client is skipped, counted and shown. Standard input, pipes, gzip and zstd are copied to a
temporary file first (TMPDIR), because a job that fails reads its input again.

Checkpoints outlive the run, in a folder of the demo's own; --clean removes it, and what failed runs have left in the folder for temporary files. With --keep the sink's files do, too, and a later run goes
on from any of the checkpoints: "ckptd demo -s ROOT/JOB/chk-42" begins a new job, which counts on where that one stood.`,
		Example: `  ckptd demo
  ckptd demo --input access.log --kills 10
  zcat access.log.*.gz | ckptd demo --input -
  ckptd demo --keep --output /tmp/counts
  ckptd demo -s /tmp/ckptd-demo-1000/JOB/chk-42
  ckptd demo -s /tmp/ckptd-demo-1000/JOB/chk-42 --claim-mode CLAIM`,
		Args:        wantArgs(0, 0),
		Annotations: map[string]string{noSettings: "the demo is whole by itself"},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := forgetSettings(cmd.Root()); err != nil {
				return err
			}
			if err := o.check(cmd.Flags().Changed); err != nil {
				return err
			}
			if o.clean {
				return demo.Clean(cmd.Context(), cmd.OutOrStdout())
			}
			ctx, stop := untilHungUp(cmd.Context())
			defer stop()
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			var err error
			if o.Config, err = readConfig(o.config, func(note string) { fmt.Fprintf(cmd.ErrOrStderr(), "ckptd: %s: %s\n", o.config, note) }); err != nil {
				return exit.Usagef("demo: %w", err)
			}
			if o.Claim, err = o.restore.claims(o.Config.Recovery); err != nil {
				return fmt.Errorf("demo: %w", err)
			}
			if o.Root, err = reachS3(cmp.Or(o.Root, o.Config.Dir), o.Config.S3); err != nil {
				return err
			}
			if err := useBackend(o.Config, o.backend); err != nil {
				return exit.Usagef("demo: %w", err)
			}
			return demo.Run(ctx, o.Options, &watched{cmd.OutOrStdout(), cancel})
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Input, "input", "", "`file` of clicks, - for standard input: an access log (combined, common, with virtual hosts), or JSON lines {\"user\": \"...\", \"logged_in\": true}; also packed by gzip or zstd; default: they are generated")
	f.StringVar(&o.Output, "output", "", "keep the sink's files in this `folder`: CSV, one line user,count for each click counted")
	f.Uint64Var(&o.Records, "records", demo.DefaultRecords, "how many clicks to generate")
	f.Uint64Var(&o.Users, "users", demo.DefaultUsers, "how many different users the generated clicks have at most")
	f.Float64Var(&o.Rate, "rate", 0, "records a second of each source (default: such that the run takes about 20 s, or 2 s for each kill and two more)")
	f.IntVar(&o.Kills, "kills", 2, "how many processes to kill: a worker, the daemon, a worker, …")
	f.Uint64Var(&o.Seed, "seed", demo.DefaultSeed, "seed of the generated clicks and of the moments of the kills")
	rootFlag(cmd, &o.Root, "default "+demo.DefaultRoot())
	f.StringVar(&o.Interval, "interval", "", "time between checkpoints, as Flink spells it: 500ms, 1s, 3min (default 1s)")
	f.IntVar(&o.Parallelism, "parallelism", demo.NumWorkers, "subtasks of each operator, spread over the two workers")
	f.StringVar(&o.config, "config", "", "YAML or JSON `file` with Flink's keys; flags win over it")
	backendFlag(cmd, &o.backend)
	f.StringVar(&o.Savepoints, "savepoints", "", "`directory` for savepoints of the job, which ckptd savepoint and ckptd stop take")
	f.StringVarP(&o.From, "restore-from", "s", "", "`checkpoint` of an earlier run to go on from, ROOT/JOB/chk-42, with the same input; that run was one with --keep or --output")
	o.restore.claimFlag(f)
	f.BoolVar(&o.Keep, "keep", false, "do not cancel the job at the end: it goes on until Ctrl-C, or \"cancel\" from another terminal")
	f.BoolVar(&o.clean, "clean", false, "remove the default root with all its checkpoints, unless a daemon is at work there; nothing else is done")
	return cmd
}

// watched is an output that notices when nobody reads it any more (`| head`). It then ends the demo like Ctrl-C, so the
// demo still removes its processes and files.
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

// check refuses invalid flags before the demo does anything.
func (o *demoOptions) check(given func(string) bool) error {
	switch {
	case o.Input != "" && (given("records") || given("users")):
		return exit.Usagef("demo: --records and --users are for generated clicks, --input reads them from a file")
	case o.clean && (given("root") || given("keep") || given("input") || given("output")):
		return exit.Usagef("demo: --clean removes the default root and does nothing else")
	case o.Input == "" && (o.Records == 0 || o.Users == 0):
		return exit.Usagef("demo: --records and --users have to be at least 1")
	case given("rate") && !(o.Rate > 0 && o.Rate <= math.MaxFloat64): // neither NaN nor Inf
		return exit.Usagef("demo: --rate %v: has to be a number above 0, as --rate 50000", o.Rate)
	case o.Kills < 0 || o.Kills > mostKills:
		return exit.Usagef("demo: --kills %d: has to be 0 to %d, as --kills 2", o.Kills, mostKills)
	case o.Parallelism < 1 || o.Parallelism > 128:
		return exit.Usagef("demo: --parallelism %d: has to be 1 to 128, as --parallelism 2", o.Parallelism)
	}
	return nil
}

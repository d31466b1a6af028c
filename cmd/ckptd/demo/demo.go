// Package demo runs a streaming job end to end, kills its processes in the middle, and checks that the result is exact.
//
// It owns one run of the demo: the processes, the kills and their moments, the plain recount, and the texts for people.
// Tests drive the same steps one by one. It must not know flags, nor how checkpoints are made: it starts this program
// again as daemon and as workers, in other processes.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/service/config"
)

// Options say what to run. The caller has checked all numbers.
type Options struct {
	// Input is a file of clicks; empty: they are generated from Seed, Users and Records.
	Input string
	// Output is a folder to keep the sink's files in; empty: they are removed.
	Output string
	// Root is the root of the checkpoints; empty: that of Config, or DefaultRoot.
	Root string
	// Config has Flink's keys; nil: none.
	Config *config.File
	// Rate is the records a second of each source; 0: the run takes about 20 s, or longer for many kills.
	Rate               float64
	Kills, Parallelism int
	// Seed is the seed of the generated clicks and of the moments of the kills.
	Records, Users, Seed uint64
	// Interval between checkpoints, in Flink's spelling; empty: that of Config, or DefaultInterval.
	Interval string
	// From is a checkpoint of an earlier run from which this one goes on, ROOT/JOB/chk-N; empty: it begins at zero.
	From string
	// Claim gives the files of that checkpoint to this run's job.
	Claim bool
	// Savepoints is where the daemon may write savepoints; empty: below the job's folder in the root only.
	Savepoints string
	// Keep is true if the job goes on after its input is read.
	Keep bool
}

// The defaults that the help of the command names.
const (
	DefaultRecords  = 1_000_000
	DefaultUsers    = 10_000
	DefaultSeed     = 1
	DefaultInterval = time.Second
	// NumWorkers is how many worker processes there are.
	NumWorkers = 2
)

const (
	// leastInterval is Flink's.
	leastInterval = 10 * time.Millisecond
	usualLength   = 20 * time.Second
	// killLength times the kills and two more is the least length of a run.
	killLength = 2 * time.Second
	retained   = 3
	// spareRestarts is the number of failures that the job survives besides the kills. A job that fails every time must
	// end.
	spareRestarts = 10
)

// DefaultRoot is the default root of the checkpoints: a folder of this user, the same for each run.
func DefaultRoot() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("ckptd-demo-%d", os.Getuid()))
}

// OutputFolder is the folder of the sink's files that outlive a run: a later run that goes on from a checkpoint needs
// them.
func OutputFolder() string { return DefaultRoot() + "-output" }

// Run runs the whole demo.
func Run(ctx context.Context, o Options, out io.Writer) (err error) {
	d, err := New(o, out)
	if err != nil {
		return err
	}
	defer func() { err = d.end(ctx, err) }()
	if err := d.Count(ctx); err != nil {
		return err
	}
	if err := d.StartDaemon(ctx); err != nil {
		return err
	}
	if err := d.StartJob(ctx); err != nil {
		return err
	}
	if err := d.Follow(ctx); err != nil {
		if !errors.Is(err, errStoppedThere) {
			return err
		}
		d.say.Line("")
		d.say.Line("the job was stopped with a savepoint: demo -s FOLDER goes on from it, with the same input")
		return nil
	}
	if !o.Keep {
		if err := d.Cancel(ctx); err != nil {
			return err
		}
	}
	exact, err := d.Verdict()
	if err != nil {
		return err
	}
	if o.Keep {
		if err := d.goOn(ctx); err != nil {
			return err
		}
	}
	d.checkpoints(context.WithoutCancel(ctx))
	if !exact {
		return exit.With(exit.Damage, errors.New("demo: the counts are not exact"))
	}
	return nil
}

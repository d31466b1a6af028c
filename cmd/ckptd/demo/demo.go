// Package demo runs a streaming job end to end, kills its processes in the middle, and checks that the result is exact.
//
// It owns one run of it: the processes, the kills and their moments, the plain recount, and the words for people. Tests drive the same steps
// one by one. It must not know flags, nor how checkpoints come to be: the daemon and the workers are this program again, in other processes.
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

// Options say what to run. All numbers must make sense: whoever reads flags checks them.
type Options struct {
	// Input is a file of clicks; empty: they are generated from Seed, Users and Records.
	Input string
	// Output is a folder to keep the sink's files in; empty: they are removed.
	Output string
	// Root is where the checkpoints lie; empty: as Config says, or DefaultRoot.
	Root string
	// Config has Flink's keys; nil: none.
	Config *config.File
	// Rate is records a second of each source; 0: such that the run takes about 20 s, or longer for many kills.
	Rate               float64
	Kills, Parallelism int
	// Seed is of the generated clicks and of the moments of the kills.
	Records, Users, Seed uint64
	// Interval between checkpoints, as Flink spells it; empty: as Config says, or DefaultInterval.
	Interval string
	// Keep lets the job go on after its input is read.
	Keep bool
}

// The defaults that the help names.
const (
	DefaultRecords  = 1_000_000
	DefaultUsers    = 10_000
	DefaultInterval = time.Second
	// NumWorkers is how many worker processes there are.
	NumWorkers = 2
)

const (
	// leastInterval is Flink's.
	leastInterval = 10 * time.Millisecond
	usualLength   = 20 * time.Second
	// killLength is how long a run takes at least, for each kill and two more.
	killLength = 2 * time.Second
	retained   = 3
	// spareRestarts is how many failures besides the kills the job survives: what fails every time has to end.
	spareRestarts = 10
)

// DefaultRoot is where checkpoints lie if nobody says otherwise: a folder of this user's, the same for each run.
func DefaultRoot() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("ckptd-demo-%d", os.Getuid()))
}

// Run is the demo from the first process to the last word.
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
		return err
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

package demo

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/layout"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/runtime/clickjob"
	"github.com/ckptd/ckptd/runtime/clicks"
	"github.com/ckptd/ckptd/runtime/launcher"
	"github.com/ckptd/ckptd/runtime/state"
	"github.com/ckptd/ckptd/service/config"
)

// Demo is one run. Only one goroutine may use it. Tests may change a field before the step that uses the field.
type Demo struct {
	// ID is the job's.
	ID     string
	Root   string
	Config *config.File
	Params clickjob.Params

	// Tmp is a folder for sockets, logs and local state. It also holds the output unless the output is to be kept.
	Tmp string
	// URL is the daemon's address. Servers are the addresses at which workers look for the daemon.
	URL     string
	Servers []string
	Daemon  *launcher.Process
	Workers []*launcher.Process
	Admin   Admin
	// Environment is added to this process's environment for all processes.
	Environment []string

	Watch Watch
	Kills []Kill
	// Struck is the number of kills that were carried out.
	Struck int

	o   Options
	say *narrator
	// want is the result of the plain recount; total and unparsable count the records that the recount has read.
	want              clicks.Counts
	total, unparsable uint64
	length            time.Duration
	launch            *launcher.Launcher
	client            *client.Client
	// strike is the last kill until the job has recovered from it. dueSince is the time since which the next kill is
	// due.
	strike   *strike
	dueSince time.Time
	// final is the checkpoint that the sinks have committed to the end of the input.
	final uint64
}

// Admin is the part of client.Admin that the demo uses.
type Admin interface {
	Status(ctx context.Context) (*client.DaemonStatus, error)
	JobStatus(ctx context.Context, job string, eventsAfter uint64) (*client.DaemonStatus, error)
	Trigger(ctx context.Context, job string) (*client.Triggered, error)
	Cancel(ctx context.Context, job string) (*client.Canceled, error)
}

// New prepares a run with these options. The demo prints to out for people.
func New(o Options, out io.Writer) (*Demo, error) {
	d := &Demo{o: o, say: newNarrator(out), ID: layout.NewJobID(), Config: o.Config}
	var err error
	if d.Config == nil {
		if d.Config, err = config.Parse(nil); err != nil {
			return nil, fmt.Errorf("demo: %w", err)
		}
	}
	job := d.Config.Job
	if o.Interval != "" {
		interval, err := config.ParseDuration(o.Interval)
		if err != nil {
			return nil, exit.Usagef("demo: --interval: %w", err)
		}
		if interval > 0 && interval < leastInterval { // Flink would take no checkpoints
			return nil, exit.Usagef("demo: --interval: %s is too short, the least is %s; 0 takes no checkpoint before the last", o.Interval, leastInterval)
		}
		job.Interval = durationpb.New(interval)
	}
	if job.Interval == nil {
		job.Interval = durationpb.New(DefaultInterval)
	}
	job.Retention = cmp.Or(job.Retention, ckptdv1.Retention_RETENTION_RETAIN_ON_CANCELLATION)
	job.NumRetained = cmp.Or(job.NumRetained, retained)
	if job.RestartStrategy == nil { // restart at once after each kill, with a few restarts to spare
		job.RestartStrategy = &ckptdv1.RestartStrategy{
			Type: ckptdv1.RestartStrategy_TYPE_FIXED_DELAY, Attempts: uint32(o.Kills) + spareRestarts, Delay: durationpb.New(100 * time.Millisecond),
		}
	}
	if _, err := config.Effective(job); err != nil {
		return nil, exit.Usagef("demo: %w", err)
	}
	if d.Root, err = drivers.Normal(cmp.Or(o.Root, d.Config.Dir, DefaultRoot())); err != nil {
		return nil, err
	}
	d.Params = clickjob.Params{
		Seed: o.Seed, Users: o.Users, Records: o.Records, Parallelism: o.Parallelism, OutputName: d.ID,
	}
	if o.Input != "" {
		if d.Params.Input, err = filepath.Abs(o.Input); err != nil {
			return nil, fmt.Errorf("demo: --input: %w", err)
		}
	}
	return d, nil
}

// Count reads the input once, without checkpoints. It computes the counts that the job has to find, and the number of
// records.
func (d *Demo) Count(ctx context.Context) error {
	if d.Params.Input != "" {
		info, err := os.Stat(d.Params.Input)
		if err != nil {
			return fmt.Errorf("demo: --input: %w", err)
		}
		d.Params.Size = info.Size()
	}
	source, err := d.Params.Source(0, 1)
	if err != nil {
		return err
	}
	defer source.Close()
	if d.want, err = clicks.Recount(interruptible{source, ctx}); err != nil {
		return err
	}
	p := source.Progress()
	d.total, d.unparsable = p.Records, p.Unparsable
	d.length = max(usualLength, time.Duration(d.o.Kills+2)*killLength)
	d.Params.Rate = d.o.Rate
	if d.Params.Rate == 0 {
		d.Params.Rate = max(1, float64(d.total)/d.length.Seconds()/float64(d.o.Parallelism))
	}
	d.Kills = planKills(d.o.Kills, d.total, d.o.Seed)
	return nil
}

// interruptible lets ctx end a long recount.
type interruptible struct {
	state.Source
	ctx context.Context
}

func (i interruptible) Next(rec *state.Record) (state.Readiness, error) {
	if err := i.ctx.Err(); err != nil {
		return state.End, err
	}
	return i.Source.Next(rec)
}

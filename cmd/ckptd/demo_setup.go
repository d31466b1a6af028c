package main

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
	"github.com/ckptd/ckptd/layout"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/runtime/clickjob"
	"github.com/ckptd/ckptd/runtime/clicks"
	"github.com/ckptd/ckptd/runtime/launcher"
	"github.com/ckptd/ckptd/runtime/state"
	"github.com/ckptd/ckptd/service/config"
)

// demo is one run. Everything is done by one goroutine.
type demo struct {
	o      demoOptions
	say    *narrator
	id     string // of the job
	root   string
	config *config.File
	params clickjob.Params

	// want is the plain recount; total and unparsable are what it met.
	want              clicks.Counts
	total, unparsable uint64
	length            time.Duration

	// tmp holds sockets, logs, local state, and the output unless it is to be kept.
	tmp     string
	url     string   // of the daemon
	servers []string // where workers look for it
	launch  *launcher.Launcher
	daemon  *launcher.Process
	workers []*launcher.Process
	admin   admin
	hangUp  func() error

	watch watch
	kills []kill
	// struck is how many of them were carried out; strike is the last one, until it is recovered from. dueSince is since when the next
	// one could be.
	struck   int
	strike   *strike
	dueSince time.Time
	// final is the checkpoint that the sinks have committed to the end of the input.
	final uint64
	// environment of the processes, besides this one's; of tests.
	environment []string
}

// admin is what the demo asks of the daemon, as client.Admin.
type admin interface {
	Status(ctx context.Context) (*client.DaemonStatus, error)
	JobStatus(ctx context.Context, job string, eventsAfter uint64) (*client.DaemonStatus, error)
	Trigger(ctx context.Context, job string) (*client.Triggered, error)
	Cancel(ctx context.Context, job string) (*client.Canceled, error)
}

// newDemo settles what flags and configuration file say.
func newDemo(o demoOptions, out io.Writer) (*demo, error) {
	d := &demo{o: o, say: newNarrator(out), id: layout.NewJobID()}
	var err error
	if d.config, err = readConfig(o.config); err != nil {
		return nil, usagef("demo: %w", err)
	}
	job := d.config.Job
	if o.interval != "" {
		interval, err := config.ParseDuration(o.interval)
		if err != nil {
			return nil, usagef("demo: --interval: %w", err)
		}
		if interval > 0 && interval < leastInterval { // to Flink it means none
			return nil, usagef("demo: --interval: %s is too short, the least is %s; 0 takes no checkpoint before the last", o.interval, leastInterval)
		}
		job.Interval = durationpb.New(interval)
	}
	if job.Interval == nil {
		job.Interval = durationpb.New(demoInterval)
	}
	job.Retention = cmp.Or(job.Retention, ckptdv1.Retention_RETENTION_RETAIN_ON_CANCELLATION)
	job.NumRetained = cmp.Or(job.NumRetained, demoRetain)
	if job.RestartStrategy == nil { // restarted at once after each kill, and a little more often than killed
		job.RestartStrategy = &ckptdv1.RestartStrategy{
			Type: ckptdv1.RestartStrategy_TYPE_FIXED_DELAY, Attempts: uint32(o.kills) + spareRestarts, Delay: durationpb.New(100 * time.Millisecond),
		}
	}
	if _, err := config.Effective(job); err != nil {
		return nil, usagef("demo: %w", err)
	}
	if d.root, err = normalRoot(cmp.Or(o.root, d.config.Dir, demoRoot())); err != nil {
		return nil, err
	}
	d.params = clickjob.Params{
		Seed: o.seed, Users: o.users, Records: o.records, Parallelism: o.parallelism, OutputName: d.id,
	}
	if o.input != "" {
		if d.params.Input, err = filepath.Abs(o.input); err != nil {
			return nil, fmt.Errorf("demo: --input: %w", err)
		}
	}
	return d, nil
}

// count reads the input once, plainly: what the job has to find, and how much there is to read.
func (d *demo) count(ctx context.Context) error {
	if d.params.Input != "" {
		info, err := os.Stat(d.params.Input)
		if err != nil {
			return fmt.Errorf("demo: --input: %w", err)
		}
		d.params.Size = info.Size()
	}
	source, err := d.params.Source(0, 1)
	if err != nil {
		return err
	}
	defer source.Close()
	if d.want, err = clicks.Recount(interruptible{source, ctx}); err != nil {
		return err
	}
	p := source.Progress()
	d.total, d.unparsable = p.Records, p.Unparsable
	d.length = max(demoLength, time.Duration(d.o.kills+2)*killLength)
	d.params.Rate = d.o.rate
	if d.params.Rate == 0 {
		d.params.Rate = max(1, float64(d.total)/d.length.Seconds()/float64(d.o.parallelism))
	}
	d.kills = planKills(d.o.kills, d.total, d.o.seed)
	return nil
}

// interruptible ends a long recount.
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

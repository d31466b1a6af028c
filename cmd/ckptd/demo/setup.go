package demo

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/cmd/ckptd/demo/recount"
	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/cmd/ckptd/launch"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	"github.com/ckptd/ckptd/layout"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/runtime/clickjob"
	"github.com/ckptd/ckptd/runtime/launcher"
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
	Tmp  string
	lock *os.File // of Tmp
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
	say *launch.Narrator
	// savedJob is the job of the savepoint from which this run goes on.
	savedJob string
	// want is the result of the plain recount. total and skipped are the numbers of its clicks and of other lines; first
	// is the first of those lines.
	want           recount.Counts
	total, skipped uint64
	first          recount.Line
	// inputNote says where the input comes from, if it is a copy.
	inputNote string
	length    time.Duration
	launch    *launcher.Launcher
	client    *client.Client
	// strike is the last kill until the job has recovered from it. dueSince is the time since which the next kill is
	// due.
	strike   *strike
	dueSince time.Time
	// final is the checkpoint that the sinks have committed to the end of the input.
	final uint64
}

// Admin is the part of client.Messages that the demo uses.
type Admin interface {
	Status(ctx context.Context) (*ckptdv1.GetStatusResponse, error)
	JobStatus(ctx context.Context, job string, eventsAfter uint64) (*ckptdv1.GetStatusResponse, error)
	Trigger(ctx context.Context, job string) (*ckptdv1.TriggerCheckpointResponse, error)
	Cancel(ctx context.Context, job string) (*ckptdv1.CancelJobResponse, error)
}

// New prepares a run with these options. The demo prints to out for people.
func New(o Options, out io.Writer) (*Demo, error) {
	d := &Demo{o: o, say: launch.NewNarrator(out), ID: layout.NewJobID(), Config: o.Config}
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
	if d.o.From = cmp.Or(o.From, d.Config.Recovery.Path); d.o.From != "" {
		if err := d.goesOnFrom(d.o.From); err != nil {
			return nil, err
		}
	} else if d.Root, err = drivers.Normal(cmp.Or(o.Root, d.Config.Dir, DefaultRoot())); err != nil {
		return nil, err
	}
	d.Params = clickjob.Params{
		Seed: o.Seed, Users: o.Users, Records: o.Records, Parallelism: o.Parallelism, OutputName: d.ID,
	}
	return d, nil
}

// inMemory tells whether the job's state is lost with the daemon.
func (d *Demo) inMemory() bool { return config.InMemory(d.Config.Job, nil) }

// goesOnFrom takes the root from a checkpoint of an earlier run, unless another root is named: then the checkpoint's files
// are copied there.
func (d *Demo) goesOnFrom(from string) error {
	place, err := drivers.Normal(from)
	if err != nil {
		return exit.Usagef("demo: --restore-from: %w", err)
	}
	if folder, last := drivers.CutLast(place); last == layout.MetadataName {
		place = folder
	}
	inJob, folder := drivers.CutLast(place)
	root, job := drivers.CutLast(inJob)
	if _, err := layout.ParseCheckpointDir(folder); err != nil || layout.ValidateJobID(job) != nil {
		if d.savedJob, err = savepointOf(context.Background(), place); err != nil {
			return exit.Usagef("demo: --restore-from %s: want ROOT/JOB/chk-42, as an earlier run has printed it, or the folder of a savepoint: %w", output.Argument(place), err)
		}
		if root = DefaultRoot(); d.Config.Dir != "" {
			root = d.Config.Dir
		}
		if root, err = drivers.Normal(root); err != nil {
			return exit.Usagef("demo: --root: %w", err)
		}
	}
	if d.o.Root != "" {
		if root, err = drivers.Normal(d.o.Root); err != nil {
			return exit.Usagef("demo: --root: %w", err)
		}
	}
	d.Root, d.o.From = root, place
	return nil
}

// Count reads the input once, without checkpoints. It computes the counts that the job has to find, and the number of
// records.
func (d *Demo) Count(ctx context.Context) error {
	var err error
	if d.Tmp, d.lock, err = launch.NewScratch(); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	counted, err := d.recount(ctx)
	if err != nil {
		return err
	}
	d.want, d.total = counted.Counts, counted.Clicks
	d.length = max(usualLength, time.Duration(d.o.Kills+2)*killLength)
	d.Params.Rate = d.o.Rate
	if d.Params.Rate == 0 {
		d.Params.Rate = max(1, float64(d.total)/d.length.Seconds()/float64(d.o.Parallelism))
	}
	d.Kills = planKills(d.o.Kills, d.total, d.o.Seed, !d.inMemory())
	return nil
}

// recount counts the input by code that the job does not use.
func (d *Demo) recount(ctx context.Context) (recount.Result, error) {
	if d.o.Input == "" {
		return recount.Generated(ctx, d.Params.Seed, d.Params.Users, d.Params.Records)
	}
	in, err := openInput(ctx, d.o.Input, d.Tmp)
	if err != nil {
		return recount.Result{}, err
	}
	d.Params.Input, d.Params.Size, d.inputNote = in.path, in.size, in.note
	counted, err := recount.File(ctx, in.path, in.size)
	if err != nil {
		return recount.Result{}, fmt.Errorf("demo: --input %s: %w", output.Clean(d.o.Input), err)
	}
	d.skipped, d.first = counted.Skipped, counted.First
	if counted.Clicks == 0 && counted.Skipped > 0 {
		return recount.Result{}, d.unreadable(in)
	}
	return counted, nil
}

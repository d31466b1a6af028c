package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/layout"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
	"github.com/ckptd/ckptd/runtime/clickjob"
	"github.com/ckptd/ckptd/runtime/clicks"
	"github.com/ckptd/ckptd/runtime/launcher"
	"github.com/ckptd/ckptd/runtime/state"
	"github.com/ckptd/ckptd/service/config"
	"github.com/ckptd/ckptd/service/coordinator"
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
	people  ckptdv1connect.JobServiceClient
	hangUp  func()

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
		job.Interval = durationpb.New(interval)
	}
	if job.Interval == nil {
		job.Interval = durationpb.New(demoInterval)
	}
	job.Retention = cmp.Or(job.Retention, ckptdv1.Retention_RETENTION_RETAIN_ON_CANCELLATION)
	job.NumRetained = cmp.Or(job.NumRetained, demoRetain)
	if job.RestartStrategy == nil { // killed over and over, restarted at once
		job.RestartStrategy = &ckptdv1.RestartStrategy{
			Type: ckptdv1.RestartStrategy_TYPE_FIXED_DELAY, Attempts: coordinator.Never, Delay: durationpb.New(100 * time.Millisecond),
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

// startDaemon brings up the daemon.
func (d *demo) startDaemon(ctx context.Context) (err error) {
	if d.tmp, err = shortTemp(); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	d.params.Output = filepath.Join(d.tmp, "output")
	if d.o.output != "" {
		if d.params.Output, err = filepath.Abs(d.o.output); err != nil {
			return fmt.Errorf("demo: --output: %w", err)
		}
	}
	for _, dir := range []string{d.params.Output, filepath.Join(d.tmp, "logs"), filepath.Join(d.tmp, "local")} {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return fmt.Errorf("demo: %w", err)
		}
	}
	d.url = "unix:" + filepath.Join(d.tmp, "ckptd.sock")
	if d.people, d.hangUp, err = dialServer(d.url); err != nil {
		return err
	}
	d.servers = []string{d.url}
	d.launch = launcher.New(filepath.Join(d.tmp, "logs"))
	if d.daemon, err = d.child("daemon", launcher.Always, "serve", "--root", d.root, "--listen", d.url); err != nil {
		return err
	}
	return d.awaitDaemon(ctx)
}

// startJob creates the job and brings up the workers.
func (d *demo) startJob(ctx context.Context) error {
	d.introduce()
	if err := d.attach(ctx); err != nil {
		return err
	}
	return d.startWorkers()
}

// shortTemp makes a temporary folder in which sockets can lie.
func shortTemp() (string, error) {
	const longest = maxSocketPath - len("/x-0123456789.sock")
	dir, err := os.MkdirTemp("", "ckptd-")
	if err == nil && len(dir) > longest {
		err = os.Remove(dir)
		if err == nil {
			dir, err = os.MkdirTemp("/tmp", "ckptd-")
		}
	}
	return dir, err
}

// child starts this program in another role, and keeps it running.
func (d *demo) child(name string, restart launcher.Restart, args ...string) (*launcher.Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	return d.launch.Start(launcher.Child{Name: name, Restart: restart, Command: func() *exec.Cmd {
		cmd := exec.Command(self, args...)
		cmd.Env = append(os.Environ(), d.environment...)
		return cmd
	}})
}

// awaitDaemon waits until the daemon answers, or has failed.
func (d *demo) awaitDaemon(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 30*time.Second, fmt.Errorf("demo: the daemon does not answer; its log is %s", d.daemon.Log()))
	defer cancel()
	for {
		_, err := d.people.GetStatus(ctx, &ckptdv1.GetStatusRequest{})
		if err == nil {
			return nil
		}
		if d.daemon.Starts() > 1 {
			return fmt.Errorf("demo: the daemon does not start: %s", lastLine(d.daemon.Log()))
		}
		if !sleep(ctx, 20*time.Millisecond) {
			return context.Cause(ctx)
		}
	}
}

// attach creates the job, so that what is wrong with its configuration is said here and not in a worker's log.
func (d *demo) attach(ctx context.Context) error {
	c, err := client.New([]string{d.url})
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.AttachJob(ctx, client.JobSpec{
		ID: d.id, Plan: clickjob.New(d.params, nil).Plan(), Config: d.config.Job, Labels: map[string]string{"name": "demo"},
	})
	return err
}

func (d *demo) startWorkers() error {
	effective, err := config.Effective(d.config.Job)
	if err != nil {
		return err
	}
	var keys bytes.Buffer
	if err := config.Show(&keys, d.root, effective); err != nil {
		return err
	}
	if err := os.WriteFile(d.keys(), keys.Bytes(), 0o666); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	for slot := range demoWorkers {
		w, err := d.worker(fmt.Sprintf("worker-%d", slot), slot, d.params)
		if err != nil {
			return err
		}
		d.workers = append(d.workers, w)
	}
	return nil
}

// keys is the file with the job's configuration.
func (d *demo) keys() string { return filepath.Join(d.tmp, "job.yaml") }

func (d *demo) worker(name string, slot int, params clickjob.Params) (*launcher.Process, error) {
	p, err := json.Marshal(params)
	if err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	args := []string{
		"worker", "--job-id", d.id, "--slot", strconv.Itoa(slot), "--of", strconv.Itoa(demoWorkers), "--params", string(p),
		"--config", d.keys(), "--dir", filepath.Join(d.tmp, "local"), "--exchange", "unix:" + d.tmp,
	}
	for _, url := range d.servers {
		args = append(args, "--server", url)
	}
	return d.child(name, launcher.OnFailure, args...)
}

// sleep waits, and reports false if ctx ended first.
func sleep(ctx context.Context, t time.Duration) bool {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// lastLine is the end of a log, for people.
func lastLine(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return errors.Join(fmt.Errorf("its log is %s", path), err).Error()
	}
	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	return fmt.Sprintf("%s (its log is %s)", lines[len(lines)-1], path)
}

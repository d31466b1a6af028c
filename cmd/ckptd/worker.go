package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/proto/address"
	"github.com/ckptd/ckptd/runtime"
	"github.com/ckptd/ckptd/runtime/backend"
	"github.com/ckptd/ckptd/runtime/clickjob"
	"github.com/ckptd/ckptd/runtime/exchange"
	"github.com/ckptd/ckptd/runtime/launcher"
	"github.com/ckptd/ckptd/runtime/state"
)

// workerOptions are the flags of worker.
type workerOptions struct {
	jobID, job, params string
	slot, of           int
	servers            []string
	credentials        address.CredentialFiles
	config             string
	backend            string
	whole              bool
	dir, exchange      string
	log                logOptions
	restore            restoreOptions
	steps              func(string) // set by tests; nil in production
}

func newWorkerCmd(steps func(string)) *cobra.Command {
	o := workerOptions{steps: steps}
	cmd := &cobra.Command{
		Use:   "worker --job-id ID --server URL",
		Short: "Run one worker of a job of the bundled runtime",
		Long: `Run one worker of a job of the bundled runtime. Worker number --slot runs the subtasks whose index modulo --of is that number.

A launcher starts all workers of a job with the same job id, parameters and configuration, and starts a worker again when it
fails. With -s, a new job id begins from a checkpoint of another job, under the same root. A worker ends with exit code 0 when the job has ended, or when another process has taken its number.`,
		Example: `  ckptd worker --job-id clicks-1 --slot 0 --of 2 --server unix:/run/ckptd.sock \
    --params '{"records":100000,"users":1000,"parallelism":2,"output":"/tmp/clicks","output_name":"clicks-1"}'

  ckptd worker --job-id clicks-2 -s clicks-1/chk-42 --server unix:/run/ckptd.sock \
    --params '{"records":100000,"users":1000,"parallelism":2,"output":"/tmp/clicks","output_name":"clicks-2"}'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.credentials = credentialsOf(cmd)
			return work(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.jobID, "job-id", "", "the job (required)")
	f.StringVar(&o.job, "job", clickjob.Name, "the graph: "+clickjob.Name+", or the `file` of a job (JOB.yaml)")
	f.StringVar(&o.params, "params", "", "the graph's parameters, as JSON (required for "+clickjob.Name+")")
	f.IntVar(&o.slot, "slot", 0, "number of the worker, from 0")
	f.IntVar(&o.of, "of", 1, "how many workers the job has")
	f.StringArrayVar(&o.servers, "server", nil, "address of a daemon: "+address.Forms+" (repeatable; required)")
	credentialFlags(cmd)
	f.StringVar(&o.config, "config", "", "file with Flink's keys, for a job that does not exist yet; CKPTD_JOB_CONFIG by default")
	cobra.CheckErr(f.SetAnnotation("config", variableAnnotation, []string{variablePrefix + "JOB_CONFIG"}))
	backendFlag(cmd, &o.backend)
	f.BoolVar(&o.whole, "whole-snapshots", false, "send all files of the state with each checkpoint (execution.checkpointing.incremental: false)")
	o.restore.flags(f)
	f.StringVar(&o.dir, "dir", "", "folder for local state, which is lost with the worker (default: a temporary one)")
	f.StringVar(&o.exchange, "exchange", "127.0.0.1", "host name under which other workers reach this one, or unix:DIR for sockets in a folder")
	o.log.flags(f)
	for _, name := range []string{"job-id", "server"} {
		cobra.CheckErr(cmd.MarkFlagRequired(name))
	}
	return cmd
}

// work runs the worker until its job has ended, ctx ends, or the process that launched it does.
func work(ctx context.Context, o workerOptions) (err error) {
	ctx = launcher.WithParent(ctx)
	log := o.log.start().With("job", o.jobID)
	if err := o.check(); err != nil {
		return err
	}
	graph, err := o.graph()
	if err != nil {
		return err
	}
	cfg, err := readConfig(o.config, func(note string) { log.Info("a note on the configuration file", "file", o.config, "note", note) })
	if err != nil {
		return exit.Usagef("worker: --config: %w", err)
	}
	if err := useBackend(cfg, o.backend); err != nil {
		return exit.Usagef("worker: %w", err)
	}
	dir, err := os.MkdirTemp(o.dir, fmt.Sprintf("slot-%d-", o.slot))
	if err != nil {
		return fmt.Errorf("worker: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	factory, release, err := backend.Open(backend.Options{Type: cfg.Engine.Backend, WholeSnapshots: o.whole || cfg.Engine.WholeSnapshots})
	if err != nil {
		return fmt.Errorf("worker: %w", err)
	}
	defer release()
	job, err := graph(factory)
	if err != nil {
		return fmt.Errorf("worker: %w", err)
	}
	c, err := newClient(o.servers, o.credentials, client.WithPatience(0))
	if err != nil {
		return err
	}
	defer c.Close()
	spec := client.JobSpec{ID: o.jobID, Plan: job.Plan()}
	if o.config != "" { // without a file the job keeps the configuration that it has
		spec.Config = client.ConfigFrom(cfg.Job)
	}
	if err := o.restore.apply(&spec, cfg.Recovery); err != nil {
		return fmt.Errorf("worker: %w", err)
	}
	attached, err := c.AttachJob(ctx, spec)
	switch {
	case errors.Is(err, client.ErrJobTerminal):
		log.Info("the job has ended")
		return nil
	case err != nil:
		return stopped(ctx, err)
	}
	err = runtime.RunWorker(ctx, runtime.WorkerOptions{
		JobID: o.jobID, Job: job, Number: o.slot, Workers: o.of, Coordinator: runtime.NewCoordinator(attached), Network: o.network(),
		Dir: dir, Steps: o.steps, Log: log,
	})
	if errors.Is(err, client.ErrReplaced) {
		log.Info("another process has taken this worker's number")
		return nil
	}
	return stopped(ctx, err)
}

// check refuses invalid flags before the worker attaches a job.
func (o *workerOptions) check() error {
	if err := layout.ValidateJobID(o.jobID); err != nil {
		return exit.Usagef("worker: --job-id: %s; a right one is clicks-1", withoutPasswords(err.Error(), []string{o.jobID}))
	}
	if o.of < 1 || o.slot < 0 || o.slot >= o.of {
		return exit.Usagef("worker: --slot %d --of %d: workers are numbered from 0, as --slot 0 --of 2 and --slot 1 --of 2", o.slot, o.of)
	}
	for _, u := range o.servers {
		if _, err := checkDaemonURL("server", u); err != nil {
			return fmt.Errorf("worker: %w", err)
		}
	}
	if dir, unix := strings.CutPrefix(o.exchange, "unix:"); unix && dir == "" || !unix && wrongHost(o.exchange) {
		return exit.Usagef("worker: --exchange %s: want HOST or unix:DIR, as 127.0.0.1 or unix:/run/ckptd", output.Argument(o.exchange))
	}
	return nil
}

// wrongHost tells whether host cannot be used, for example because it names a port. The system chooses the port.
func wrongHost(host string) bool {
	return strings.ContainsAny(host, "/[]") || strings.Contains(host, ":") && net.ParseIP(host) == nil
}

// stopped is nil instead of err if somebody has asked the worker to stop.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// graph returns the function that makes the job with its state backend.
func (o workerOptions) graph() (func(state.Factory) (*runtime.Job, error), error) {
	if isJobFile(o.job) {
		return o.graphOfFile()
	}
	p, err := o.parameters()
	return func(f state.Factory) (*runtime.Job, error) { return clickjob.New(p, f), nil }, err
}

// graphOfFile is graph for a job in YAML. Its params say below which folder relative paths are.
func (o workerOptions) graphOfFile() (func(state.Factory) (*runtime.Job, error), error) {
	var p jobFileParams
	if o.params != "" {
		if err := strictly(o.params, &p); err != nil {
			return nil, exit.Usagef("worker: --params: %w", err)
		}
	}
	f, err := readJobFile(o.job, p)
	if err != nil {
		return nil, exit.Usagef("worker: --job: %w", err)
	}
	return f.Job.Build, nil
}

func (o workerOptions) parameters() (p clickjob.Params, err error) {
	if o.job != clickjob.Name {
		return p, exit.Usagef("worker: there is no job %s, only %q, and files of jobs (JOB.yaml)", output.Argument(o.job), clickjob.Name)
	}
	if o.params == "" {
		return p, exit.Usagef("worker: --params is missing: the parameters of the job %s, as JSON", clickjob.Name)
	}
	if err := strictly(o.params, &p); err != nil {
		return p, exit.Usagef("worker: --params: %w", err)
	}
	if err := p.Validate(); err != nil {
		return p, exit.Usagef("worker: --params: %w", err)
	}
	return p, nil
}

// strictly decodes JSON without unknown fields.
func strictly(text string, into any) error {
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

func (o workerOptions) network() exchange.Network {
	if dir, ok := strings.CutPrefix(o.exchange, "unix:"); ok {
		return exchange.Unix{Dir: dir}
	}
	return exchange.TCP{Host: o.exchange}
}

// Package program is the main function of a program that is a job: a Go program whose graph is made with package stream.
//
//	func main() { program.Main(job()) }
//
// It owns the command line of such a program. `ckptd run ./program` starts the daemon and the workers: it asks the program
// for its plan (--plan=json), and starts the program again as each worker. It must not know the job.
package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/runtime"
	"github.com/ckptd/ckptd/runtime/backend"
	"github.com/ckptd/ckptd/runtime/exchange"
	"github.com/ckptd/ckptd/runtime/launcher"
	"github.com/ckptd/ckptd/runtime/stream"
)

// options are the flags.
type options struct {
	plan            string
	jobID           string
	slot, of        int
	servers         []string
	dir, exchange   string
	backend         string
	whole           bool
	ca, cert, key   string
	tokenFile       string
	set             *pflag.FlagSet
	stdout, stderrs io.Writer
}

// Main runs the program and ends it.
func Main(job *stream.Job) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := Run(ctx, job, os.Args, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Run runs the program with its arguments, the first of which is its name, and returns the exit code: 0, 1 for a failure,
// 2 for wrong usage.
func Run(ctx context.Context, job *stream.Job, args []string, stdout, stderr io.Writer) int {
	name := filepath.Base(args[0])
	o := newOptions(name, stdout, stderr)
	switch err := o.set.Parse(args[1:]); {
	case errors.Is(err, pflag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "%s: %v\nSee %s --help.\n", name, err, name)
		return 2
	}
	err := o.run(ctx, job)
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", name, err)
	}
	if usage := (usageError{}); errors.As(err, &usage) {
		return 2
	} else if err != nil {
		return 1
	}
	return 0
}

// usageError is wrong usage.
type usageError struct{ error }

func newOptions(name string, stdout, stderr io.Writer) *options {
	o := &options{set: pflag.NewFlagSet(name, pflag.ContinueOnError), stdout: stdout, stderrs: stderr}
	f := o.set
	f.SetOutput(stderr)
	f.Usage = func() {
		fmt.Fprintf(stdout, "%s is a job. Run it with `ckptd run ./%s`, which starts it again as each worker.\n\nFlags:\n%s", name, name, f.FlagUsages())
	}
	f.StringVar(&o.plan, "plan", "", "print the graph, as text or json, and end")
	f.Lookup("plan").NoOptDefVal = "text"
	f.StringVar(&o.jobID, "job-id", "", "the job")
	f.IntVar(&o.slot, "slot", 0, "number of the worker, from 0")
	f.IntVar(&o.of, "of", 1, "how many workers the job has")
	f.StringArrayVar(&o.servers, "server", nil, "address of a daemon (repeatable)")
	f.StringVar(&o.dir, "dir", "", "folder for local state, which is lost with the worker (default: a temporary one)")
	f.StringVar(&o.exchange, "exchange", "127.0.0.1", "host name under which other workers reach this one, or unix:DIR for sockets in a folder")
	f.StringVar(&o.backend, "backend", backend.Default, "state backend: "+strings.Join(backend.Names(), " or "))
	f.BoolVar(&o.whole, "whole-snapshots", false, "send all files of the state with each checkpoint")
	f.StringVar(&o.ca, "tls-ca", "", "PEM file of the authorities that made the certificates of daemons")
	f.StringVar(&o.cert, "client-cert", "", "PEM file with a client certificate to show to daemons")
	f.StringVar(&o.key, "client-key", "", "PEM file with its key")
	f.StringVar(&o.tokenFile, "token-file", "", "file with a token to show to daemons")
	return o
}

func (o *options) run(ctx context.Context, job *stream.Job) error {
	switch o.plan {
	case "":
	case "text":
		return job.WritePlan(o.stdout)
	case "json":
		plan, err := job.PlanJSON()
		if err == nil {
			_, err = o.stdout.Write(plan)
		}
		return err
	default:
		return usageError{fmt.Errorf("--plan=%s: want text or json", o.plan)}
	}
	if o.set.NArg() > 0 {
		return usageError{fmt.Errorf("one argument too many: %q", o.set.Arg(0))}
	}
	if o.jobID == "" || len(o.servers) == 0 {
		return usageError{fmt.Errorf("--job-id and --server are missing. `ckptd run ./%s` starts this program with them", o.set.Name())}
	}
	return o.work(launcher.WithParent(ctx), job)
}

// work runs one worker, until the job has ended or somebody asks the worker to stop.
func (o *options) work(ctx context.Context, job *stream.Job) (err error) {
	log := slog.New(slog.NewTextHandler(o.stderrs, nil)).With("job", o.jobID)
	slog.SetDefault(log)
	factory, release, err := backend.Open(backend.Options{Type: o.backend, WholeSnapshots: o.whole})
	if err != nil {
		return usageError{err}
	}
	defer release()
	built, err := job.Build(factory)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.dir, fmt.Sprintf("slot-%d-", o.slot))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	c, err := client.New(o.servers, client.WithPatience(0), client.WithCA(o.ca), client.WithCertificate(o.cert, o.key),
		client.WithTokenFile(o.tokenFile), client.WithToken(os.Getenv("CKPTD_TOKEN")))
	if err != nil {
		return err
	}
	defer c.Close()
	attached, err := c.AttachJob(ctx, client.JobSpec{ID: o.jobID, Plan: built.Plan()})
	if err == nil {
		err = runtime.RunWorker(ctx, runtime.WorkerOptions{
			JobID: o.jobID, Job: built, Number: o.slot, Workers: o.of, Coordinator: runtime.NewCoordinator(attached), Network: o.network(), Dir: dir, Log: log,
		})
	}
	if ctx.Err() != nil || errors.Is(err, client.ErrReplaced) || errors.Is(err, client.ErrJobTerminal) {
		return nil
	}
	return err
}

func (o *options) network() exchange.Network {
	if dir, ok := strings.CutPrefix(o.exchange, "unix:"); ok {
		return exchange.Unix{Dir: dir}
	}
	return exchange.TCP{Host: o.exchange}
}

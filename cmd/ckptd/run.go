package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/cmd/ckptd/launch"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	"github.com/ckptd/ckptd/cmd/ckptd/runner"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/proto/address"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/config"
)

// runOptions are the flags of run.
type runOptions struct {
	job, root, config, plan, backend string
	servers                          []string
	credentials                      address.CredentialFiles
	workers                          int
	restore                          restoreOptions
}

func newRunCmd() *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run JOB.yaml | run PROGRAM",
		Short: "Run a job: a file in YAML, or a Go program",
		Long: `Run a job on this machine: a daemon, unless --server names one, and --workers processes, which are started again when they fail.
Lines about the job go to standard error. The form of JOB.yaml and of a PROGRAM is in docs/jobs.md. A mistake in the file is named with
its line, its column and what is allowed.

The command ends when the job is FINISHED (exit code 0) or FAILED (1). At Ctrl-C or SIGTERM it stops the job: with a savepoint, if
execution.checkpointing.savepoint-dir names a place (exit code 0), or else the job is suspended (130): --job ID goes on with it, from its
newest checkpoint. So it does after kill -9 of everything.

A job without execution.checkpointing.interval takes a checkpoint every ` + config.FormatDuration(defaultInterval) + `.`,
		Example: `  ckptd run examples/files.yaml
  ckptd run examples/files.yaml --plan
  ckptd run examples/files.yaml --job clicks-1 --root file:///var/lib/ckptd --workers 3
  ckptd run examples/files.yaml --server unix:/run/ckptd.sock -s clicks-1/chk-42`,
		Args: wantArgs(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.credentials = credentialsOf(cmd)
			j, err := o.read(cmd.Context(), args[0], func(note string) { fmt.Fprintf(cmd.ErrOrStderr(), "ckptd: %s: %s\n", args[0], note) })
			if err != nil {
				return err
			}
			if o.plan != "" {
				return j.print(cmd.OutOrStdout(), o.plan)
			}
			options, err := o.options(j, args[0])
			if err != nil {
				return err
			}
			ctx, stop := untilHungUp(cmd.Context())
			defer stop()
			return runner.Run(ctx, options, cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.job, "job", "", "`id` of the job: one that exists goes on (default: a new id)")
	rootFlag(cmd, &o.root, "default: execution.checkpointing.dir, or else "+defaultRunRoot())
	f.StringArrayVar(&o.servers, "server", nil, "use this `daemon` instead of starting one: "+address.Forms+" (repeatable)")
	credentialFlags(cmd)
	f.IntVar(&o.workers, "workers", 2, "how many worker processes; at most as many as subtasks of an operator")
	f.StringVar(&o.config, "config", "", "YAML or JSON `file` with Flink's keys, for a PROGRAM; a JOB.yaml has them itself")
	backendFlag(cmd, &o.backend)
	f.StringVar(&o.plan, "plan", "", "print the graph, as text or json, and end; show --diff-plan reads the json")
	f.Lookup("plan").NoOptDefVal = "text"
	o.restore.flags(f)
	commandLineOnly(f, "job", "root", "config") // other verbs mean other things by these variables
	return cmd
}

// defaultInterval is the time between checkpoints of a job that names none.
const defaultInterval = 10e9

// defaultRunRoot is the root of jobs that name none: a folder of this user, the same for each run.
func defaultRunRoot() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("ckptd-run-%d", os.Getuid()))
}

// runJob is what run knows of a job before it runs.
type runJob struct {
	name, line string
	plan       *client.Plan
	text, json []byte
	config     *config.File
	// worker is the command of a worker.
	worker []string
}

// read reads a file, or asks a program.
func (o *runOptions) read(ctx context.Context, arg string, say func(string)) (*runJob, error) {
	j := &runJob{}
	if isJobFile(arg) {
		if o.config != "" {
			return nil, exit.Usagef("run: --config is for a program; %s has the keys below configuration", output.Argument(arg))
		}
		if err := j.readFile(arg); err != nil {
			return nil, exit.With(exit.Usage, err)
		}
	} else {
		if err := j.askProgram(ctx, arg); err != nil {
			return nil, fmt.Errorf("run: %w", err)
		}
		var err error
		if j.config, err = readConfig(o.config, say); err != nil {
			return nil, exit.Usagef("run: %w", err)
		}
	}
	if note := j.config.Note(); note != "" && isJobFile(arg) {
		say(note)
	}
	plan := &ckptdv1.Plan{}
	if err := protojson.Unmarshal(j.json, plan); err != nil {
		return nil, fmt.Errorf("run: the plan of %s: %w", output.Argument(arg), err)
	}
	j.plan = &client.Plan{}
	for _, op := range plan.GetOperators() {
		j.plan.Operators = append(j.plan.Operators, client.Operator{
			ID: op.GetId(), Name: op.GetUid(), Parallelism: op.GetParallelism(), MaxParallelism: op.GetMaxParallelism(), Triggered: op.GetTriggered(),
		})
	}
	first, _, _ := strings.Cut(string(j.text), "\n")
	j.name, j.line, _ = strings.Cut(strings.TrimPrefix(first, "job "), ": ")
	return j, nil
}

func (j *runJob) readFile(name string) error {
	f, err := readJobFile(name, jobFileParams{})
	if err != nil {
		return fmt.Errorf("run: %w", err)
	}
	var text bytes.Buffer
	if err := f.Job.WritePlan(&text); err != nil {
		return err
	}
	j.text, j.config = text.Bytes(), f.Config
	j.json, err = f.Job.PlanJSON()
	return err
}

// askProgram runs a program for its plan.
func (j *runJob) askProgram(ctx context.Context, name string) (err error) {
	path, err := exec.LookPath(name)
	if errors.Is(err, exec.ErrDot) {
		err = nil
	}
	if err != nil {
		if e, ok := errors.AsType[*exec.Error](err); ok {
			err = e.Err // without the name, which may hold a password
		}
		if e, ok := errors.AsType[*fs.PathError](err); ok {
			err = e.Err
		}
		return exit.Usagef("run: %s is no file of a job (.yaml, .yml, .json), and no program: %w", output.Argument(name), err)
	}
	if path, err = filepath.Abs(path); err != nil {
		return err
	}
	j.worker = []string{path}
	for form, to := range map[string]*[]byte{"text": &j.text, "json": &j.json} {
		cmd := exec.CommandContext(ctx, path, "--plan="+form)
		var said bytes.Buffer
		cmd.Stderr = &said
		if *to, err = cmd.Output(); err != nil {
			return fmt.Errorf("%s --plan=%s: %w: %s", output.Argument(name), form, err, output.Clean(strings.TrimSpace(said.String())))
		}
	}
	return nil
}

func (j *runJob) print(w io.Writer, form string) error {
	switch form {
	case "text":
		_, err := w.Write(j.text)
		return err
	case "json":
		_, err := w.Write(j.json)
		return err
	}
	return exit.Usagef("run: --plan=%s: want text or json", output.Argument(form))
}

// options says how the job runs.
func (o *runOptions) options(j *runJob, arg string) (runner.Options, error) {
	r := runner.Options{Name: j.name, Line: j.line, Config: j.config, Worker: j.worker, Servers: o.servers, Connect: func(servers []string) (*client.Client, error) {
		return newClient(servers, o.credentials)
	}}
	if o.workers < 1 {
		return r, exit.Usagef("run: --workers %d: want 1 or more", o.workers)
	}
	if err := useBackend(j.config, o.backend); err != nil {
		return r, exit.Usagef("run: %w", err)
	}
	if j.config.Job.Interval == nil {
		j.config.Job.Interval = durationpb.New(defaultInterval)
	}
	for _, op := range j.plan.Operators {
		r.Workers = max(r.Workers, min(o.workers, int(op.Parallelism)))
	}
	r.Spec = client.JobSpec{ID: cmp.Or(o.job, layout.NewJobID()), Plan: j.plan, Config: client.ConfigFrom(j.config.Job), Labels: map[string]string{"name": j.name}}
	if err := layout.ValidateJobID(r.Spec.ID); err != nil {
		return r, exit.Usagef("run: --job: %s; a right one is clicks-1", withoutPasswords(err.Error(), []string{r.Spec.ID}))
	}
	if err := o.restore.apply(&r.Spec, j.config.Recovery); err != nil {
		return r, fmt.Errorf("run: %w", err)
	}
	for i, s := range r.Servers {
		at, err := parseServer(s)
		if err != nil {
			return r, exit.Usagef("run: --server: %w", err)
		}
		r.Servers[i] = at.String()
	}
	if err := o.place(&r); err != nil {
		return r, err
	}
	if j.worker == nil {
		if err := o.fileWorker(&r, arg); err != nil {
			return r, err
		}
	}
	r.WorkerFlags = append(r.WorkerFlags, o.shown()...)
	o.again(&r, arg)
	return r, nil
}

// place chooses the root of a daemon of run's own, and what lies outside of it.
func (o *runOptions) place(r *runner.Options) (err error) {
	if len(o.servers) > 0 {
		if o.root != "" {
			return exit.Usagef("run: --root is for a daemon of run's own; the daemon of --server has its root")
		}
		return nil
	}
	root, err := reachS3(cmp.Or(o.root, r.Config.Dir, defaultRunRoot()), r.Config.S3)
	if err != nil {
		return err
	}
	if r.Root, err = drivers.Normal(root); err != nil {
		return exit.Usagef("run: --root: %w", err)
	}
	if dir := r.Config.Job.GetSavepointDir(); dir != "" {
		if dir, err = drivers.Normal(dir); err != nil {
			return exit.Usagef("run: execution.checkpointing.savepoint-dir: %w", err)
		}
		r.Config.Job.SavepointDir, r.Spec.Config.SavepointDir = dir, dir
		r.DaemonFlags = append(r.DaemonFlags, "--savepoints", dir)
	}
	from := r.Spec.RestoreFrom
	if !strings.Contains(from, "://") || strings.HasPrefix(from, r.Root+"/") {
		return nil
	}
	if folder, last := drivers.CutLast(from); last == layout.MetadataName {
		from = folder
	}
	parent, folder := drivers.CutLast(from)
	if _, err := layout.ParseCheckpointDir(folder); err == nil { // ROOT/JOB/chk-42
		parent, _ = drivers.CutLast(parent)
	}
	r.DaemonFlags = append(r.DaemonFlags, "--restore-from", parent)
	return nil
}

// fileWorker makes this program the worker, with a copy of the file: whoever changes the file changes the next run.
func (o *runOptions) fileWorker(r *runner.Options, name string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("run: %w", err)
	}
	if r.File, err = os.ReadFile(name); err != nil {
		return fmt.Errorf("run: %w", err)
	}
	folder, err := filepath.Abs(filepath.Dir(name))
	if err != nil {
		return fmt.Errorf("run: %w", err)
	}
	params, err := paramsOfFile(folder, name)
	r.FileName = filepath.Base(name)
	r.Worker = []string{self, "worker", "--params", params}
	return err
}

// shown are the flags with which a worker shows who it is.
func (o *runOptions) shown() (flags []string) {
	for flag, value := range map[string]string{"tls-ca": o.credentials.CA, "client-cert": o.credentials.Cert, "client-key": o.credentials.Key, "token-file": o.credentials.TokenFile} {
		if value != "" {
			flags = append(flags, "--"+flag, value)
		}
	}
	return flags
}

// again prepares the commands that go on after this one.
func (o *runOptions) again(r *runner.Options, arg string) {
	command := launch.Program() + " run " + output.ShellWord(arg)
	if o.config != "" {
		command += " --config " + output.ShellWord(o.config)
	}
	if o.root != "" {
		command += " --root " + output.ShellWord(o.root)
	}
	for _, s := range o.servers {
		command += " --server " + output.ShellWord(s)
	}
	if o.workers != 2 {
		command += fmt.Sprintf(" --workers %d", o.workers)
	}
	if o.backend != "" {
		command += " --backend " + o.backend
	}
	r.Again, r.Next = command+" --job "+r.Spec.ID, command+" -s "
}

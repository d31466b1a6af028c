// Package runner runs a job on this machine: a daemon, unless one is named, and workers that are started again. It
// follows the job to its end, and stops it in order when a person asks.
//
// It owns one run of `ckptd run`: the processes, the last checkpoint of a job that has read all, the savepoint or the
// suspension at a signal, and the lines for people. It must not know flags, nor what the job does.
package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/cmd/ckptd/launch"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	"github.com/ckptd/ckptd/proto/address"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/runtime/launcher"
	"github.com/ckptd/ckptd/service/config"
)

// Options say what to run. The caller has checked all flags.
type Options struct {
	// Spec is the job: its id, plan, configuration, and the checkpoint that it begins from.
	Spec client.JobSpec
	// Name is the job's name for people; Line is its graph.
	Name, Line string
	// Config has Flink's keys.
	Config *config.File
	// Workers is the number of worker processes.
	Workers int
	// Worker is the command of one worker, without the arguments that the runner adds: a program, and what comes first.
	Worker []string
	// File is the content of the job's file, of which each worker gets a copy under FileName (--job); nil: none.
	File     []byte
	FileName string
	// Root is the root of the checkpoints, for a daemon of the runner's own. Servers are the daemons that run already;
	// Connect makes a client of daemons.
	Root    string
	Servers []string
	Connect func(servers []string) (*client.Client, error)
	// DaemonFlags are added to the daemon's; WorkerFlags to each worker's.
	DaemonFlags, WorkerFlags []string
	// Again is the command that goes on with this job, and Next the one that begins a new job from a checkpoint. The
	// runner appends nothing but the checkpoint's path.
	Again, Next string
}

// Runner is one run.
type Runner struct {
	o      Options
	say    *launch.Narrator
	tmp    string
	lock   *os.File
	launch *launcher.Launcher
	daemon *launcher.Process
	worker []*launcher.Process
	client *client.Client
	admin  *client.Messages
	watch  watch
}

// Run runs the job to its end, or until ctx ends: then it stops the job. out is for people.
func Run(ctx context.Context, o Options, out io.Writer) (err error) {
	r := &Runner{o: o, say: launch.NewNarrator(out)}
	if r.tmp, r.lock, err = launch.NewScratch(); err != nil {
		return fmt.Errorf("run: %w", err)
	}
	defer func() { err = r.end(err) }()
	if err := r.begin(ctx); err != nil {
		return err
	}
	err = r.follow(ctx)
	if err != nil && ctx.Err() != nil {
		return r.stop(context.WithoutCancel(ctx))
	}
	return err
}

// begin starts the daemon, creates the job and starts the workers.
func (r *Runner) begin(ctx context.Context) error {
	for _, dir := range []string{r.logs(), r.local()} {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return fmt.Errorf("run: %w", err)
		}
	}
	r.launch = launcher.New(r.logs())
	own := len(r.o.Servers) == 0
	if own {
		r.o.Servers = []string{address.Unix(filepath.Join(r.tmp, "ckptd.sock")).String()}
	}
	var err error
	if r.client, err = r.o.Connect(r.o.Servers); err != nil {
		return err
	}
	r.admin = r.client.Admin().Messages()
	if own {
		if err := r.startDaemon(ctx); err != nil {
			return fmt.Errorf("run: %w", err)
		}
	}
	r.introduce()
	if _, err := r.client.AttachJob(ctx, r.o.Spec); err != nil {
		if errors.Is(err, client.ErrJobTerminal) {
			return fmt.Errorf("run: job %s has ended (%v); begin a new one: leave --job out, or choose another id: %w", r.o.Spec.ID, client.EndedWith(err), err)
		}
		return err
	}
	return r.startWorkers()
}

func (r *Runner) logs() string  { return filepath.Join(r.tmp, "logs") }
func (r *Runner) local() string { return filepath.Join(r.tmp, "local") }

func (r *Runner) startDaemon(ctx context.Context) (err error) {
	args := append([]string{"serve", "--root", r.o.Root, "--listen", r.o.Servers[0]}, r.o.DaemonFlags...)
	if r.daemon, err = launch.Self(r.launch, launcher.Child{Name: "daemon", Restart: launcher.Always, Exited: r.exited("the daemon", nil)}, nil, args...); err != nil {
		return err
	}
	return launch.AwaitDaemon(ctx, r.admin, r.daemon)
}

// introduce prints what runs where.
func (r *Runner) introduce() {
	n, server := r.say, output.ShellWord(r.o.Servers[0])
	n.Line("job     %s: %s", r.o.Name, r.o.Line)
	n.Line("id      %s", r.o.Spec.ID)
	if r.o.Spec.RestoreFrom != "" {
		n.Line("from    %s", r.o.Spec.RestoreFrom)
	}
	if r.daemon != nil {
		n.Line("root    %s", r.o.Root)
	}
	n.Line("logs    %s", output.ShellWord(r.logs()))
	n.Line("watch   %s status %s --server %s", launch.Program(), r.o.Spec.ID, server)
	n.Line("")
	n.Begin()
}

// startWorkers starts the workers. Each finds the job's file in a copy.
func (r *Runner) startWorkers() error {
	if r.o.File != nil {
		path := filepath.Join(r.tmp, r.o.FileName)
		if err := os.WriteFile(path, r.o.File, 0o600); err != nil {
			return fmt.Errorf("run: %w", err)
		}
		r.o.Worker = append(r.o.Worker, "--job", path)
	}
	for slot := range r.o.Workers {
		if err := r.startWorker(slot); err != nil {
			return fmt.Errorf("run: %w", err)
		}
	}
	return nil
}

// startWorker starts one worker. Its standard output is this program's: a sink may print there.
func (r *Runner) startWorker(slot int) error {
	name := fmt.Sprintf("worker-%d", slot)
	args := append([]string{}, r.o.Worker[1:]...)
	args = append(args, "--job-id", r.o.Spec.ID, "--slot", strconv.Itoa(slot), "--of", strconv.Itoa(r.o.Workers),
		"--dir", r.local(), "--exchange", "unix:"+r.tmp)
	if b := r.o.Config.Engine.Backend; b != "" {
		args = append(args, "--backend", b)
	}
	if r.o.Config.Engine.WholeSnapshots {
		args = append(args, "--whole-snapshots")
	}
	for _, url := range r.o.Servers {
		args = append(args, "--server", url)
	}
	args = append(args, r.o.WorkerFlags...)
	var worker *launcher.Process
	started := make(chan struct{})
	worker, err := r.launch.Start(launcher.Child{Name: name, Restart: launcher.OnFailure,
		Exited:  r.exited(fmt.Sprintf("worker %d", slot), func() string { <-started; return worker.Log() }),
		Command: func() *exec.Cmd { cmd := exec.Command(r.o.Worker[0], args...); cmd.Stdout = os.Stdout; return cmd }})
	if err == nil {
		r.worker = append(r.worker, worker)
	}
	close(started)
	return err
}

// exited notes that a process has ended, for the goroutine that follows the job.
func (r *Runner) exited(who string, log func() string) func(pid int, err error) {
	return func(pid int, err error) {
		if err == nil {
			return
		}
		text := fmt.Sprintf("%s (process %d) has ended: %v; it is started again", who, pid, err)
		if killed, ok := errors.AsType[*exec.ExitError](err); ok && killed.ExitCode() > 0 && log != nil {
			text = fmt.Sprintf("%s (process %d) has failed: %s", who, pid, launch.LastLine(log()))
		}
		r.watch.note(text)
	}
}

// end stops all processes. The folder with the logs stays after a failure.
func (r *Runner) end(err error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if r.launch != nil {
		r.launch.Stop(ctx)
	}
	if r.client != nil {
		err = errors.Join(err, r.client.Close())
	}
	if code := (*exit.Error)(nil); err != nil && !(errors.As(err, &code) && code.Code == exit.Interrupted) {
		return errors.Join(fmt.Errorf("%w\nlogs kept for a look: %s", err, output.ShellWord(r.logs())), launch.KeepScratch(r.tmp), r.lock.Close())
	}
	return errors.Join(err, os.RemoveAll(r.tmp), r.lock.Close())
}

// running is the phase of a job in which records flow.
const running = ckptdv1.JobPhase_JOB_PHASE_RUNNING

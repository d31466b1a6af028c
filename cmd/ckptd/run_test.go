package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
)

// A jobRun is a job in YAML that counts clicks of a file, and what `ckptd run` says of it.
type jobRun struct {
	t *testing.T
	// tmp is the folder for temporary files of all processes. dir holds the job's file, its input and its output.
	tmp, dir string
	want     map[string]int
}

// newJobRun writes a job that reads its input in about three seconds. keys are further lines of its configuration.
func newJobRun(t *testing.T, keys string) *jobRun {
	t.Helper()
	j := &jobRun{t: t, tmp: socketDir(t), dir: t.TempDir(), want: map[string]int{}}
	var input strings.Builder
	r := rand.New(rand.NewPCG(3, 4))
	for range 6000 {
		user, in := fmt.Sprintf("user-%d", r.IntN(40)), r.IntN(10) > 0
		fmt.Fprintf(&input, "{\"user\": %q, \"logged_in\": %t}\n", user, in)
		if in {
			j.want[user]++
		}
	}
	j.write("clicks.jsonl", input.String())
	j.write("job.yaml", `
parallelism: 2
source:
  uid: clicks
  files: {path: clicks.jsonl}
  rate: 1000
steps:
  - filter: row.logged_in
  - keyBy: row.user
  - reduce: {clicks: count}
    uid: count
sink:
  uid: counts
  files: {path: out, name: counts}
configuration:
  execution.checkpointing.interval: 100ms
  execution.checkpointing.dir: `+filepath.Join(j.dir, "root")+`
  restart-strategy.type: fixed-delay
  restart-strategy.fixed-delay.attempts: 100
  restart-strategy.fixed-delay.delay: 10ms
`+keys)
	return j
}

func (j *jobRun) write(name, text string) {
	j.t.Helper()
	if err := os.WriteFile(filepath.Join(j.dir, name), []byte(text), 0o666); err != nil {
		j.t.Fatal(err)
	}
}

// start starts `ckptd run` of the job in a process of its own.
func (j *jobRun) start(args ...string) (*exec.Cmd, *buffer) {
	j.t.Helper()
	cmd, out := demoProcess(j.t, j.tmp)
	cmd.Args = append([]string{cmd.Path, "run", filepath.Join(j.dir, "job.yaml")}, args...)
	if err := cmd.Start(); err != nil {
		j.t.Fatal(err)
	}
	j.t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd, out
}

// ended waits for the end of a run with an exit code.
func (j *jobRun) ended(cmd *exec.Cmd, out *buffer, code int) {
	j.t.Helper()
	_ = cmd.Wait() // the code is checked
	if got := cmd.ProcessState.ExitCode(); got != code {
		j.t.Fatalf("exit code %d, want %d\n%s", got, code, out)
	}
	if l := left(j.t, j.tmp); len(l) > 0 {
		j.t.Errorf("left: %q", l)
	}
}

// exact compares the rows in the output with the input: every count of every user has to be there once.
func (j *jobRun) exact() {
	j.t.Helper()
	got, seen := map[string]int{}, map[string]bool{}
	parts, _ := filepath.Glob(filepath.Join(j.dir, "out", "counts-*.jsonl"))
	for _, part := range parts {
		b, err := os.ReadFile(part)
		if err != nil {
			j.t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			var row struct {
				User   string
				Clicks int
			}
			if err := json.Unmarshal([]byte(line), &row); err != nil {
				j.t.Fatal(err)
			}
			if seen[line] {
				j.t.Errorf("%s is there twice", line)
			}
			seen[line] = true
			got[row.User]++
		}
	}
	if !maps.Equal(got, j.want) {
		j.t.Errorf("the output has %v rows of users, want %v", got, j.want)
	}
}

// processes are the children of a run that have a word in their command line.
func (j *jobRun) processes(word string) (pids []int) {
	j.t.Helper()
	all, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, path := range all {
		env, err := os.ReadFile(path)
		line, lineErr := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		if err != nil || lineErr != nil || !strings.Contains(string(env), "TMPDIR="+j.tmp) || !strings.Contains(string(line), "\x00"+word+"\x00") {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// kill kills one of those processes.
func (j *jobRun) kill(word string) {
	j.t.Helper()
	pids := j.processes(word)
	if len(pids) == 0 {
		j.t.Fatalf("no process %s", word)
	}
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		j.t.Fatal(err)
	}
}

// A job in YAML is exact although its workers and its daemon are killed, on both backends, and the command ends with it.
func TestRunIsExactUnderKills(t *testing.T) {
	for _, backend := range []string{"hashmap", "rocksdb"} {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			j := newJobRun(t, "")
			cmd, out := j.start("--backend", backend)
			out.await(t, "checkpoint 3 complete")
			j.kill("worker")
			out.await(t, "attempt 2 begins with checkpoint")
			j.kill("serve")
			out.await(t, "epoch 2")
			j.kill("worker")
			out.await(t, "attempt 3 begins with checkpoint")
			j.ended(cmd, out, exit.Done)
			out.await(t, "the job is FINISHED")
			j.exact()
		})
	}
}

// again is the arguments of the command that a run has printed last, behind the job's file.
func again(t *testing.T, out *buffer) []string {
	t.Helper()
	all := regexp.MustCompile(`(?m)^  .* run \S+/job\.yaml (.*)$`).FindAllStringSubmatch(out.String(), -1)
	if len(all) == 0 {
		t.Fatalf("no command is printed:\n%s", out)
	}
	return strings.Fields(all[len(all)-1][1])
}

// SIGTERM suspends a job, and kill -9 of everything does no more harm: the printed command goes on, exactly.
func TestRunIsSuspendedAndGoesOn(t *testing.T) {
	t.Parallel()
	j := newJobRun(t, "")
	cmd, out := j.start("--workers", "1")
	out.await(t, "checkpoint 3 complete")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	j.ended(cmd, out, exit.Interrupted)
	args := again(t, out)
	if !strings.Contains(strings.Join(args, " "), "--job ") {
		t.Fatalf("the printed command has the arguments %q, want --job", args)
	}
	cmd, out = j.start(args...)
	out.await(t, "begins with checkpoint")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	cmd, out = j.start(args...)
	out.await(t, "begins with checkpoint")
	j.ended(cmd, out, exit.Done)
	j.exact()
}

// With a directory for savepoints SIGTERM ends the job with one, and a new job goes on from it, exactly.
func TestRunIsStoppedWithASavepoint(t *testing.T) {
	t.Parallel()
	j := newJobRun(t, "  execution.checkpointing.savepoint-dir: "+t.TempDir()+"\n")
	cmd, out := j.start()
	out.await(t, "checkpoint 3 complete")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	j.ended(cmd, out, exit.Done)
	args := again(t, out)
	if len(args) < 2 || args[len(args)-2] != "-s" {
		t.Fatalf("the printed command has the arguments %q, want -s", args)
	}
	cmd, out = j.start(args...)
	j.ended(cmd, out, exit.Done)
	j.exact()
}

// A job that cannot go on is FAILED, and the command says why.
func TestRunOfAJobThatFails(t *testing.T) {
	t.Parallel()
	j := newJobRun(t, "")
	b, err := os.ReadFile(filepath.Join(j.dir, "job.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(b), "row.logged_in", "row.loged_in", 1)
	j.write("job.yaml", strings.Replace(text, "attempts: 100", "attempts: 1", 1))
	cmd, out := j.start()
	j.ended(cmd, out, exit.Failed)
	for _, want := range []string{"is FAILED: ", "no such key: loged_in", "job.yaml:"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
}

// With --server the job runs at a daemon that is there already, with whole snapshots if the keys say so.
func TestRunAtADaemonThatRuns(t *testing.T) {
	t.Parallel()
	j := newJobRun(t, "  execution.checkpointing.incremental: false\n")
	at := "unix:" + filepath.Join(socketDir(t), "d.sock")
	daemon, said := demoProcess(t, t.TempDir())
	daemon.Args = []string{daemon.Path, "serve", "--root", filepath.Join(j.dir, "other"), "--listen", at}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := daemon.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		_ = daemon.Wait() // how it ends is another test's matter
	}()
	said.await(t, "listening")
	cmd, out := j.start("--server", at, "--workers", "3")
	j.ended(cmd, out, exit.Done)
	j.exact()
	if strings.Contains(out.String(), "root    ") {
		t.Errorf("it started a daemon of its own:\n%s", out)
	}
	// Without shared files nothing is reused, whatever the checkpoint.
	for _, m := range regexp.MustCompile(`(\S+ \S+) reused`).FindAllStringSubmatch(out.String(), -1) {
		if m[1] != "0 B" {
			t.Errorf("a checkpoint reused %s, want nothing:\n%s", m[1], out)
			break
		}
	}
}

package main

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/cmd/ckptd/launch"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
)

// demoProcess is a demo in a process of its own, with a folder for temporary files of its own.
func demoProcess(t *testing.T, tmp string, args ...string) (*exec.Cmd, *buffer) {
	t.Helper()
	var out buffer
	cmd := exec.Command(os.Args[0], append([]string{"demo"}, args...)...)
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Minute
	return cmd, &out
}

// await waits until the output holds a text.
func (b *buffer) await(t *testing.T, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !strings.Contains(b.String(), text) {
		if !launch.Sleep(ctx, pollEvery) {
			t.Fatalf("it never says %q:\n%s", text, b.String())
		}
	}
}

// left are the processes whose command line or environment names a folder.
func left(t *testing.T, dir string) (found []string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range all {
		if env, err := os.ReadFile(path); err == nil && bytes.Contains(env, []byte(dir)) {
			line, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
			found = append(found, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}

const accessLog = `10.0.0.1 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 203023 "-" "Mozilla/5.0"
10.0.0.2 - - [17/May/2015:10:05:04 +0000] "GET /private HTTP/1.1" 403 12 "-" "Mozilla/5.0"
this is no line of a log
{"user": "ann", "logged_in": true}
10.0.0.1 - - [17/May/2015:10:05:05 +0000] "GET /a HTTP/1.1" 304 0 "-" "Mozilla/5.0"
`

// With real input the demo prints its counts and keeps its output in the given folder. A second demo at the same time
// does the same.
func TestDemoOfInput(t *testing.T) {
	t.Parallel()
	tmp, counts := t.TempDir(), t.TempDir()
	input := filepath.Join(tmp, "access.log")
	if err := os.WriteFile(input, []byte(strings.Repeat(accessLog, 100)), 0o666); err != nil {
		t.Fatal(err)
	}
	args := []string{"--input", input, "--output", counts, "--kills", "0", "--rate", "400", "--interval", "200ms"}
	first, out1 := demoProcess(t, tmp, args...)
	second, out2 := demoProcess(t, tmp, args...)
	for _, cmd := range []*exec.Cmd{first, second} {
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
	}
	for cmd, out := range map[*exec.Cmd]*buffer{first: out1, second: out2} {
		if err := cmd.Wait(); err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
		for _, want := range []string{
			"400 clicks, and 100 lines that are none", "exact: 300 lines of 2 users", "200  10.0.0.1\n", "100  ann\n", "chk-", "journal show ", "--clean",
		} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("it does not say %q:\n%s", want, out.String())
			}
		}
	}
	if parts, _ := filepath.Glob(filepath.Join(counts, "*.csv")); len(parts) < 4 {
		t.Errorf("kept: %v", parts)
	}
	if l := left(t, tmp); len(l) > 0 {
		t.Errorf("left: %q", l)
	}
	cleaned(t, tmp, 2)
}

// cleaned has --clean remove everything.
func cleaned(t *testing.T, tmp string, jobs int) {
	t.Helper()
	cmd, out := demoProcess(t, tmp, "--clean")
	if err := cmd.Run(); err != nil || !strings.Contains(out.String(), "with "+output.Count(jobs, "job")) {
		t.Errorf("%v: %s", err, out.String())
	}
	if found, _ := filepath.Glob(filepath.Join(tmp, "ckptd-*")); len(found) > 0 {
		t.Errorf("left: %v", found)
	}
}

// A demo that was killed leaves its temporary folder. The next one removes it, and no folder that another demo uses.
func TestDemoClearsWhatKilledOnesLeft(t *testing.T) {
	t.Parallel()
	tmp := t.TempDir()
	long := []string{"--records", "100000", "--interval", "100ms", "--kills", "0"}
	killed, out1 := demoProcess(t, tmp, long...)
	alive, out2 := demoProcess(t, tmp, long...)
	for cmd, out := range map[*exec.Cmd]*buffer{killed: out1, alive: out2} {
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		out.await(t, "checkpoint 1 complete")
	}
	scratch := func() []string {
		all, err := filepath.Glob(filepath.Join(tmp, "ckptd-*", "lock"))
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	if err := killed.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = killed.Wait() // it was killed
	if got := scratch(); len(got) != 2 {
		t.Errorf("a killed demo and one that runs have %q, want two folders", got)
	}
	short, out3 := demoProcess(t, tmp, "--records", "1000", "--kills", "0", "--rate", "10000")
	if err := short.Run(); err != nil {
		t.Errorf("%v\n%s", err, out3)
	}
	if got := scratch(); len(got) != 1 {
		t.Errorf("left: %q, want the folder of the demo that runs", got)
	}
	if err := alive.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := alive.Wait(); alive.ProcessState.ExitCode() != exit.Interrupted {
		t.Errorf("%v\n%s", err, out2)
	}
}

// Ctrl-C leaves no process and says what is kept. Until then --clean removes nothing.
func TestDemoInterrupted(t *testing.T) {
	t.Parallel()
	tmp := t.TempDir()
	cmd, out := demoProcess(t, tmp, "--records", "100000", "--interval", "100ms", "--kills", "0")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out.await(t, "checkpoint 2 complete")
	clean, said := demoProcess(t, tmp, "--clean")
	if err := clean.Run(); clean.ProcessState.ExitCode() != exit.Damage || !strings.Contains(said.String(), "is at work on job") {
		t.Errorf("--clean beside a demo: %v: %s", err, said.String())
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != exit.Interrupted {
		t.Errorf("%v", err)
	}
	for _, want := range []string{"checkpoints kept", "interrupted; no process is left"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, out.String())
		}
	}
	if l := left(t, tmp); len(l) > 0 {
		t.Errorf("left: %q", l)
	}
	cleaned(t, tmp, 1)
}

// If the terminal closes, or the reader of the output goes away (`| head`), the demo ends as by Ctrl-C. It leaves
// nothing but checkpoints.
func TestDemoHungUp(t *testing.T) {
	t.Parallel()
	for name, hangUp := range map[string]func(*exec.Cmd, *os.File) error{
		"reader gone":     func(_ *exec.Cmd, out *os.File) error { return out.Close() },
		"terminal closed": func(cmd *exec.Cmd, _ *os.File) error { return cmd.Process.Signal(syscall.SIGHUP) },
	} {
		tmp := t.TempDir()
		out, in, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd, said := demoProcess(t, tmp, "--records", "100000", "--interval", "100ms", "--kills", "0")
		cmd.Stdout = in
		if err := startHearing(cmd); err != nil {
			t.Fatal(err)
		}
		in.Close()
		if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		if err := hangUp(cmd, out); err != nil {
			t.Fatal(err)
		}
		err = cmd.Wait()
		out.Close()
		if cmd.ProcessState.ExitCode() != exit.Interrupted || !strings.Contains(said.String(), "no process is left") {
			t.Errorf("%s: %v: %s", name, err, said.String())
		}
		if l := left(t, tmp); len(l) > 0 {
			t.Errorf("%s: left: %q", name, l)
		}
		if found, _ := filepath.Glob(filepath.Join(tmp, "ckptd-[0-9]*")); len(found) > 0 {
			t.Errorf("%s: left: %v", name, found)
		}
	}
}

// With --keep the job goes on after its input was read and checked, until somebody cancels it.
func TestDemoKeep(t *testing.T) {
	t.Parallel()
	tmp := t.TempDir()
	cmd, out := demoProcess(t, tmp, "--records", "2000", "--rate", "4000", "--interval", "100ms", "--kills", "0", "--keep")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out.await(t, "the job goes on")
	_, after, _ := strings.Cut(out.String(), "the job goes on")
	_, after, _ = strings.Cut(after, " cancel ")
	line, _, _ := strings.Cut(after, "\n")
	canceled, err := exec.Command(os.Args[0], append([]string{"cancel"}, strings.Fields(line)...)...).CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, canceled)
	}
	if err := cmd.Wait(); err != nil || !strings.Contains(out.String(), "exact: ") || !strings.Contains(out.String(), "the job is canceled") {
		t.Errorf("%v:\n%s", err, out.String())
	}
	if l := left(t, tmp); len(l) > 0 {
		t.Errorf("left: %q", l)
	}
	cleaned(t, tmp, 1)
}

// Ctrl-C ends the job as the demo promises: it is canceled, so a new job can claim its checkpoints, and a person can remove them.
func TestDemoKeepEndedByCtrlC(t *testing.T) {
	t.Parallel()
	tmp := t.TempDir()
	cmd, out := demoProcess(t, tmp, "--records", "2000", "--rate", "4000", "--interval", "100ms", "--kills", "0", "--keep")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out.await(t, "the job goes on")
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil || !strings.Contains(out.String(), "the job is canceled") || !strings.Contains(out.String(), "checkpoints kept") {
		t.Errorf("%v:\n%s", err, out.String())
	}
	cleaned(t, tmp, 1)
}

// What cannot work is refused before anything is begun.
func TestDemoRefuses(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	config := filepath.Join(dir, "flink.yaml")
	if err := os.WriteFile(config, []byte("execution.checkpointing.intervall: 3min\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"--kills -1", exit.Usage, "--kills"},
		{"--kills 99999999999", exit.Usage, "0 to 10000"},
		{"--rate 0", exit.Usage, "--rate"},
		{"--parallelism 0", exit.Usage, "--parallelism"},
		{"--records 0", exit.Usage, "--records"},
		{"--input x --records 5", exit.Usage, "--input reads them"},
		{"--clean --keep", exit.Usage, "--clean"},
		{"--interval soon", exit.Usage, "--interval"},
		{"--interval 9ms", exit.Usage, "the least is 10ms"},
		{"--config " + config, exit.Usage, "execution.checkpointing.interval"},
		{"--config " + dir + "/none", exit.Usage, "no such file"},
		{"--root nowhere://bucket/x", exit.Usage, "no driver for nowhere"},
		{"--nonsense", exit.Usage, "nonsense"},
		{"more", exit.Usage, "more"},
		{"--input " + dir + "/none", exit.Failed, "no such file"},
		{"--input " + dir, exit.Failed, "it is a folder"},
	} {
		var out bytes.Buffer
		code := run(t.Context(), append([]string{"demo"}, strings.Fields(c.args)...), &out, &out)
		if code != c.code || !strings.Contains(out.String(), c.says) {
			t.Errorf("%s: exit code %d:\n%s", c.args, code, out.String())
		}
	}
}

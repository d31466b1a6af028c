package main

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
)

// startHearing starts a process that reacts to SIGHUP, even if this process ignores the signal (go test under nohup). A
// child inherits an ignored signal, but a caught signal has its default in the child.
func startHearing(cmd *exec.Cmd) error {
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGHUP)
	defer signal.Stop(caught)
	return cmd.Start()
}

// underNohup makes a command run as under nohup: the process and its children ignore SIGHUP. The process leads its own
// process group, because a closing terminal sends the signal to a whole group.
func underNohup(cmd *exec.Cmd) {
	cmd.Path, cmd.Args = "/bin/sh", append([]string{"sh", "-c", `trap "" HUP; exec "$0" "$@"`}, cmd.Args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}

// Under nohup, demo and doctor finish their work when the terminal closes, and so do the processes that they start.
func TestUnderNohup(t *testing.T) {
	t.Parallel()
	tmp := t.TempDir()
	for name, c := range map[string]struct {
		args []string
		// hangUp is the line that it prints when all its processes run; says is its last line, if it finishes.
		hangUp, says string
	}{
		"demo":   {[]string{"demo", "--records", "2000", "--rate", "2000", "--interval", "100ms", "--kills", "0"}, "checkpoint 1 complete", "exact: "},
		"doctor": {[]string{"doctor", "--quick", t.TempDir()}, "doctor: racing to publish", "Fit, "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0], c.args...)
			cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
			underNohup(cmd)
			out, in, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			cmd.Stdout, cmd.Stderr = in, in
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			in.Close()
			var said strings.Builder
			lines := bufio.NewReader(io.TeeReader(out, &said))
			for line := ""; err == nil && !strings.Contains(line, c.hangUp); {
				line, err = lines.ReadString('\n')
			}
			if err != nil {
				t.Errorf("it never says %q: %v", c.hangUp, err)
			}
			if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGHUP); err != nil {
				t.Errorf("SIGHUP to its processes: %v", err)
			}
			_, _ = io.Copy(io.Discard, lines)
			if err := cmd.Wait(); err != nil || !strings.Contains(said.String(), c.says) {
				t.Errorf("%v, want exit code 0 and %q at the end:\n%s", err, c.says, said.String())
			}
			if strings.Contains(said.String(), "failed") {
				t.Errorf("a process of it ended:\n%s", said.String())
			}
		})
	}
}

package launch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/runtime/launcher"
)

// Self starts this program in another role. child says when it is started again; environment is added to this process's.
func Self(l *launcher.Launcher, child launcher.Child, environment []string, args ...string) (*launcher.Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("launch: %w", err)
	}
	child.Command = func() *exec.Cmd {
		cmd := exec.Command(self, args...)
		cmd.Env = append(os.Environ(), environment...)
		return cmd
	}
	return l.Start(child)
}

// AwaitDaemon waits until the daemon answers or has failed.
func AwaitDaemon(ctx context.Context, admin interface {
	Status(ctx context.Context) (*ckptdv1.GetStatusResponse, error)
}, daemon *launcher.Process) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 30*time.Second, fmt.Errorf("the daemon does not answer; its log is %s", output.ShellWord(daemon.Log())))
	defer cancel()
	for {
		_, err := admin.Status(ctx)
		if err == nil {
			return nil
		}
		if daemon.Starts() > 1 {
			err := fmt.Errorf("the daemon does not start: %s", LastLine(daemon.Log()))
			if ended, ok := errors.AsType[*exec.ExitError](daemon.Err()); ok {
				return exit.With(ended.ExitCode(), err)
			}
			return err
		}
		if !Sleep(ctx, 20*time.Millisecond) {
			return context.Cause(ctx)
		}
	}
}

// Sleep waits for the given time. It returns false if ctx ends first.
func Sleep(ctx context.Context, t time.Duration) bool {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// LastLine is the last error that a process has logged before it ended, or else the last line of its log.
func LastLine(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return errors.Join(fmt.Errorf("its log is %s", output.ShellWord(path)), err).Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	last := lines[len(lines)-1]
	for _, line := range lines {
		if words, ok := strings.CutPrefix(line, "ckptd: "); ok {
			last = words
		}
	}
	return fmt.Sprintf("%s (its log is %s)", last, output.ShellWord(path))
}

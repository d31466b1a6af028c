package launcher

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// parentVariable tells a child the number of the file descriptor that its parent holds open.
const parentVariable = "CKPTD_PARENT_PIPE"

// ErrParentGone is the cause of a context of WithParent whose parent process has ended.
var ErrParentGone = errors.New("the parent process has ended")

// inherit gives a command the reading end of a pipe, and a process group of its own: a Ctrl-C in the terminal reaches the parent
// alone, which decides.
func inherit(cmd *exec.Cmd, pipe *os.File) {
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.ExtraFiles = append(cmd.ExtraFiles, pipe)
	cmd.Env = append(cmd.Env, parentVariable+"="+strconv.Itoa(2+len(cmd.ExtraFiles)))
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
}

// WithParent is the child's side: its context ends, with ErrParentGone as its cause, when the launcher that started this process
// has ended. In a process that no launcher started it is ctx. Call it once.
func WithParent(ctx context.Context) context.Context {
	fd, err := strconv.Atoi(os.Getenv(parentVariable))
	if err != nil {
		return ctx
	}
	os.Unsetenv(parentVariable) // the descriptor is not for grandchildren
	syscall.CloseOnExec(fd)
	ctx, cancel := context.WithCancelCause(ctx)
	pipe := os.NewFile(uintptr(fd), "parent")
	go func() {
		io.Copy(io.Discard, pipe)
		cancel(ErrParentGone)
	}()
	return ctx
}

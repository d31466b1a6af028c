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

// parentVariable holds, for a child, the number of the file descriptor of the pipe to its parent.
const parentVariable = "CKPTD_PARENT_PIPE"

// ErrParentGone is the cause of a context of WithParent whose parent process has ended.
var ErrParentGone = errors.New("the parent process has ended")

// inherit gives a command the reading end of a pipe, and a process group of its own. So a Ctrl-C in the terminal
// reaches only the parent, which decides what happens to its children.
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

// WithParent is called by the child, once. It returns a context that ends, with cause ErrParentGone, when the
// launcher that started this process has ended. In a process that no launcher started, it returns ctx.
func WithParent(ctx context.Context) context.Context {
	fd, err := strconv.Atoi(os.Getenv(parentVariable))
	if err != nil {
		return ctx
	}
	os.Unsetenv(parentVariable) // grandchildren must not use the descriptor
	syscall.CloseOnExec(fd)
	ctx, cancel := context.WithCancelCause(ctx)
	pipe := os.NewFile(uintptr(fd), "parent")
	go func() {
		io.Copy(io.Discard, pipe)
		cancel(ErrParentGone)
	}()
	return ctx
}

package servers

import "syscall"

// tied lets a child end when we do, however we end.
func tied() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

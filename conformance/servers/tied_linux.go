package servers

import "syscall"

// tied makes a child end when this process ends, however this process ends.
func tied() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

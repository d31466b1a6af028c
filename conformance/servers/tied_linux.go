package servers

import "syscall"

// tied makes a child end when this process ends, however this process ends.
func tied() *syscall.SysProcAttr { return tiedBy(syscall.SIGKILL) }

// tiedBy sends the child a signal when this process ends.
func tiedBy(signal syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: signal}
}

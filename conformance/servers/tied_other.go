//go:build !linux

package servers

import "syscall"

// tied cannot make a child end with this process here; the end of the test does so.
func tied() *syscall.SysProcAttr { return nil }

// tiedBy cannot do so either.
func tiedBy(syscall.Signal) *syscall.SysProcAttr { return &syscall.SysProcAttr{} }

//go:build !linux

package servers

import "syscall"

// tied has no means to end a child with us here; the test's own end does it.
func tied() *syscall.SysProcAttr { return nil }

package servers

import "testing"

// S5cmd is the path of s5cmd, a client that others move objects with. Only benchmarks want it: `make bench` builds it, and they leave it
// out where it is missing.
func S5cmd(b *testing.B) string {
	b.Helper()
	path, err := find("s5cmd")
	if err != nil {
		b.Log("not run: s5cmd: there is no bin/s5cmd; `make bench` builds it")
		return ""
	}
	return path
}

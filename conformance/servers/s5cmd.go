package servers

import "testing"

// S5cmd returns the path of s5cmd, another client for S3, or "". Only benchmarks use it: `make bench` builds it, and
// they run without it if it is missing.
func S5cmd(b *testing.B) string {
	b.Helper()
	path, err := find("s5cmd")
	if err != nil {
		b.Log("not run: s5cmd: there is no bin/s5cmd; `make bench` builds it")
		return ""
	}
	return path
}

package servers

import "testing"

// S5cmd returns the path of s5cmd, another client for S3, or "". Only benchmarks use it: `make bench` builds it, and
// they run without it if it is missing.
func S5cmd(b *testing.B) string {
	b.Helper()
	return peer(b, "s5cmd", "make bench")
}

// Restic returns the path of restic, a backup program, or "". Only `make bench-long` uses it, and builds it.
func Restic(b *testing.B) string {
	b.Helper()
	return peer(b, "restic", "make bench-long")
}

// Kopia returns the path of kopia, a backup program, or "". Only `make bench-long` uses it, and builds it.
func Kopia(b *testing.B) string {
	b.Helper()
	return peer(b, "kopia", "make bench-long")
}

func peer(b *testing.B, name, builder string) string {
	b.Helper()
	path, err := find(name)
	if err != nil {
		b.Logf("not run: %s: there is no bin/%s; `%s` builds it", name, name, builder)
		return ""
	}
	return path
}

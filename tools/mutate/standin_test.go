package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestVerdicts: scripts stand for test binaries.
func TestVerdicts(t *testing.T) {
	standstill = 2 * time.Second
	for _, test := range []struct {
		name, script, verdict, by string
	}{
		{"tests that pass", "exit 0", alive, ""},
		{"a test that fails", "echo '--- FAIL: TestIt/part (0.00s)'; exit 1", noticed, "TestIt/part"},
		{"a panic", "echo 'panic: nil map'; exit 2", noticed, "panic: nil map"},
		{"an endless loop", "while :; do :; done", hung, ""},
		{"threads that sleep for ever", "exec sleep 1000", hung, ""},
		{"a process that is killed from outside", "kill -TERM $$", unclear, ""},
		{"a process that takes longer than its processor time", "sleep 1.5", alive, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			binary := filepath.Join(t.TempDir(), "it.test")
			if err := os.WriteFile(binary, []byte("#!/bin/sh\n"+test.script+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			r, err := runTests(".", binary, nil, time.Second)
			if err != nil || r.verdict != test.verdict || test.by != "" && r.by != test.by {
				t.Errorf("verdict %q by %q, error %v; want %q by %q", r.verdict, r.by, err, test.verdict, test.by)
			}
		})
	}
}

// TestDifference: the engine formats what it writes in a style of its own; only the change itself may be found.
func TestDifference(t *testing.T) {
	write := func(dir, text string) {
		if err := os.WriteFile(filepath.Join(dir, "a.go"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c := config{Dir: "p", Was: t.TempDir()}
	changed := t.TempDir()
	write(c.Was, "package p\n\ntype t struct {\n\ta   int\n\tbcd int\n}\n\nfunc f(a int) bool { return a < 1 }\n")
	write(changed, "package p\n\ntype t struct {\n\ta\tint\n\tbcd\tint\n}\n\nfunc f(a int) bool\t{ return a <= 1 }\n")
	r, err := c.difference(changed)
	if err != nil || r.File != "p/a.go" || r.Line != 8 || r.Column != 32 || r.Now != "func f(a int) bool { return a <= 1 }" {
		t.Errorf("found %+v, %v; want line 8, column 32", r, err)
	}
}

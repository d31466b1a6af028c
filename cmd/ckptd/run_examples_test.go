package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
)

// wantCounts are the clicks of logged-in users in examples/clicks.jsonl, by a count of its own.
func wantCounts(t *testing.T) map[string]int {
	t.Helper()
	b, err := os.ReadFile("../../examples/clicks.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{}
	for line := range strings.Lines(string(b)) {
		_, rest, _ := strings.Cut(line, `"user": "`)
		user, rest, _ := strings.Cut(rest, `"`)
		if strings.Contains(rest, `"logged_in": true`) {
			want[user]++
		}
	}
	if len(want) < 5 {
		t.Fatalf("the example has clicks of %d users", len(want))
	}
	return want
}

// checkExample compares the last counts in a folder with the example's.
func checkExample(t *testing.T, dir string) {
	t.Helper()
	parts, _ := filepath.Glob(filepath.Join(dir, "counts-*.jsonl"))
	got := map[string]int{}
	for _, part := range parts {
		b, err := os.ReadFile(part)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			var row struct {
				User   string
				Clicks int
			}
			if err := json.Unmarshal([]byte(line), &row); err != nil {
				t.Fatal(err)
			}
			got[row.User] = max(got[row.User], row.Clicks)
		}
	}
	for user, n := range wantCounts(t) {
		if got[user] != n {
			t.Errorf("%s has %d clicks, want %d", user, got[user], n)
		}
	}
}

// The example in YAML runs as it stands.
func TestRunOfTheExample(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"files.yaml", "clicks.jsonl"} {
		b, err := os.ReadFile(filepath.Join("../../examples", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	j := &jobRun{t: t, tmp: socketDir(t), dir: dir}
	cmd, out := demoProcess(t, j.tmp)
	cmd.Args = []string{cmd.Path, "run", filepath.Join(dir, "files.yaml")}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	j.ended(cmd, out, exit.Done)
	checkExample(t, filepath.Join(dir, "out"))
}

// The example as a Go program runs by the same command, and prints the same graph.
func TestRunOfTheProgram(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program := filepath.Join(dir, "files")
	if out, err := exec.Command("go", "build", "-o", program, "../../examples/files").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var plan bytes.Buffer
	if code := run(t.Context(), []string{"run", program, "--plan"}, &plan, &plan); code != exit.Done || !strings.Contains(plan.String(), "keyBy ==by key==> sum -> map -> sink (files)") {
		t.Fatalf("exit code %d\n%s", code, &plan)
	}
	input, err := filepath.Abs("../../examples/clicks.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	j := &jobRun{t: t, tmp: socketDir(t), dir: dir}
	cmd, out := demoProcess(t, j.tmp)
	cmd.Env = append(cmd.Env, "CLICKS="+input, "COUNTS="+filepath.Join(dir, "out"))
	cmd.Args = []string{cmd.Path, "run", program, "--backend", "hashmap"}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	j.ended(cmd, out, exit.Done)
	checkExample(t, filepath.Join(dir, "out"))
}

// The plan of a file is what show --diff-plan reads, and wrong usage is said before anything runs.
func TestRunPlansAndWrongUsage(t *testing.T) {
	dir := t.TempDir()
	plan := filepath.Join(dir, "plan.json")
	var out bytes.Buffer
	if code := run(t.Context(), []string{"run", "../../examples/files.yaml", "--plan=json"}, &out, &out); code != exit.Done {
		t.Fatalf("exit code %d\n%s", code, &out)
	}
	if err := os.WriteFile(plan, out.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
	if p, err := planInFile(plan); err != nil || len(p.GetOperators()) != 6 {
		t.Errorf("the plan is %v, %v", p, err)
	}
	bad := filepath.Join(dir, "bad.yaml")
	if err := os.WriteFile(bad, []byte("source: {generator: {}}\nsteps: [{filter: x}]\nsink: {stdout: }\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"bad.yaml:2:18: filter: x is unknown; a field of the row is row.x": {bad},
		"no file of a job (.yaml, .yml, .json), and no program":            {filepath.Join(dir, "absent")},
		"--workers 0: want 1 or more":                                      {"../../examples/files.yaml", "--workers", "0"},
		"--backend \"forst\": want hashmap or rocksdb":                     {"../../examples/files.yaml", "--backend", "forst"},
		"--job: ":                             {"../../examples/files.yaml", "--job", "a/b"},
		"--root is for a daemon of run's own": {"../../examples/files.yaml", "--root", dir, "--server", "unix:/x"},
		"--config is for a program":           {"../../examples/files.yaml", "--config", bad},
		"--plan=\"xml\": want text or json":   {"../../examples/files.yaml", "--plan=xml"},
	} {
		var said bytes.Buffer
		if code := run(t.Context(), append([]string{"run"}, args...), &said, &said); code == exit.Done || !strings.Contains(said.String(), want) {
			t.Errorf("run %q: exit code %d, want one and %q:\n%s", args, code, want, &said)
		}
	}
}

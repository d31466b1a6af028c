package main

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/layouttest"
	"github.com/ckptd/ckptd/layout/storage/file"
)

// examplesOf lists the examples of a command and of those below it, each in one line.
func examplesOf(cmd *cobra.Command) (lines []string) {
	text := strings.ReplaceAll(cmd.Example, "\\\n", " ")
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	for _, c := range cmd.Commands() {
		lines = append(lines, examplesOf(c)...)
	}
	return lines
}

// words splits a line as a shell does, as far as examples go: single quotes, and the text before a pipe.
func words(line string) (args []string, pipe string) {
	line, pipe, _ = strings.Cut(line, " | ")
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			args = append(args, part)
		} else {
			args = append(args, strings.Fields(part)...)
		}
	}
	return args, pipe
}

// notRun are the verbs whose examples are only parsed: they run for long, or need what is not there.
var notRun = []string{"serve", "worker", "demo", "run", "doctor", "trigger", "cancel", "suspend", "savepoint", "stop", "dispose", "doctor-racer"}

// Every example of a help text is a command that can be parsed, and those that look at a root or a daemon work.
func TestExamples(t *testing.T) {
	v := newVerbs(t)
	layouttest.History(t, v.opened(t))
	server, root := v.replace.Replace("SERVER"), v.replace.Replace("ROOT")
	t.Setenv("CKPTD_SERVER", server)
	show := strings.NewReplacer("file:///var/lib/ckptd", root, "./data", root, "./backup", root+"/clicks", "./copies", v.dir+"/copies", "./alone", v.dir+"/alone", "unix:/run/ckptd.sock", server, "http://127.0.0.1:7420", server)
	ran := 0
	for _, line := range examplesOf(newRootCmd(nil)) {
		if strings.HasPrefix(line, "curl ") || strings.HasPrefix(line, "source ") {
			continue
		}
		if before, after, ok := strings.Cut(line, " | ckptd "); ok && !strings.HasPrefix(before, "ckptd ") { // what another program reads
			line = "ckptd " + after
		}
		args, pipe := words(line)
		for len(args) > 0 && strings.HasPrefix(args[0], "CKPTD_") { // the environment of one command
			args = args[1:]
		}
		if args[0] != "ckptd" {
			t.Errorf("%s: want a command of ckptd", line)
			continue
		}
		cmd, rest, err := newRootCmd(nil).Find(args[1:])
		if err == nil {
			err = cmd.ParseFlags(rest)
		}
		if err == nil {
			err = cmd.ValidateArgs(cmd.Flags().Args())
		}
		if err != nil && !strings.Contains(line, ">") {
			t.Errorf("%s: %v", line, err)
		}
		if slices.Contains(notRun, cmd.Name()) || cmd.Name() == "completion" || strings.Contains(line, "/etc/ckptd") {
			continue
		}
		args, _ = words(show.Replace(line))
		args = slices.DeleteFunc(args, func(a string) bool { return strings.HasPrefix(a, "CKPTD_") })
		if name := cmd.Name(); name == "status" && len(args) > 2 {
			continue // the fake daemon owns no job
		}
		tryExample(t, line, args[1:], pipe)
		ran++
	}
	if ran < 15 {
		t.Errorf("%d examples were run, want 15 at least", ran)
	}
}

// tryExample runs a command, and gives its output to the command behind the pipe.
func tryExample(t *testing.T, line string, args []string, pipe string) {
	t.Helper()
	var out bytes.Buffer
	if code := run(t.Context(), args, &out, &out); code != exit.Done {
		t.Errorf("%s: exit code %d\n%s", line, code, &out)
		return
	}
	filter, ok := strings.CutPrefix(pipe, "jq ")
	if !ok {
		return
	}
	if !json.Valid(out.Bytes()) {
		t.Errorf("%s: no JSON:\n%s", line, &out)
	}
	jq, err := exec.LookPath("jq")
	if err != nil {
		t.Logf("%s: not filtered: %v", line, err)
		return
	}
	filterArgs, _ := words(filter)
	cmd := exec.Command(jq, filterArgs...)
	cmd.Stdin = &out
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", line, err, text)
	}
}

// The help's own examples with JSON work over a root without jobs, too: an empty list is there and empty.
func TestExamplesOverAnEmptyRoot(t *testing.T) {
	dir := t.TempDir()
	opened, err := file.Open(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := layout.OpenRoot(t.Context(), opened.Store); err != nil {
		t.Fatal(err)
	}
	if err := opened.Close(); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if code := run(t.Context(), []string{"ls", dir, "--json"}, &out, &out); code != exit.Done {
		t.Fatalf("exit code %d\n%s", code, &out)
	}
	var doc struct{ Jobs *[]any }
	if err := json.Unmarshal(out.Bytes(), &doc); err != nil || doc.Jobs == nil || len(*doc.Jobs) != 0 {
		t.Errorf("%v, want an empty list of jobs:\n%s", err, &out)
	}
	tryExample(t, "ckptd ls ./data --json | jq '.jobs[].jobId'", []string{"ls", dir, "--json"}, "jq '.jobs[].jobId'")
}

// A shell that completes is offered the jobs and checkpoints of the root in the word, or of the daemon.
func TestJobsAndCheckpointsAreCompleted(t *testing.T) {
	v := newVerbs(t)
	path := filepath.Join(v.dir, "root")
	for _, c := range []struct{ line, want, not string }{
		{"ls ROOT/", "ROOT/clicks\n", ""},
		{"ls ROOT/cl", "ROOT/clicks\n", "ROOT/ended"},
		{"show ROOT/cl", "ROOT/clicks/\n", "ROOT/ended"},
		{"show ROOT/clicks/", "ROOT/clicks/chk-42\n", ""},
		{"files ROOT/clicks/chk-4", "ROOT/clicks/chk-42\n", ""},
		{"journal show ROOT/", "ROOT/ended\n", ""},
		{"status ROOT/e", "ROOT/ended\n", "ROOT/clicks"},
		{"trigger ROOT/", "ROOT/clicks\n", ""},
		{"cancel ROOT/", "ROOT/clicks\n", ""},
		{"ls " + path + "/", path + "/clicks\n", ""},
		{"status --server SERVER ", "\nclicks\n", ""},
		{"status --server SERVER cl", "\nclicks\n", "\nended"},
		{"show --server SERVER cl", "\nclicks/\n", "\nended"},
		{"show --server SERVER clicks/", "clicks/chk-42\n", "\nended"},
		{"ls ROOT/nobody/", "", "chk"},
		{"ls ROOT/clicks ROOT/", "", "ROOT/ended"},
	} {
		args := strings.Split("__complete "+v.replace.Replace(c.line), " ")
		var out bytes.Buffer
		run(t.Context(), args, &out, &out)
		if got := "\n" + v.restore.Replace(out.String()); !strings.Contains(got, v.restore.Replace(c.want)) || c.not != "" && strings.Contains(got, c.not) {
			t.Errorf("completion of %q: want %q and not %q:\n%s", c.line, c.want, c.not, got)
		}
	}
	t.Setenv("CKPTD_SERVER", v.replace.Replace("SERVER"))
	var out bytes.Buffer
	run(t.Context(), []string{"__complete", "status", "cl"}, &out, &out)
	if !strings.Contains(out.String(), "clicks\n") {
		t.Errorf("completion with CKPTD_SERVER:\n%s", &out)
	}
}

// --version prints what the verb prints.
func TestVersionFlag(t *testing.T) {
	var flag, verb bytes.Buffer
	if code := run(t.Context(), []string{"--version"}, &flag, &flag); code != exit.Done {
		t.Errorf("exit code %d", code)
	}
	run(t.Context(), []string{"version"}, &verb, &verb)
	if flag.String() != verb.String() || !strings.HasPrefix(flag.String(), "ckptd ") {
		t.Errorf("--version prints %q, version prints %q", flag.String(), verb.String())
	}
}

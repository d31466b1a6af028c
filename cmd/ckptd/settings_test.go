package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
)

// settingsOf runs config and returns its answer: each value with the source behind it.
func settingsOf(t *testing.T, args ...string) map[string]string {
	t.Helper()
	var out bytes.Buffer
	if code := run(t.Context(), append([]string{"config", "--json"}, args...), &out, &out); code != exit.Done {
		t.Fatalf("config %s: exit code %d\n%s", strings.Join(args, " "), code, &out)
	}
	var e effective
	if err := json.Unmarshal(out.Bytes(), &e); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, s := range append(e.Settings, e.Jobs...) {
		got[s.Name] = s.Value + " from " + s.From
	}
	return got
}

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A flag wins over the environment, the environment over the file, and the file over the default.
func TestSettings(t *testing.T) {
	file := writeFile(t, "ckptd.yaml", `
root: /srv/ckptd
listen: 127.0.0.1:1
advertise: [http://a:1, http://b:1]
streams: 3
reads: 5
log-level: warn
jobs:
  execution.checkpointing:
    interval: 3s
    num-retained: 4
`)
	t.Setenv("CKPTD_STREAMS", "7")
	t.Setenv("CKPTD_READS", "9")
	t.Setenv("CKPTD_SOCKET_MODE", "0660")
	t.Setenv("CKPTD_WRITES", "") // counts as none
	t.Setenv("CKPTD_TOKEN", "topsecret-topsecret")
	got := settingsOf(t, "--config", file, "--reads", "11")
	for name, want := range map[string]string{
		"root": "file:///srv/ckptd from file " + file, "listen": "127.0.0.1:1 from file " + file, "advertise": "http://a:1,http://b:1 from file " + file,
		"streams": "7 from environment CKPTD_STREAMS", "reads": "11 from flag --reads", "writes": "64 from default", "log-level": "warn from file " + file,
		"socket-mode": "0660 from environment CKPTD_SOCKET_MODE", "config": file + " from flag --config",
		"token":                                "set, and not shown from environment CKPTD_TOKEN",
		"execution.checkpointing.interval":     "3 s from file " + file,
		"execution.checkpointing.num-retained": "4 from file " + file,
		"execution.checkpointing.timeout":      "10 min from default",
		"restart-strategy.type":                "exponential-delay from default",
	} {
		if got[name] != want {
			t.Errorf("%s: %q, want %q", name, got[name], want)
		}
	}
	t.Setenv("CKPTD_CONFIG", file)
	t.Setenv("CKPTD_ADVERTISE", "http://c:1,http://d:1")
	if got := settingsOf(t); got["listen"] != "127.0.0.1:1 from file "+file || got["advertise"] != "http://c:1,http://d:1 from environment CKPTD_ADVERTISE" {
		t.Errorf("with CKPTD_CONFIG: listen %q, advertise %q", got["listen"], got["advertise"])
	}
}

// Every flag has a variable of its own, or none: two flags with one meaning share it over all verbs.
func TestVariables(t *testing.T) {
	usage := map[string]string{} // of the flags that serve and other verbs share
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if name := variableOf(f); c.Annotations[noSettings] == "" && name != "" && f.Name != "json" && f.Name != "log-level" && f.Name != "server" {
				if other, ok := usage[name]; ok && other != f.Usage {
					t.Errorf("%s means two things: %q and %q", name, other, f.Usage)
				}
				usage[name] = f.Usage
			}
		})
		for _, below := range c.Commands() {
			walk(below)
		}
	}
	walk(newRootCmd(nil))
	if usage["CKPTD_TLS_CERT"] == "" || usage["CKPTD_TOKEN_FILE"] == "" || usage["CKPTD_JOB_CONFIG"] == "" {
		t.Errorf("the variables are %v", usage)
	}
}

// A wrong file is refused with the line, what is wrong and the right name, before the root is touched.
func TestWrongSettings(t *testing.T) {
	root := filepath.Join(t.TempDir(), "root")
	for text, want := range map[string]string{
		"listn: 127.0.0.1:1":      "line 1: listn: there is no such setting: did you mean listen?",
		"\nwhatever-it-may-be: 1": "line 2: whatever-it-may-be: there is no such setting: the settings are the flags of serve",
		"config: x":               "there is no such setting",
		"streams: many":           "line 1: streams: invalid argument",
		"streams: [1, 2]":         "a single value is expected",
		"streams:":                "a single value is expected",
		"advertise: {a: b}":       "a word or a list of words is expected",
		"listen: 127.0.0.1:1\nlisten: 127.0.0.1:2": "line 2: listen: it is given already in line 1",
		"- listen": "keys and values are expected",
		"a: [":     "yaml: line 1",
		"jobs: {execution.checkpointing.intervall: 3s}":          "did you mean execution.checkpointing.interval?",
		"jobs: {execution.checkpointing.interval: soon}":         "not a duration",
		"jobs: {execution.checkpointing.dir: /srv/ckptd}":        "say root: URL",
		"jobs: {execution.checkpointing.num-retained: 10000000}": "out of range",
	} {
		file := writeFile(t, "ckptd.yaml", text)
		for _, verb := range []string{"serve", "config"} {
			var out bytes.Buffer
			if code := run(t.Context(), []string{verb, "--root", root, "--config", file}, &out, &out); code != exit.Usage || !strings.Contains(out.String(), want) {
				t.Errorf("%s with %q: exit code %d, want %d and %q\n%s", verb, text, code, exit.Usage, want, &out)
			}
		}
	}
	t.Setenv("CKPTD_STREAMS", "many")
	var out bytes.Buffer
	if code := run(t.Context(), []string{"serve", "--root", root}, &out, &out); code != exit.Usage || !strings.Contains(out.String(), "CKPTD_STREAMS") {
		t.Errorf("CKPTD_STREAMS=many: exit code %d\n%s", code, &out)
	}
	if _, err := os.Stat(root); err == nil {
		t.Error("the root was made")
	}
}

// The demo is whole by itself: what the environment says to other verbs does not reach it or its processes.
func TestDemoForgetsSettings(t *testing.T) {
	t.Setenv("CKPTD_ROOT", "/srv/ckptd")
	t.Setenv("CKPTD_TLS_CERT", "/no/such/file")
	t.Setenv("CKPTD_TOKEN", "topsecret")
	t.Setenv("CKPTD_JOB_CONFIG", "/no/such/file")
	if err := forgetSettings(newRootCmd(nil)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"CKPTD_ROOT", "CKPTD_TLS_CERT", "CKPTD_TOKEN", "CKPTD_JOB_CONFIG"} {
		if value, ok := os.LookupEnv(name); ok {
			t.Errorf("%s is still %q", name, value)
		}
	}
}

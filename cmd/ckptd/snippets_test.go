package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
)

// snippets are the blocks of one language of docs/operate.md.
func snippets(t *testing.T, language string) []string {
	t.Helper()
	text, err := os.ReadFile("../../docs/operate.md")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllSubmatch(text, -1) {
		all = append(all, string(m[1]))
	}
	return all
}

// settled is what `ckptd config` prints with these arguments.
func settled(t *testing.T, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	if code := run(t.Context(), append([]string{"config"}, args...), &out, &out); code != exit.Done {
		t.Errorf("config %q: exit code %d\n%s", args, code, &out)
	}
	return out.String()
}

// The unit of systemd starts serve with flags that it has, is not restarted after the exit codes that stay, and is taken
// by systemd itself where that is installed.
func TestUnitOfSystemd(t *testing.T) {
	units := snippets(t, "ini")
	if len(units) != 1 {
		t.Fatalf("%d units, want 1", len(units))
	}
	start := regexp.MustCompile(`(?m)^ExecStart=/usr/local/bin/ckptd serve (.*)$`).FindStringSubmatch(units[0])
	if start == nil {
		t.Fatal("the unit does not start serve")
	}
	file := filepath.Join(t.TempDir(), "ckptd.yaml")
	if err := os.WriteFile(file, []byte(configurationSnippet(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	settled(t, strings.Fields(strings.ReplaceAll(start[1], "/etc/ckptd/ckptd.yaml", file))...)
	if want := fmt.Sprintf("RestartPreventExitStatus=%d %d\n", exit.Usage, exit.Damage); !strings.Contains(units[0], want) {
		t.Errorf("the unit lacks %q", want)
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		return
	}
	// The program and the user need not be on the machine of the test.
	unit := strings.ReplaceAll(strings.ReplaceAll(units[0], "/usr/local/bin/ckptd", os.Args[0]), "User=ckptd\n", "")
	path := filepath.Join(t.TempDir(), "ckptd.service")
	if err := os.WriteFile(path, []byte(unit), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(analyze, "verify", path).CombinedOutput(); err != nil || strings.Contains(string(out), "ckptd.service:") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// configurationSnippet is the page's /etc/ckptd/ckptd.yaml.
func configurationSnippet(t *testing.T) string {
	t.Helper()
	for _, s := range snippets(t, "yaml") {
		if strings.HasPrefix(s, "# /etc/ckptd/ckptd.yaml\n") {
			return s
		}
	}
	t.Fatal("the page has no configuration")
	return ""
}

// Each setting of the page's configuration is in effect, and every other block of YAML can be read.
func TestConfigurationOfThePage(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ckptd.yaml")
	if err := os.WriteFile(file, []byte(configurationSnippet(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	out := settled(t, "--config", file)
	for _, want := range []string{"https://ckptd-1.example:7420", "/etc/ckptd/tls.key", "RETAIN_ON_CANCELLATION", "30 s"} {
		if !strings.Contains(out, want) {
			t.Errorf("not in effect: %s\n%s", want, out)
		}
	}
	for _, s := range snippets(t, "yaml") {
		if err := yaml.Unmarshal([]byte(s), new(any)); err != nil {
			t.Errorf("%v\n%s", err, s)
		}
	}
}

// The variables of `docker run` are settings of serve.
func TestContainerOfThePage(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ckptd.yaml")
	if err := os.WriteFile(file, []byte(configurationSnippet(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, s := range snippets(t, "sh") {
		if !strings.HasPrefix(s, "docker run ") {
			continue
		}
		for _, m := range regexp.MustCompile(`-e (CKPTD_\w+)=(\S+)`).FindAllStringSubmatch(s, -1) {
			found++
			t.Setenv(m[1], strings.ReplaceAll(m[2], "/etc/ckptd/ckptd.yaml", file))
		}
		out := settled(t)
		for _, want := range []string{"CKPTD_CONFIG", "CKPTD_LISTEN", "CKPTD_ADVERTISE"} {
			if !strings.Contains(out, "environment "+want) {
				t.Errorf("no setting comes from %s\n%s", want, out)
			}
		}
	}
	if found != 3 {
		t.Errorf("%d variables, want 3", found)
	}
}

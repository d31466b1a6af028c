package main

import (
	"compress/gzip"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
)

// hostsLog is a log with Apache's virtual hosts, of three clients. A byte order mark stands before it.
func hostsLog(lines int) string {
	var b strings.Builder
	b.WriteString("\xef\xbb\xbf")
	for i := range lines {
		fmt.Fprintf(&b, "site-%d.example.org:%d 198.51.100.%d - - [17/May/2015:10:05:03 +0000] \"GET /%d HTTP/1.1\" 200 7 \"-\" \"x\"\n", i%2, 443+i%2*8000, i%3, i)
	}
	return b.String()
}

// The demo reads standard input, packed and with virtual hosts, and counts for clients. Few lines that are no clicks
// are shown, many are a warning.
func TestDemoOfStandardInput(t *testing.T) {
	t.Parallel()
	noise := func(n int) string {
		return strings.Repeat("www.example.org 198.51.100.7 - - [x] \"GET / HTTP/1.1\" 200 7\n", n)
	}
	for _, c := range []struct {
		name, content string
		packed        bool
		says          []string
		not           string
	}{
		{"packed", hostsLog(3000), true, []string{
			"input   -: 3,000 clicks\n", "gzip, unpacked to ", "exact: 3000 lines of 3 users", "1,000  198.51.100.0", "1,000  198.51.100.1", "1,000  198.51.100.2",
		}, "none"},
		{"a few strange lines", hostsLog(3000) + noise(2), false, []string{
			"a stream, copied to ", "3,000 clicks, and 2 lines that are none: counted and skipped", "Line 3,001: ", "www.example.org 198.51.100.7", "exact: 3000 lines of 3 users",
		}, "WARNING"},
		{"many strange lines", hostsLog(300) + noise(100), false, []string{"WARNING: 100 of 400 lines (25%) are no clicks", "exact: 300 lines of 3 users"}, "198.51.100.7,"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			tmp := t.TempDir()
			cmd, out := demoProcess(t, tmp, "--input", "-", "--kills", "0", "--rate", "100000")
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if c.packed {
				z := gzip.NewWriter(in)
				_, err = z.Write([]byte(c.content))
				if e := z.Close(); err == nil {
					err = e
				}
			} else {
				_, err = in.Write([]byte(c.content))
			}
			if err != nil {
				t.Error(err)
			}
			in.Close()
			if err := cmd.Wait(); err != nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
			for _, want := range c.says {
				if !strings.Contains(out.String(), want) {
					t.Errorf("it does not say %q:\n%s", want, out.String())
				}
			}
			if strings.Contains(out.String(), c.not) {
				t.Errorf("it says %q:\n%s", c.not, out.String())
			}
			if left, _ := filepath.Glob(filepath.Join(tmp, "ckptd-[0-9]*")); len(left) > 0 {
				t.Errorf("the copy is left: %v", left)
			}
		})
	}
}

// An input without a click is an error, and an empty one is not.
func TestDemoOfUnreadableInput(t *testing.T) {
	t.Parallel()
	const line = "198.51.100.7 - - [x] \"GET / HTTP/1.1\" 200 7"
	wide := ""
	for _, r := range line + "\n" {
		wide += string(r) + "\x00"
	}
	for name, c := range map[string]struct {
		content, says string
	}{
		"UTF-16":       {"\xff\xfe" + strings.Repeat(wide, 20), "UTF-16"},
		"CR":           {strings.Repeat(line+"\r", 20), "end with CR"},
		"xz":           {"\xfd7zXZ\x00" + strings.Repeat("\x07\n", 20), "xz; unpack it first"},
		"another form": {strings.Repeat("<165>1 "+line+"\n", 20), "none of its 20 lines is a click"},
	} {
		tmp := t.TempDir()
		path := filepath.Join(tmp, "input")
		if err := os.WriteFile(path, []byte(c.content), 0o666); err != nil {
			t.Fatal(err)
		}
		cmd, out := demoProcess(t, tmp, "--input", path, "--kills", "0")
		err := cmd.Run()
		if cmd.ProcessState.ExitCode() != exit.Failed || !strings.Contains(out.String(), c.says) || !strings.Contains(out.String(), "Line 1: ") || strings.Contains(out.String(), "exact") {
			t.Errorf("%s: %v, %s; want %q", name, err, out.String(), c.says)
		}
		if left, _ := filepath.Glob(filepath.Join(tmp, "ckptd-*")); len(left) > 0 {
			t.Errorf("%s: left: %v", name, left)
		}
	}
	cmd, out := demoProcess(t, t.TempDir(), "--input", os.DevNull, "--kills", "0")
	if err := cmd.Run(); err != nil || !strings.Contains(out.String(), "exact: 0 lines of 0 users") {
		t.Errorf("an empty input: %v\n%s", err, out.String())
	}
}

// Whatever the paths hold, a shell does what the demo prints.
func TestPrintedCommandsCanBePasted(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	tmp := filepath.Join(base, "t m'p $x\x1b[1m")
	bin := filepath.Join(base, "b i\"n;é")
	for _, dir := range []string{tmp, bin} {
		if err := os.Mkdir(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(bin, "ckptd&")
	if err := os.Link(os.Args[0], program); err != nil {
		data, err := os.ReadFile(os.Args[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(program, data, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	cmd, out := demoProcess(t, tmp, "--records", "2000", "--kills", "0", "--rate", "20000", "--keep")
	cmd.Path, cmd.Args[0] = program, program
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	paste := func(line string) {
		t.Helper()
		sh := exec.Command("sh", "-c", line)
		sh.Env = append(os.Environ(), "TMPDIR="+tmp)
		if said, err := sh.CombinedOutput(); err != nil || len(said) == 0 {
			t.Errorf("%q: %v: %s", line, err, said)
		}
	}
	out.await(t, "the job goes on")
	out.await(t, " cancel ")
	out.await(t, "\n\n")
	text := out.String()
	_, watch, _ := strings.Cut(text, "\nwatch   ")
	watch, _, _ = strings.Cut(watch, "\n")
	paste(watch)
	_, cancel, _ := strings.Cut(text, "from another terminal by\n")
	cancel, _, _ = strings.Cut(cancel, "\n")
	paste(cancel)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	_, look, _ := strings.Cut(out.String(), "look at the job\n")
	commands := 0
	for line := range strings.Lines(look) {
		if strings.HasPrefix(line, "  ") {
			commands++
			paste(line)
		}
	}
	if commands != 6 {
		t.Errorf("%d commands, want 6:\n%s", commands, look)
	}
	if strings.ContainsRune(out.String(), '\x1b') {
		t.Errorf("the output commands a terminal: %q", out.String())
	}
}

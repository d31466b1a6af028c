package recount

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ckptd/ckptd/runtime/clicks"
	"github.com/ckptd/ckptd/runtime/state"
)

// job counts by the job's own source.
func job(t *testing.T, o clicks.Options) (r Result, records []string) {
	t.Helper()
	source, err := clicks.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	r.Counts = Counts{}
	for {
		var rec state.Record
		switch ready, err := source.Next(&rec); {
		case err != nil:
			t.Fatal(err)
		case ready == state.End:
			r.Clicks, r.Skipped = source.Progress().Records, source.Progress().Unparsable
			return r, records
		case ready == state.Ready:
			records = append(records, fmt.Sprintf("%s=%s", rec.Key, rec.Value))
			if clicks.LoggedIn(&rec) {
				r.Counts[string(rec.Key)]++
			}
		}
	}
}

func write(t *testing.T, content string) (path string, size int64) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "input")
	if err := os.WriteFile(path, []byte(content), 0o666); err != nil {
		t.Fatal(err)
	}
	return path, int64(len(content))
}

// right are lines of every form that the job takes, and some that it refuses.
var right = []string{
	`203.0.113.9 - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 5 "-" "x"`,
	`2001:db8::7 - mary ann [x] "GET /?q=\"a\" HTTP/1.1" 404 5`,
	`www.example.org:443 203.0.113.9 - - [x] "" 301`,
	`[2001:db8::1]:443 203.0.113.9 - - [x] "" 301`,
	`[2001:db8::1]:8443 203.0.113.9 - - [x] "" 301`,
	`[2001:db8::1]:80 2001:db8::7 - - [x] "" 301`,
	`[203.0.113.1]:80 203.0.113.9 - - [x] "" 301`,
	`[2001:db8::1] 203.0.113.9 - - [x] "" 301`,
	`www.example.org:8080 dsl-7.example.org id - [x] "\\" 301 -`,
	`127.0.1.1:80 fe80::1%eth0 - - [x] "-" 408 -`,
	`www.example.org 203.0.113.9 - - [x] "GET /] \"[x] HTTP/1.1" 200 5`,
	`h - "" [x] "\x16\x03" 599 1`,
	`{"user": "ann", "logged_in": true}`,
	`{"logged_in":false,"n":[1,{"a":"\ud83d\ude00"},{"a":2}],"user":"b\u0061\\\"\u00e9"}`,
	`{"user":"é","User":"x","logged_in":true,"o":{"user":1,"logged_in":null,"x":{"x":-1e9}}}`,
	`{"user":"a\ud83d\ude00\ud83d\ude00","logged_in":true,"x":"\\ud800"}`,
}

// mutants are lines that differ from the right ones in a few places.
func mutants(rng *rand.Rand, n int) []string {
	pieces := []string{
		" ", "-", ".", ":", "[", "]", `"`, `\`, "{", "}", ",", "0", "9", "a", "é", "\xff", "\x00", "\t", "\r", "\v", "] \"", " [", "10.0.0.1", "::1", "h:80", "a:5000", "%", "/",
		`\ud800`, `\udc00`, `\u0041`, `"user":`, `"user":"c",`, `"logged_in":true,`, `"x":1,"x":2,`, "null", "true", " 200", "\ufeff", " - ", "1e400", "_", "{}", "[]",
	}
	lines := make([]string, n)
	for i := range lines {
		line := right[rng.IntN(len(right))]
		for range 1 + rng.IntN(2) {
			from := rng.IntN(len(line) + 1)
			to := min(len(line), from+rng.IntN(3)*rng.IntN(5))
			line = line[:from] + pieces[rng.IntN(len(pieces))] + line[to:]
			if rng.IntN(10) == 0 {
				other := right[rng.IntN(len(right))]
				line = line[:rng.IntN(len(line)+1)] + other[rng.IntN(len(other)+1):]
			}
		}
		lines[i] = line
	}
	return lines
}

// The job's parser and this one were written apart. They agree on every line, also on those that nobody writes.
func TestTheTwoParsersAgree(t *testing.T) {
	lines := append(mutants(rand.New(rand.NewPCG(3, 4)), 20_000), right...)
	for _, depth := range []int{9_990, 9_997, 9_998, 9_999, 10_000, 10_001, 10_010} {
		lines = append(lines, `{"user":"deep","logged_in":true,"x":`+strings.Repeat("[", depth)+strings.Repeat("]", depth)+"}")
	}
	const mark = `{"user":"#","logged_in":true}`
	path, size := write(t, strings.Join(lines, "\n"+mark+"\n")+"\n"+mark+"\n")
	_, records := job(t, clicks.Options{Input: path})
	accepted := 0
	for i, line := range lines {
		want := "none"
		if records[0] != "#=1" {
			want, records = records[0], records[1:]
		}
		records = records[1:]
		got := "none"
		c, err := read(strings.TrimRight(line, "\r"))
		if i == 0 {
			c, err = read(strings.TrimRight(strings.TrimPrefix(line, "\ufeff"), "\r"))
		}
		if err == nil {
			accepted++
			got = c.user + "=0"
			if c.in {
				got = c.user + "=1"
			}
		}
		if got != want {
			t.Errorf("%.200q: the recount reads %q (%v), the job %q; want the same", line, got, err, want)
		}
	}
	if accepted < 1_500 || accepted > 18_000 {
		t.Errorf("%d of %d lines are clicks: want a mixture", accepted, len(lines))
	}
	whole, _ := job(t, clicks.Options{Input: path})
	r, err := File(t.Context(), path, size)
	if err != nil {
		t.Fatal(err)
	}
	r.First = Line{}
	if d := cmp.Diff(whole, r); d != "" {
		t.Errorf("-job +recount:\n%s", d)
	}
}

func TestLinesOfAFile(t *testing.T) {
	line := `{"user":"a","logged_in":true}`
	exact := line[:1] + strings.Repeat(" ", longestLine-1-len(line)) + line[1:]
	for name, c := range map[string]struct {
		content string
		want    Result
	}{
		"empty":                  {"", Result{}},
		"no end of line":         {line + "\n" + line, Result{Clicks: 2}},
		"CR and LF":              {line + "\r\n" + line + "\r\n", Result{Clicks: 2}},
		"a byte order mark":      {"\xef\xbb\xbf" + line + "\n", Result{Clicks: 1}},
		"a mark in another line": {line + "\n\xef\xbb\xbf" + line, Result{Clicks: 1, Skipped: 1, First: Line{Number: 2}}},
		"as long as allowed":     {exact + "\n" + line, Result{Clicks: 2}},
		"too long":               {exact + " \n" + line, Result{Clicks: 1, Skipped: 1, First: Line{Number: 1}}},
		"too long at the end":    {line + "\n" + exact + " ", Result{Clicks: 1, Skipped: 1, First: Line{Number: 2}}},
		"empty lines":            {"\n\n" + line + "\n", Result{Clicks: 1, Skipped: 2, First: Line{Number: 1}}},
		"CR alone":               {line + "\r" + line + "\r", Result{Skipped: 1, First: Line{Number: 1}}},
	} {
		path, size := write(t, c.content)
		got, err := File(t.Context(), path, size)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got.Skipped > 0 && (got.First.Why == nil || len(got.First.Text) > shown) {
			t.Errorf("%s: the first skipped line is %+v, want a reason and a short text", name, got.First)
		}
		fromJob, _ := job(t, clicks.Options{Input: path})
		if got.Clicks != c.want.Clicks || got.Skipped != c.want.Skipped || got.First.Number != c.want.First.Number {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
		if fromJob.Clicks != got.Clicks || fromJob.Skipped != got.Skipped {
			t.Errorf("%s: the job reads %+v, the recount %+v; want the same", name, fromJob, got)
		}
	}
	path, _ := write(t, strings.Repeat(line+"\n", 10))
	if r, err := File(t.Context(), path, 5*int64(len(line)+1)); err != nil || r.Clicks != 5 {
		t.Errorf("half of a file: %+v, %v; want 5 clicks", r, err)
	}
}

func TestGeneratedAgrees(t *testing.T) {
	for _, o := range []clicks.Options{{Seed: 1, Users: 1, Records: 50}, {Seed: 42, Users: 500, Records: 20_000}, {Users: 1 << 40, Records: 3000}} {
		want, _ := job(t, o)
		got, err := Generated(t.Context(), o.Seed, o.Users, o.Records)
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("%+v: %v, -job +recount:\n%s", o, err, d)
		}
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	path, size := write(t, strings.Repeat("x\n", 2*lookEvery))
	if _, err := File(ctx, path, size); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want that it was canceled", err)
	}
	if _, err := Generated(ctx, 0, 1, 1<<60); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want that it was canceled", err)
	}
}

package jobfile_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/cmd/ckptd/jobfile"
	"github.com/ckptd/ckptd/conformance/daemontest"
	"github.com/ckptd/ckptd/runtime"
	"github.com/ckptd/ckptd/runtime/state/heap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// run runs a job of one worker over an input to its end, and returns the lines of its output, sorted.
func run(t *testing.T, dir, input, source, steps string) ([]string, error) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "in"), []byte(input), 0o666); err != nil {
		t.Fatal(err)
	}
	text := "source: {files: {path: in" + source + "}\nsteps:\n" + steps + "\nsink: {files: {path: out, name: rows}}\n"
	f, err := jobfile.Parse("job.yaml", dir, []byte(text))
	if err != nil {
		return nil, err
	}
	built, err := f.Job.Build(heap.Open)
	if err != nil {
		return nil, err
	}
	d := daemontest.Start(t)
	l := runtime.StartLocal(t.Context(), runtime.LocalOptions{JobID: "job", Job: built, Dir: t.TempDir(), Attach: func(ctx context.Context, _ int) (runtime.Coordinator, error) {
		c, err := client.New([]string{d.URL()})
		if err != nil {
			return nil, err
		}
		context.AfterFunc(ctx, func() { c.Close() })
		config := client.DefaultConfig(20 * time.Millisecond)
		config.RestartStrategy = client.RestartStrategy{Type: client.NoRestart}
		attached, err := c.AttachJob(ctx, client.JobSpec{ID: "job", Plan: built.Plan(), Config: config})
		if err != nil {
			return nil, err
		}
		return runtime.NewCoordinator(attached), nil
	}})
	defer l.Stop()
	if err := l.Wait(); err != nil {
		return nil, err
	}
	var lines []string
	parts, _ := filepath.Glob(filepath.Join(dir, "out", "rows-*.jsonl"))
	for _, part := range parts {
		b, err := os.ReadFile(part)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, strings.Fields(string(b))...)
	}
	slices.Sort(lines)
	c, err := client.New([]string{d.URL()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	jobs, err := c.Admin().Jobs(t.Context())
	if err != nil || len(jobs) != 1 {
		t.Fatalf("jobs %v, %v", jobs, err)
	}
	if jobs[0].Status != client.StatusFinished {
		return lines, fmt.Errorf("the job is %v: %s", jobs[0].Status, jobs[0].EndReason)
	}
	return lines, nil
}

const sales = `{"shop":"a","price":3,"tags":["x","y"]}
{"shop":"b","price":5}
{"shop":"a","price":1.5}
{"shop":"b","price":-2,"note":null}
`

// Steps do with rows what they say.
func TestSteps(t *testing.T) {
	for name, c := range map[string]struct{ steps, want string }{
		"filter":                  {"- filter: row.price > 2", `{"price":3,"shop":"a","tags":["x","y"]} {"price":5,"shop":"b"}`},
		"filter by presence":      {"- filter: has(row.tags) && 'y' in row.tags", `{"price":3,"shop":"a","tags":["x","y"]}`},
		"map of fields":           {"- map: {s: row.shop.upperAscii(), n: 1, big: row.price >= 3}", `{"big":false,"n":1,"s":"A"} {"big":false,"n":1,"s":"B"} {"big":true,"n":1,"s":"A"} {"big":true,"n":1,"s":"B"}`},
		"map of the whole row":    {`- map: "{'p': double(row.price) * 2.0, 'l': [row.shop, null]}"`, `{"l":["a",null],"p":3} {"l":["a",null],"p":6} {"l":["b",null],"p":-4} {"l":["b",null],"p":10}`},
		"an optional field":       {"- map: {t: 'row.?tags[?0].orValue(\"none\")'}", `{"t":"none"} {"t":"none"} {"t":"none"} {"t":"x"}`},
		"count":                   {"- keyBy: row.shop\n- reduce: {n: count}", `{"n":1,"shop":"a"} {"n":1,"shop":"b"} {"n":2,"shop":"a"} {"n":2,"shop":"b"}`},
		"sum, whole and not":      {"- keyBy: row.shop\n- reduce: {s: {sum: row.price}}", `{"s":3,"shop":"a"} {"s":3,"shop":"b"} {"s":4.5,"shop":"a"} {"s":5,"shop":"b"}`},
		"min, max and last":       {"- keyBy: row.shop\n- reduce: {min: {min: row.price}, max: {max: row.price}, last: {last: row.price}}\n- filter: row.last < 2", `{"last":-2,"max":5,"min":-2,"shop":"b"} {"last":1.5,"max":3,"min":1.5,"shop":"a"}`},
		"the least text":          {"- keyBy: {all: 'true'}\n- reduce: {least: {min: row.shop}, n: count}\n- filter: row.n == 4", `{"all":true,"least":"a","n":4}`},
		"a key of two fields":     {"- keyBy: {shop: row.shop, dear: row.price > 2}\n- reduce: {n: count}", `{"dear":false,"n":1,"shop":"a"} {"dear":false,"n":1,"shop":"b"} {"dear":true,"n":1,"shop":"a"} {"dear":true,"n":1,"shop":"b"}`},
		"a computed key":          {"- keyBy: row.price < 0.0\n- reduce: {n: count}\n- filter: row.key", `{"key":true,"n":1}`},
		"a second keyBy":          {"- keyBy: row.shop\n- reduce: {n: count}\n- keyBy: row.n\n- reduce: {shops: count}\n- filter: row.shops == 2", `{"n":1,"shops":2} {"n":2,"shops":2}`},
		"no steps":                {"", `{"note":null,"price":-2,"shop":"b"} {"price":1.5,"shop":"a"} {"price":3,"shop":"a","tags":["x","y"]} {"price":5,"shop":"b"}`},
		"a map of a reduced row":  {"- keyBy: row.shop\n- reduce: {n: count}\n- map: {text: row.shop + string(row.n)}", `{"text":"a1"} {"text":"a2"} {"text":"b1"} {"text":"b2"}`},
		"a sum leaves null alone": {"- keyBy: {all: 'true'}\n- reduce: {s: {sum: 'has(row.note) ? row.note : 1'}, n: count}\n- filter: row.n == 4", `{"all":true,"n":4,"s":3}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := run(t, t.TempDir(), sales, "}", c.steps)
			if want := strings.Fields(c.want); err != nil || !slices.Equal(got, want) && name != "no steps" {
				t.Errorf("rows\n%s, %v\nwant\n%s", strings.Join(got, "\n"), err, strings.Join(want, "\n"))
			}
			if name == "no steps" && len(got) != 4 {
				t.Errorf("rows %q, want those of the input", got)
			}
		})
	}
}

// Files are read as their format says.
func TestFormats(t *testing.T) {
	for name, c := range map[string]struct{ input, source, want string }{
		"csv":  {"\ufeffuser,page\r\nann,\"a,b\"\r\n\r\nbob,c\r\n", ", format: csv}", `{"page":"a,b","user":"ann"} {"page":"c","user":"bob"}`},
		"text": {"one\n\ntwo", ", format: text}", `{"line":""} {"line":"one"} {"line":"two"}`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := run(t, t.TempDir(), c.input, c.source, "")
			if want := strings.Fields(c.want); err != nil || !slices.Equal(got, want) {
				t.Errorf("rows %q, %v; want %q", got, err, want)
			}
		})
	}
}

// A record that cannot be read, and a row for which an expression fails, meet the same policy.
func TestOnError(t *testing.T) {
	input := `{"user":"a","n":1}` + "\n" + `nonsense` + "\n" + `{"user":"b"}` + "\n" + `{"user":"c","n":3}` + "\n"
	steps := map[string]string{
		"filter": "- filter: row.n > 0", "map": "- map: {n: row.n, user: row.user}", "keyBy": "- keyBy: row.n\n- reduce: {user: {last: row.user}}",
		"reduce": "- keyBy: row.user\n- reduce: {n: {sum: row.n}}",
	}
	for step, text := range steps {
		t.Run(step, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := run(t, dir, `{"user":"b"}`, "}", text); err == nil || !strings.Contains(err.Error(), "no such key: n") || !strings.Contains(err.Error(), "job.yaml:") {
				t.Errorf("fail: error %v", err)
			}
			dir = t.TempDir()
			want := []string{`{"n":1,"user":"a"}`, `{"n":3,"user":"c"}`}
			got, err := run(t, dir, input, "}, on-error: dead-letter, dead-letter: dead", text)
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("dead-letter: rows %q, %v; want %q", got, err, want)
			}
			if b, err := os.ReadFile(filepath.Join(dir, "dead")); string(b) != "nonsense\n{\"user\":\"b\"}\n" {
				t.Errorf("the dead letters are %q, %v", b, err)
			}
		})
	}
	t.Run("fail", func(t *testing.T) {
		_, err := run(t, t.TempDir(), input, "}", "")
		if err == nil || !strings.Contains(err.Error(), `record 2 of the source cannot be read`) || !strings.Contains(err.Error(), "nonsense") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("skip", func(t *testing.T) {
		if got, err := run(t, t.TempDir(), input, "}, on-error: skip", ""); err != nil || len(got) != 3 {
			t.Errorf("rows %q, %v; want 3", got, err)
		}
	})
}

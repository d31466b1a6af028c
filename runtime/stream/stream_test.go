package stream_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/conformance/daemontest"
	"github.com/ckptd/ckptd/runtime"
	"github.com/ckptd/ckptd/runtime/filesink"
	"github.com/ckptd/ckptd/runtime/lines"
	"github.com/ckptd/ckptd/runtime/lsm"
	"github.com/ckptd/ckptd/runtime/state"
	"github.com/ckptd/ckptd/runtime/state/heap"
	"github.com/ckptd/ckptd/runtime/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type click struct {
	User     string `json:"user"`
	LoggedIn bool   `json:"logged_in"`
}

// fromFile is a source of the lines of a file.
func fromFile[T any](path string, rate float64) stream.Source[T] {
	return stream.Source[T]{Kind: "lines", Rate: rate, Open: func(s runtime.Subtask) (state.Source, error) {
		return lines.Open(lines.Options{Path: path, Subtask: s.Index, Parallelism: s.Parallelism, Parse: func(line []byte, rec *state.Record) bool {
			rec.Key, rec.Value = nil, line
			return true
		}})
	}}
}

func toFiles(dir string) stream.Sink {
	return stream.Sink{Kind: "files", Open: func(s runtime.Subtask) (state.Sink, error) {
		return filesink.New(filesink.Options{Dir: dir, Name: s.Job, Subtask: uint32(s.Index)})
	}}
}

// tutorial is the job that every guide shows.
func tutorial(in stream.Source[click], out stream.Sink) *stream.Job {
	clicks := stream.From(in).UID("clicks").Filter(func(c click) bool { return c.LoggedIn }).UID("logged-in")
	ones := stream.Map(clicks, func(c click) stream.KeyValue[int64] { return stream.KeyValue[int64]{Key: c.User, Value: 1} }).UID("one")
	return ones.KeyBy(func(o stream.KeyValue[int64]) string { return o.Key }).Sum(func(o stream.KeyValue[int64]) int64 { return o.Value }).UID("count").
		To(out).UID("sink").Named("clicks").Parallelism(2)
}

// writeClicks writes clicks, and returns the counts of the users who were logged in.
func writeClicks(t *testing.T, n int) (path string, want map[string]int) {
	t.Helper()
	var b strings.Builder
	want = map[string]int{}
	r := rand.New(rand.NewPCG(1, 2))
	for range n {
		user, in := fmt.Sprintf("user-%d", r.IntN(50)), r.IntN(10) > 0
		fmt.Fprintf(&b, "{\"user\": %q, \"logged_in\": %t}\n", user, in)
		if in {
			want[user]++
		}
	}
	path = filepath.Join(t.TempDir(), "clicks.jsonl")
	if err := os.WriteFile(path, []byte(b.String()), 0o666); err != nil {
		t.Fatal(err)
	}
	return path, want
}

// start runs the workers of a job in this process.
func start(t *testing.T, d *daemontest.Daemon, job *stream.Job, backend state.Factory) *runtime.Local {
	t.Helper()
	built, err := job.Build(backend)
	if err != nil {
		t.Fatal(err)
	}
	return runtime.StartLocal(t.Context(), runtime.LocalOptions{JobID: "clicks", Job: built, Workers: built.Tasks[0].Parallelism, Dir: t.TempDir(), Attach: func(ctx context.Context, _ int) (runtime.Coordinator, error) {
		c, err := client.New([]string{d.URL()})
		if err != nil {
			return nil, err
		}
		context.AfterFunc(ctx, func() { c.Close() })
		config := client.DefaultConfig(50 * time.Millisecond)
		config.RestartStrategy = client.RestartStrategy{Attempts: 100, Delay: 10 * time.Millisecond}
		attached, err := c.AttachJob(ctx, client.JobSpec{ID: "clicks", Plan: built.Plan(), Config: config})
		if err != nil {
			return nil, err
		}
		return runtime.NewCoordinator(attached), nil
	}})
}

// counts are the last counts that the sinks have published. Every count has to be there once.
func counts(t *testing.T, dir string) map[string]int {
	t.Helper()
	got, seen := map[string]int{}, map[string]bool{}
	err := filesink.ReadLines(dir, "clicks", func(key, value []byte) error {
		n, err := strconv.Atoi(string(value))
		if line := string(key) + "," + string(value); seen[line] {
			return fmt.Errorf("%s is there twice", line)
		} else {
			seen[line] = true
		}
		got[string(key)] = max(got[string(key)], n)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// The tutorial's job is exact on both backends although workers and daemon are killed, and it finishes by itself.
func TestTutorialIsExact(t *testing.T) {
	engine := lsm.New(nil)
	defer engine.Close()
	for name, backend := range map[string]state.Factory{"hashmap": heap.Open, "rocksdb": engine.Open} {
		t.Run(name, func(t *testing.T) {
			path, want := writeClicks(t, 4000)
			out := t.TempDir()
			d := daemontest.Start(t)
			l := start(t, d, tutorial(fromFile[click](path, 2500), toFiles(out)), backend)
			defer l.Stop()
			ended := make(chan error, 1)
			go func() { ended <- l.Wait() }()
			for i, kill := range []func(){func() { l.Kill(0) }, d.Restart, func() { l.Kill(1) }} {
				for len(counts(t, out)) == 0 || i > 0 && committed(t, out) < i*500 {
					time.Sleep(5 * time.Millisecond)
				}
				kill()
			}
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
			if got := counts(t, out); !maps.Equal(got, want) {
				t.Errorf("counts are %v, want %v", got, want)
			}
		})
	}
}

// committed is the number of published lines.
func committed(t *testing.T, dir string) (n int) {
	t.Helper()
	if err := filesink.ReadLines(dir, "clicks", func(_, _ []byte) error { n++; return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

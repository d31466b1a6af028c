package service_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/file"
	"github.com/ckptd/ckptd/service"
)

// sdkWorker is the only worker of a job. It uses the SDK.
type sdkWorker struct {
	tb      testing.TB
	d       *daemon
	c       *client.Client
	job     *client.Job
	session *client.Session
}

var benchSubtask = client.Subtask{Operator: "count"}

func startSDKWorker(tb testing.TB, d *daemon, id string) *sdkWorker {
	tb.Helper()
	c, err := client.New([]string{d.http.URL})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	job, err := c.AttachJob(tb.Context(), client.JobSpec{ID: id, Plan: sdkPlan(onePlan()), Config: client.ConfigFrom(defaultConfig(0))})
	if err != nil {
		tb.Fatal(err)
	}
	s, err := job.Register(tb.Context(), client.Registration{Subtasks: []client.Subtask{benchSubtask}})
	if err != nil {
		tb.Fatal(err)
	}
	w := &sdkWorker{tb: tb, d: d, c: c, job: job, session: s}
	begin := next[client.Start](w)
	if err := job.Report(tb.Context(), client.Report{Kind: client.ReportRunning, Attempt: begin.Attempt}); err != nil {
		tb.Fatal(err)
	}
	return w
}

// next waits for a command of one kind.
func next[T client.Command](w *sdkWorker) T {
	w.tb.Helper()
	for {
		cmd, err := w.session.Next(w.tb.Context())
		if err != nil {
			w.tb.Fatal(err)
		}
		if c, ok := cmd.(T); ok {
			return c
		}
	}
}

// took is the cost of a checkpoint, from the beginning of its snapshot to Complete.
type took struct{ wall, cpu time.Duration }

// checkpoint takes one checkpoint of the pieces.
func (w *sdkWorker) checkpoint(pieces []client.Piece) took {
	w.tb.Helper()
	ctx, cancel := context.WithCancel(w.tb.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.d.trigger(ctx, w.job.ID())
	}()
	defer func() { cancel(); <-done }()
	t := next[client.Trigger](w)
	start, cpu := time.Now(), cpuTime()
	if err := w.job.Snapshot(ctx, client.Snapshot{Attempt: t.Attempt, Epoch: t.Epoch, Checkpoint: t.Checkpoint,
		Subtasks: []client.SubtaskSnapshot{{Subtask: benchSubtask, Pieces: pieces}}}); err != nil {
		w.tb.Fatal(err)
	}
	next[client.Complete](w)
	cost := took{time.Since(start), cpuTime() - cpu}
	<-done
	eventually(w.tb, "the end of deletes", func() bool { return w.d.status(w.tb, w.job.ID()).GetCondemnedFiles() == 0 })
	return cost
}

// cpuTime returns the CPU time that this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func median(d []time.Duration) time.Duration {
	d = slices.Clone(d)
	slices.Sort(d)
	return d[len(d)/2]
}

func startBenchDaemon(b *testing.B, root storage.Opened) *daemon {
	return startDaemonWith(b, root, "", service.Options{Log: slog.New(slog.DiscardHandler)})
}

// BenchmarkCommit measures the time from the last acknowledgement to Complete, with small state, on files.
//
// Beside it, it measures the same five fsyncs alone: of _metadata, its folder, the job's folder with the new folder in
// it, the journal's slot, the journal's folder. A round is one of each. The budget: the ratio of the medians is at most
// 1.5. The p99 is reported, never judged. Run with
//
//	go test -run '^$' -bench Commit -benchtime 500x ./service
func BenchmarkCommit(b *testing.B) {
	dir := b.TempDir()
	root, err := file.Open(b.Context(), filepath.Join(dir, "store"), nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { root.Close() })
	w := startSDKWorker(b, startBenchDaemon(b, root), "j")
	plain := filepath.Join(dir, "plain")
	if err := os.MkdirAll(filepath.Join(plain, "_journal"), 0o777); err != nil {
		b.Fatal(err)
	}
	pieces := []client.Piece{{Name: "n", Inline: []byte("a small state")}}
	var commits, fsyncs []time.Duration
	n := 0
	for b.Loop() {
		n++
		one := []func(){
			func() { commits = append(commits, w.checkpoint(pieces).wall) },
			func() {
				start := time.Now()
				if err := plainCommit(plain, n); err != nil {
					b.Fatal(err)
				}
				fsyncs = append(fsyncs, time.Since(start))
				if err := os.RemoveAll(filepath.Join(plain, layout.CheckpointDir(uint64(n)))); err != nil {
					b.Fatal(err)
				}
			},
		}
		one[n%2]()
		one[1-n%2]()
	}
	b.ReportMetric(0, "ns/op") // of a round: says nothing
	b.ReportMetric(median(commits).Seconds()*1e3, "commit-ms")
	b.ReportMetric(median(fsyncs).Seconds()*1e3, "fsyncs-ms")
	b.ReportMetric(percentile(commits, 99).Seconds()*1e3, "commit-p99-ms")
	b.ReportMetric(percentile(fsyncs, 99).Seconds()*1e3, "fsyncs-p99-ms")
	b.ReportMetric(median(commits).Seconds()/median(fsyncs).Seconds(), "ratio")
}

func percentile(d []time.Duration, p int) time.Duration {
	d = slices.Clone(d)
	slices.Sort(d)
	return d[min(len(d)-1, len(d)*p/100)]
}

// plainCommit makes two small files durable, as a commit must.
func plainCommit(dir string, n int) error {
	folder := filepath.Join(dir, layout.CheckpointDir(uint64(n)))
	if err := os.Mkdir(folder, 0o777); err != nil {
		return err
	}
	if err := syncedSmallFile(filepath.Join(folder, "_metadata"), 160); err != nil {
		return err
	}
	for _, d := range []string{folder, dir} {
		if err := syncDir(d); err != nil {
			return err
		}
	}
	if err := syncedSmallFile(filepath.Join(dir, "_journal", layout.SlotName(uint64(n))), 600); err != nil {
		return err
	}
	return syncDir(filepath.Join(dir, "_journal"))
}

func syncedSmallFile(path string, size int) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(make([]byte, size)); err != nil {
		return err
	}
	return f.Sync()
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// The numbers of files of BenchmarkReference: 10 are new in each checkpoint.
const (
	newFiles  = 10
	manyFiles = 10_010
)

// BenchmarkReference measures what a known file costs in a checkpoint: (t(10,010 files, 10 new) - t(10 files, 10 new))
// / 10,000.
//
// The time runs from the beginning of the SDK's Snapshot to Complete. Worker and owner are in one process, the store is
// in memory. A round is one checkpoint of each. The budget: at most 2,000 ns. Run with
//
//	go test -run '^$' -bench Reference -benchtime 50x ./service
func BenchmarkReference(b *testing.B) {
	d := startBenchDaemon(b, newRoot())
	few, many := newWindow(startSDKWorker(b, d, "few"), newFiles), newWindow(startSDKWorker(b, d, "many"), manyFiles)
	for range 3 {
		few.checkpoint()
		many.checkpoint()
	}
	var a, z, cpuA, cpuZ []time.Duration
	for b.Loop() {
		t := few.checkpoint()
		a, cpuA = append(a, t.wall), append(cpuA, t.cpu)
		t = many.checkpoint()
		z, cpuZ = append(z, t.wall), append(cpuZ, t.cpu)
	}
	each := func(many, few []time.Duration) float64 {
		return float64(median(many)-median(few)) / (manyFiles - newFiles)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(a).Seconds()*1e3, "few-ms")
	b.ReportMetric(median(z).Seconds()*1e3, "many-ms")
	b.ReportMetric(each(z, a), "ns/reference")
	b.ReportMetric(each(cpuZ, cpuA), "cpu-ns/reference")
}

// window is a worker whose checkpoints all have the same number of files. In each checkpoint new files replace the
// oldest.
type window struct {
	*sdkWorker
	pieces []client.Piece
	made   int
}

func newWindow(w *sdkWorker, files int) *window {
	v := &window{sdkWorker: w}
	for range files {
		v.pieces = append(v.pieces, v.file())
	}
	return v
}

func (v *window) file() client.Piece {
	v.made++
	return client.Piece{
		Name: fmt.Sprintf("%06d.sst", v.made), InstanceNonce: "q5bshxvkjmlp3ynwz6dta2cefo", Scope: client.Shared, Size: 100,
		Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(strings.Repeat("x", 100))), nil },
	}
}

func (v *window) checkpoint() took {
	v.pieces = v.pieces[newFiles:]
	for range newFiles {
		v.pieces = append(v.pieces, v.file())
	}
	runtime.GC() // each begins with the same heap
	return v.sdkWorker.checkpoint(v.pieces)
}

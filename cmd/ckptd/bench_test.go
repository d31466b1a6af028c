package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/launch"
	"github.com/ckptd/ckptd/conformance/servers"
	"github.com/ckptd/ckptd/crc32c"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/service/coordinator"
)

// leastRounds is how many rounds a median needs.
const leastRounds = 3

// BenchmarkDaemon sends files from a worker by the SDK over TCP through a `ckptd serve` of its own to an S3 server, and fetches them again;
// interleaved, the same process moves the same files by the driver alone. Reported only:
//
//	driver/daemon     the ratio of the medians of their times
//	daemon-cpu-s/GiB  of the daemon's process, as the kernel counts it: in steps of 10 ms
func BenchmarkDaemon(b *testing.B) {
	for _, kind := range []string{servers.Versitygw, servers.MinIO} {
		b.Run(kind, func(b *testing.B) {
			server := servers.StartS3(b, kind, false)
			for _, c := range []struct{ size, atOnce, files int }{{4 << 10, 16, 512}, {1 << 20, 4, 64}, {96 << 20, 2, 2}} {
				w := startBenchWorker(b, func(name string) string { return server.URL(name, "") }, int64(c.size), c.atOnce, c.files)
				name := fmt.Sprintf("KiB=%d/at-once=%d", c.size>>10, c.atOnce)
				b.Run(name+"/up", func(b *testing.B) { w.compare(b, w.snapshot, w.create) })
				b.Run(name+"/down", func(b *testing.B) {
					w.restore(b)
					w.compare(b, w.fetch, w.open)
				})
				w.stop()
			}
		})
	}
}

// A benchWorker is the one worker of a job, by the SDK, with a daemon of its own.
type benchWorker struct {
	daemon  *exec.Cmd
	url     string // the daemon's
	client  *client.Client
	job     *client.Job
	session *client.Session
	direct  storage.Opened // another root of the same store
	handles []client.Handle

	source        string
	size          int64
	crc32c        uint32
	atOnce, files int
	made          int // files
}

var benchSubtasks = []client.Subtask{{Operator: "count"}}

// startBenchWorker starts a worker whose daemon and driver have roots of their own at url.
func startBenchWorker(b *testing.B, url func(name string) string, size int64, atOnce, files int) *benchWorker {
	b.Helper()
	w := &benchWorker{source: filepath.Join(b.TempDir(), "source"), size: size, atOnce: atOnce, files: files}
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data)
	w.crc32c = crc32c.Sum(data)
	w.must(b, os.WriteFile(w.source, data, 0o600))
	var err error
	w.direct, err = drivers.Open(b.Context(), url(fmt.Sprintf("direct-%d", size)), false)
	w.must(b, err)
	w.serve(b, url(fmt.Sprintf("daemon-%d", size)))
	w.attach(b, client.JobSpec{ID: "j"})
	return w
}

// serve starts the daemon, and a client of it.
func (w *benchWorker) serve(b *testing.B, root string) {
	b.Helper()
	address := freeAddress(b)
	w.url = "http://" + address
	w.daemon = exec.Command(os.Args[0], "serve", "--root", root, "--listen", address, "--log-level", "error")
	w.daemon.Stderr = os.Stderr
	w.must(b, w.daemon.Start())
	b.Cleanup(w.stop)
	var err error
	w.client, err = client.New([]string{w.url}, client.WithParallel(w.atOnce))
	w.must(b, err)
}

// attach attaches a job, becomes its worker, and begins.
func (w *benchWorker) attach(b *testing.B, spec client.JobSpec) {
	b.Helper()
	spec.Plan = &client.Plan{Operators: []client.Operator{{ID: "count", Parallelism: 1, MaxParallelism: 128, Triggered: true}}}
	if spec.Config == nil {
		spec.Config = client.DefaultConfig(0)
	}
	var err error
	w.job, err = w.client.AttachJob(b.Context(), spec)
	w.must(b, err)
	w.session, err = w.job.Register(b.Context(), client.Registration{Subtasks: benchSubtasks})
	w.must(b, err)
	w.begin(b)
}

// freeAddress is one where nobody listens just now.
func freeAddress(b *testing.B) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (w *benchWorker) must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// stop ends the daemon. Stopping it twice is fine.
func (w *benchWorker) stop() {
	if w.daemon.ProcessState != nil {
		return
	}
	if w.client != nil {
		w.client.Close()
	}
	_ = w.daemon.Process.Kill()
	_ = w.daemon.Wait() // killed
	if w.direct.Store != nil {
		_ = w.direct.Close()
	}
}

// nextCommand waits for a command of one kind.
func nextCommand[T client.Command](b *testing.B, w *benchWorker) T {
	b.Helper()
	for {
		cmd, err := w.session.Next(b.Context())
		w.must(b, err)
		if c, ok := cmd.(T); ok {
			return c
		}
	}
}

// begin begins an attempt and runs.
func (w *benchWorker) begin(b *testing.B) {
	b.Helper()
	start := nextCommand[client.Start](b, w)
	states, err := w.job.Assignment(b.Context(), start.Attempt, benchSubtasks)
	w.must(b, err)
	w.handles = states[0].Handles
	w.must(b, w.job.Report(b.Context(), client.Report{Kind: client.ReportRunning, Attempt: start.Attempt}))
}

// restore gets the handles of the last checkpoint, as a new attempt does.
func (w *benchWorker) restore(b *testing.B) {
	b.Helper()
	if len(w.handles) == 0 && w.made == 0 {
		w.snapshot(b)
	}
	_, err := w.job.NewAttempt(b.Context(), w.job.Attempt(), "to restore")
	w.must(b, err)
	w.begin(b)
	if len(w.handles) != w.files {
		b.Fatalf("%d files to restore, want %d", len(w.handles), w.files)
	}
}

// snapshot takes a checkpoint. The time is that of its files and their acknowledgement.
func (w *benchWorker) snapshot(b *testing.B) time.Duration {
	b.Helper()
	done := make(chan error, 1)
	go func() {
		for {
			_, err := w.client.Admin().Trigger(b.Context(), w.job.ID())
			if err == nil || b.Context().Err() != nil || !strings.Contains(err.Error(), string(coordinator.ReasonNotAllRunning)) {
				done <- err
				return
			}
			launch.Sleep(b.Context(), time.Millisecond)
		}
	}()
	t := nextCommand[client.Trigger](b, w)
	var pieces []client.Piece
	for range w.files {
		w.made++
		pieces = append(pieces, client.Piece{
			Name: fmt.Sprint(w.made), InstanceNonce: "q5bshxvkjmlp3ynwz6dta2cefo", Scope: client.Shared, Size: w.size,
			Open: func() (io.ReadCloser, error) { return os.Open(w.source) },
		})
	}
	began := time.Now()
	w.must(b, w.job.Snapshot(b.Context(), client.Snapshot{Attempt: t.Attempt, Epoch: t.Epoch, Checkpoint: t.Checkpoint,
		Subtasks: []client.SubtaskSnapshot{{Subtask: benchSubtasks[0], Pieces: pieces}}}))
	took := time.Since(began)
	nextCommand[client.Complete](b, w)
	w.must(b, <-done)
	return took
}

func (w *benchWorker) create(b *testing.B) time.Duration {
	return w.together(b, func(i int) error {
		f, err := os.Open(w.source)
		if err != nil {
			return err
		}
		defer f.Close()
		out, err := w.direct.Store.Create(b.Context(), fmt.Sprint("j/", i), storage.CreateOptions{Size: w.size, HasSize: true, CRC32C: w.crc32c, HasCRC32C: true})
		if err != nil {
			return err
		}
		defer out.Abort()
		if _, err := io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{f}, make([]byte, min(w.size, 512<<10))); err != nil {
			return err
		}
		return out.Commit()
	})
}

func (w *benchWorker) fetch(b *testing.B) time.Duration {
	dir := b.TempDir()
	defer os.RemoveAll(dir)
	return w.together(b, func(i int) error { return w.job.Fetch(b.Context(), w.handles[i], filepath.Join(dir, fmt.Sprint(i))) })
}

func (w *benchWorker) open(b *testing.B) time.Duration {
	dir := b.TempDir()
	defer os.RemoveAll(dir)
	return w.together(b, func(i int) error {
		in, err := w.direct.Store.Open(b.Context(), fmt.Sprint("j/", i), 0, w.size)
		if err != nil {
			return err
		}
		defer in.Close()
		f, err := os.Create(filepath.Join(dir, fmt.Sprint(i)))
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.CopyBuffer(struct{ io.Writer }{f}, struct{ io.Reader }{in}, make([]byte, min(w.size, 512<<10)))
		return err
	})
}

// together does it for each file, so many at once.
func (w *benchWorker) together(b *testing.B, do func(i int) error) time.Duration {
	b.Helper()
	began := time.Now()
	var g errgroup.Group
	g.SetLimit(w.atOnce)
	for i := range w.files {
		g.Go(func() error { return do(i) })
	}
	w.must(b, g.Wait())
	return time.Since(began)
}

// compare reports how long both ways take.
func (w *benchWorker) compare(b *testing.B, through, direct func(*testing.B) time.Duration) {
	if !strings.HasSuffix(b.Name(), "/up") {
		w.create(b) // what is read
	}
	var throughs, directs []float64
	var cpu float64
	round := func() {
		before := w.daemonCPU(b)
		throughs = append(throughs, through(b).Seconds())
		cpu += w.daemonCPU(b) - before
		directs = append(directs, direct(b).Seconds())
	}
	round()
	throughs, directs, cpu = nil, nil, 0
	for b.Loop() {
		round()
	}
	for len(throughs) < leastRounds {
		round()
	}
	mib := float64(w.size) * float64(w.files) / (1 << 20)
	b.ReportMetric(mib/middle(throughs), "daemon-MiB/s")
	b.ReportMetric(mib/middle(directs), "driver-MiB/s")
	b.ReportMetric(middle(directs)/middle(throughs), "driver/daemon")
	b.ReportMetric(cpu/float64(len(throughs))/mib*1024, "daemon-cpu-s/GiB")
	b.ReportMetric(w.daemonPeak(b), "daemon-peak-MiB")
	b.ReportMetric(0, "ns/op") // of a round of both: says nothing
}

func middle(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// daemonCPU is what the daemon has used so far, in seconds.
func (w *benchWorker) daemonCPU(b *testing.B) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", w.daemon.Process.Pid))
	w.must(b, err)
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:])) // from the third on
	var ticks int
	for _, f := range fields[11:13] { // utime, stime
		n, err := strconv.Atoi(f)
		w.must(b, err)
		ticks += n
	}
	return float64(ticks) / 100
}

// daemonPeak is the most memory it had, in MiB.
func (w *benchWorker) daemonPeak(b *testing.B) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.daemon.Process.Pid))
	w.must(b, err)
	var kib float64
	_, line, _ := strings.Cut(string(text), "VmHWM:")
	_, err = fmt.Sscan(line, &kib)
	w.must(b, err)
	return kib / 1024
}

// BenchmarkOpenRoot is what a daemon does to its root before it serves: the look at it, the probe of Publish, and, of an empty one, the marker.
// A round is one of each.
func BenchmarkOpenRoot(b *testing.B) {
	dir := b.TempDir()
	b.Run("file", func(b *testing.B) { openRoots(b, func(name string) string { return filepath.Join(dir, name) }) })
	for _, kind := range []string{servers.Versitygw, servers.MinIO} {
		b.Run(kind, func(b *testing.B) {
			server := servers.StartS3(b, kind, false)
			openRoots(b, func(name string) string { return server.URL(name, "") })
		})
	}
}

func openRoots(b *testing.B, url func(name string) string) {
	open := func(name string) (store, root float64) {
		began := time.Now()
		opened, err := drivers.Open(b.Context(), url(name), false)
		if err != nil {
			b.Fatal(err)
		}
		defer opened.Close()
		at := time.Now()
		if _, err := layout.OpenRoot(b.Context(), opened.Store); err != nil {
			b.Fatal(err)
		}
		return at.Sub(began).Seconds() * 1e3, time.Since(at).Seconds() * 1e3
	}
	open("old")
	var stores, empty, existing []float64
	for n := 0; b.Loop(); n++ {
		_, e := open(fmt.Sprint("new-", n))
		s, o := open("old")
		stores, empty, existing = append(stores, s), append(empty, e), append(existing, o)
	}
	b.ReportMetric(middle(stores), "store-ms")
	b.ReportMetric(middle(empty), "empty-ms")
	b.ReportMetric(middle(existing), "existing-ms")
	b.ReportMetric(0, "ns/op")
}

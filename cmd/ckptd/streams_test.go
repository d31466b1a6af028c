package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/cmd/ckptd/demo"
	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/launch"
	"github.com/ckptd/ckptd/conformance/servers"
	"github.com/ckptd/ckptd/layout"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
	"github.com/ckptd/ckptd/proto/data"
	"github.com/ckptd/ckptd/service/stream"
)

const (
	// streamsAtOnce are PutState streams to one daemon, which has this much memory for them.
	streamsAtOnce = 1000
	streamsBudget = 512 << 20
	// holdStreams makes the test binary a client: holdStreams SERVER EPOCH opens streamsAtOnce streams that never end.
	// It prints "held 1" when the daemon has all of them.
	holdStreams = "hold-streams"
	streamsJob  = "job"
	// admittedAtOnce is the daemon's default of --streams.
	admittedAtOnce = 16
)

// TestThousandStreams: a daemon receives 1,000 streams at once, which are all open before the first byte comes. It has
// at most 512 MiB resident, and all streams succeed. Then all are cut, and then their process is killed: the daemon
// gives its goroutines and its memory back. When the job has ended, none of their files is in the store.
//
// The daemon is never built with the race detector. CKPTD_TEST_FULL=1 adds S3, and CKPTD_NIGHTLY=1 files of 4 MiB
// instead of 256 KiB.
func TestThousandStreams(t *testing.T) {
	t.Parallel()
	full, nightly := os.Getenv("CKPTD_TEST_FULL") != "", os.Getenv("CKPTD_NIGHTLY") != ""
	size := 256 << 10
	if nightly {
		size = 4 << 20
	}
	for _, c := range []struct {
		kind, network string
		run           bool
		load
	}{
		{"file", "unix", true, load{streams: streamsAtOnce, size: size}},
		{"file", "tcp", full || nightly, load{streams: streamsAtOnce, size: size}},
		{servers.Versitygw, "tcp", full || nightly, load{streams: streamsAtOnce, size: size}},
		{servers.Versitygw, "unix", nightly, load{streams: streamsAtOnce, size: size}},
		// Nothing takes more memory than files in parts of unknown length.
		{servers.Versitygw, "tcp", nightly, load{streams: 100, size: 32 << 20, unknown: true}},
	} {
		if !c.run {
			continue
		}
		t.Run(c.kind+", "+c.network, func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "root")
			if c.kind == "file" {
				t.Parallel()
			} else {
				root = servers.StartS3(t, c.kind, false).URL("root", "")
			}
			thousandStreams(t, root, c.network, c.load)
		})
	}
}

func thousandStreams(t *testing.T, root, network string, load load) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	l := newLoaded(ctx, t, root, network)
	l.watch("attached")
	goroutines, heap := l.goroutines(), l.heap()

	if err := l.sender.send(ctx, l.epoch, load); err != nil {
		t.Error(err)
	}
	l.watch("all have ended")
	if got := len(l.objects("shared")); got != load.streams {
		t.Errorf("%d files are stored, want %d", got, load.streams)
	}

	cut, cutAll := context.WithCancel(ctx)
	load.held = cutAll
	if err := l.sender.send(cut, l.epoch, load); err == nil {
		t.Error("the streams that were cut ended well")
	}
	l.watch("all are cut")

	child := begin(ctx, t, os.Args[0], holdStreams, l.server, fmt.Sprint(l.epoch), fmt.Sprint(load.size))
	child.await("held %d")
	child.kill()
	l.watch("their process is killed")

	l.sender.http.CloseIdleConnections()
	l.calmDown(goroutines, heap)
	l.endsClean()
}

// loaded is a daemon in a process of its own, with a job.
type loaded struct {
	ctx                  context.Context
	t                    *testing.T
	root, server, status string
	epoch                uint64
	daemon               *life
	sender               *sender
}

func newLoaded(ctx context.Context, t *testing.T, root, network string) *loaded {
	t.Helper()
	dir := socketDir(t)
	l := &loaded{ctx: ctx, t: t, root: root, server: "unix:" + filepath.Join(dir, "s")}
	listen := l.server
	if network == "tcp" {
		free, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listen = free.Addr().String()
		l.server = "http://" + listen
		free.Close()
	}
	l.daemon = begin(ctx, t, withoutRace(t), "serve", "--root", root, "--listen", listen)
	l.status = fmt.Sprintf("/proc/%d/status", l.daemon.cmd.Process.Pid)
	awaitServer(ctx, t, l.server)
	l.sender = newSender(l.server)
	t.Cleanup(l.sender.http.CloseIdleConnections)
	l.open()
	return l
}

// open has the job's only worker run, and begins the first checkpoint. Nobody acknowledges that checkpoint; all files
// are sent for it.
func (l *loaded) open() {
	l.t.Helper()
	must := func(err error) {
		l.t.Helper()
		if err != nil {
			l.t.Fatal(err)
		}
	}
	c, err := client.New([]string{l.server})
	must(err)
	job, err := c.AttachJob(l.ctx, client.JobSpec{
		ID: streamsJob, Config: client.DefaultConfig(0),
		Plan: &client.Plan{Operators: []client.Operator{{ID: "state", Parallelism: 1, MaxParallelism: 128, Triggered: true}}},
	})
	must(err)
	session, err := job.Register(l.ctx, client.Registration{Subtasks: []client.Subtask{{Operator: "state"}}})
	must(err)
	var asked sync.WaitGroup
	l.t.Cleanup(func() { session.Close(); c.Close(); asked.Wait() })
	for {
		cmd, err := session.Next(l.ctx)
		must(err)
		switch cmd := cmd.(type) {
		case client.Start:
			must(job.Report(l.ctx, client.Report{Kind: client.ReportRunning, Attempt: cmd.Attempt}))
			asked.Go(func() {
				_, _ = c.Admin().Trigger(l.ctx, streamsJob) // it ends with the job
			})
		case client.Trigger:
			if cmd.Attempt != 1 || cmd.Checkpoint != 1 {
				l.t.Fatalf("attempt %d, checkpoint %d; want the first of both", cmd.Attempt, cmd.Checkpoint)
			}
			l.epoch = cmd.Epoch
			return
		}
	}
}

// withoutRace is the program to measure: this one, unless it has the race detector, which multiplies memory.
func withoutRace(t *testing.T) string {
	t.Helper()
	info, ok := debug.ReadBuildInfo()
	if !ok {
		t.Fatal("the test does not know how it was built")
	}
	race := false
	for _, s := range info.Settings {
		race = race || s.Key == "-race" && s.Value == "true"
	}
	if !race {
		return os.Args[0]
	}
	program, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// built is ckptd without the race detector, built once for all tests; TestMain removes it.
var built = sync.OnceValues(func() (program string, err error) {
	if builtIn, err = os.MkdirTemp("", "ckptd-built"); err != nil {
		return "", err
	}
	program = filepath.Join(builtIn, "ckptd")
	if out, err := exec.Command("go", "build", "-race=false", "-o", program, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return program, nil
})

var builtIn string

// watch reports the memory of the daemon, which must be within the budget all the while.
func (l *loaded) watch(when string) {
	l.t.Helper()
	status, err := os.ReadFile(l.status)
	if err != nil {
		l.t.Fatal(err)
	}
	read := func(name string) uint64 {
		_, rest, _ := strings.Cut(string(status), name+":")
		line, _, _ := strings.Cut(rest, "kB")
		kib, err := strconv.ParseUint(strings.TrimSpace(line), 10, 64)
		if err != nil {
			l.t.Fatalf("%s: %v", name, err)
		}
		return kib << 10
	}
	resident, most := read("VmRSS"), read("VmHWM")
	l.t.Logf("%s: %d MiB resident, at most %d so far", when, resident>>20, most>>20)
	if most > streamsBudget {
		l.t.Errorf("%s: %d MiB were resident, at most %d may be", when, most>>20, streamsBudget>>20)
	}
}

// metric is one of the daemon's.
func (l *loaded) metric(name string) float64 {
	l.t.Helper()
	req, err := http.NewRequestWithContext(l.ctx, http.MethodGet, l.sender.base+"/metrics", nil)
	if err != nil {
		l.t.Fatal(err)
	}
	res, err := l.sender.http.Do(req)
	if err != nil {
		l.t.Fatal(err)
	}
	defer res.Body.Close()
	for s := bufio.NewScanner(res.Body); s.Scan(); {
		if value, ok := strings.CutPrefix(s.Text(), name+" "); ok {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				l.t.Fatal(err)
			}
			return v
		}
	}
	l.t.Fatalf("the daemon does not tell %s", name)
	return 0
}

func (l *loaded) goroutines() int { return int(l.metric("go_goroutines")) }

func (l *loaded) heap() float64 { return l.metric("go_memstats_heap_inuse_bytes") }

// calm waits until no stream is admitted and no request is served but the one that asks.
func (l *loaded) calm() {
	l.t.Helper()
	for l.metric("ckptd_data_streams{direction=\"put\"}") > 0 {
		l.pause("the daemon still has streams")
	}
}

// calmDown waits until the daemon has given its goroutines and its memory back. The requests for the numbers make the
// daemon collect its garbage in the end.
func (l *loaded) calmDown(goroutines int, heap float64) {
	l.t.Helper()
	l.calm()
	for l.goroutines() > goroutines {
		l.pause("the daemon has more goroutines than before")
	}
	for l.heap() > heap+8<<20 {
		l.pause("the daemon holds more memory than before")
	}
}

func (l *loaded) pause(why string) {
	l.t.Helper()
	if !launch.Sleep(l.ctx, 5*time.Millisecond) {
		l.t.Fatalf("%s: %d goroutines, %.0f bytes", why, l.goroutines(), l.heap())
	}
}

// endsClean cancels the job and waits for its release. Only the journal may be left in the store.
func (l *loaded) endsClean() {
	l.t.Helper()
	c, admin, err := adminOf(l.server)
	if err != nil {
		l.t.Fatal(err)
	}
	defer c.Close()
	if _, err := admin.Cancel(l.ctx, streamsJob); err != nil {
		l.t.Fatal(err)
	}
	opened, err := drivers.Open(l.ctx, l.root, false)
	if err != nil {
		l.t.Fatal(err)
	}
	defer opened.Close()
	for demo.Owned(l.ctx, opened.Store, streamsJob) {
		l.pause("the job is not let go")
	}
	l.watch("the job has ended")
	compareStorage(l.ctx, l.t, opened.Store, streamsJob, l.objects(""))
	if n, err := opened.Store.AbortUnfinished(l.ctx, "", func(string) bool { return true }); n > 0 || err != nil {
		l.t.Errorf("%d unfinished objects are left, %v", n, err)
	}
}

// objects are the keys below a folder of the job, or all.
func (l *loaded) objects(folder string) (keys []string) {
	l.t.Helper()
	opened, err := drivers.Open(l.ctx, l.root, true)
	if err != nil {
		l.t.Fatal(err)
	}
	defer opened.Close()
	if folder != "" {
		folder = layout.JobPrefix(streamsJob) + folder + "/"
	}
	for info, err := range opened.Store.List(l.ctx, folder) {
		if err != nil {
			l.t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	slices.Sort(keys)
	return keys
}

// sender sends files as the SDK does, and tells when all are under way.
type sender struct {
	base  string
	chunk int
	http  *http.Client
}

func newSender(server string) *sender {
	s := &sender{base: server, chunk: data.ChunkTCP}
	transport := &http.Transport{DisableCompression: true, ExpectContinueTimeout: data.AdmissionWait, MaxIdleConnsPerHost: streamsAtOnce}
	if path, ok := strings.CutPrefix(server, "unix:"); ok {
		s.base, s.chunk = "http://ckptd", data.ChunkUnix
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
			if err == nil {
				stream.ConnContext(ctx, c)
			}
			return c, err
		}
	}
	s.http = &http.Client{Transport: transport}
	return s
}

// load is streams that are open at the same time.
type load struct {
	streams, size int
	// unknown: nobody announces a length or a sum; else most do.
	unknown bool
	// held, if not nil, is called when as many streams as the daemon admits have given a piece; they give no more.
	held func()
}

// gate opens when the daemon has the requests of all; no source gives a byte before.
type gate struct {
	load
	opened         chan struct{}
	sent, admitted atomic.Int32
}

// send sends all files and answers why some failed.
func (s *sender) send(ctx context.Context, epoch uint64, l load) error {
	g := &gate{load: l, opened: make(chan struct{})}
	var sums data.Sums
	for n := 0; n < l.size; n += len(pieceBytes) {
		_, _ = sums.Write(pieceBytes[:])
	}
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() {
		if int(g.sent.Add(1)) == l.streams {
			close(g.opened)
		}
	}})
	errs := make([]error, l.streams)
	var wg sync.WaitGroup
	for i := range l.streams {
		wg.Go(func() {
			f, err := s.put(ctx, epoch, &sums, &source{ctx: ctx, gate: g}, i%4 > 0 && !l.unknown, l.held != nil || i%10 > 0)
			if want := sums.Handle(f.GetKey()); err == nil && !proto.Equal(f, want) {
				err = fmt.Errorf("stored is %v, want %v", f, want)
			}
			errs[i] = err
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// put sends one file, with its length and sum if known is true. A sender that is not polite does not wait until the
// daemon has admitted the stream.
func (s *sender) put(ctx context.Context, epoch uint64, sums *data.Sums, src io.ReadCloser, known, polite bool) (*ckptdv1.FileHandle, error) {
	h := &ckptdv1.PutStateHeader{JobId: streamsJob, Epoch: epoch, Attempt: 1, CheckpointId: 1, Scope: ckptdv1.Scope_SCOPE_SHARED}
	if known {
		h.Length, h.Crc32C = proto.Uint64(sums.Length()), proto.Uint32(sums.CRC32C())
	}
	body, err := data.NewBody(h, src, s.chunk)
	if err != nil {
		return nil, err
	}
	early, err := proto.Marshal(h)
	if err != nil {
		return nil, err
	}
	ctx, info := connect.NewClientContext(data.WithBody(ctx, body))
	if polite {
		info.RequestHeader().Set("Expect", "100-continue")
		info.RequestHeader().Set(data.HeaderName, connect.EncodeBinaryHeader(early))
	}
	st, err := ckptdv1connect.NewStateServiceClient(data.Doer{Client: s.http}, s.base, data.ClientOptions()).PutState(ctx)
	if err != nil {
		return nil, err
	}
	res, err := st.CloseAndReceive()
	return res.GetFile(), err
}

// pieceBytes is what a source gives at a time.
var pieceBytes [16 << 10]byte

// source is one file of a load.
type source struct {
	ctx  context.Context
	gate *gate
	n    int
}

// Read gives a piece, when it may.
func (s *source) Read(p []byte) (int, error) {
	wait := s.gate.opened
	switch {
	case s.n == s.gate.size:
		return 0, io.EOF
	case s.n > 0 && s.gate.held != nil:
		wait = nil // for ever
		if s.gate.admitted.Add(1) == admittedAtOnce {
			s.gate.held()
		}
	}
	select {
	case <-wait:
	case <-s.ctx.Done():
		return 0, context.Cause(s.ctx)
	}
	n := copy(p, pieceBytes[:])
	s.n += n
	return n, nil
}

// Close is io.Closer's.
func (s *source) Close() error { return nil }

// holdAll is the process that holds streams until it is killed.
func holdAll(ctx context.Context, args []string) int {
	epoch, err := strconv.ParseUint(args[1], 10, 64)
	size, sizeErr := strconv.Atoi(args[2])
	if err = errors.Join(err, sizeErr); err == nil {
		err = newSender(args[0]).send(ctx, epoch, load{streams: streamsAtOnce, size: size, held: func() { fmt.Println("held", 1) }})
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

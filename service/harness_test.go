package service_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
	"github.com/ckptd/ckptd/proto/data"
	"github.com/ckptd/ckptd/service"
	"github.com/ckptd/ckptd/service/coordinator"
)

func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "4"); err != nil { // they wait most of the time; -parallel says otherwise
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for an event before it fails.
const patience = 90 * time.Second

// daemon is a server with a listener of its own.
type daemon struct {
	*service.Server
	http *httptest.Server
	web  *http.Client
}

func startDaemon(t testing.TB, root storage.Opened, addr string) *daemon {
	t.Helper()
	return startDaemonWith(t, root, addr, service.Options{})
}

func startDaemonWith(t testing.TB, root storage.Opened, addr string, opts service.Options) *daemon {
	t.Helper()
	d := &daemon{http: httptest.NewUnstartedServer(nil)}
	transport := &http.Transport{MaxIdleConnsPerHost: 8}
	switch addr {
	case "":
	case inMemory:
		l := newMemoryListener()
		d.http.Listener.Close()
		d.http.Listener, transport.DialContext = l, l.dial
	default:
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		d.http.Listener.Close()
		d.http.Listener = l
	}
	opts.URLs = []string{"http://" + d.http.Listener.Addr().String()}
	if opts.Log == nil {
		opts.Log = slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	s, err := service.New(root, &opts)
	if err != nil {
		t.Fatal(err)
	}
	d.Server = s
	d.http.Config.Handler = s.Handler()
	d.http.Start()
	d.web = &http.Client{Transport: transport}
	t.Cleanup(func() { d.kill(); transport.CloseIdleConnections() })
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d
}

// kill ends the daemon as a crash would.
func (d *daemon) kill() {
	d.Close()
	d.http.CloseClientConnections()
	d.http.Close()
}

func (d *daemon) addr() string { return d.http.Listener.Addr().String() }

func (d *daemon) engineService() ckptdv1connect.EngineServiceClient {
	return ckptdv1connect.NewEngineServiceClient(d.web, d.http.URL)
}

func (d *daemon) state() ckptdv1connect.StateServiceClient {
	return ckptdv1connect.NewStateServiceClient(d.web, d.http.URL)
}

func (d *daemon) jobService() ckptdv1connect.JobServiceClient {
	return ckptdv1connect.NewJobServiceClient(d.web, d.http.URL)
}

// attach makes the daemon own a job with the plan. The job takes no periodic checkpoints.
func (d *daemon) attach(t testing.TB, id string, plan *ckptdv1.Plan, change func(*ckptdv1.JobConfig)) *ckptdv1.AttachJobResponse {
	t.Helper()
	cfg := defaultConfig(0)
	cfg.RestartStrategy.Delay = nil
	if change != nil {
		change(cfg)
	}
	res, err := d.engineService().AttachJob(t.Context(), &ckptdv1.AttachJobRequest{JobId: id, Plan: plan, Config: cfg})
	if err != nil {
		t.Fatal("attach:", err)
	}
	return res
}

// status returns the daemon's status of one of its jobs.
func (d *daemon) status(t testing.TB, id string) *ckptdv1.JobState {
	t.Helper()
	res, err := d.jobService().GetStatus(t.Context(), &ckptdv1.GetStatusRequest{JobId: id})
	if err != nil {
		t.Fatal("status:", err)
	}
	return res.GetJobs()[0]
}

func (d *daemon) cancel(t testing.TB, id string) *ckptdv1.CancelJobResponse {
	t.Helper()
	res, err := d.jobService().CancelJob(t.Context(), &ckptdv1.CancelJobRequest{JobId: id, RequestId: "cancel " + id})
	if err != nil {
		t.Fatal("cancel:", err)
	}
	return res
}

// eventually waits until is returns true. what names the condition.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %v still not true: %s", patience, what)
		}
	}
}

// waitReleased waits until the daemon has released all its jobs.
func (d *daemon) waitReleased(t testing.TB) {
	t.Helper()
	eventually(t, "the job's release", func() bool {
		res, err := d.jobService().GetStatus(t.Context(), &ckptdv1.GetStatusRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return len(res.GetJobs()) == 0
	})
}

// onePlan has one subtask. twoPlan has two operators with one subtask each.
func onePlan() *ckptdv1.Plan {
	return &ckptdv1.Plan{Operators: []*ckptdv1.Operator{{Id: "count", Parallelism: 1, MaxParallelism: 128, Triggered: true}}}
}

func twoPlan() *ckptdv1.Plan {
	return &ckptdv1.Plan{Operators: []*ckptdv1.Operator{
		{Id: "source", Parallelism: 1, MaxParallelism: 128, Triggered: true}, {Id: "sink", Parallelism: 1, MaxParallelism: 128},
	}}
}

func subtask(operator string) *ckptdv1.Subtask { return &ckptdv1.Subtask{OperatorId: operator} }

// worker plays a worker process with the plain API, so that it can make calls that the SDK would not make.
type worker struct {
	t              testing.TB
	d              *daemon
	job, nonce     string
	subtasks       []*ckptdv1.Subtask
	epoch, attempt uint64
	commands       chan *ckptdv1.RegisterResponse // closed at the stream's end
	err            error                          // of the stream, once commands is closed
	leave          context.CancelFunc
	frozen         chan struct{} // closed: the process stands still, and answers no ping
}

// register opens a worker's stream. The worker answers pings by itself.
func (d *daemon) register(t testing.TB, job, nonce string, attempt uint64, subtasks ...*ckptdv1.Subtask) *worker {
	t.Helper()
	return d.registerWith(t, nonce, &ckptdv1.RegisterRequest{JobId: job, Attempt: attempt, Subtasks: subtasks})
}

func (d *daemon) registerWith(t testing.TB, nonce string, req *ckptdv1.RegisterRequest) *worker {
	t.Helper()
	req.Nonce, req.ExchangeAddress = nonce, "x:"+nonce
	w := &worker{t: t, d: d, job: req.GetJobId(), nonce: nonce, subtasks: req.GetSubtasks(), attempt: req.GetAttempt(), commands: make(chan *ckptdv1.RegisterResponse, 10_000), frozen: make(chan struct{})}
	var ctx context.Context
	ctx, w.leave = context.WithCancel(t.Context())
	stream, err := d.engineService().Register(ctx, req)
	if err != nil {
		t.Fatal("register:", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(w.commands)
		defer stream.Close()
		attempt := req.GetAttempt() // as this goroutine knows it; the test's goroutine owns w.attempt
		for stream.Receive() {
			if s := stream.Msg().GetStart(); s != nil {
				attempt = s.GetAttempt()
			}
			if stream.Msg().GetPing() != nil {
				select {
				case <-w.frozen:
				default:
					_, _ = d.engineService().Report(ctx, &ckptdv1.ReportRequest{JobId: w.job, Nonce: nonce, Attempt: attempt, Kind: ckptdv1.ReportRequest_KIND_ALIVE})
				}
				continue
			}
			w.commands <- stream.Msg()
		}
		w.err = stream.Err()
	}()
	t.Cleanup(func() { w.leave(); <-done })
	return w
}

// tell sends a report and ignores a refusal.
func (w *worker) tell(ctx context.Context, r *ckptdv1.ReportRequest) error {
	r.JobId, r.Nonce = w.job, w.nonce
	if r.Attempt == 0 {
		r.Attempt = w.attempt
	}
	_, err := w.d.engineService().Report(ctx, r)
	return err
}

func (w *worker) report(kind ckptdv1.ReportRequest_Kind, change func(*ckptdv1.ReportRequest)) {
	w.t.Helper()
	r := &ckptdv1.ReportRequest{Kind: kind}
	if change != nil {
		change(r)
	}
	if err := w.tell(w.t.Context(), r); err != nil {
		w.t.Fatal("report:", err)
	}
}

// expect waits for a command of one kind and skips other commands.
func expect[T any](w *worker) T {
	w.t.Helper()
	timer := time.After(patience)
	var want T
	for {
		select {
		case m, ok := <-w.commands:
			if !ok {
				w.t.Fatalf("worker %s: the stream ended, waiting for %T: %v", w.nonce, want, w.err)
			}
			if c, ok := m.GetCommand().(T); ok {
				return c
			}
		case <-timer:
			w.t.Fatalf("worker %s: no command %T came, want one", w.nonce, want)
		}
	}
}

// ended waits for the end of the stream and returns its error.
func (w *worker) ended() error {
	w.t.Helper()
	timer := time.After(patience)
	for {
		select {
		case _, ok := <-w.commands:
			if !ok {
				return w.err
			}
		case <-timer:
			w.t.Fatalf("worker %s: the stream is still open, want it ended", w.nonce)
		}
	}
}

type (
	start      = *ckptdv1.RegisterResponse_Start
	trigger    = *ckptdv1.RegisterResponse_Trigger
	complete   = *ckptdv1.RegisterResponse_Complete
	abort      = *ckptdv1.RegisterResponse_Abort
	cancel     = *ckptdv1.RegisterResponse_Cancel
	replaced   = *ckptdv1.RegisterResponse_Replaced
	reregister = *ckptdv1.RegisterResponse_Reregister
)

// begin waits for the next Start and reports that all subtasks run.
func (w *worker) begin() *ckptdv1.Start {
	w.t.Helper()
	s := expect[start](w).Start
	w.attempt, w.epoch = s.GetAttempt(), s.GetEpoch()
	w.report(ckptdv1.ReportRequest_KIND_RUNNING, nil)
	return s
}

// triggered waits for the next checkpoint.
func (w *worker) triggered() uint64 {
	w.t.Helper()
	c := expect[trigger](w).Trigger
	w.epoch = c.GetEpoch()
	return c.GetCheckpointId()
}

// put stores a file for a checkpoint, at the worker's daemon.
func (w *worker) put(scope ckptdv1.Scope, checkpoint uint64, contents string) *ckptdv1.FileHandle {
	w.t.Helper()
	f, err := w.putAt(w.d, scope, checkpoint, contents)
	if err != nil {
		w.t.Fatal("put:", err)
	}
	return f
}

func (w *worker) putAt(d *daemon, scope ckptdv1.Scope, checkpoint uint64, contents string) (*ckptdv1.FileHandle, error) {
	stream, err := d.state().PutState(w.t.Context())
	if err != nil {
		return nil, err
	}
	// The answer explains a failed send better than the send's error.
	_ = stream.Send(&ckptdv1.PutStateRequest{Part: &ckptdv1.PutStateRequest_Header{Header: &ckptdv1.PutStateHeader{
		JobId: w.job, Epoch: w.epoch, Attempt: w.attempt, CheckpointId: checkpoint, Scope: scope,
	}}})
	for chunk := range slices.Chunk([]byte(contents), data.MaxChunk) {
		_ = stream.Send(&ckptdv1.PutStateRequest{Part: &ckptdv1.PutStateRequest_Chunk{Chunk: chunk}})
	}
	res, err := stream.CloseAndReceive()
	return res.GetFile(), err
}

const (
	shared    = ckptdv1.Scope_SCOPE_SHARED
	exclusive = ckptdv1.Scope_SCOPE_EXCLUSIVE
)

func inline(name, contents string) *ckptdv1.SnapshotHandle {
	return &ckptdv1.SnapshotHandle{Name: name, Source: &ckptdv1.SnapshotHandle_Inline{Inline: []byte(contents)}}
}

func uploaded(instance, name string, f *ckptdv1.FileHandle) *ckptdv1.SnapshotHandle {
	return &ckptdv1.SnapshotHandle{Name: name, InstanceNonce: instance, Source: &ckptdv1.SnapshotHandle_Uploaded{Uploaded: f}}
}

func known(name string, n uint32) *ckptdv1.SnapshotHandle {
	return &ckptdv1.SnapshotHandle{Name: name, Source: &ckptdv1.SnapshotHandle_Known{Known: n}}
}

// ack acknowledges a checkpoint for all subtasks of the worker. The first subtask has the handles.
func (w *worker) ack(checkpoint uint64, handles ...*ckptdv1.SnapshotHandle) error {
	req := &ckptdv1.AcknowledgeRequest{JobId: w.job, Epoch: w.epoch, Attempt: w.attempt, CheckpointId: checkpoint, RequestId: "r"}
	for i, s := range w.subtasks {
		st := &ckptdv1.SubtaskSnapshot{Subtask: s}
		if i == 0 {
			st.Handles = handles
		}
		req.Snapshots = append(req.Snapshots, st)
	}
	_, err := w.d.engineService().Acknowledge(w.t.Context(), req)
	return err
}

func (w *worker) mustAck(checkpoint uint64, handles ...*ckptdv1.SnapshotHandle) {
	w.t.Helper()
	if err := w.ack(checkpoint, handles...); err != nil {
		w.t.Fatal("acknowledge:", err)
	}
}

// ask calls BeginSnapshot for one file, as the backend does that has stored the contents.
func (w *worker) ask(checkpoint uint64, instance, name, contents string) (uint32, error) {
	res, err := w.d.engineService().BeginSnapshot(w.t.Context(), &ckptdv1.BeginSnapshotRequest{
		JobId: w.job, Epoch: w.epoch, Attempt: w.attempt, CheckpointId: checkpoint, Subtasks: w.subtasks,
		Files: []*ckptdv1.LocalFile{{InstanceNonce: instance, Name: name, Size: uint64(len(contents))}},
	})
	if err != nil {
		return 0, err
	}
	return res.GetKnown()[0], nil
}

// trigger triggers a checkpoint and waits until it has ended. While the owner still reads retained checkpoints it
// refuses; then trigger tries again.
func (d *daemon) trigger(ctx context.Context, job string) error {
	for {
		_, err := d.jobService().TriggerCheckpoint(ctx, &ckptdv1.TriggerCheckpointRequest{JobId: job})
		if err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), string(coordinator.ReasonNotAllRunning)) {
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

// checkpoint takes one checkpoint with the handles that pieces returns.
func (w *worker) checkpoint(pieces func(id uint64) []*ckptdv1.SnapshotHandle) uint64 {
	w.t.Helper()
	done := make(chan error, 1)
	go func() { done <- w.d.trigger(w.t.Context(), w.job) }()
	id := w.triggered()
	w.mustAck(id, pieces(id)...)
	if err := <-done; err != nil {
		w.t.Fatal("trigger:", err)
	}
	return id
}

// inlineState returns a handle of inline state.
func inlineState(id uint64) []*ckptdv1.SnapshotHandle {
	return []*ckptdv1.SnapshotHandle{inline("n", fmt.Sprint(id))}
}

// oneWorker attaches a job of one subtask and starts its worker.
func oneWorker(t testing.TB, d *daemon, id string, change func(*ckptdv1.JobConfig)) *worker {
	t.Helper()
	d.attach(t, id, onePlan(), change)
	w := d.register(t, id, "w-"+id, 0, subtask("count"))
	w.begin()
	return w
}

// wantRefused checks why a call was refused.
func wantRefused(t testing.TB, err error, want ckptdv1.Refused_Reason) {
	t.Helper()
	if err == nil {
		t.Fatalf("not refused, want %v", want)
	}
	r := detail[*ckptdv1.Refused](err)
	if r.GetReason() != want {
		t.Fatalf("refused with %v: %v, want %v", r.GetReason(), err, want)
	}
}

// detail returns the detail of type T of an error; nil: there is none.
func detail[T any](err error) (none T) {
	var ce *connect.Error
	if !errors.As(err, &ce) {
		return none
	}
	for _, d := range ce.Details() {
		if m, err := d.Value(); err == nil {
			if v, ok := m.(T); ok {
				return v
			}
		}
	}
	return none
}

// wantCode checks the code of a call's error, and that its text contains the words.
func wantCode(t testing.TB, err error, code connect.Code, words ...string) {
	t.Helper()
	if err == nil || connect.CodeOf(err) != code {
		t.Fatalf("%v (%v), want %v", err, connect.CodeOf(err), code)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Fatalf("the error is %q, want one that says %q", err, w)
		}
	}
}

// testWriter writes a daemon's log to the test's log.
type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", p)
	return len(p), nil
}

// defaultConfig keeps the newest checkpoint after the job's end, and restarts three times.
func defaultConfig(interval time.Duration) *ckptdv1.JobConfig {
	return &ckptdv1.JobConfig{
		Interval: durationpb.New(interval), Retention: ckptdv1.Retention_RETENTION_RETAIN_ON_CANCELLATION,
		RestartStrategy: &ckptdv1.RestartStrategy{Attempts: 3, Delay: durationpb.New(time.Second)},
	}
}

// sdkPlan is the plan in the SDK's words.
func sdkPlan(p *ckptdv1.Plan) *client.Plan {
	out := &client.Plan{}
	for _, o := range p.GetOperators() {
		out.Operators = append(out.Operators, client.Operator{ID: o.GetId(), Parallelism: o.GetParallelism(), MaxParallelism: o.GetMaxParallelism(), Triggered: o.GetTriggered()})
	}
	return out
}

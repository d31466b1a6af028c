package client

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/mem"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
	"github.com/ckptd/ckptd/proto/data"
	"github.com/ckptd/ckptd/service/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster is several daemons over one store, with one job. It knows just enough of the protocol to try the SDK against.
type cluster struct {
	t     *testing.T
	store storage.Store

	mu        sync.Mutex
	owner     *daemon
	epoch     uint64
	status    ckptdv1.JobStatus
	known     map[string]uint32 // instance nonce/name -> short number
	inline    uint32            // what the checkpoint still takes
	attaches  []*ckptdv1.AttachJobRequest
	acks      []*ckptdv1.AcknowledgeRequest
	reports   []*ckptdv1.ReportRequest
	registry  []*ckptdv1.RegisterRequest
	states    []*ckptdv1.SubtaskState
	refusePut error
	// calls are the requests that daemons got, by the name of the call, whatever they answered.
	calls map[string][]received
	// lostReplies is how many calls of a name to carry out without the reply arriving.
	lostReplies map[string]int
	// refuseReports is how many reports of a kind are refused before one is taken.
	refuseReports map[ckptdv1.ReportRequest_Kind]int
	// onStale, if set, is called when a daemon refuses a call as of a stale epoch.
	onStale func()
}

// received is one request, and the daemon that got it.
type received struct {
	at  *daemon
	msg proto.Message
}

// daemon is one of them, on a socket of its own.
type daemon struct {
	ckptdv1connect.UnimplementedEngineServiceHandler
	c    *cluster
	url  string
	srv  *http.Server
	done chan struct{}
	// state is its data plane.
	state *stream.Service
	// script holds the commands for a registration. After them the stream stays open until the daemon stops or ctx
	// ends.
	script   []*ckptdv1.RegisterResponse
	stopping chan struct{}
	mute     bool
}

func newCluster(t *testing.T) *cluster {
	return &cluster{
		t: t, store: mem.New(), known: map[string]uint32{}, inline: 1 << 20, calls: map[string][]received{}, lostReplies: map[string]int{},
	}
}

type daemonOptions struct {
	network string
	path    string
	puts    int
	wrap    func(net.Conn) net.Conn
	store   storage.Store
	// state, if set, stands before the daemon's data plane.
	state func(ckptdv1connect.StateServiceHandler) ckptdv1connect.StateServiceHandler
}

func (c *cluster) start(o daemonOptions) *daemon {
	c.t.Helper()
	addr := "127.0.0.1:0"
	if o.network == "" {
		o.network = "tcp"
	}
	if o.network == "unix" {
		addr = o.path
		if addr == "" {
			addr = filepath.Join(c.t.TempDir(), "s")
		}
		_ = os.Remove(addr)
	}
	l, err := net.Listen(o.network, addr)
	if err != nil {
		c.t.Fatal(err)
	}
	d := &daemon{c: c, done: make(chan struct{}), stopping: make(chan struct{}), url: "http://" + l.Addr().String()}
	if o.network == "unix" {
		d.url = "unix:" + addr
	}
	if o.store == nil {
		o.store = c.store
	}
	state, err := stream.New(o.store, layout.NewNonce(), c, &stream.Options{Puts: o.puts})
	if err != nil {
		c.t.Fatal(err)
	}
	d.state = state
	mux := http.NewServeMux()
	if o.state == nil {
		mux.Handle(state.Handler())
	} else {
		mux.Handle(ckptdv1connect.NewStateServiceHandler(o.state(state), data.HandlerOptions()))
	}
	mux.Handle(ckptdv1connect.NewEngineServiceHandler(d, connect.WithInterceptors(connect.UnaryInterceptorFunc(d.intercept))))
	d.srv = &http.Server{Handler: mux, ConnContext: stream.ConnContext}
	go func() { defer close(d.done); _ = d.srv.Serve(&wrappedListener{l, o.wrap}) }()
	c.t.Cleanup(d.kill)
	return d
}

// intercept notes each call, and loses replies.
func (d *daemon) intercept(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		name := path.Base(req.Spec().Procedure)
		d.c.note(name, received{d, proto.Clone(req.Any().(proto.Message))})
		res, err := next(ctx, req)
		d.c.mu.Lock()
		defer d.c.mu.Unlock()
		if err == nil && d.c.lostReplies[name] > 0 {
			d.c.lostReplies[name]--
			return nil, connect.NewError(connect.CodeUnavailable, errors.New("the reply is lost"))
		}
		return res, err
	}
}

func (c *cluster) note(name string, got received) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls[name] = append(c.calls[name], got)
}

// got are the requests of one name that the daemon got.
func (d *daemon) got(name string) (messages []proto.Message) {
	d.c.mu.Lock()
	defer d.c.mu.Unlock()
	for _, c := range d.c.calls[name] {
		if c.at == d {
			messages = append(messages, c.msg)
		}
	}
	return messages
}

type wrappedListener struct {
	net.Listener
	wrap func(net.Conn) net.Conn
}

func (l *wrappedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil && l.wrap != nil {
		conn = l.wrap(conn)
	}
	return conn, err
}

// kill is the daemon's sudden end.
func (d *daemon) kill() {
	d.c.mu.Lock()
	select {
	case <-d.stopping:
	default:
		close(d.stopping)
	}
	if d.c.owner == d {
		d.c.owner = nil
	}
	d.c.mu.Unlock()
	d.srv.Close()
	<-d.done
}

func refusal(code connect.Code, m proto.Message) error {
	e := connect.NewError(code, errors.New("refused by the fake"))
	d, err := connect.NewErrorDetail(m)
	if err != nil {
		return err
	}
	e.AddDetail(d)
	return e
}

// ownedLocked says whether the daemon is the job's owner, or where it is.
func (d *daemon) ownedLocked() error {
	switch {
	case d.c.owner == d:
		return nil
	case d.c.owner == nil:
		return refusal(connect.CodeFailedPrecondition, &ckptdv1.NotOwner{})
	}
	return refusal(connect.CodeFailedPrecondition, &ckptdv1.NotOwner{OwnerUrls: []string{d.c.owner.url}, Epoch: d.c.epoch})
}

// epochLocked refuses a call of another epoch than the owner's.
func (c *cluster) epochLocked(epoch uint64) error {
	if epoch == c.epoch {
		return nil
	}
	if c.onStale != nil {
		c.onStale()
	}
	return refusal(connect.CodeFailedPrecondition, &ckptdv1.Refused{Reason: ckptdv1.Refused_REASON_STALE_EPOCH, Epoch: c.epoch})
}

func (d *daemon) AttachJob(_ context.Context, r *ckptdv1.AttachJobRequest) (*ckptdv1.AttachJobResponse, error) {
	d.c.mu.Lock()
	defer d.c.mu.Unlock()
	d.c.attaches = append(d.c.attaches, r)
	if d.c.status != 0 {
		return nil, refusal(connect.CodeFailedPrecondition, &ckptdv1.Refused{Reason: ckptdv1.Refused_REASON_JOB_TERMINAL, Status: d.c.status})
	}
	if d.c.owner == nil {
		d.c.owner = d
		d.c.epoch++
	}
	if err := d.ownedLocked(); err != nil {
		return nil, err
	}
	return &ckptdv1.AttachJobResponse{Epoch: d.c.epoch, Attempt: 1, InlineThreshold: 20 << 10, InlineCap: 1 << 20,
		Config: &ckptdv1.JobConfig{NumRetained: 7}}, nil
}

func (d *daemon) Register(ctx context.Context, r *ckptdv1.RegisterRequest, st *connect.ServerStream[ckptdv1.RegisterResponse]) error {
	d.c.mu.Lock()
	err := d.ownedLocked()
	if err == nil {
		d.c.registry = append(d.c.registry, r)
	}
	script, mute := d.script, d.mute
	d.c.mu.Unlock()
	if err != nil {
		return err
	}
	for _, m := range script {
		if err := st.Send(m); err != nil {
			return err
		}
	}
	ping := time.NewTicker(50 * time.Millisecond)
	defer ping.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-d.stopping:
			return nil
		case <-ping.C:
		}
		if mute {
			continue
		}
		if err := st.Send(&ckptdv1.RegisterResponse{Command: &ckptdv1.RegisterResponse_Ping{Ping: &ckptdv1.Ping{}}}); err != nil {
			return err
		}
	}
}

func (d *daemon) Report(_ context.Context, r *ckptdv1.ReportRequest) (*ckptdv1.ReportResponse, error) {
	d.c.mu.Lock()
	defer d.c.mu.Unlock()
	if err := d.ownedLocked(); err != nil {
		return nil, err
	}
	if err := d.c.epochLocked(r.GetEpoch()); err != nil {
		return nil, err
	}
	if d.c.refuseReports[r.GetKind()] > 0 {
		d.c.refuseReports[r.GetKind()]--
		return nil, connect.NewError(connect.CodeUnavailable, errors.New("not now"))
	}
	d.c.reports = append(d.c.reports, r)
	return &ckptdv1.ReportResponse{}, nil
}

func (d *daemon) BeginSnapshot(_ context.Context, r *ckptdv1.BeginSnapshotRequest) (*ckptdv1.BeginSnapshotResponse, error) {
	d.c.mu.Lock()
	defer d.c.mu.Unlock()
	if err := d.ownedLocked(); err != nil {
		return nil, err
	}
	if err := d.c.epochLocked(r.GetEpoch()); err != nil {
		return nil, err
	}
	res := &ckptdv1.BeginSnapshotResponse{}
	for _, f := range r.GetFiles() {
		res.Known = append(res.Known, d.c.known[f.GetInstanceNonce()+"/"+f.GetName()])
	}
	return res, nil
}

func (d *daemon) Acknowledge(_ context.Context, r *ckptdv1.AcknowledgeRequest) (*ckptdv1.AcknowledgeResponse, error) {
	d.c.mu.Lock()
	defer d.c.mu.Unlock()
	if err := d.ownedLocked(); err != nil {
		return nil, err
	}
	if err := d.c.epochLocked(r.GetEpoch()); err != nil {
		return nil, err
	}
	n := uint32(0)
	for _, s := range r.GetSnapshots() {
		for _, h := range s.GetHandles() {
			n += uint32(len(h.GetInline()))
		}
	}
	if n > d.c.inline {
		return nil, refusal(connect.CodeResourceExhausted, &ckptdv1.Refused{Reason: ckptdv1.Refused_REASON_INLINE_CAP, InlineLeft: d.c.inline})
	}
	d.c.acks = append(d.c.acks, r)
	return &ckptdv1.AcknowledgeResponse{}, nil
}

// Assignment answers one state a page.
func (d *daemon) Assignment(_ context.Context, r *ckptdv1.AssignmentRequest) (*ckptdv1.AssignmentResponse, error) {
	d.c.mu.Lock()
	defer d.c.mu.Unlock()
	if err := d.ownedLocked(); err != nil {
		return nil, err
	}
	i := len(r.GetPageToken())
	res := &ckptdv1.AssignmentResponse{CheckpointId: 3}
	if i < len(d.c.states) {
		res.States = d.c.states[i : i+1]
	}
	if i+1 < len(d.c.states) {
		res.NextPageToken = r.GetPageToken() + "x"
	}
	return res, nil
}

// Decline knows checkpoint 3 only.
func (d *daemon) Decline(_ context.Context, r *ckptdv1.DeclineRequest) (*ckptdv1.DeclineResponse, error) {
	d.c.mu.Lock()
	defer d.c.mu.Unlock()
	if err := d.ownedLocked(); err != nil {
		return nil, err
	}
	if err := d.c.epochLocked(r.GetEpoch()); err != nil {
		return nil, err
	}
	if r.GetCheckpointId() == 3 {
		return &ckptdv1.DeclineResponse{}, nil
	}
	return nil, refusal(connect.CodeFailedPrecondition, &ckptdv1.Refused{Reason: ckptdv1.Refused_REASON_NOT_OPEN})
}

func (d *daemon) NewAttempt(_ context.Context, r *ckptdv1.NewAttemptRequest) (*ckptdv1.NewAttemptResponse, error) {
	d.c.mu.Lock()
	defer d.c.mu.Unlock()
	if err := d.ownedLocked(); err != nil {
		return nil, err
	}
	return &ckptdv1.NewAttemptResponse{Attempt: r.GetAttempt() + 1}, nil
}

// AuthorizeGet implements stream.Authorizer.
func (*cluster) AuthorizeGet(context.Context, string, string) error { return nil }

// Stored implements stream.Authorizer.
func (*cluster) Stored(stream.Upload, *ckptdv1.FileHandle) {}

func (c *cluster) AuthorizePut(_ context.Context, u stream.Upload) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.epochLocked(u.Epoch); err != nil {
		return err
	}
	return c.refusePut
}

// client is a client of the daemons, and job its attached job.
func (c *cluster) client(urls []string, opts ...Option) (*Client, *Job) {
	c.t.Helper()
	opts = append([]Option{WithPatience(20 * time.Second)}, opts...)
	cl, err := New(urls, opts...)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { cl.Close() })
	job, err := cl.AttachJob(c.t.Context(), JobSpec{ID: "job", Plan: &Plan{}, Config: DefaultConfig(time.Second)})
	if err != nil {
		c.t.Fatal(err)
	}
	return cl, job
}

func (c *cluster) keys() []string {
	c.t.Helper()
	var keys []string
	for info, err := range c.store.List(c.t.Context(), "") {
		if err != nil {
			c.t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	slices.Sort(keys)
	return keys
}

// eventually waits for what another goroutine will do.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func (c *cluster) locked(f func() bool) func() bool {
	return func() bool { c.mu.Lock(); defer c.mu.Unlock(); return f() }
}

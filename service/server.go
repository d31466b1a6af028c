package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"connectrpc.com/grpcreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/limit"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
	"github.com/ckptd/ckptd/proto/strictjson"
	"github.com/ckptd/ckptd/service/coordinator"
	"github.com/ckptd/ckptd/service/stream"
)

// Options are a server's settings. The zero value of a field is its default.
type Options struct {
	// URLs are where other daemons and workers reach this one; they are written into the journals of the jobs it owns.
	URLs []string
	// Version is what people are told.
	Version string
	// Times are the waits that decide only whether to try; see coordinator.Times.
	Times coordinator.Times
	// Streams is how many data streams are admitted at once; 0: 16.
	Streams int
	// InlineThreshold is the largest piece of state, in bytes, that travels inside an acknowledgement; 0: 20 KiB.
	InlineThreshold int
	// InlineCap is how many inline bytes one checkpoint takes, over all subtasks; 0: 1 MiB.
	InlineCap int
	// Budgets are how many requests of each class of work the store gets at a time.
	Budgets limit.Budgets
	// JobMetrics is how many jobs have metrics of their own, labelled with their id; 0: none. Ids come and go with every deployment,
	// each one a series that Prometheus keeps; whoever wants them says how many at a time.
	JobMetrics int
	// Log takes what operators should know; nil: nothing.
	Log *slog.Logger
	// Fatal is called when the store cannot be relied on any more by this process (storage.ErrAbandoned); it must make the process end.
	Fatal func(error)
	// Steps is called at each named step of a commit; nil in production. Tests kill the process in it.
	Steps func(step string)
}

func (o *Options) withDefaults() Options {
	var v Options
	if o != nil {
		v = *o
	}
	if v.InlineThreshold == 0 {
		v.InlineThreshold = 20 << 10
	}
	if v.InlineCap == 0 {
		v.InlineCap = 1 << 20
	}
	if v.Log == nil {
		v.Log = slog.New(slog.DiscardHandler)
	}
	if v.Fatal == nil {
		v.Fatal = func(err error) { v.Log.Error("the store cannot be relied on any more", "err", err) }
	}
	if v.Steps == nil {
		v.Steps = func(string) {}
	}
	return v
}

// Server keeps the checkpoints of the jobs under one root. It is safe for concurrent use.
type Server struct {
	stores  stores // one for each class of work
	metrics *metrics
	facts   storage.Facts
	opts    Options
	nonce   string // of this process: part of the names of the files it writes, and of its journal entries
	started time.Time
	log     *slog.Logger
	probe   ownerProbe
	unowned unownedRights
	heads   headReads
	data    *stream.Service

	// ctx ends what jobs do in the background; it ends after the jobs have let go.
	ctx    context.Context
	cancel context.CancelFunc
	// looking ends when Start need not look again at what it could not read.
	looking     context.Context
	stopLooking context.CancelFunc

	mu      sync.Mutex
	jobs    map[string]*job // running or attaching here
	closing bool
	wg      sync.WaitGroup // one for each job's goroutine, and for what they start
}

// New makes a server over an opened root. Nothing is read or written before Start or a call.
func New(root storage.Opened, opts *Options) (*Server, error) {
	s := &Server{
		opts: opts.withDefaults(), nonce: layout.NewNonce(),
		started: time.Now(), jobs: map[string]*job{}, probe: ownerProbe{probeTimeout}, metrics: newMetrics(),
	}
	if err := journal.Fits(nil, nil, nil, s.opts.URLs); err != nil {
		return nil, fmt.Errorf("service: %w", err)
	}
	s.log = s.opts.Log
	s.facts = watchedFacts(root.Facts, s.opts.Fatal)
	s.stores = newStores(root, &s.opts, s.metrics)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.looking, s.stopLooking = context.WithCancel(s.ctx)
	data, err := stream.New(countedStore{s.stores.restore, s.stores.upload, s}, s.nonce, authorizer{s}, &stream.Options{Puts: s.opts.Streams})
	if err != nil {
		return nil, fmt.Errorf("service: %w", err)
	}
	s.data = data
	s.metrics.registry.MustRegister(newGauges(s))
	return s, nil
}

// Handler serves the API: Connect, gRPC and gRPC-Web, health, reflection, /healthz and, for Prometheus, /metrics.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	// Answers are not compressed: that takes longer than sending them, and a commit waits for it.
	options := connect.WithHandlerOptions(
		connect.WithReadMaxBytes(controlMessageMax), connect.WithCompressMinBytes(math.MaxInt32), strictjson.HandlerOptions(),
	)
	mux.Handle(ckptdv1connect.NewEngineServiceHandler(engineService{s}, options))
	mux.Handle(ckptdv1connect.NewJobServiceHandler(jobService{s}, options))
	mux.Handle(s.data.Handler())
	names := []string{ckptdv1connect.EngineServiceName, ckptdv1connect.JobServiceName, ckptdv1connect.StateServiceName}
	mux.Handle(grpchealth.NewHandler(grpchealth.NewStaticChecker(names...)))
	reflector := grpcreflect.NewStaticReflector(names...)
	mux.Handle(grpcreflect.NewHandlerV1(reflector))
	mux.Handle(grpcreflect.NewHandlerV1Alpha(reflector))
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.Handle("/metrics", s.metrics.handler())
	return mux
}

// controlMessageMax bounds one message of the control plane: an acknowledgement of 10,000 files with their names fits.
const controlMessageMax = 16 << 20

// errClosing: the daemon is going down; another one, or its successor, will answer.
var errClosing = connect.NewError(connect.CodeUnavailable, errors.New("this daemon is shutting down"))

// job returns the job if this daemon owns it or is about to.
func (s *Server) job(id string) (*job, error) {
	if err := layout.ValidateJobID(id); err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return nil, errClosing
	}
	if j := s.jobs[id]; j != nil {
		return j, nil
	}
	return nil, notAttached(id)
}

// open returns the job's goroutine, a new one if there is none.
func (s *Server) open(id string) (*job, error) {
	if err := layout.ValidateJobID(id); err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return nil, errClosing
	}
	if j := s.jobs[id]; j != nil {
		return j, nil
	}
	j := newJob(s, id)
	s.jobs[id] = j
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		j.run()
	}()
	return j, nil
}

// forget removes a job whose goroutine is about to end.
func (s *Server) forget(j *job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.jobs[j.id] == j {
		delete(s.jobs, j.id)
	}
}

func (s *Server) allJobs() []*job {
	s.mu.Lock()
	defer s.mu.Unlock()
	jobs := make([]*job, 0, len(s.jobs))
	for _, j := range s.jobs {
		jobs = append(jobs, j)
	}
	return jobs
}

// Shutdown lets every job go, so that its workers register elsewhere at once, and waits until that is in the journals or ctx
// ends. Calls that arrive meanwhile are told to come again.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	s.stopLooking()
	for _, j := range s.allJobs() {
		j.release()
	}
	done := make(chan struct{})
	go func() { s.wg.Wait(); close(done) }()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = fmt.Errorf("service: shut down: %w", context.Cause(ctx))
	}
	s.Close()
	return err
}

// Close stops at once, as a crash would: nothing is written any more.
func (s *Server) Close() {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	s.cancel()
	s.wg.Wait()
}

func (s *Server) status() *ckptdv1.GetStatusResponse {
	return &ckptdv1.GetStatusResponse{
		Version: s.opts.Version, Root: s.facts.Location, Urls: s.opts.URLs, StartedAt: timestamppb.New(s.started),
	}
}

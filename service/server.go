package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"connectrpc.com/grpcreflect"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/auditlog"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/journalio"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/limit"
	"github.com/ckptd/ckptd/proto/address"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
	"github.com/ckptd/ckptd/proto/strictjson"
	"github.com/ckptd/ckptd/service/api"
	"github.com/ckptd/ckptd/service/coordinator"
	"github.com/ckptd/ckptd/service/shell"
	"github.com/ckptd/ckptd/service/stream"
)

// Options are a server's settings. The zero value of a field is its default.
type Options struct {
	// URLs are where other daemons and workers reach this daemon. They are written into the journals of the jobs that
	// it owns.
	URLs []string
	// Version is shown in the status and in metrics.
	Version string
	// Times are the coordinator's waits. They decide when something is tried, never whether it is safe.
	Times coordinator.Times
	// Streams is how many PutState streams are admitted at once; 0: 16.
	Streams int
	// InlineThreshold is the largest piece of state, in bytes, that a worker sends inside an acknowledgement; 0: 20
	// KiB.
	InlineThreshold int
	// InlineCap is how many inline bytes one checkpoint may hold, over all subtasks; 0: 1 MiB.
	InlineCap int
	// Budgets are how many requests of each class of work may run at the store at a time.
	Budgets limit.Budgets
	// JobMetrics is how many jobs have metrics of their own, labelled with the job's id; 0: none. Each new id is a new
	// series, which Prometheus keeps after the job has ended. Therefore the operator has to set a limit.
	JobMetrics int
	// Elsewhere opens checkpoints outside of the root, from which new jobs may begin; nil: none are allowed.
	Elsewhere shell.OpenElsewhere
	// Savepoints are the places outside of the root where savepoints may be written.
	Savepoints shell.Savepoints
	// Credentials are what this daemon shows when it asks other daemons whether they own a job; nil: nothing.
	Credentials *address.Credentials
	// Trash is how long a removed checkpoint can be brought back in a job whose configuration does not say it; 0: there is no trash.
	Trash time.Duration
	// JobDefaults are the values of keys that a new job's configuration does not give; nil: Flink's defaults for all.
	JobDefaults *ckptdv1.JobConfig
	// Memory is where jobs with storage jobmanager keep their state; nil: such jobs are refused.
	Memory *Memory
	// Scrub says how often the newest checkpoints are verified; the zero value: never.
	Scrub Scrub
	// Collectors are further metrics of the process, which /metrics shows, too.
	Collectors []prometheus.Collector
	// Log is the daemon's log; nil: nothing is logged.
	Log *slog.Logger
	// Fatal is called when this process can no longer rely on the store (storage.ErrAbandoned). Fatal must make the
	// process end.
	Fatal func(error)
	// Steps is called after each named step of a commit. It is nil in production. Tests kill the process in it.
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
		v.Fatal = func(err error) { v.Log.Error("the store cannot be relied on any more", "error", err) }
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
	nonce   string // of this process; part of the names of files it writes, and of its journal entries
	started time.Time
	log     *slog.Logger
	probe   ownerProbe
	env     shell.Env   // what the jobs need of the server
	memory  *memoryJobs // nil: no job is in memory
	unowned unownedRights
	heads   headReads
	scrub   *scrubber    // nil: this daemon does not scrub
	unread  atomic.Int64 // jobs whose journals Start could not read yet
	ready   *readiness
	data    *stream.Service

	// ctx is the context of the jobs' background work. It ends after the jobs have been released.
	ctx    context.Context
	cancel context.CancelFunc
	// looking is the context of Start's retries. It ends when unreadable journals need not be read again.
	looking     context.Context
	stopLooking context.CancelFunc

	mu      sync.Mutex
	jobs    map[string]*shell.Job // running or attaching here
	closing bool
	wg      sync.WaitGroup // counts the jobs' goroutines and the goroutines that they start
}

// New makes a server over an opened root. It reads and writes nothing before Start or an API call.
func New(root storage.Opened, opts *Options) (*Server, error) {
	s := &Server{
		opts: opts.withDefaults(), nonce: layout.NewNonce(),
		started: time.Now(), jobs: map[string]*shell.Job{}, metrics: newMetrics(),
	}
	if err := journal.Fits(nil, nil, nil, s.opts.URLs); err != nil {
		return nil, fmt.Errorf("service: %w", err)
	}
	s.log = s.opts.Log
	s.facts = watchedFacts(root.Facts, s.opts.Fatal)
	s.stores = newStores(root, &s.opts, s.metrics)
	s.probe = ownerProbe{s.opts.URLs, probeTimeout, s.opts.Credentials, s.stores.commit, s.opts.Log}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.env = shell.Env{
		Commit: s.stores.commit, Restore: s.stores.restore, Collect: s.stores.collect, Upload: s.stores.upload, Root: root,
		Elsewhere: s.opts.Elsewhere, Savepoints: s.opts.Savepoints, Facts: s.facts, URLs: s.opts.URLs, Times: s.opts.Times,
		InlineThreshold: s.opts.InlineThreshold, InlineCap: s.opts.InlineCap, Metrics: s.metrics, History: s.metrics, Step: s.opts.Steps, Owns: s.probe.owns,
		JobDefaults: s.opts.JobDefaults, Trash: s.opts.Trash, Log: s.log, Context: s.ctx, Background: &s.wg,
	}
	s.env.Audit = func(ctx context.Context, entries []*ckptdv1.AuditEntry) error {
		return auditlog.Write(ctx, s.stores.collect, entries)
	}
	s.env.Due = func(job string) { s.begin(job, true, false, journalio.Glance{}) }
	s.memory = newMemoryJobs(s, s.opts.Memory)
	s.looking, s.stopLooking = context.WithCancel(s.ctx)
	data, err := stream.New(countedStore{s.stores.restore, s.stores.upload, s}, s.nonce, authorizer{s}, &stream.Options{Puts: s.opts.Streams})
	if err != nil {
		return nil, fmt.Errorf("service: %w", err)
	}
	s.data = data
	if s.opts.Scrub.Every > 0 {
		s.scrub = &scrubber{Scrub: s.opts.Scrub, store: s.stores.restore, all: s.jobsBelowRoot, log: s.log, jobs: map[string]scrubbed{}}
	}
	s.metrics.registry.MustRegister(newGauges(s, s.allJobs))
	s.metrics.registry.MustRegister(s.opts.Collectors...)
	s.ready = newReadiness(s.stores.direct, s.log)
	return s, nil
}

// Handler serves the API: Connect, gRPC and gRPC-Web, health, reflection, /healthz, /readyz and, for Prometheus,
// /metrics.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	// Answers are not compressed. Compression takes longer than sending, and a commit waits for answers.
	options := connect.WithHandlerOptions(
		connect.WithInterceptors(rootProof{s.stores.restore, s.facts.Location}), connect.WithReadMaxBytes(controlMessageMax), connect.WithCompressMinBytes(math.MaxInt32), strictjson.HandlerOptions(),
	)
	mux.Handle(ckptdv1connect.NewEngineServiceHandler(engineService{s}, options))
	mux.Handle(ckptdv1connect.NewJobServiceHandler(jobService{s}, options))
	mux.Handle(ckptdv1connect.NewSavepointServiceHandler(savepointService{s}, options))
	mux.Handle(ckptdv1connect.NewHistoryServiceHandler(historyService{s}, options))
	mux.Handle(ckptdv1connect.NewCollectServiceHandler(collectService{s}, options))
	mux.Handle(ckptdv1connect.NewRetentionServiceHandler(retentionService{s}, options))
	mux.Handle(s.data.Handler())
	names := []string{ckptdv1connect.CollectServiceName, ckptdv1connect.EngineServiceName, ckptdv1connect.HistoryServiceName, ckptdv1connect.JobServiceName, ckptdv1connect.RetentionServiceName,
		ckptdv1connect.StateServiceName}
	mux.Handle(grpchealth.NewHandler(&healthChecker{s.ready, names}))
	reflector := grpcreflect.NewStaticReflector(names...)
	mux.Handle(grpcreflect.NewHandlerV1(reflector))
	mux.Handle(grpcreflect.NewHandlerV1Alpha(reflector))
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.Handle("/readyz", s.ready)
	mux.Handle("/metrics", s.metrics.handler())
	return mux
}

// controlMessageMax is the largest message of the control plane in bytes. An acknowledgement of 10,000 files with their
// names fits.
const controlMessageMax = 16 << 20

// errClosing tells callers that the daemon is shutting down. They find another daemon, or wait for this one's
// successor.
var errClosing = connect.NewError(connect.CodeUnavailable, errors.New("this daemon is shutting down"))

// job returns the job if this daemon owns it or is attaching it.
func (s *Server) job(id string) (*shell.Job, error) {
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
	return nil, api.NotAttached(id)
}

// open returns the job. If there is none, open begins it below the root.
func (s *Server) open(id string) (*shell.Job, error) { return s.openIn(&s.env, id) }

// openIn returns the job. If there is none, openIn begins it in the environment: below the root, or in memory.
func (s *Server) openIn(env *shell.Env, id string) (*shell.Job, error) {
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
	j := shell.New(env, id)
	s.jobs[id] = j
	j.Begin(func() { s.forget(j) })
	return j, nil
}

// begin begins a job with an attach that no caller waits for. seen is what is known of its journal.
func (s *Server) begin(id string, finish, due bool, seen journalio.Glance) {
	s.beginIn(&s.env, id, finish, due, seen)
}

func (s *Server) beginIn(env *shell.Env, id string, finish, due bool, seen journalio.Glance) {
	j, err := s.openIn(env, id)
	if err != nil {
		s.log.Warn("cannot attach a job", "job", id, "error", err)
		return
	}
	j.TakeBack(finish, due, seen)
}

// forget removes a job that is about to end.
func (s *Server) forget(j *shell.Job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.jobs[j.ID()] == j {
		delete(s.jobs, j.ID())
		if j.InMemory() {
			s.memory.endedLocked(s, j.ID())
		}
	}
}

// allJobs returns the jobs that are running or attaching here.
func (s *Server) allJobs() []*shell.Job {
	s.mu.Lock()
	defer s.mu.Unlock()
	jobs := make([]*shell.Job, 0, len(s.jobs))
	for _, j := range s.jobs {
		jobs = append(jobs, j)
	}
	return jobs
}

// newMemoryJobs makes the environment of the jobs in memory. It differs from that of the other jobs in its store, and in what it
// finds elsewhere. The audit log stays empty, because it lies in the root.
func newMemoryJobs(s *Server, m *Memory) *memoryJobs {
	if m == nil {
		return nil
	}
	store, of := m.Opened.Store, &s.env
	out := &memoryJobs{Memory: *m}
	out.Opened.Facts.Location = "memory:" // unlike any root
	out.env = shell.Env{
		InMemory: true, Commit: store, Restore: store, Collect: store, Upload: store, Root: out.Opened, Facts: out.Opened.Facts, DaemonRoot: s.facts.Location,
		Elsewhere: s.outOfMemory, Savepoints: of.Savepoints, URLs: of.URLs, Times: of.Times, InlineThreshold: of.InlineThreshold,
		InlineCap: of.InlineCap, Metrics: of.Metrics, History: of.History, Step: of.Step, Owns: of.Owns, JobDefaults: of.JobDefaults, Log: of.Log, Context: of.Context,
		Background: of.Background,
		Audit:      func(context.Context, []*ckptdv1.AuditEntry) error { return nil },
		Due:        func(job string) { s.beginIn(&out.env, job, true, false, journalio.Glance{}) },
	}
	return out
}

// jobsBelowRoot returns those of allJobs that are not in memory.
func (s *Server) jobsBelowRoot() []*shell.Job {
	return slices.DeleteFunc(s.allJobs(), (*shell.Job).InMemory)
}

// Shutdown releases every job, so that its workers register elsewhere at once. It waits until all releases are in the
// journals, or until ctx ends. Calls that arrive meanwhile get errClosing.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	s.ready.close()
	s.stopLooking()
	for _, j := range s.allJobs() {
		if j.InMemory() {
			s.log.Warn("a job's state is lost with this daemon: it begins anew elsewhere", "job", j.ID())
		}
		j.Release()
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

// Close stops at once, as a crash would. It writes nothing to the journals.
func (s *Server) Close() {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	s.ready.close()
	s.cancel()
	s.wg.Wait()
}

func (s *Server) status() *ckptdv1.GetStatusResponse {
	res := &ckptdv1.GetStatusResponse{
		Version: s.opts.Version, Root: s.facts.Location, Urls: s.opts.URLs, StartedAt: timestamppb.New(s.started),
	}
	res.MemoryUsed, res.MemoryLimit = s.memory.usage()
	return res
}

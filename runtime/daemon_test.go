package runtime_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage/mem"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
	"github.com/ckptd/ckptd/runtime"
	"github.com/ckptd/ckptd/runtime/lsm"
	"github.com/ckptd/ckptd/service"
	"github.com/ckptd/ckptd/service/coordinator"
	"github.com/ckptd/ckptd/service/stream"
)

// realDaemon is a server over a store, at a socket of its own, that can be killed and started again. Each of its
// lives has its own faults on the way to the store. Mutations that have not landed at a kill land in the next life.
type realDaemon struct {
	t      *testing.T
	store  *mem.Store
	socket string
	seed   uint64
	rates  mem.Rates
	ping   time.Duration                  // between two pings; 0: the default
	heard  func(r *ckptdv1.ReportRequest) // called with each report that arrives; may be nil

	mu     sync.Mutex
	lives  uint64
	faults *mem.Faults
	server *service.Server
	web    *http.Server
}

func startDaemon(t *testing.T, log *slog.Logger, seed uint64, rates mem.Rates) *realDaemon {
	t.Helper()
	dir, err := os.MkdirTemp("", "rt") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	d := &realDaemon{t: t, store: mem.New(), socket: filepath.Join(dir, "s"), seed: seed, rates: rates}
	t.Cleanup(func() {
		d.kill()
		os.RemoveAll(dir)
	})
	if _, err := layout.OpenRoot(context.Background(), d.store); err != nil {
		t.Fatal(err)
	}
	d.start(log)
	return d
}

func (d *realDaemon) url() string { return "unix:" + d.socket }

func (d *realDaemon) start(log *slog.Logger) {
	d.mu.Lock()
	defer d.mu.Unlock()
	os.Remove(d.socket)
	before := d.faults
	d.lives++
	d.faults = mem.NewFaults(d.store, mem.Seeded(d.seed+100*d.lives, d.rates))
	opened := d.store.Opened()
	opened.Store = d.faults
	if before != nil {
		time.AfterFunc(50*time.Millisecond, func() { before.Land() })
	}
	s, err := service.New(opened, &service.Options{URLs: []string{d.url()}, Log: log, Times: coordinator.Times{Grace: 200 * time.Millisecond, Ping: d.ping}})
	if err != nil {
		d.t.Fatal(err)
	}
	l, err := net.Listen("unix", d.socket)
	if err != nil {
		d.t.Fatal(err)
	}
	var p http.Protocols
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	d.server, d.web = s, &http.Server{Handler: d.listen(s.Handler()), Protocols: &p, ConnContext: stream.ConnContext}
	go d.web.Serve(l)
	if err := s.Start(context.Background()); err != nil {
		d.t.Fatal(err)
	}
}

// kill ends the daemon without a goodbye.
func (d *realDaemon) kill() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.server == nil {
		return
	}
	d.web.Close()
	d.server.Close()
	d.server = nil
}

// people calls the service for users.
func (d *realDaemon) people() (ckptdv1connect.JobServiceClient, func()) {
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", d.socket)
	}}
	return ckptdv1connect.NewJobServiceClient(&http.Client{Transport: tr}, "http://daemon"), tr.CloseIdleConnections
}

// TestJobOverRealDaemon runs a whole job in one process: daemon, client, workers and LSM state. Workers and daemon
// are killed at random.
func TestJobOverRealDaemon(t *testing.T) {
	for seed := range uint64(20) {
		name, rates := "seed %d", mem.Rates{}
		if seed >= 3 {
			name, rates = "seed %d, faulty store", mem.Rates{Failed: 0.04, DoneButError: 0.04, Later: 0.04}
		}
		t.Run(fmt.Sprintf(name, seed), func(t *testing.T) {
			t.Parallel()
			runOverRealDaemon(t, seed, rates)
		})
	}
}

func runOverRealDaemon(t *testing.T, seed uint64, rates mem.Rates) {
	var logged strings.Builder
	var mu sync.Mutex
	log := slog.New(slog.NewTextHandler(writerFunc(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return logged.Write(p)
	}), nil))
	defer func() {
		if t.Failed() {
			mu.Lock()
			defer mu.Unlock()
			t.Log(logged.String())
		}
	}()
	several := seed%2 == 1 // checkpoints are pending at once
	var manual sync.WaitGroup
	defer manual.Wait()
	d := startDaemon(t, log.With("who", "daemon"), seed, rates)
	engine := lsm.New(nil)
	defer engine.Close()
	c := &clicks{parallelism: 2, records: 14000, users: 200, rate: 20000, target: newTarget()}
	job := c.job()
	job.Tasks[1].Operators[0].Backend = engine.Open
	l := runtime.StartLocal(context.Background(), runtime.LocalOptions{
		JobID: "clicks", Job: job, Workers: 2, Dir: t.TempDir(), Log: log.With("who", "worker"),
		Attach: func(ctx context.Context, _ int) (runtime.Coordinator, error) {
			cl, err := client.New([]string{d.url()})
			if err != nil {
				return nil, err
			}
			context.AfterFunc(ctx, func() { cl.Close() })
			config := client.DefaultConfig(50 * time.Millisecond)
			config.RestartStrategy = client.RestartStrategy{Attempts: 100, Delay: 10 * time.Millisecond}
			config.TolerableFailedCheckpoints = 100
			if several {
				config.Interval, config.MaxConcurrentCheckpoints = 10*time.Millisecond, 3
			}
			attached, err := cl.AttachJob(ctx, client.JobSpec{ID: "clicks", Plan: job.Plan(), Config: config})
			if err != nil {
				return nil, err
			}
			return runtime.NewCoordinator(attached), nil
		},
	})
	defer l.Stop()
	people, done := d.people()
	defer done()
	rng := rand.New(rand.NewPCG(seed, 2))
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	kills := 0
	for strike := time.Now().Add(200 * time.Millisecond); ; time.Sleep(20 * time.Millisecond) {
		if ctx.Err() != nil {
			t.Fatal("the job did not end in time")
		}
		if kills < 3 && time.Now().After(strike) {
			kills++
			strike = time.Now().Add(time.Duration(100+rng.IntN(200)) * time.Millisecond)
			if rng.IntN(3) == 0 {
				log.Info("TEST kills the daemon")
				d.kill()
				d.start(log.With("who", "daemon", "life", kills))
			} else {
				log.Info("TEST kills a worker")
				l.Kill(rng.IntN(2))
			}
		}
		if several && rng.IntN(4) == 0 {
			kind := ckptdv1.CheckpointKind(1 + rng.IntN(3))
			manual.Go(func() { // it may fail: the job is attacked
				_, _ = people.TriggerCheckpoint(ctx, &ckptdv1.TriggerCheckpointRequest{JobId: "clicks", Kind: kind})
			})
		}
		s := jobState(ctx, people)
		if s == nil || s.GetSources() == 0 || s.GetSourcesAtEnd() < s.GetSources() || kills < 3 {
			continue
		}
		last, err := people.TriggerCheckpoint(ctx, &ckptdv1.TriggerCheckpointRequest{JobId: "clicks", RequestId: "last"})
		if err != nil {
			log.Info("TEST trigger", "err", err)
			continue
		}
		for s := jobState(ctx, people); s.GetCommittedCheckpointId() < last.GetCheckpoint().GetCheckpointId() && ctx.Err() == nil; s = jobState(ctx, people) {
			time.Sleep(10 * time.Millisecond)
		}
		break
	}
	if _, err := people.CancelJob(ctx, &ckptdv1.CancelJobRequest{JobId: "clicks", RequestId: "end"}); err != nil {
		t.Fatal(err)
	}
	if err := l.Wait(); err != nil {
		t.Fatal(err)
	}
	c.check(t)
}

func jobState(ctx context.Context, people ckptdv1connect.JobServiceClient) *ckptdv1.JobState {
	r, err := people.GetStatus(ctx, &ckptdv1.GetStatusRequest{JobId: "clicks"})
	if err != nil || len(r.GetJobs()) == 0 {
		return nil
	}
	return r.GetJobs()[0]
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

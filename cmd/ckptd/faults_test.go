package main

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/cmd/ckptd/demo"
	"github.com/ckptd/ckptd/cmd/ckptd/demo/recount"
	"github.com/ckptd/ckptd/cmd/ckptd/launch"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage/mem"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/runtime"
	"github.com/ckptd/ckptd/runtime/clickjob"
	"github.com/ckptd/ckptd/runtime/filesink"
	"github.com/ckptd/ckptd/runtime/lsm"
	"github.com/ckptd/ckptd/service"
	"github.com/ckptd/ckptd/service/coordinator"
)

// The whole job runs in one process, over a store in memory whose mutations fail in every way that a store may fail.
// Workers and daemon are killed meanwhile. The counts are exact for every seed, and storage holds exactly the objects
// that the journal reaches.
func TestFaultyStore(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			faulty(t, seed)
		})
	}
}

// lives are the daemons of one process after another at one socket, over one store.
type lives struct {
	t      *testing.T
	seed   uint64
	log    *slog.Logger
	store  *mem.Store
	socket string

	mu     sync.Mutex
	rng    *rand.Rand
	faults []*mem.Faults // of each life
	hurt   atomic.Int64  // mutations that did not simply succeed
	calm   bool
	kill   func()
}

// deaths is how many times the daemon dies.
const deaths = 2

// begin starts the next daemon; the first few die in the middle of a mutation.
func (l *lives) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	death := 0
	if len(l.faults) < deaths {
		death = 8 + l.rng.IntN(16)
	}
	random := mem.Seeded(l.seed*100+uint64(len(l.faults)), mem.Rates{Failed: 0.05, DoneButError: 0.05, Later: 0.05})
	f := mem.NewFaults(l.store, nil)
	f.SetDecide(func(m mem.Mutation) mem.Outcome {
		if m.N == death {
			go l.again()
			return mem.Later(1 << 20) // lands when the test says so
		}
		outcome := random(m)
		if outcome != mem.Done() {
			l.hurt.Add(1)
		}
		return outcome
	})
	if l.calm {
		f.SetDecide(nil)
	}
	opened := l.store.Opened()
	opened.Store = f
	s, err := service.New(opened, &service.Options{
		URLs: []string{"unix:" + l.socket}, Log: l.log.With("life", len(l.faults)),
		Times: coordinator.Times{Grace: 100 * time.Millisecond, Ping: 100 * time.Millisecond, Registration: 2 * time.Second},
	})
	if err != nil {
		l.t.Error(err)
		return
	}
	os.Remove(l.socket)
	listener, err := net.Listen("unix", l.socket)
	if err != nil {
		l.t.Error(err)
		return
	}
	web := newHTTPServer(s.Handler())
	served := make(chan struct{})
	go func() { defer close(served); _ = web.Serve(listener) }()
	if err := s.Start(context.Background()); err != nil {
		l.t.Error(err)
	}
	l.faults = append(l.faults, f)
	l.kill = func() {
		f.Freeze()
		web.Close()
		s.Close()
		<-served
	}
}

// again kills the daemon and starts another.
func (l *lives) again() {
	l.mu.Lock()
	l.kill()
	l.mu.Unlock()
	l.begin()
}

// suffered tells whether all that has to go wrong has.
func (l *lives) suffered() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.faults) > deaths && l.hurt.Load() > 0
}

// settle ends all faults, and lets every mutation land that is under way.
func (l *lives) settle() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calm = true
	for _, f := range l.faults {
		f.SetDecide(nil)
		f.Land()
	}
}

func faulty(t *testing.T, seed uint64) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	rng := rand.New(rand.NewPCG(seed, 7))
	dir := socketDir(t)
	var out buffer
	defer func() {
		if t.Failed() {
			t.Log(out.String())
		}
	}()
	l := &lives{t: t, seed: seed, rng: rng, log: slog.New(slog.NewTextHandler(&out, nil)), store: mem.New(), socket: filepath.Join(dir, "s")}
	if _, err := layout.OpenRoot(ctx, l.store); err != nil {
		t.Fatal(err)
	}
	l.begin()
	defer func() { l.mu.Lock(); defer l.mu.Unlock(); l.kill() }()

	params := clickjob.Params{Seed: seed, Users: 100, Records: 6000, Rate: 6000, Parallelism: 2, Output: filepath.Join(dir, "output"), OutputName: "job"}
	local := startLocal(ctx, t, l, params, dir)
	defer local.Stop()
	c, admin, err := adminOf("unix:" + l.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	victim, strike := rng.IntN(2), time.Now().Add(time.Duration(100+rng.IntN(300))*time.Millisecond)
	committed := commitAll(ctx, admin, func() (enough bool) {
		if victim >= 0 && time.Now().After(strike) {
			local.Kill(victim)
			victim = -1
		}
		return victim < 0 && l.suffered()
	})
	if !committed {
		t.Fatal("the job does not come to its end")
	}
	l.settle()
	if _, err := admin.Cancel(ctx, "job"); err != nil {
		t.Fatal(err)
	}
	if err := local.Wait(); err != nil {
		t.Fatal(err)
	}
	checkCounts(t, params)
	for demo.Owned(ctx, l.store, "job") {
		if !launch.Sleep(ctx, pollEvery) {
			t.Fatal("the daemon does not let the job go")
		}
	}
	var keys []string
	for info, err := range l.store.List(ctx, "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	slices.Sort(keys)
	compareStorage(ctx, t, l.store, "job", keys)
}

// startLocal runs the job's workers in this process.
func startLocal(ctx context.Context, t *testing.T, l *lives, params clickjob.Params, dir string) *runtime.Local {
	tree := lsm.New(nil)
	t.Cleanup(tree.Close)
	job := clickjob.New(params, tree.Open)
	config := &client.JobConfig{
		Interval: 20 * time.Millisecond, NumRetained: 2, TolerableFailedCheckpoints: coordinator.Never,
		Retention:       client.RetainOnCancellation,
		RestartStrategy: client.RestartStrategy{Attempts: coordinator.Never, Delay: time.Millisecond},
	}
	return runtime.StartLocal(ctx, runtime.LocalOptions{
		JobID: "job", Job: job, Workers: 2, Dir: filepath.Join(dir, "local"), Log: l.log,
		Attach: func(ctx context.Context, _ int) (runtime.Coordinator, error) {
			c, err := client.New([]string{"unix:" + l.socket})
			if err != nil {
				return nil, err
			}
			context.AfterFunc(ctx, func() { c.Close() })
			attached, err := c.AttachJob(ctx, client.JobSpec{ID: "job", Plan: job.Plan(), Config: config})
			if err != nil {
				return nil, err
			}
			return runtime.NewCoordinator(attached), nil
		},
	})
}

// commitAll waits until the sinks have committed a checkpoint after the end of the input. It calls disturb now and
// then, and does not return before disturb has returned true.
func commitAll(ctx context.Context, admin *client.Admin, disturb func() (enough bool)) bool {
	state := func() *ckptdv1.JobState {
		res, err := admin.Messages().JobStatus(ctx, "job", 0)
		if err != nil || len(res.GetJobs()) == 0 {
			return nil
		}
		return res.GetJobs()[0]
	}
	for launch.Sleep(ctx, 10*time.Millisecond) {
		enough, s := disturb(), state()
		if !enough || s.GetPhase() != demo.PhaseRunning || s.GetSources() == 0 || s.GetSourcesAtEnd() < s.GetSources() {
			continue
		}
		try, cancel := context.WithTimeout(ctx, 5*time.Second)
		res, err := admin.Trigger(try, "job")
		cancel()
		for s := state(); err == nil && s.GetPhase() == demo.PhaseRunning; s = state() {
			if s.GetCommittedCheckpointId() >= res.ID {
				return true
			}
			launch.Sleep(ctx, 5*time.Millisecond)
		}
	}
	return false
}

// checkCounts compares the sink's lines with a plain recount.
func checkCounts(t *testing.T, params clickjob.Params) {
	t.Helper()
	want, err := recount.Generated(t.Context(), params.Seed, params.Users, params.Records)
	if err != nil {
		t.Fatal(err)
	}
	none := func(func(user, count []byte) error) error { return nil }
	v, err := recount.Check(want.Counts, none, func(f func(user, count []byte) error) error {
		return filesink.ReadLines(params.Output, params.OutputName, f)
	})
	if err != nil {
		t.Fatal(err)
	}
	if !v.Exact() {
		t.Errorf("%s\n%v", v, v.Problems)
	}
}

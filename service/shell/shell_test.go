package shell

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/mem"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/coordinator"
)

// environment is what jobs need of a daemon over the root. It ends with the test.
func environment(t *testing.T, root storage.Opened) *Env {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var jobs sync.WaitGroup
	t.Cleanup(func() { cancel(); jobs.Wait() })
	return &Env{
		Commit: root.Store, Restore: root.Store, Collect: root.Store, Facts: root.Facts, URLs: []string{"http://d.invalid"}, InlineCap: 1 << 20,
		Metrics: noMetrics{}, Step: func(string) {}, Owns: func(context.Context, []string, string, string) bool { return false },
		Log: slog.New(slog.DiscardHandler), Context: ctx, Background: &jobs,
	}
}

type noMetrics struct{}

func (noMetrics) Completed(*journal.Checkpoint) {}
func (noMetrics) Aborted(coordinator.Reason)    {}
func (noMetrics) Refused(coordinator.Reason)    {}
func (noMetrics) Ended(journal.Status)          {}
func (noMetrics) Attempt()                      {}
func (noMetrics) Restored(*journal.Checkpoint)  {}
func (noMetrics) Fenced(int)                    {}

// attached returns a job of one subtask that is owned here.
func attached(t *testing.T, env *Env) *Job {
	t.Helper()
	j := New(env, "j")
	j.Begin(func() {})
	plan := &ckptdv1.Plan{Operators: []*ckptdv1.Operator{{Id: "count", Parallelism: 1, MaxParallelism: 128, Triggered: true}}}
	if _, err := j.Attach(t.Context(), &ckptdv1.AttachJobRequest{JobId: "j", Plan: plan}); err != nil {
		t.Fatal(err)
	}
	return j
}

// When the next sweep of a job is due while a sweep runs, the job waits for its end. It does not look at the clock over
// and over.
func TestASweepThatRunsIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			running bool
			want    time.Duration
		}{{true, time.Hour}, {false, 0}} {
			begun, fired := time.Now(), make(chan time.Duration)
			j := &Job{sweeps: sweeps{due: begun, running: c.running}}
			j.calls.begin(func() { fired <- time.Since(begun) })
			j.arm()
			if got := <-fired; got != c.want {
				t.Errorf("a sweep runs: %v: the timer fires after %v, want %v: a sweep is due", c.running, got, c.want)
			}
		}
	})
}

// A worker that leaves while its registration waits does not count as registered, since nobody reads its commands.
func TestAWorkerThatLeavesBeforeItIsRegistered(t *testing.T) {
	j := attached(t, environment(t, mem.Open()))
	busy := make(chan struct{})
	j.do(func() { <-busy })
	ctx, leave := context.WithCancel(t.Context())
	leave()
	err := j.Register(ctx, &ckptdv1.RegisterRequest{
		JobId: "j", Nonce: "n", Subtasks: []*ckptdv1.Subtask{{OperatorId: "count"}},
	}, nil)
	if err == nil {
		t.Fatal("the worker that left was registered, want an error")
	}
	close(busy)
	workers, err := ask(t.Context(), j, func(reply func(int, error)) { reply(len(j.workers.sessions), nil) })
	if err != nil || workers != 0 {
		t.Errorf("%d workers, %v; want none", workers, err)
	}
}

// The late call of a process that was killed while it registered does not replace its successor. Otherwise the
// successor would end, and no worker would be left.
func TestADeadProcessReplacesNobody(t *testing.T) {
	j := attached(t, environment(t, mem.Open()))
	request := func(nonce string) *ckptdv1.RegisterRequest {
		return &ckptdv1.RegisterRequest{JobId: "j", Nonce: nonce, Subtasks: []*ckptdv1.Subtask{{OperatorId: "count"}}}
	}
	req := request("successor")
	w := &session{nonce: req.GetNonce(), subtasks: req.GetSubtasks(), out: newInbox[*ckptdv1.RegisterResponse]()}
	_, err := ask(t.Context(), j, func(reply func(struct{}, error)) {
		r, err := j.checkRegistration(req, w)
		if err == nil {
			j.register(r)
		}
		reply(struct{}{}, err)
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, die := context.WithCancel(t.Context())
	die()
	if err := j.Register(ctx, request("dead"), nil); err == nil {
		t.Error("the dead process is registered, want an error")
	}
	registered, err := ask(t.Context(), j, func(reply func(bool, error)) {
		reply(len(j.m.Registrations()) == 1 && j.m.Registrations()[0].Worker == w.number && j.workers.numbered(w.number) == w, nil)
	})
	if err != nil || !registered {
		t.Errorf("the successor alone is registered: %v, %v; want true", registered, err)
	}
	j.do(func() { j.left(w) })
}

// If the clock is set back between a trigger and the last acknowledgement, the duration is 0.
func TestDurationWithAClockSetBack(t *testing.T) {
	at := time.UnixMilli(1_000_000)
	if c := entryOf(1, 1, layout.Header{TriggeredAt: at, CompletedAt: at.Add(-time.Second)}, layout.Totals{}); c.DurationMillis != 0 {
		t.Errorf("%d ms, want 0", c.DurationMillis)
	}
}

// unfinishedStore fails the first calls of AbortUnfinished.
type unfinishedStore struct {
	storage.Store
	fails, done atomic.Int32
}

func (s *unfinishedStore) AbortUnfinished(ctx context.Context, prefix string, dead func(string) bool) (int, error) {
	if s.fails.Add(-1) >= 0 {
		return 0, errors.New("503")
	}
	s.done.Add(1)
	return s.Store.AbortUnfinished(ctx, prefix, dead)
}

// The last sweep of a job repeats a failed AbortUnfinished, since no later sweep makes up for it. But a store on which
// it always fails does not prevent the release of the job.
func TestLastSweepGivesUpWhatIsUnfinished(t *testing.T) {
	t.Parallel()
	for name, fails := range map[string]int32{"at times": 2, "never": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := mem.Open()
			store := &unfinishedStore{Store: root.Store}
			store.fails.Store(fails)
			root.Store = store
			j := attached(t, environment(t, root))
			if _, err := j.Cancel(t.Context(), &ckptdv1.CancelJobRequest{JobId: "j"}); err != nil {
				t.Fatal(err)
			}
			<-j.Done()
			if done := store.done.Load() > 0; done != (name == "at times") {
				t.Errorf("unfinished writes aborted: %v, want %v", done, !done)
			}
		})
	}
}

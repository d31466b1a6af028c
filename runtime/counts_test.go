package runtime_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/runtime"
	"github.com/ckptd/ckptd/runtime/state"
	"github.com/ckptd/ckptd/runtime/state/heap"
)

// clicks is the job of these tests: source -> filter -> map -> keyed sum -> sink, over generated clicks.
type clicks struct {
	parallelism int
	records     int // of each source
	users       int
	rate        float64
	target      *target
	// poison, if set, is the record at which the map fails.
	poison func() error
	// until says, if set, that the job may come to its end; before that checkpoints go on.
	until func() bool
}

func (c *clicks) job() *runtime.Job {
	return &runtime.Job{Name: "clicks", Tasks: []runtime.Task{
		{Name: "read", Parallelism: c.parallelism, Operators: []runtime.Operator{
			{ID: "source", Rate: c.rate, Source: func(s runtime.Subtask) (state.Source, error) {
				return &generator{subtask: uint64(s.Index), records: uint64(c.records), users: uint64(c.users)}, nil
			}},
			{ID: "filter", Process: func(runtime.Subtask) (runtime.Process, error) {
				return func(rec state.Record, emit runtime.Emit) error {
					if rec.Value[0] == '0' {
						return nil
					}
					return emit(rec)
				}, nil
			}},
			{ID: "map", Process: func(runtime.Subtask) (runtime.Process, error) {
				one := []byte{1}
				return func(rec state.Record, emit runtime.Emit) error {
					if c.poison != nil {
						if err := c.poison(); err != nil {
							return err
						}
					}
					return emit(state.Record{Key: rec.Key, Value: one})
				}, nil
			}},
		}},
		{Name: "count", Parallelism: c.parallelism, Inputs: []string{"read"}, Operators: []runtime.Operator{
			{ID: "sum", Backend: heap.Open, Keyed: func(runtime.Subtask) (runtime.Keyed, error) { return sum(), nil }},
			{ID: "sink", Sink: func(s runtime.Subtask) (state.Sink, error) { return &sink{target: c.target, subtask: s.Index}, nil }},
		}},
	}}
}

func sum() runtime.Keyed {
	var buf [8]byte
	return func(rec state.Record, v *runtime.Value, emit runtime.Emit) error {
		old, err := v.Get()
		if err != nil {
			return err
		}
		var n uint64
		if old != nil {
			n = binary.BigEndian.Uint64(old)
		}
		binary.BigEndian.PutUint64(buf[:], n+uint64(rec.Value[0]))
		if err := v.Put(buf[:]); err != nil {
			return err
		}
		return emit(state.Record{Key: rec.Key, Value: buf[:]})
	}
}

// want returns how often each user clicked while logged in.
func (c *clicks) want() map[string]uint64 {
	want := map[string]uint64{}
	for i := range c.parallelism {
		g := &generator{subtask: uint64(i), records: uint64(c.records), users: uint64(c.users)}
		var rec state.Record
		for {
			if r, _ := g.Next(&rec); r == state.End {
				break
			}
			if rec.Value[0] == '1' {
				want[string(rec.Key)]++
			}
		}
	}
	return want
}

// check: each user's lines in the target are 1…n, each exactly once.
func (c *clicks) check(t *testing.T) {
	t.Helper()
	want := c.want()
	got := map[string]map[uint64]int{}
	c.target.mu.Lock()
	defer c.target.mu.Unlock()
	for _, lines := range c.target.visible {
		for _, l := range lines {
			if got[l.User] == nil {
				got[l.User] = map[uint64]int{}
			}
			got[l.User][l.Count]++
		}
	}
	for user, n := range want {
		for i := uint64(1); i <= n; i++ {
			if got[user][i] != 1 {
				t.Fatalf("user %s: line %d of %d is there %d times, want once", user, i, n, got[user][i])
			}
		}
		if len(got[user]) != int(n) {
			t.Fatalf("user %s: %d lines, want %d", user, len(got[user]), n)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d users, want %d", len(got), len(want))
	}
}

// generator emits records that depend only on subtask and position.
type generator struct {
	subtask, records, users uint64
	position                uint64
	read                    atomic.Uint64
	key                     []byte
}

var flags = [2][]byte{[]byte("0"), []byte("1")}

func (g *generator) Next(rec *state.Record) (state.Readiness, error) {
	if g.position == g.records {
		return state.End, nil
	}
	h := (g.position + g.subtask<<40 + 1) * 0x9e3779b97f4a7c15
	h ^= h >> 29
	g.key = strconv.AppendUint(append(g.key[:0], "user-"...), h%g.users, 10)
	rec.Key, rec.Value = g.key, flags[min(h>>32%4, 1)]
	g.position++
	g.read.Store(g.position)
	return state.Ready, nil
}

func (g *generator) Position() []byte { return binary.BigEndian.AppendUint64(nil, g.position) }

func (g *generator) Seek(p []byte) error {
	if len(p) != 8 {
		return errors.New("not a position")
	}
	g.position = binary.BigEndian.Uint64(p)
	g.read.Store(g.position)
	return nil
}

func (g *generator) Progress() state.Progress { return state.Progress{Records: g.read.Load()} }
func (g *generator) Close() error             { return nil }

type line struct {
	User  string
	Count uint64
}

// target is where transactions become visible; each name may be used once.
type target struct {
	mu      sync.Mutex
	visible map[string][]line
	// holding: a sink that writes waits until hold is closed; held is the number of waiting sinks.
	holding atomic.Bool
	hold    chan struct{}
	held    atomic.Int32
}

func newTarget() *target { return &target{visible: map[string][]line{}, hold: make(chan struct{})} }

type transaction struct {
	Name       string
	Checkpoint uint64
	Lines      []line
}

// sink is a two-phase commit whose pre-committed transactions are stored in the checkpoint itself.
type sink struct {
	target  *target
	subtask int
	attempt uint64
	open    []line
	pending []transaction
}

func (s *sink) Restore(attempt, restored uint64, saved []byte) error {
	s.attempt = attempt
	if saved == nil {
		return nil
	}
	if err := json.Unmarshal(saved, &s.pending); err != nil {
		return err
	}
	return s.Commit(restored)
}

func (s *sink) Write(rec state.Record) error {
	if s.target.holding.Load() {
		s.target.held.Add(1)
		<-s.target.hold
	}
	s.open = append(s.open, line{string(rec.Key), binary.BigEndian.Uint64(rec.Value)})
	return nil
}

func (s *sink) PreCommit(checkpoint uint64) ([]byte, error) {
	name := fmt.Sprintf("%d-%d-%d", s.subtask, s.attempt, checkpoint)
	s.pending = append(s.pending, transaction{Name: name, Checkpoint: checkpoint, Lines: s.open})
	s.open = nil
	return json.Marshal(s.pending)
}

func (s *sink) Commit(checkpoint uint64) error {
	s.target.mu.Lock()
	defer s.target.mu.Unlock()
	for len(s.pending) > 0 && s.pending[0].Checkpoint <= checkpoint {
		s.target.visible[s.pending[0].Name] = s.pending[0].Lines
		s.pending = s.pending[1:]
	}
	return nil
}

func (s *sink) Abort(uint64) {}
func (s *sink) Close() error { return nil }

// play runs a job to its end, with checkpoints as fast as they complete. It calls disturb after each checkpoint, with
// its number.
func play(t *testing.T, c *clicks, workers int, steps func(*daemon, int, string) bool, disturb func(d *daemon, l *runtime.Local, n int)) *daemon {
	t.Helper()
	c.target = newTarget()
	job := c.job()
	d := newDaemon(t, job.Plan())
	o := runtime.LocalOptions{JobID: "job", Job: job, Workers: workers, Attach: d.attach, Dir: t.TempDir()}
	if steps != nil {
		o.Steps = func(slot int, name string) bool { return steps(d, slot, name) }
	}
	l := runtime.StartLocal(context.Background(), o)
	defer l.Stop()
	for n := 0; ; n++ {
		time.Sleep(2 * time.Millisecond)
		if disturb != nil {
			disturb(d, l, n)
		}
		d.await("all run", d.allRunningLocked)
		d.mu.Lock()
		atEnd, attempt := len(d.ended) == c.parallelism, d.attempt
		d.mu.Unlock()
		id := d.trigger()
		if id == 0 {
			continue
		}
		expire := time.AfterFunc(2*time.Second, func() { d.abort("CHECKPOINT_EXPIRED") })
		d.await("the checkpoint ends", func() bool { return d.pending == nil })
		expire.Stop()
		d.mu.Lock()
		last := len(d.complete) > 0 && d.complete[len(d.complete)-1].id == id && atEnd && d.attempt == attempt
		d.mu.Unlock()
		if !last {
			continue
		}
		d.await("the sinks have committed, or the attempt has ended", func() bool {
			return d.committedEverywhere(id, c.parallelism) || d.attempt != attempt || !d.begun
		})
		d.mu.Lock()
		done := d.committedEverywhere(id, c.parallelism)
		d.mu.Unlock()
		if done && (c.until == nil || c.until()) {
			break
		}
	}
	d.cancel()
	if err := l.Wait(); err != nil {
		t.Fatal(err)
	}
	c.check(t)
	return d
}

// The job runs to its end with checkpoints on the way, over one worker and over several, and counts exactly.
func TestJobCountsExactly(t *testing.T) {
	for _, workers := range []int{1, 2, 3} {
		t.Run(fmt.Sprintf("%d workers", workers), func(t *testing.T) {
			d := play(t, &clicks{parallelism: 3, records: 20000, users: 50, rate: 100000}, workers, nil, nil)
			if d.attempt != uint64(workers) && d.attempt != 1 {
				t.Errorf("attempt %d, want one attempt", d.attempt)
			}
			if len(d.complete) < 3 || len(d.causes) > 0 {
				t.Errorf("%d checkpoints, causes %q; want at least 3, and no failure", len(d.complete), d.causes)
			}
		})
	}
}

// Every run is exact, with workers killed at random moments, refused checkpoints, and a daemon that comes back.
func TestJobCountsExactlyUnderKills(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 1))
			kills := 0
			d := play(t, &clicks{parallelism: 2 + int(seed%2), records: 15000, users: 40, rate: 60000}, 2, nil, func(d *daemon, l *runtime.Local, n int) {
				time.Sleep(time.Duration(rng.IntN(10)) * time.Millisecond)
				if n == 0 {
					return // the first attempt has not begun
				}
				switch rng.IntN(8) {
				case 0:
					if kills++; kills < 6 {
						l.Kill(rng.IntN(2))
					}
				case 1:
					d.restart()
				case 2:
					go d.abort("CHECKPOINT_EXPIRED")
				}
			})
			if kills > 0 && d.attempt < 2 {
				t.Errorf("%d kills, attempt %d; want at least 2 attempts", kills, d.attempt)
			}
		})
	}
}

// A worker is killed exactly at each named step.
func TestJobKilledAtEachStep(t *testing.T) {
	for _, step := range []string{
		runtime.StepRestored, runtime.StepAfterPreCommit, runtime.StepUploading, runtime.StepAcknowledged, runtime.StepBeforeCommit, runtime.StepAfterCommit,
	} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			var passed, injected atomic.Int32
			c := &clicks{parallelism: 2, records: 10000, users: 40, rate: 60000}
			c.until = func() bool { return injected.Load() > 0 } // a slow machine needs more checkpoints than the input is long
			play(t, c, 2, func(_ *daemon, slot int, name string) bool {
				if name != step || slot != 1 {
					return false
				}
				if passed.Add(1)%3 == 0 && injected.Load() < 3 {
					injected.Add(1)
					return true
				}
				return false
			}, func(_ *daemon, l *runtime.Local, n int) {
				if step == runtime.StepRestored && n%3 == 1 && injected.Load() < 3 {
					l.Kill(0)
				}
			})
			if injected.Load() == 0 {
				t.Error("no worker was killed at the step, want at least one")
			}
		})
	}
}

// An operator that fails, or panics, fails the attempt with its cause. The next attempt continues from the last
// checkpoint.
func TestFailingOperatorIsReported(t *testing.T) {
	for name, fail := range map[string]func() error{
		"error": func() error { return errors.New("bad luck") },
		"panic": func() error { panic("bad luck") },
	} {
		t.Run(name, func(t *testing.T) {
			var seen atomic.Int32
			d := play(t, &clicks{parallelism: 2, records: 10000, users: 10, rate: 60000, poison: func() error {
				if seen.Add(1) == 5000 {
					return fail()
				}
				return nil
			}}, 2, nil, nil)
			if len(d.causes) == 0 || !strings.Contains(d.causes[0], "read/") || !strings.Contains(d.causes[0], "bad luck") {
				t.Errorf("causes %q, want the task and its error", d.causes)
			}
		})
	}
}

// The owner hears the cause of a failure first, however slowly. Only then it hears other workers, which know no more
// than that a channel broke.
func TestTheCauseIsHeardBeforeItsConsequences(t *testing.T) {
	c := endless()
	var fails atomic.Bool
	c.poison = func() error {
		if fails.CompareAndSwap(true, false) {
			return errors.New("bad luck")
		}
		return nil
	}
	job := c.job()
	d := newDaemon(t, job.Plan())
	others := make(chan string, 100)
	d.hear = func(r client.Report) error {
		if r.Kind != client.ReportFailed {
			return nil
		}
		if !strings.Contains(r.Cause, "bad luck") {
			others <- r.Cause
			return nil
		}
		select {
		case cause := <-others:
			t.Errorf("the owner heard %q first, want the cause first", cause)
		case <-time.After(500 * time.Millisecond): // ten times as long as a lost channel is kept back
		}
		return nil
	}
	l := runtime.StartLocal(context.Background(), runtime.LocalOptions{JobID: "job", Job: job, Workers: 2, Attach: d.attach, Dir: t.TempDir()})
	defer l.Stop()
	d.await("it runs", d.allRunningLocked)
	fails.Store(true)
	d.await("a failure", func() bool { return len(d.causes) > 0 })
	d.mu.Lock()
	defer d.mu.Unlock()
	if !strings.Contains(d.causes[0], "read/") || !strings.Contains(d.causes[0], "bad luck") {
		t.Errorf("causes %q, want the task and its error first", d.causes)
	}
}

// A failed upload declines its checkpoint and nothing else: records flow on, the next checkpoint holds everything.
func TestFailedUploadDeclines(t *testing.T) {
	var calls atomic.Int32
	c := &clicks{parallelism: 2, records: 10000, users: 10, rate: 60000, target: newTarget()}
	job := c.job()
	d := newDaemon(t, job.Plan())
	d.refuse = func(context.Context, client.Snapshot) error {
		if calls.Add(1)%5 == 3 {
			return client.ErrNoSpace
		}
		return nil
	}
	l := runtime.StartLocal(context.Background(), runtime.LocalOptions{JobID: "job", Job: job, Workers: 1, Attach: d.attach, Dir: t.TempDir()})
	defer l.Stop()
	d.await("it runs", d.allRunningLocked)
	for len(d.complete) < 5 || len(d.declines) < 2 {
		d.trigger()
		d.await("the checkpoint ends", func() bool { return d.pending == nil })
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.attempt != 1 || d.declines[0].Reason != "CHECKPOINT_ASYNC_EXCEPTION" || !strings.Contains(d.declines[0].Cause, "no space left") {
		t.Errorf("attempt %d, declined %+v, causes %q; want attempt 1, and the failed upload declined", d.attempt, d.declines[0], d.causes)
	}
}

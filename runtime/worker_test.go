package runtime_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/runtime"
	"github.com/ckptd/ckptd/runtime/exchange"
	"github.com/ckptd/ckptd/runtime/state"
)

// endless is a job that runs until it is told to end.
func endless() *clicks {
	return &clicks{parallelism: 2, records: 1 << 40, users: 20, rate: 20000, target: newTarget()}
}

// local runs a job's workers until the test ends. It returns when all tasks run.
func local(t *testing.T, c *clicks, workers int) (*daemon, *runtime.Local, string) {
	t.Helper()
	job := c.job()
	d, dir := newDaemon(t, job.Plan()), t.TempDir()
	l := runtime.StartLocal(context.Background(), runtime.LocalOptions{JobID: "job", Job: job, Workers: workers, Attach: d.attach, Dir: dir})
	t.Cleanup(l.Stop)
	d.await("all run", d.allRunningLocked)
	return d, l, dir
}

func (d *daemon) checkpoint() uint64 {
	d.t.Helper()
	id := d.trigger()
	d.await("the checkpoint completes", func() bool { return len(d.complete) > 0 && d.complete[len(d.complete)-1].id == id })
	return id
}

func (d *daemon) tell(c client.Command) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sendLocked(c)
}

func (c *clicks) transactions() int {
	c.target.mu.Lock()
	defer c.target.mu.Unlock()
	return len(c.target.visible)
}

func TestAborted(t *testing.T) {
	t.Run("SC-7 while uploading", abortedWhileUploading)
	t.Run("SC-8 after the acknowledgement", abortedAfterAcknowledgement)
}

// SC-8: a checkpoint is aborted after this worker's acknowledgement. Nothing of it is remembered, and its transaction
// becomes visible with the next checkpoint.
func abortedAfterAcknowledgement(t *testing.T) {
	c := endless()
	d, _, _ := local(t, c, 1)
	d.mu.Lock()
	d.lastID++
	d.pending = &checkpoint{id: d.lastID, attempt: 1, epoch: 1, handles: map[client.Subtask][]client.Handle{{Operator: "elsewhere"}: nil}}
	d.sendLocked(client.Trigger{Attempt: 1, Epoch: 1, Checkpoint: d.lastID})
	d.mu.Unlock()
	poll(t, "all but one have acknowledged", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.pending == nil || len(d.pending.handles) == 11
	})
	d.abort("CHECKPOINT_EXPIRED")
	id := d.checkpoint()
	d.await("commits", func() bool { return d.committedEverywhere(id, 2) })
	if n := c.transactions(); n != 4 || d.attempt != 1 {
		t.Errorf("%d transactions, attempt %d; want 4 (two checkpoints, two sinks) in attempt 1", n, d.attempt)
	}
}

// SC-7: a checkpoint is aborted during its upload. The upload is cancelled, nothing is declined, and the next
// checkpoint works.
func abortedWhileUploading(t *testing.T) {
	c := endless()
	job := c.job()
	d := newDaemon(t, job.Plan())
	var uploading, ended atomic.Int32
	var free atomic.Bool
	d.refuse = func(ctx context.Context, _ client.Snapshot) error {
		if free.Load() {
			return nil
		}
		uploading.Add(1)
		<-ctx.Done()
		ended.Add(1)
		return ctx.Err()
	}
	l := runtime.StartLocal(context.Background(), runtime.LocalOptions{JobID: "job", Job: job, Attach: d.attach, Dir: t.TempDir()})
	defer l.Stop()
	d.await("all run", d.allRunningLocked)
	d.trigger()
	poll(t, "an upload runs", func() bool { return uploading.Load() > 0 })
	d.abort("CHECKPOINT_EXPIRED")
	poll(t, "it ends", func() bool { return ended.Load() == uploading.Load() })
	free.Store(true)
	d.checkpoint()
	if len(d.declines) > 0 || d.attempt != 1 {
		t.Errorf("attempt %d, declines %v; want attempt 1, and none", d.attempt, d.declines)
	}
}

func poll(t *testing.T, what string, is func() bool) {
	t.Helper()
	for range 6000 {
		if is() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("not reached in time: %s", what)
}

// Complete, Abort and Trigger of another attempt change nothing.
func TestCommandsOfOtherAttemptsAreIgnored(t *testing.T) {
	c := endless()
	d, _, _ := local(t, c, 1)
	d.refuse = func(context.Context, client.Snapshot) error { return nil }
	d.checkpoint()
	poll(t, "the commit", func() bool { return c.transactions() == 2 })
	d.mu.Lock()
	d.complete = nil // so that the fake itself does not report the completion
	d.mu.Unlock()
	for _, attempt := range []uint64{0, 2, 99} {
		d.tell(client.Trigger{Attempt: attempt, Epoch: 1, Checkpoint: 50})
		d.tell(client.Abort{Attempt: attempt, Epoch: 1, Checkpoint: 2, LatestComplete: 2})
		d.tell(client.Complete{Attempt: attempt, Epoch: 1, Checkpoint: 40})
	}
	d.checkpoint() // checkpoint 2 is neither aborted nor subsumed by 50
	poll(t, "the commit", func() bool { return c.transactions() == 4 })
}

// After a lost Complete, an Abort tells the worker the newest complete checkpoint.
func TestAbortTellsOfALostComplete(t *testing.T) {
	c := endless()
	job := c.job()
	d := newDaemon(t, job.Plan())
	d.mute = func(cmd client.Command) bool { _, complete := cmd.(client.Complete); return complete }
	l := runtime.StartLocal(context.Background(), runtime.LocalOptions{JobID: "job", Job: job, Workers: 2, Attach: d.attach, Dir: t.TempDir()})
	defer l.Stop()
	d.await("all run", d.allRunningLocked)
	id := d.checkpoint()
	if n := c.transactions(); n != 0 {
		t.Fatalf("%d transactions without Complete, want none", n)
	}
	d.refuse = nil
	d.trigger()
	d.abort("CHECKPOINT_EXPIRED")
	d.await("all sinks have committed", func() bool { return d.committedEverywhere(id, 2) })
}

// A worker repeats a report until it was received, and no longer.
func TestReportsAreRepeatedUntilReceived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &clicks{parallelism: 2, records: 100, users: 5, target: newTarget()}
		job := c.job()
		d := newDaemon(t, job.Plan())
		lost, heard := 2, map[client.ReportKind]int{}
		d.hear = func(r client.Report) error {
			d.mu.Lock()
			defer d.mu.Unlock()
			if heard[r.Kind]++; heard[r.Kind] <= lost {
				return client.ErrUnavailable
			}
			return nil
		}
		l := runtime.StartLocal(t.Context(), runtime.LocalOptions{JobID: "job", Job: job, Attach: d.attach, Dir: t.TempDir()})
		defer l.Stop()
		time.Sleep(time.Minute)
		d.trigger()
		time.Sleep(time.Minute)
		d.mu.Lock()
		defer d.mu.Unlock()
		if !d.allRunningLocked() || len(d.ended) != 2 || !d.committedEverywhere(1, 2) {
			t.Errorf("running %v, at the end %v, committed %v; want all of it", d.running, d.ended, d.commits)
		}
		for _, kind := range []client.ReportKind{client.ReportRunning, client.ReportEndOfData, client.ReportCommitted} {
			// Two subtasks may report apart, and each report may be the one that is lost.
			if n := heard[kind]; n <= lost || n > lost+2 {
				t.Errorf("%v came %d times in two minutes, want %d or %d", kind, n, lost+1, lost+2)
			}
		}
	})
}

// A repeated Start starts nothing again.
func TestRepeatedStart(t *testing.T) {
	c := endless()
	d, _, _ := local(t, c, 1)
	d.mu.Lock()
	clear(d.running)
	d.sendLocked(client.Start{Attempt: 1, Epoch: 1})
	d.sendLocked(client.Start{Attempt: 0, Epoch: 1})
	d.mu.Unlock()
	d.await("it says that it runs", d.allRunningLocked)
	d.checkpoint()
	if d.attempt != 1 || len(d.causes) > 0 {
		t.Errorf("attempt %d, causes %q; want attempt 1, and no failure", d.attempt, d.causes)
	}
}

// A worker that was replaced ends with an error that says so. An ended worker leaves nothing in its folder.
func TestReplacedWorkerEnds(t *testing.T) {
	c := endless()
	job := c.job()
	d, network := newDaemon(t, job.Plan()), exchange.NewMemory()
	ctx, cancel := context.WithCancel(context.Background())
	run := func(dir string) <-chan error {
		co, _ := d.attach(ctx, 0)
		ended := make(chan error, 1)
		go func() {
			ended <- runtime.RunWorker(ctx, runtime.WorkerOptions{JobID: "job", Job: job, Coordinator: co, Network: network, Dir: dir})
		}()
		return ended
	}
	firstDir := t.TempDir()
	first := run(firstDir)
	d.await("the first runs", func() bool { return d.allRunningLocked() && d.attempt == 1 })
	second := run(t.TempDir())
	if err := <-first; !errors.Is(err, client.ErrReplaced) {
		t.Errorf("the first worker ended with %v, want ErrReplaced", err)
	}
	if left, _ := os.ReadDir(firstDir); len(left) > 0 {
		t.Errorf("left behind: %v, want nothing", left)
	}
	d.await("the second runs", func() bool { return d.allRunningLocked() && d.attempt == 2 })
	cancel()
	if err := <-second; !errors.Is(err, context.Canceled) {
		t.Errorf("the second worker ended with %v, want its context's error", err)
	}
}

// A worker that receives nothing any more, because it is frozen or cut off, changes nothing. Its channels are closed
// and refused, its acknowledgements are refused, and the attempt that replaced it counts exactly.
func TestZombieWorkerChangesNothing(t *testing.T) {
	c := &clicks{parallelism: 2, records: 10000, users: 20, rate: 30000}
	var zombie context.CancelFunc
	ended := make(chan error, 1)
	play(t, c, 2, nil, func(d *daemon, l *runtime.Local, n int) {
		if n != 3 {
			return
		}
		// Another worker replaces worker 0 while the old one runs on. Then a third one replaces that one, in Local.
		d.mu.Lock()
		for _, s := range d.workers {
			if s.registration.Subtasks[0].Index == 0 {
				s.frozen = true
			}
		}
		d.mu.Unlock()
		co, _ := d.attach(context.Background(), 0)
		var ctx context.Context
		ctx, zombie = context.WithCancel(context.Background())
		go func() {
			ended <- runtime.RunWorker(ctx, runtime.WorkerOptions{
				JobID: "job", Job: c.job(), Workers: 2, Coordinator: co, Network: l.Network, Dir: t.TempDir(),
			})
		}()
		d.await("the other runs", func() bool { return d.attempt > 1 && d.allRunningLocked() })
		time.Sleep(20 * time.Millisecond)
		l.Kill(0) // the replaced worker dies; its successor in Local replaces the other
	})
	if err := <-ended; !errors.Is(err, client.ErrReplaced) {
		t.Errorf("the other worker ended with %v, want ErrReplaced", err)
	}
	zombie()
}

// A Complete that comes right before the end of the job is still carried out. With several workers this is not
// guaranteed, as in Flink: a worker may see the closed channels of another one before its own Complete.
func TestLastCompleteIsObeyed(t *testing.T) {
	c := endless()
	d, l, _ := local(t, c, 1)
	id := d.trigger()
	d.await("it completes", func() bool {
		if len(d.complete) == 0 || d.complete[0].id != id {
			return false
		}
		d.terminal = true
		d.sendLocked(client.Cancel{}) // under the lock, so that nothing comes after Complete
		return true
	})
	if err := l.Wait(); err != nil {
		t.Fatal(err)
	}
	if n := c.transactions(); n != 2 {
		t.Errorf("%d transactions, want 2", n)
	}
}

// A state that cannot be restored is an error; the job does not run from its beginning.
func TestRestoreWithoutStateFails(t *testing.T) {
	for operator, want := range map[string]string{"source": "no position", "sum": "no state"} {
		c := endless()
		d, l, _ := local(t, c, 2)
		d.checkpoint()
		d.mu.Lock()
		lost := client.Subtask{Operator: operator, Index: 1}
		kept := d.complete[0].handles[lost]
		d.complete[0].handles[lost] = nil
		d.mu.Unlock()
		l.Kill(0)
		// The worker that lives on may tell first that it lost the other one.
		d.await("a failure that says of "+operator+"/1: "+want, func() bool {
			return slices.ContainsFunc(d.causes, func(c string) bool {
				return strings.Contains(c, operator+"/1") && strings.Contains(c, want)
			})
		})
		d.mu.Lock()
		d.complete[0].handles[lost] = kept
		d.mu.Unlock()
		d.await("it runs again", d.allRunningLocked)
		l.Stop()
	}
}

func TestRateIsBounded(t *testing.T) {
	c := &clicks{parallelism: 1, records: 3000, users: 5, rate: 10000, target: newTarget()}
	began := time.Now()
	d, _, _ := local(t, c, 1)
	d.await("the end", func() bool { return len(d.ended) == 1 })
	if took := time.Since(began); took < 250*time.Millisecond { // how much longer it takes is the machine's affair
		t.Errorf("3000 records at 10000 a second took %v, want 300 ms or more", took)
	}
}

func TestJobValidate(t *testing.T) {
	good := func() *runtime.Job { return endless().job() }
	if err := good().Validate(); err != nil {
		t.Fatal(err)
	}
	for want, spoil := range map[string]func(j *runtime.Job){
		"no tasks":                     func(j *runtime.Job) { j.Tasks = nil },
		"empty or taken":               func(j *runtime.Job) { j.Tasks[1].Name = "read" },
		"is not a task before it":      func(j *runtime.Job) { j.Tasks[1].Inputs = []string{"count"} },
		"out of range":                 func(j *runtime.Job) { j.Tasks[1].MaxParallelism = 1 },
		"no operators":                 func(j *runtime.Job) { j.Tasks[1].Operators = nil },
		"id \"sum\" is empty or taken": func(j *runtime.Job) { j.Tasks[1].Operators[1].ID = "sum" },
		"needs a backend":              func(j *runtime.Job) { j.Tasks[1].Operators[0].Backend = nil },
		"begins with a source":         func(j *runtime.Job) { j.Tasks[0].Operators = j.Tasks[0].Operators[1:] },
		"0 of Source":                  func(j *runtime.Job) { j.Tasks[0].Operators[1].Process = nil },
		"first of its task": func(j *runtime.Job) {
			j.Tasks[1].Operators = append([]runtime.Operator{j.Tasks[0].Operators[1]}, j.Tasks[1].Operators...)
			j.Tasks[0].Operators = j.Tasks[0].Operators[:1]
		},
		"last of its task": func(j *runtime.Job) {
			j.Tasks[1].Operators = append(j.Tasks[1].Operators, runtime.Operator{ID: "more", Process: func(runtime.Subtask) (runtime.Process, error) {
				return func(state.Record, runtime.Emit) error { return nil }, nil
			}})
		},
	} {
		j := good()
		spoil(j)
		if err := j.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func TestPlan(t *testing.T) {
	p := endless().job().Plan()
	var got []string
	for _, o := range p.Operators {
		if o.Parallelism != 2 || o.MaxParallelism != 128 || o.Triggered != (o.ID == "source") || o.Name != o.ID {
			t.Errorf("operator %v, want its parallelism, trigger and uid", o)
		}
		got = append(got, o.ID)
	}
	if strings.Join(got, " ") != "source filter map sum sink" {
		t.Errorf("operators %v, want source filter map sum sink", got)
	}
}

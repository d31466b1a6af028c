package service_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/storage/mem"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service"
)

// TestFullDisk: a checkpoint that cannot be written is aborted and counted. The job goes on. The next completion
// deletes the files.
func TestFullDisk(t *testing.T) {
	var full atomic.Bool
	under := newRoot()
	root, _ := faulty(under, func(m mem.Mutation) mem.Outcome {
		if full.Load() && m.Op == mem.OpCommit && strings.HasSuffix(m.Key, layout.MetadataName) {
			return mem.Failed()
		}
		return mem.Done()
	})
	d := startDaemon(t, root, "")
	w := oneWorker(t, d, "j", func(c *ckptdv1.JobConfig) { c.TolerableFailedCheckpoints = 1 })
	w.checkpoint(inlineState)
	full.Store(true)
	res := make(chan error, 1)
	go func() {
		_, err := d.jobService().TriggerCheckpoint(t.Context(), &ckptdv1.TriggerCheckpointRequest{JobId: "j"})
		res <- err
	}()
	failed := w.triggered()
	w.mustAck(failed, uploaded("i", "a", w.put(shared, failed, "abc")), uploaded("", "m", w.put(exclusive, failed, "own")))
	if err := <-res; err == nil || !strings.Contains(err.Error(), "FINALIZE") {
		t.Errorf("trigger: %v, want FINALIZE", err)
	}
	if a := expect[abort](w).Abort; a.GetCheckpointId() != failed {
		t.Errorf("aborted is %v, want checkpoint %d", a, failed)
	}
	aborted := ""
	for _, e := range d.status(t, "j").GetEvents() {
		if e.GetKind() == ckptdv1.JobEventKind_JOB_EVENT_KIND_ABORTED {
			aborted = e.GetText()
		}
	}
	if !strings.Contains(aborted, "its _metadata could not be written: ") || !strings.Contains(aborted, mem.ErrInjected.Error()) {
		t.Errorf("the event says %q, want the store's own error in it", aborted)
	}
	if n := d.status(t, "j").GetConsecutiveFailures(); n != 1 {
		t.Errorf("the status shows %d failures in a row, want 1", n)
	}
	full.Store(false)
	w.checkpoint(inlineState)
	if n := d.status(t, "j").GetConsecutiveFailures(); n != 0 {
		t.Errorf("after a completed checkpoint the status shows %d failures in a row, want 0", n)
	}
	eventually(t, "the files of the aborted checkpoint are deleted", func() bool {
		return len(contents(t, under.Store, "j/shared/")) == 0 && len(contents(t, under.Store, layout.CheckpointPrefix("j", failed))) == 0
	})
	if s := d.status(t, "j"); s.GetSummary().GetAttempt() != 1 {
		t.Errorf("attempt %d, want 1: one failure is tolerated", s.GetSummary().GetAttempt())
	}
	d.cancel(t, "j")
	w.ended()
	d.waitReleased(t)
	atRest(t, under, "j")
}

// TestFullDiskForFiles: the upload of a file that cannot be written is refused and leaves nothing on storage.
func TestFullDiskForFiles(t *testing.T) {
	var full atomic.Bool
	under := newRoot()
	root, _ := faulty(under, func(m mem.Mutation) mem.Outcome {
		if full.Load() && m.Op == mem.OpCommit {
			return mem.Failed()
		}
		return mem.Done()
	})
	d := startDaemon(t, root, "")
	w := oneWorker(t, d, "j", nil)
	id := w.open()
	full.Store(true)
	unchanged(t, under.Store, func() {
		if f, err := w.putAt(d, shared, id, "abc"); err == nil {
			t.Errorf("stored as %v, want an error", f)
		}
	})
	full.Store(false)
	w.mustAck(id, uploaded("i", "a", w.put(shared, id, "abc")))
	expect[complete](w)
}

// TestLostReplyOfMetadata: when the reply to the write of _metadata is lost, the commit goes on, and the journal
// describes the _metadata.
func TestLostReplyOfMetadata(t *testing.T) {
	under := newRoot()
	var once sync.Once
	root, _ := faulty(under, func(m mem.Mutation) (o mem.Outcome) {
		if strings.HasSuffix(m.Key, layout.MetadataName) {
			once.Do(func() { o = mem.DoneButError() })
		}
		return o
	})
	d := startDaemon(t, root, "")
	w := oneWorker(t, d, "j", nil)
	id := w.checkpoint(inlineState)
	if _, err := catalog.New(under.Store).Show(t.Context(), "j", id); err != nil {
		t.Errorf("show: %v, want the checkpoint", err)
	}
	if c, _ := head(t, under, "j").Checkpoint(id); c.Size == 0 || c.StateBytes == 0 || c.CompletedAt == 0 {
		t.Errorf("the journal says %+v, want a size, bytes of state and a time", c)
	}
}

// TestEveryMutationOnce plays a short life of a job again and again. Each time another mutation ends with an unknown
// outcome.
func TestEveryMutationOnce(t *testing.T) {
	t.Parallel()
	count := func() int {
		f, _ := faultyLife(t, nil)
		return f.Count()
	}()
	t.Logf("%d mutations", count)
	var g errgroup.Group
	g.SetLimit(16)
	step := 1
	if testing.Short() || raceDetector {
		step = 4
	}
	for _, outcome := range []mem.Outcome{mem.DoneButError(), mem.Later(1), mem.Later(3)} {
		for i := 1; i <= count; i += step {
			g.Go(func() error {
				var what mem.Mutation
				_, err := faultyLife(t, func(m mem.Mutation) mem.Outcome {
					if m.N != i {
						return mem.Done()
					}
					what = m
					return outcome
				})
				if err != nil {
					t.Errorf("mutation %d, %s %s: %v: %v", i, what.Op, what.Key, outcome, err)
				}
				return nil
			})
		}
	}
	_ = g.Wait()
}

// faultyLife plays a job of two workers that takes four checkpoints and is canceled. It returns an error if storage at
// rest is not as announced.
func faultyLife(t *testing.T, decide func(mem.Mutation) mem.Outcome) (f *mem.Faults, err error) {
	under := newRoot()
	root, f := faulty(under, decide)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	quiet := &failure{TB: t, ctx: ctx}
	defer func() {
		if r := recover(); r != nil && r != quiet { //nolint:errorlint // our own sentinel
			panic(r)
		}
		if quiet.err != nil {
			err = quiet.err
		}
	}()
	d := startDaemonWith(t, root, "", service.Options{Log: slog.New(slog.DiscardHandler)})
	defer d.kill()
	last, err := liveOnce(ctx, d)
	if err != nil {
		return f, err
	}
	f.Land()
	d.waitReleased(quiet)
	f.Land()
	e := atRest(quiet, under, "j")
	if e.Newest() != last {
		return f, fmt.Errorf("the journal's newest checkpoint is %d, want %d, the last one announced", e.Newest(), last)
	}
	for _, c := range e.Retained {
		if _, err := catalog.New(under.Store).Files(ctx, "j", c.ID); err != nil {
			return f, err
		}
	}
	return f, nil
}

// failure is a testing.TB that collects an error instead of failing the test.
type failure struct {
	testing.TB
	ctx context.Context
	err error
}

func (f *failure) Context() context.Context { return f.ctx }
func (f *failure) Errorf(format string, args ...any) {
	if f.err == nil {
		f.err = fmt.Errorf(format, args...)
	}
}
func (f *failure) Fatalf(format string, args ...any) { f.Errorf(format, args...); panic(f) }
func (f *failure) Fatal(args ...any)                 { f.Fatalf("%s", fmt.Sprint(args...)) }

// liveOnce plays the two workers with the SDK until the job is canceled. It returns the last checkpoint announced.
func liveOnce(ctx context.Context, d *daemon) (last uint64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c, err := client.New([]string{d.http.URL})
	if err != nil {
		return 0, err
	}
	defer c.Close()
	cfg := defaultConfig(0)
	cfg.NumRetained, cfg.TolerableFailedCheckpoints = 2, 100
	var done [2]chan uint64
	var g errgroup.Group
	for i, op := range []string{"source", "sink"} {
		done[i] = make(chan uint64, 100)
		g.Go(func() error {
			return faultyWorker(ctx, c, client.JobSpec{ID: "j", Plan: sdkPlan(twoPlan()), Config: client.ConfigFrom(cfg)}, op, done[i])
		})
	}
	for n := 0; n < 4 && ctx.Err() == nil; {
		// The owner refuses a trigger while not all subtasks run.
		res, err := d.jobService().TriggerCheckpoint(ctx, &ckptdv1.TriggerCheckpointRequest{JobId: "j"})
		if err != nil {
			runtime.Gosched()
			continue
		}
		n++
		last = res.GetCheckpoint().GetCheckpointId()
		for i := range done {
			for id := uint64(0); id < last; {
				select {
				case id = <-done[i]:
				case <-ctx.Done():
					return last, context.Cause(ctx)
				}
			}
		}
	}
	if _, err := d.jobService().CancelJob(ctx, &ckptdv1.CancelJobRequest{JobId: "j", RequestId: "c"}); err != nil {
		return last, err
	}
	return last, g.Wait()
}

// faultyWorker puts three files into each checkpoint: an exclusive one, a new shared one, and the shared one of the
// checkpoint before.
func faultyWorker(ctx context.Context, c *client.Client, spec client.JobSpec, op string, done chan<- uint64) error {
	job, err := c.AttachJob(ctx, spec)
	if err != nil {
		return err
	}
	// One Job value is one process: each worker has its own.
	mine := client.Subtask{Operator: op}
	s, err := job.Register(ctx, client.Registration{Subtasks: []client.Subtask{mine}})
	if err != nil {
		return err
	}
	defer s.Close()
	before := ""
	for {
		cmd, err := s.Next(ctx)
		if err != nil {
			return err
		}
		switch cmd := cmd.(type) {
		case client.Start:
			if err := job.Report(ctx, client.Report{Kind: client.ReportRunning, Attempt: cmd.Attempt}); err != nil {
				return err
			}
		case client.Trigger:
			name := fmt.Sprintf("%s-%d", op, cmd.Checkpoint)
			pieces := []client.Piece{filePiece(name, client.Shared), filePiece("own", client.Exclusive)}
			if before != "" {
				pieces = append(pieces, filePiece(before, client.Shared))
			}
			before = name
			if err := job.Snapshot(ctx, client.Snapshot{Attempt: cmd.Attempt, Epoch: cmd.Epoch, Checkpoint: cmd.Checkpoint,
				Subtasks: []client.SubtaskSnapshot{{Subtask: mine, Pieces: pieces}}}); err != nil {
				return err
			}
		case client.Complete:
			done <- cmd.Checkpoint
		case client.Cancel:
			return nil
		}
	}
}

// filePiece is a piece of 30 KiB. That is above the inline threshold, so it becomes a file.
func filePiece(name string, scope client.Scope) client.Piece {
	return client.Piece{Name: name, InstanceNonce: "i", Scope: scope, Size: 30 << 10, Open: func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(strings.Repeat("x", 30<<10))), nil
	}}
}

package service_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/mem"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service"
	"github.com/ckptd/ckptd/service/shell"
)

func newJanitor(t testing.TB, root storage.Opened) *service.Janitor {
	t.Helper()
	n, err := service.NewJanitor(root, nil, &shell.Command{Who: "test", Command: "gc"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

func sweep(ctx context.Context, j *shell.Job) error { return j.Sweep(ctx) }

// TestJanitorSweepsAnEndedJob: a job that has ended and was released is swept again, though nothing of it is due.
func TestJanitorSweepsAnEndedJob(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	w := oneWorker(t, d, "j", nil)
	w.checkpoint(w.ofAll)
	d.cancel(t, "j")
	d.waitReleased(t)
	before := head(t, root, "j")
	orphan := plant(t, root, "j", w.epoch, before.Newest())
	if err := newJanitor(t, root).Do(t.Context(), "j", false, sweep); err != nil {
		t.Fatal(err)
	}
	e := atRest(t, root, "j")
	if !e.Owner.IsZero() || e.Epoch != before.Epoch+1 || e.Status != journal.StatusCanceled || len(e.Retained) != 1 {
		t.Errorf("the journal says owner %v, epoch %d, %v, %d retained; want nobody, %d, as before", e.Owner, e.Epoch, e.Status, len(e.Retained), before.Epoch+1)
	}
	if slices.Contains(keys(t, root, "j"), orphan) {
		t.Errorf("%s is still there", orphan)
	}
}

// TestJanitorLeavesARunningJobToItsOwner, unless that owner does not answer and the command asks for the job.
func TestJanitorLeavesARunningJobToItsOwner(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	w := oneWorker(t, d, "j", nil)
	id := w.checkpoint(w.ofAll)
	n, before := newJanitor(t, root), head(t, root, "j")
	never := func(context.Context, *shell.Job) error { t.Error("the job was attached"); return nil }
	for _, takeOver := range []bool{false, true} {
		err := n.Do(t.Context(), "j", takeOver, never)
		if to := detail[*ckptdv1.NotOwner](err); !slices.Equal(to.GetOwnerUrls(), before.URLs) {
			t.Fatalf("take-over %t: %v, want the owner's address %v", takeOver, err, before.URLs)
		}
	}
	d.kill()
	err := n.Do(t.Context(), "j", false, never)
	if err == nil || !strings.Contains(err.Error(), before.URLs[0]) || !strings.Contains(err.Error(), "does not answer") {
		t.Fatalf("%v, want a refusal that names the silent owner %s", err, before.URLs[0])
	}
	if e := head(t, root, "j"); e.Slot != before.Slot {
		t.Errorf("the refused janitor wrote slot %d", e.Slot)
	}
	orphan := plant(t, root, "j", before.Epoch, id+1)
	if err := n.Do(t.Context(), "j", true, sweep); err != nil {
		t.Fatal(err)
	}
	e := atRest(t, root, "j")
	if !e.Owner.IsZero() || e.Epoch != before.Epoch+1 || e.Status != journal.StatusRunning || e.Newest() != id || e.Attempt != before.Attempt {
		t.Errorf("the journal says owner %v, epoch %d, %v, newest %d, attempt %d; want nobody, %d, running, %d, %d", e.Owner, e.Epoch, e.Status,
			e.Newest(), e.Attempt, before.Epoch+1, id, before.Attempt)
	}
	if slices.Contains(keys(t, root, "j"), orphan) {
		t.Errorf("%s is still there", orphan)
	}
	again := startDaemon(t, root, "")
	w = oneWorker(t, again, "j", nil)
	wantStates(t, w, "j")
}

// TestOwnerAnswersWithoutAWrite: a plan asks a living owner over a store that was opened for reading only, and warns of nothing.
func TestOwnerAnswersWithoutAWrite(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	oneWorker(t, d, "j", nil)
	before := head(t, root, "j")
	var log strings.Builder
	reading := root
	reading.Store = mem.NewFaults(root.Store, func(m mem.Mutation) mem.Outcome {
		t.Errorf("%v was tried", m)
		return mem.Failed()
	})
	n, err := service.NewJanitor(reading, &service.Options{Log: slog.New(slog.NewTextHandler(&log, nil))}, &shell.Command{Who: "test", Command: "gc"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	if !n.OwnerAnswers(t.Context(), before) || log.Len() > 0 {
		t.Errorf("the owner does not answer, or there is a warning: %s", log.String())
	}
	d.kill()
	if n.OwnerAnswers(t.Context(), before) {
		t.Error("a killed owner answers")
	}
}

// TestJanitorThatFailed: what a janitor was asked to do may fail, and the job is left in order. One that was killed is
// followed by another without being asked to take over.
func TestJanitorThatFailed(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	w := oneWorker(t, d, "j", nil)
	w.checkpoint(w.ofAll)
	d.kill()
	n, refused := newJanitor(t, root), errors.New("refused")
	if err := n.Do(t.Context(), "j", true, func(context.Context, *shell.Job) error { return refused }); !errors.Is(err, refused) {
		t.Fatalf("%v, want %v", err, refused)
	}
	if e := head(t, root, "j"); !e.Owner.IsZero() {
		t.Errorf("the owner is %v, want nobody", e.Owner)
	}
	killed := newJanitor(t, root)
	if err := killed.Do(t.Context(), "j", false, func(ctx context.Context, _ *shell.Job) error { killed.Close(); return ctx.Err() }); err == nil {
		t.Error("a janitor that was killed says that it is done")
	}
	if e := head(t, root, "j"); e.Owner.IsZero() {
		t.Fatal("want the killed janitor in the journal")
	}
	if err := n.Do(t.Context(), "j", false, sweep); err != nil {
		t.Fatal(err)
	}
	if e := atRest(t, root, "j"); !e.Owner.IsZero() {
		t.Errorf("the owner is %v, want nobody", e.Owner)
	}
}

// TestJanitorAsksForAJob: there has to be one.
func TestJanitorAsksForAJob(t *testing.T) {
	n := newJanitor(t, newRoot())
	for id, want := range map[string]connect.Code{"nobody": connect.CodeNotFound, "../x": connect.CodeInvalidArgument} {
		wantCode(t, n.Do(t.Context(), id, true, sweep), want, "")
	}
}

// plant writes a file that no checkpoint took, as a killed daemon leaves it.
func plant(t testing.TB, root storage.Opened, job string, epoch, checkpoint uint64) string {
	t.Helper()
	key := layout.SharedKey(job, layout.FileName{Epoch: epoch, Checkpoint: checkpoint, Nonce: layout.NewNonce(), Sequence: 1}.String())
	if err := root.Store.Publish(t.Context(), key, []byte("an orphan")); err != nil {
		t.Fatal(err)
	}
	return key
}

// keys are the names of a job's objects.
func keys(t testing.TB, root storage.Opened, job string) (all []string) {
	t.Helper()
	for key := range contents(t, root.Store, layout.JobPrefix(job)) {
		all = append(all, key)
	}
	return all
}

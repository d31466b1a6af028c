package service_test

import (
	"errors"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/journalio"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// TestAToolHoldsACheckpoint: while a tool has a pin on a checkpoint of a running job, the checkpoint and its files stay, whatever the job
// completes. After the return they go. A pin whose time is over is dropped by the owner when it is asked.
func TestAToolHoldsACheckpoint(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	w := oneWorker(t, d, "j", nil)
	first := w.checkpoint(w.ofAll)
	p, err := journalio.Hold(t.Context(), root.Store, root.Facts, "j", first, "copy", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	w.checkpoint(w.ofAll)
	if c, ok := head(t, root, "j").Checkpoint(first); !ok || c.State != journal.StateHidden {
		t.Fatalf("checkpoint %+v (%t), want it hidden: it was subsumed, and a tool has a pin on it", c, ok)
	}
	until := head(t, root, "j").Lent[0].Expires
	if err := p.Renew(t.Context(), 2*time.Hour); err != nil {
		t.Fatal(err)
	}
	if l := head(t, root, "j").Lent; len(l) != 1 || l[0].Expires <= until {
		t.Errorf("lent %+v, want one pin that counts longer than until %d", l, until)
	}
	_, err = d.retention().DropStalePins(t.Context(), &ckptdv1.DropStalePinsRequest{JobId: "j"})
	if l := head(t, root, "j").Lent; err != nil || len(l) != 1 {
		t.Fatalf("%v, lent %+v; want the pin to stay: its time is not over", err, l)
	}
	for range 2 { // the second return finds nothing to do
		if err := p.Return(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	last := w.checkpoint(w.ofAll)
	if _, ok := head(t, root, "j").Checkpoint(first); ok {
		t.Errorf("checkpoint %d is there, want it gone after the return and a completion", first)
	}
	if err := p.Renew(t.Context(), time.Hour); !errors.Is(err, journalio.ErrNotKept) {
		t.Errorf("renewed after the return: %v, want %v", err, journalio.ErrNotKept)
	}
	if _, err := journalio.Hold(t.Context(), root.Store, root.Facts, "j", first, "copy", time.Hour); !errors.Is(err, journalio.ErrNotKept) {
		t.Errorf("held what is gone: %v, want %v", err, journalio.ErrNotKept)
	}
	if _, err := journalio.Hold(t.Context(), root.Store, root.Facts, "j", last, "copy", -time.Hour); err != nil {
		t.Fatal(err)
	}
	w.checkpoint(w.ofAll) // the owner learns of the pin
	if _, err := d.retention().DropStalePins(t.Context(), &ckptdv1.DropStalePinsRequest{JobId: "j"}); err != nil {
		t.Fatal(err)
	}
	if l := head(t, root, "j").Lent; len(l) != 0 {
		t.Errorf("lent %+v, want nothing: its time is over", l)
	}
	_, err = d.retention().DropStalePins(t.Context(), &ckptdv1.DropStalePinsRequest{JobId: "nobody"})
	wantCode(t, err, connect.CodeNotFound, "no job")
}

// TestAPinWhoseHolderHasNoJournal: the folder of a job that borrowed was removed by hand. A daemon that starts puts a tombstone there, and
// then drops the pin. A job that begins anew under the id begins above the pin's epoch.
func TestAPinWhoseHolderHasNoJournal(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	a := oneWorker(t, d, "a", nil)
	id := a.checkpoint(a.ofAll)
	d.cancel(t, "a")
	d.waitReleased(t)
	lend(t, root, "a", journal.Lent{Pin: journal.Nonce{Process: journal.Process{1}, Count: 1}, Checkpoint: id, Holder: "ghost", HolderEpoch: 6})
	d.kill()
	d = startDaemon(t, root, "")
	eventually(t, "the drop of the pin", func() bool { e := head(t, root, "a"); return len(e.Lent) == 0 && e.Owner.IsZero() })
	if e := head(t, root, "ghost"); e.Status != journal.StatusRemoved || e.Epoch != 7 {
		t.Errorf("the holder's journal has %+v, want a tombstone of epoch 7", e)
	}
	oneWorker(t, d, "ghost", nil)
	if e := head(t, root, "ghost"); e.Epoch != 8 {
		t.Errorf("the job begins anew in epoch %d, want 8", e.Epoch)
	}
}

// TestABeginAboveItsPins: the folder of a job was removed by hand, and the job begins anew from the same checkpoint. The pin of its first
// life names a larger epoch than 1.
func TestABeginAboveItsPins(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	a := oneWorker(t, d, "a", nil)
	id := a.checkpoint(a.ofAll)
	old := journal.Lent{Pin: journal.Nonce{Process: journal.Process{1}, Count: 1}, Checkpoint: id, Holder: "b", HolderEpoch: 6}
	lend(t, root, "a", old)
	b, _ := restoring(t, d, "b", "a/chk-1")
	wantStates(t, b, "a")
	if e := head(t, root, "b"); e.Epoch != 7 || !e.HasBorrowed(head(t, root, "a").Lent[0].Pin) {
		t.Errorf("job b has epoch %d and borrows %+v, want epoch 7 and a pin of its own", e.Epoch, e.Borrowed)
	}
	if l := head(t, root, "a").Lent; len(l) != 1 || l[0].Pin == old.Pin {
		t.Errorf("job a lends %+v, want the new pin in place of the old one", l)
	}
}

// lend puts a pin into the journal of a job, as another job's daemon does.
func lend(t *testing.T, root storage.Opened, job string, l journal.Lent) {
	t.Helper()
	base := head(t, root, job)
	next := *base
	next.Kind, next.Lent = journal.KindLend, append(next.Lent[:len(next.Lent):len(next.Lent)], l)
	_, verdict, err := journalio.Append(t.Context(), root.Store, root.Facts, job, journalio.Appending{Base: base, Next: next,
		Nonce: journal.Nonce{Process: journal.NewProcess(), Count: 1}, Role: journal.RoleThird, Effect: func(e *journal.Entry) bool { return e.HasLent(l.Pin) }})
	if err != nil || verdict != journal.Won {
		t.Fatal(verdict, err)
	}
}

package service_test

import (
	"errors"
	"path"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service"
)

// savesEvery lets a job take savepoints by itself.
func savesEvery(d time.Duration, keep string) func(*ckptdv1.JobConfig) {
	return func(c *ckptdv1.JobConfig) { c.SavepointInterval, c.SavepointKeep = durationpb.New(d), keep }
}

// ackSavepoint takes the next savepoint.
func (w *worker) ackSavepoint() uint64 {
	w.t.Helper()
	id := w.triggered()
	w.mustAck(id, uploaded("i", "s", w.put(shared, id, "abc")))
	return id
}

// whole tells whether a savepoint of the list has its _metadata in a store.
func whole(t *testing.T, store storage.Opened, s *ckptdv1.Savepoint) bool {
	t.Helper()
	folder := path.Base(s.GetPath()) + "/"
	_, there := contents(t, store.Store, folder)[folder+layout.MetadataName]
	return there
}

// writeObject writes an object.
func writeObject(t *testing.T, store storage.Store, key, contents string) {
	t.Helper()
	o, err := store.Create(t.Context(), key, storage.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Abort()
	if _, err := o.Write([]byte(contents)); err != nil {
		t.Fatal(err)
	}
	if err := o.Commit(); err != nil {
		t.Fatal(err)
	}
}

// TestPeriodicSavepoints: the owner takes savepoints by itself, and disposes of what the schedule does not keep: only its own, and none
// that a job has claimed. What lies in the place of one by now is not touched, and the later ones go nevertheless.
func TestPeriodicSavepoints(t *testing.T) {
	root, far := newRoot(), newRoot()
	d := startDaemonWith(t, root, "", service.Options{Savepoints: farSavepoints(far)})
	w := oneWorker(t, d, "a", savesEvery(10*time.Millisecond, "last=2"))
	first := w.ackSavepoint()
	eventually(t, "the first savepoint", func() bool { return d.outcome(t, "a", first) == done })
	claimedOne := head(t, root, "a").Savepoints[0]
	writeObject(t, far.Store, path.Base(claimedOne.Path)+"/"+layout.ClaimName, "another")
	ids, replaced := []uint64{first}, ""
	for len(ids) < 6 {
		id := w.ackSavepoint()
		eventually(t, "the savepoint", func() bool { return d.outcome(t, "a", id) == done })
		ids = append(ids, id)
		if len(ids) == 2 {
			replaced = path.Base(head(t, root, "a").Savepoints[1].Path) + "/"
			if err := errors.Join(far.Store.Delete(t.Context(), []string{replaced + layout.MetadataName})...); err != nil {
				t.Fatal(err)
			}
			writeObject(t, far.Store, replaced+layout.MetadataName, read(t, far.Store, path.Base(claimedOne.Path)+"/"+layout.MetadataName))
		}
	}
	last := w.triggered() // from now on no other one begins
	eventually(t, "the disposal of all but the newest two, and the one that is claimed", func() bool {
		list := head(t, root, "a").Savepoints
		return len(list) == 5 && list[0].ID == first && list[1].ID == ids[1] && list[2].ID == ids[4] && list[3].ID == ids[5] && list[4].ID == last
	})
	folders := map[string]bool{}
	for key := range contents(t, far.Store, "") {
		folder, _, _ := strings.Cut(key, "/")
		folders[folder] = true
	}
	for _, p := range head(t, root, "a").Savepoints[:4] {
		if !p.Periodic || !folders[path.Base(p.Path)] {
			t.Errorf("savepoint %+v: it is not periodic, or not there", p)
		}
	}
	if len(folders) != 4 {
		t.Errorf("the store has %d savepoints, want 4", len(folders))
	}
	if got := contents(t, far.Store, replaced); len(got) != 2 {
		t.Errorf("in the place of a savepoint that was replaced: %d objects, want its _metadata and a file", len(got))
	}
}

// TestPeriodicSavepointsSpareAskedOnes: what a person asked for stays, and the next periodic savepoint is due at its time though the daemon
// was killed.
func TestPeriodicSavepointsSpareAskedOnes(t *testing.T) {
	root, far := newRoot(), newRoot()
	d := startDaemonWith(t, root, "", service.Options{Savepoints: farSavepoints(far)})
	w := oneWorker(t, d, "a", savesEvery(time.Hour, "last=1"))
	periodicOne := w.ackSavepoint()
	eventually(t, "the first savepoint", func() bool { return d.outcome(t, "a", periodicOne) == done })
	asked := d.savepoint(t, "a", "r1")
	w.ackSavepoint()
	eventually(t, "the savepoint that was asked for", func() bool { return d.outcome(t, "a", asked.GetCheckpointId()) == done })
	d.kill()
	d = startDaemonWith(t, root, "", service.Options{Savepoints: farSavepoints(far)})
	d.attach(t, "a", nil, savesEvery(time.Hour, "last=1"))
	w = d.register(t, "a", "w-again", 0, subtask("count"))
	w.begin()
	w.checkpoint(inlineState)
	res, err := d.savepoints().ListSavepoints(t.Context(), &ckptdv1.ListSavepointsRequest{JobId: "a"})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, false} {
		if s := res.GetSavepoints()[i]; s.GetPeriodic() != want || !whole(t, far, s) {
			t.Errorf("savepoint %v: periodic or not whole, want periodic %t", s, want)
		}
	}
	if n := len(res.GetSavepoints()); n != 2 {
		t.Errorf("%d savepoints, want 2: the next one is due in an hour", n)
	}
}

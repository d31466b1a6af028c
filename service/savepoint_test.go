package service_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/copying"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
	"github.com/ckptd/ckptd/service"
	"github.com/ckptd/ckptd/service/shell"
)

// farSavepoints lets a daemon write savepoints into another store, at far://saves.
func farSavepoints(store storage.Opened) shell.Savepoints {
	return shell.Savepoints{
		Default: "far://saves",
		Normal:  func(dir, _ string) (string, error) { return dir, nil },
		Open: func(_ context.Context, folder string) (copying.Place, string, error) {
			open := store
			open.Close = func() error { return nil }
			return copying.Place{Store: store.Store, Opened: open, Facts: store.Facts}, path.Base(folder), nil
		},
	}
}

func (d *daemon) savepoints() ckptdv1connect.SavepointServiceClient {
	return ckptdv1connect.NewSavepointServiceClient(d.http.Client(), d.http.URL)
}

func (d *daemon) savepoint(t testing.TB, job, request string) *ckptdv1.Savepoint {
	t.Helper()
	res, err := d.savepoints().TriggerSavepoint(t.Context(), &ckptdv1.TriggerSavepointRequest{JobId: job, RequestId: request})
	if err != nil {
		t.Fatal(err)
	}
	return res.GetSavepoint()
}

func (d *daemon) outcome(t testing.TB, job string, id uint64) ckptdv1.SavepointOutcome {
	t.Helper()
	res, err := d.savepoints().ListSavepoints(t.Context(), &ckptdv1.ListSavepointsRequest{JobId: job})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range res.GetSavepoints() {
		if s.GetCheckpointId() == id {
			return s.GetOutcome()
		}
	}
	return 0
}

const (
	started = ckptdv1.SavepointOutcome_SAVEPOINT_OUTCOME_STARTED
	done    = ckptdv1.SavepointOutcome_SAVEPOINT_OUTCOME_DONE
	cleaned = ckptdv1.SavepointOutcome_SAVEPOINT_OUTCOME_CLEANED
)

// TestSavepoint: a savepoint has copies of all state beside its _metadata, though the worker sends only what is new. It is asynchronous,
// and its status can be asked under its request id. It is not retained, and newer checkpoints complete beside it.
func TestSavepoint(t *testing.T) {
	root, far := newRoot(), newRoot()
	d := startDaemonWith(t, root, "", service.Options{Savepoints: farSavepoints(far)})
	w := oneWorker(t, d, "a", nil)
	w.checkpoint(func(id uint64) []*ckptdv1.SnapshotHandle {
		return []*ckptdv1.SnapshotHandle{uploaded("i", "s", w.put(shared, id, "abc"))}
	})
	saved := d.savepoint(t, "a", "r1")
	id := w.triggered()
	if saved.GetCheckpointId() != id || saved.GetOutcome() != started || !saved.GetPending() {
		t.Fatalf("savepoint %v, want %d, begun", saved, id)
	}
	if again := d.savepoint(t, "a", "r1"); again.GetCheckpointId() != id || again.GetPath() != saved.GetPath() {
		t.Errorf("idempotent by request id: %v, want %v", again, saved)
	}
	n, err := w.ask(id, "i", "s", "abc")
	if n == 0 || err != nil {
		t.Fatalf("the shared file is known as %d, %v", n, err)
	}
	w.mustAck(id, known("s", n), uploaded("i", "t", w.put(exclusive, id, "exclusive")), inline("n", "inline"))
	eventually(t, "the savepoint", func() bool { return d.outcome(t, "a", id) == done })
	folder := path.Base(saved.GetPath()) + "/"
	kept := contents(t, far.Store, folder)
	t.Run("FS-1 and FS-6", func(t *testing.T) { // shared and exclusive files in one folder, in the store that its place names
		if len(kept) != 3 {
			t.Errorf("the folder has %q, want _metadata and two files", slices.Collect(maps.Keys(kept)))
		}
		for _, f := range filesOf(t, read(t, far.Store, folder+layout.MetadataName)) {
			if !f.Beside() {
				t.Errorf("the _metadata names %s, want a file beside it", f.Key)
			}
		}
	})
	t.Run("CO-31", func(t *testing.T) {
		e := head(t, root, "a")
		if _, retained := e.Checkpoint(id); retained || len(e.Retained) != 1 {
			t.Errorf("retained %+v, want the checkpoint alone", e.Retained)
		}
	})
	w.checkpoint(inlineState)
	eventually(t, "the deletion of what only the savepoint needed", func() bool {
		return len(contents(t, root.Store, layout.SharedPrefix("a")))+len(contents(t, root.Store, layout.CheckpointPrefix("a", id))) == 0
	})
	if got := contents(t, far.Store, folder); !maps.Equal(got, kept) {
		t.Error("the savepoint changed after it was done")
	}
	d.kill()
	other := startDaemonWith(t, root, "", service.Options{Savepoints: farSavepoints(far)})
	if got := other.outcome(t, "a", id); got != done {
		t.Errorf("after the daemon's death the savepoint is %v, want done", got)
	}
	poor := startDaemonWith(t, root, "", service.Options{})
	if got := poor.savepoint(t, "a", "r1"); got.GetCheckpointId() != id || got.GetOutcome() != done {
		t.Errorf("a daemon without a place for savepoints answers the request with %v, want %d, done", got, id)
	}
	t.Run("SP-6", func(t *testing.T) {
		_, err := other.savepoints().TriggerSavepoint(t.Context(), &ckptdv1.TriggerSavepointRequest{JobId: "nojob"})
		wantCode(t, err, connect.CodeNotFound, "nojob")
	})
}

// TestSavepointBesideACheckpoint: a checkpoint that completes later does not subsume an open savepoint.
func TestSavepointBesideACheckpoint(t *testing.T) { t.Run("CO-32", savepointBesideACheckpoint) }

func savepointBesideACheckpoint(t *testing.T) {
	root, far := newRoot(), newRoot()
	d := startDaemonWith(t, root, "", service.Options{Savepoints: farSavepoints(far)})
	w := oneWorker(t, d, "a", nil)
	saved := d.savepoint(t, "a", "")
	w.mustAck(w.triggered(), uploaded("i", "s", w.put(shared, saved.GetCheckpointId(), "abc")))
	w.checkpoint(inlineState)
	eventually(t, "the savepoint", func() bool { return d.outcome(t, "a", saved.GetCheckpointId()) == done })
}

// TestSavepointRefused: without a directory and a default a savepoint is refused; below the root it lies in the job's own folder.
func TestSavepointRefused(t *testing.T) { t.Run("FS-2", savepointRefused) }

func savepointRefused(t *testing.T) {
	root := newRoot()
	places := farSavepoints(newRoot())
	places.Default = ""
	d := startDaemonWith(t, root, "", service.Options{Savepoints: places})
	oneWorker(t, d, "a", nil)
	take := func(dir string) error {
		_, err := d.savepoints().TriggerSavepoint(t.Context(), &ckptdv1.TriggerSavepointRequest{JobId: "a", Directory: dir})
		return err
	}
	wantCode(t, take(""), connect.CodeInvalidArgument, "no directory")
	wantCode(t, take(root.Facts.Location+"/b/savepoints"), connect.CodeInvalidArgument, "a/savepoints")
	if err := take(root.Facts.Location + "/a/savepoints"); err != nil {
		t.Errorf("in the job's own folder: %v", err)
	}
}

// TestHalfWrittenSavepoint: the next owner occupies the _metadata of a savepoint that its predecessor left, and deletes its files. One that
// is whole becomes done.
func TestHalfWrittenSavepoint(t *testing.T) {
	for _, step := range []string{shell.StepSavepoint, shell.StepSaved, shell.StepSavedMetadata} {
		t.Run(step, func(t *testing.T) {
			root, far := newRoot(), newRoot()
			var once sync.Once
			blocked, reached := make(chan struct{}), make(chan struct{})
			d := startDaemonWith(t, root, "", service.Options{Savepoints: farSavepoints(far), Steps: func(s string) {
				if s == step {
					once.Do(func() { close(reached) })
					<-blocked
				}
			}})
			w := oneWorker(t, d, "a", nil)
			go func() {
				_, _ = d.savepoints().TriggerSavepoint(t.Context(), &ckptdv1.TriggerSavepointRequest{JobId: "a"})
			}()
			id := uint64(1)
			if step != shell.StepSavepoint {
				id = w.triggered()
				w.mustAck(id, uploaded("i", "s", w.put(shared, id, "abc")))
			}
			<-reached
			next := startDaemonWith(t, root, "", service.Options{Savepoints: farSavepoints(far)})
			_ = d.http.Listener.Close() // its owner is suspended, and does not answer
			d.http.CloseClientConnections()
			next.attach(t, "a", onePlan(), nil)
			want := cleaned
			if step == shell.StepSavedMetadata {
				want = done
			}
			eventually(t, "the outcome", func() bool { return next.outcome(t, "a", id) == want })
			close(blocked) // the owner wakes, and finds out
			d.Close()
			var names []string
			for key := range contents(t, far.Store, "") {
				names = append(names, path.Base(key))
			}
			if left := len(names); want == cleaned && (left != 1 || names[0] != layout.MetadataName) || want == done && left != 2 {
				t.Errorf("the folder holds %q", names)
			}
		})
	}
}

// TestRestoreFromSavepoint: a new job begins from a savepoint below the root. With CLAIM the savepoint is disposed of when the job's policy
// drops the import (SP-3), and a second claimant is refused before its import.
func TestRestoreFromSavepoint(t *testing.T) {
	for name, mode := range map[string]ckptdv1.ClaimMode{"NO_CLAIM": ckptdv1.ClaimMode_CLAIM_MODE_NO_CLAIM, "SP-3 CLAIM": ckptdv1.ClaimMode_CLAIM_MODE_CLAIM} {
		t.Run(name, func(t *testing.T) {
			root := newRoot()
			places := farSavepoints(newRoot())
			places.Default = root.Facts.Location + "/a/savepoints"
			d := startDaemonWith(t, root, "", service.Options{Savepoints: places})
			w := oneWorker(t, d, "a", nil)
			saved := d.savepoint(t, "a", "")
			id := w.triggered()
			w.mustAck(id, uploaded("i", "s", w.put(shared, id, "abc")), inline("n", "inline"))
			eventually(t, "the savepoint", func() bool { return d.outcome(t, "a", id) == done })
			req := restoreRequest("b", saved.GetPath())
			req.ClaimMode = mode
			if _, err := d.engineService().AttachJob(t.Context(), req); err != nil {
				t.Fatal(err)
			}
			if _, err := d.engineService().AttachJob(t.Context(), req); err != nil {
				t.Fatal("another worker of the job:", err)
			}
			b := d.register(t, "b", "b-0", 0, subtask("count"))
			start := b.begin()
			if start.GetRestoreCheckpointId() <= id {
				t.Fatalf("job b restores checkpoint %d", start.GetRestoreCheckpointId())
			}
			if got, want := b.states(), (map[string]string{"s": "abc", "n": "inline"}); !maps.Equal(got, want) {
				t.Errorf("job b restores %q, want %q", got, want)
			}
			if mode == ckptdv1.ClaimMode_CLAIM_MODE_CLAIM {
				second := restoreRequest("c", saved.GetPath())
				second.ClaimMode = mode
				_, err := d.engineService().AttachJob(t.Context(), second)
				wantCode(t, err, connect.CodeFailedPrecondition, "job b has claimed")
				if len(contents(t, root.Store, layout.JobPrefix("c"))) > 0 {
					t.Error("the refused claimant left something")
				}
			}
			folder := "a/savepoints/" + path.Base(saved.GetPath()) + "/"
			besides := []string{folder + "notes.txt", folder + "savepoint-a-0f4a5b6c7d8e/" + layout.MetadataName}
			for _, key := range besides {
				writeObject(t, root.Store, key, "mine")
			}
			own := b.checkpoint(inlineState)
			if mode == ckptdv1.ClaimMode_CLAIM_MODE_CLAIM {
				eventually(t, "the disposal", func() bool { return len(contents(t, root.Store, folder)) <= len(besides) })
			} else if got := len(contents(t, root.Store, folder)); got != 2+len(besides) {
				t.Errorf("NO_CLAIM: %d objects of the savepoint are left, want 2", got-len(besides))
			}
			for _, key := range besides {
				if read(t, root.Store, key) != "mine" {
					t.Errorf("%s, which lay beside the savepoint, is gone", key)
				}
			}
			t.Run("SP-5: the source is deleted, and a failover recovers", func(t *testing.T) {
				if err := layout.DeleteSavepoint(t.Context(), root.Store, folder); err != nil {
					t.Fatal(err)
				}
				b.report(ckptdv1.ReportRequest_KIND_FAILED, func(r *ckptdv1.ReportRequest) { r.Cause = "a test" })
				if got := b.begin().GetRestoreCheckpointId(); got != own {
					t.Errorf("the next attempt restores %d, want %d", got, own)
				}
				if got := b.states()["n"]; got != fmt.Sprint(own) {
					t.Errorf("it restores %q", got)
				}
			})
			if e := head(t, root, "b"); e.Import.State == journal.ImportWanted || !strings.Contains(e.Import.Source, "savepoint-") {
				t.Errorf("import %+v", e.Import)
			}
		})
	}
}

// TestSavepointAlone: a job without periodic checkpoints takes a savepoint, and has no files of checkpoints.
func TestSavepointAlone(t *testing.T) {
	t.Run("SP-8", func(t *testing.T) {
		root, far := newRoot(), newRoot()
		d := startDaemonWith(t, root, "", service.Options{Savepoints: farSavepoints(far)})
		w := oneWorker(t, d, "a", nil)
		saved := d.savepoint(t, "a", "")
		w.mustAck(w.triggered(), inline("n", "inline"))
		eventually(t, "the savepoint", func() bool { return d.outcome(t, "a", saved.GetCheckpointId()) == done })
		for key := range contents(t, root.Store, layout.JobPrefix("a")) {
			if !strings.Contains(key, "/_journal/") {
				t.Errorf("the job's folder has %s", key)
			}
		}
	})
}

// TestClaimWhereNothingMayBeWritten: a savepoint in a place that the daemon may read, but not write, cannot be claimed: the daemon would
// delete it there. Nothing is written there.
func TestClaimWhereNothingMayBeWritten(t *testing.T) {
	root, far := newRoot(), newRoot()
	places := farSavepoints(far)
	d := startDaemonWith(t, root, "", service.Options{Savepoints: places, Elsewhere: farFolder(far)})
	w := oneWorker(t, d, "a", nil)
	saved := d.savepoint(t, "a", "")
	w.mustAck(w.triggered(), inline("n", "inline"))
	eventually(t, "the savepoint", func() bool { return d.outcome(t, "a", saved.GetCheckpointId()) == done })
	before := contents(t, far.Store, "")
	d.kill()

	places.Normal = func(string, string) (string, error) { return "", errors.New("this daemon may not write there") }
	d = startDaemonWith(t, root, "", service.Options{Savepoints: places, Elsewhere: farFolder(far)})
	req := restoreRequest("b", saved.GetPath())
	claiming(req)
	_, err := d.engineService().AttachJob(t.Context(), req)
	wantCode(t, err, connect.CodeFailedPrecondition, "may not write there", "NO_CLAIM")
	if after := contents(t, far.Store, ""); !maps.Equal(after, before) {
		t.Error("the refused claim left something beside the savepoint")
	}
	req.ClaimMode = ckptdv1.ClaimMode_CLAIM_MODE_UNSPECIFIED
	if _, err := d.engineService().AttachJob(t.Context(), req); err != nil {
		t.Error("NO_CLAIM:", err)
	}
}

// TestSavepointWithoutItsPlace: a place that cannot be opened is refused before a savepoint begins.
func TestSavepointWithoutItsPlace(t *testing.T) {
	places := farSavepoints(newRoot())
	places.Open = func(context.Context, string) (copying.Place, string, error) {
		return copying.Place{}, "", errors.New("it is no folder")
	}
	root := newRoot()
	d := startDaemonWith(t, root, "", service.Options{Savepoints: places})
	oneWorker(t, d, "a", nil)
	_, err := d.savepoints().TriggerSavepoint(t.Context(), &ckptdv1.TriggerSavepointRequest{JobId: "a"})
	wantCode(t, err, connect.CodeFailedPrecondition, "it is no folder", "nothing has begun")
	if all := head(t, root, "a").Savepoints; len(all) != 0 {
		t.Errorf("the journal has %+v", all)
	}
}

package service_test

import (
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/file"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

func TestBadJobIDs(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	ctx := t.Context()
	unchanged(t, root.Store, func() {
		for _, id := range []string{"", ".", "..", "_journal", "a/b", "savepoint-1", "ü", strings.Repeat("x", 129)} {
			_, err := d.engineService().AttachJob(ctx, &ckptdv1.AttachJobRequest{JobId: id, Plan: onePlan()})
			wantCode(t, err, connect.CodeInvalidArgument)
			_, err = d.jobService().CancelJob(ctx, &ckptdv1.CancelJobRequest{JobId: id})
			wantCode(t, err, connect.CodeInvalidArgument)
			if id == "" {
				continue // all jobs
			}
			_, err = d.jobService().GetStatus(ctx, &ckptdv1.GetStatusRequest{JobId: id})
			wantCode(t, err, connect.CodeInvalidArgument)
		}
	})
}

func TestUnknownJob(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	ctx := t.Context()
	unchanged(t, root.Store, func() {
		_, err := d.engineService().AttachJob(ctx, &ckptdv1.AttachJobRequest{JobId: "none"})
		wantCode(t, err, connect.CodeNotFound, "no such job")
		_, err = d.jobService().GetStatus(ctx, &ckptdv1.GetStatusRequest{JobId: "none"})
		wantCode(t, err, connect.CodeNotFound, "no job none")
		_, err = d.jobService().TriggerCheckpoint(ctx, &ckptdv1.TriggerCheckpointRequest{JobId: "none"})
		wantCode(t, err, connect.CodeNotFound, "no job none")
		_, err = d.jobService().CancelJob(ctx, &ckptdv1.CancelJobRequest{JobId: "none"})
		wantCode(t, err, connect.CodeNotFound, "no job none")
		_, err = d.jobService().ListCheckpoints(ctx, &ckptdv1.ListCheckpointsRequest{JobId: "none"})
		wantCode(t, err, connect.CodeNotFound)
		_, err = d.engineService().Report(ctx, &ckptdv1.ReportRequest{JobId: "none", Nonce: "x"})
		if detail[*ckptdv1.NotOwner](err) == nil {
			t.Errorf("report: %v, want NotOwner", err)
		}
		w := &worker{t: t, job: "none", epoch: 1, attempt: 1}
		_, err = w.putAt(d, shared, 1, "abc")
		wantCode(t, err, connect.CodeNotFound, "no journal")
	})
}

func TestBadPlansAndConfigurations(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	op := func(id string, p, m uint32) *ckptdv1.Plan {
		return &ckptdv1.Plan{Operators: []*ckptdv1.Operator{{Id: id, Parallelism: p, MaxParallelism: m}}}
	}
	twice := op("a", 1, 1)
	twice.Operators = append(twice.Operators, twice.Operators[0])
	unchanged(t, root.Store, func() {
		for name, plan := range map[string]*ckptdv1.Plan{
			"empty": {}, "bad id": op("a/b", 1, 1), "none": op("a", 0, 1), "above the maximum": op("a", 2, 1), "too many groups": op("a", 1, 32769), "twice": twice,
		} {
			_, err := d.engineService().AttachJob(t.Context(), &ckptdv1.AttachJobRequest{JobId: "a", Plan: plan})
			if connect.CodeOf(err) != connect.CodeInvalidArgument {
				t.Errorf("%s: %v, want invalid_argument", name, err)
			}
		}
		_, err := d.engineService().AttachJob(t.Context(), &ckptdv1.AttachJobRequest{JobId: "a", Plan: onePlan(), Config: &ckptdv1.JobConfig{Mode: 7}})
		wantCode(t, err, connect.CodeInvalidArgument)
		_, err = d.engineService().AttachJob(t.Context(), &ckptdv1.AttachJobRequest{JobId: "a", Plan: onePlan(), Labels: map[string]string{"k": strings.Repeat("v", 70_000)}})
		wantCode(t, err, connect.CodeInvalidArgument)
	})
}

// TestRootsThatServeRefuses opens roots as `ckptd serve` does: the driver first, then the marker.
func TestRootsThatServeRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		fill func(storage.Store) error
		want error
		word string
	}{
		"not empty": {func(s storage.Store) error { return s.Publish(t.Context(), "photos/cat.jpg", []byte("x")) }, layout.ErrNotRoot, "photos"},
		"a job without marker": {func(s storage.Store) error {
			return s.Publish(t.Context(), layout.SlotKey("j", 1), []byte("x"))
		}, layout.ErrNotRoot, "j"},
		"not a marker": {func(s storage.Store) error { return s.Publish(t.Context(), layout.RootMarkerKey, []byte("x")) }, layout.ErrCorrupt, ""},
	} {
		t.Run(name, func(t *testing.T) {
			root, err := file.Open(t.Context(), t.TempDir(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			if err := c.fill(root.Store); err != nil {
				t.Fatal(err)
			}
			unchanged(t, root.Store, func() {
				if _, err := layout.OpenRoot(t.Context(), root.Store); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.word) {
					t.Errorf("the root opens with %v, want %v, and an error that says %q", err, c.want, c.word)
				}
			})
		})
	}
}

func TestRootOfANewerFormat(t *testing.T) {
	root, err := file.Open(t.Context(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if _, err := layout.OpenRoot(t.Context(), root.Store); err != nil {
		t.Fatal(err)
	}
	overwrite(t, root.Store, layout.RootMarkerKey, newerMarker)
	unchanged(t, root.Store, func() {
		if _, err := layout.OpenRoot(t.Context(), root.Store); !errors.Is(err, layout.ErrNewerFormat) {
			t.Errorf("the root opens with %v, want ErrNewerFormat", err)
		}
	})
}

// twoCheckpoints makes a job that retains two checkpoints with a shared file each, and kills its daemon. It returns the
// checkpoints' ids.
func twoCheckpoints(t *testing.T, root storage.Opened) (first, second uint64) {
	t.Helper()
	d := startDaemon(t, root, "")
	w := oneWorker(t, d, "j", twoRetained)
	take := func() uint64 {
		return w.checkpoint(func(id uint64) []*ckptdv1.SnapshotHandle {
			name := fmt.Sprint(id)
			return []*ckptdv1.SnapshotHandle{uploaded("i", name, w.put(shared, id, name+"..")), uploaded("", "m", w.put(exclusive, id, "own"))}
		})
	}
	first, second = take(), take()
	d.kill()
	return first, second
}

func TestCorruptHeadOfTheJournal(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		"flipped": flip, "cut": func(b []byte) []byte { return b[:len(b)-3] }, "empty": func([]byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			root := newRoot()
			twoCheckpoints(t, root)
			overwrite(t, root.Store, layout.SlotKey("j", head(t, root, "j").Slot), change)
			wantJournalRefused(t, root, connect.CodeDataLoss, "corrupt")
		})
	}
}

func TestMissingJournal(t *testing.T) {
	root := newRoot()
	twoCheckpoints(t, root)
	for key := range contents(t, root.Store, layout.JournalPrefix("j")) {
		if errs := root.Store.Delete(t.Context(), []string{key}); errs != nil {
			t.Fatal(errs)
		}
	}
	wantJournalRefused(t, root, connect.CodeDataLoss, "no journal", "not empty")
}

func TestJournalOfANewerWriter(t *testing.T) {
	root := newRoot()
	twoCheckpoints(t, root)
	e := *head(t, root, "j")
	e.Slot, e.LeastWriter = e.Slot+1, 99
	b, err := journal.Encode(&e)
	if err != nil {
		t.Fatal(err)
	}
	if err := root.Store.Publish(t.Context(), layout.SlotKey("j", e.Slot), b); err != nil {
		t.Fatal(err)
	}
	wantJournalRefused(t, root, connect.CodeFailedPrecondition, "newer ckptd")
}

// wantJournalRefused starts a daemon over the root and checks that it refuses all calls about job j and changes nothing
// on storage.
func wantJournalRefused(t *testing.T, root storage.Opened, code connect.Code, words ...string) {
	t.Helper()
	unchanged(t, root.Store, func() {
		d := startDaemon(t, root, "")
		_, err := d.engineService().AttachJob(t.Context(), &ckptdv1.AttachJobRequest{JobId: "j", Plan: onePlan()})
		wantCode(t, err, code, words...)
		if _, err = d.jobService().CancelJob(t.Context(), &ckptdv1.CancelJobRequest{JobId: "j"}); err == nil {
			t.Error("the job was canceled, want a refusal")
		}
		w := &worker{t: t, job: "j", epoch: 1, attempt: 1}
		if _, err = w.putAt(d, shared, 1, "abc"); err == nil {
			t.Error("a file was taken, want a refusal")
		}
		d.kill()
	})
}

// TestCorruptNewestMetadata: the job is attached and shown as degraded. A restore fails and says why. The _metadata
// stays, so that it can be repaired.
func TestCorruptNewestMetadata(t *testing.T) {
	root := newRoot()
	_, second := twoCheckpoints(t, root)
	key := layout.MetadataKey("j", second)
	overwrite(t, root.Store, key, flip)
	before := contents(t, root.Store, "")
	d := startDaemon(t, root, "")
	d.attach(t, "j", onePlan(), nil)
	eventually(t, "the job is degraded", func() bool { return strings.Contains(d.status(t, "j").GetDegraded(), fmt.Sprint(second)) })
	w := d.register(t, "j", "w2", 0, subtask("count"))
	s := expect[start](w).Start
	if s.GetRestoreCheckpointId() != second {
		t.Fatalf("restores %d, want %d: falling back to an older checkpoint in silence is wrong", s.GetRestoreCheckpointId(), second)
	}
	_, err := d.engineService().Assignment(t.Context(), &ckptdv1.AssignmentRequest{JobId: "j", Attempt: s.GetAttempt(), Subtasks: w.subtasks})
	wantCode(t, err, connect.CodeDataLoss, fmt.Sprint(second), "corrupt")
	if _, err := catalog.New(root.Store).Show(t.Context(), "j", second); !errors.Is(err, layout.ErrCorrupt) {
		t.Errorf("show: %v, want ErrCorrupt", err)
	}
	d.kill()
	after := contents(t, root.Store, "")
	for key, was := range before {
		if !strings.HasPrefix(key, layout.JournalPrefix("j")) && after[key] != was {
			t.Errorf("%s changed, want it as it was", key)
		}
	}
}

// TestRottenOldCheckpoint: one unreadable old checkpoint must not keep the job from taking the next one.
func TestRottenOldCheckpoint(t *testing.T) {
	for name, rot := range map[string]func(t *testing.T, s storage.Store, key string){
		"flipped": func(t *testing.T, s storage.Store, key string) { overwrite(t, s, key, flip) },
		"missing": func(t *testing.T, s storage.Store, key string) { s.Delete(t.Context(), []string{key}) },
	} {
		t.Run(name, func(t *testing.T) {
			root := newRoot()
			first, second := twoCheckpoints(t, root)
			rot(t, root.Store, layout.MetadataKey("j", first))
			before := contents(t, root.Store, "")
			d := startDaemon(t, root, "")
			d.attach(t, "j", onePlan(), twoRetained)
			w := d.register(t, "j", "w2", 0, subtask("count"))
			if s := w.begin(); s.GetRestoreCheckpointId() != second {
				t.Fatalf("restores %d, want %d", s.GetRestoreCheckpointId(), second)
			}
			eventually(t, "the job is degraded", func() bool { return strings.Contains(d.status(t, "j").GetDegraded(), fmt.Sprint(first)) })
			w.checkpoint(inlineState) // first leaves what is retained, and with it the reason not to delete
			eventually(t, "the job has recovered and all condemned files are gone", func() bool { s := d.status(t, "j"); return s.GetDegraded() == "" && s.GetCondemnedFiles() == 0 })
			for key, was := range before {
				if strings.HasPrefix(key, layout.CheckpointPrefix("j", second)) && contents(t, root.Store, "")[key] != was {
					t.Errorf("%s of checkpoint %d is gone, want it kept", key, second)
				}
			}
			d.cancel(t, "j")
			w.ended()
			d.waitReleased(t)
			atRest(t, root, "j")
		})
	}
}

// TestDeletesStopWhileDegraded: with three retained, the unreadable checkpoint stays for one more completion. Until it
// is gone, nothing is deleted.
func TestDeletesStopWhileDegraded(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	w := oneWorker(t, d, "j", twoRetained)
	w.checkpoint(inlineState)
	rotten := w.checkpoint(inlineState)
	d.kill()
	overwrite(t, root.Store, layout.MetadataKey("j", rotten), flip)
	d = startDaemon(t, root, "")
	d.attach(t, "j", onePlan(), twoRetained)
	w = d.register(t, "j", "w2", 0, subtask("count"))
	w.begin()
	before := contents(t, root.Store, "")
	w.checkpoint(inlineState) // the first one leaves, rotten stays
	if s := d.status(t, "j"); !strings.Contains(s.GetDegraded(), "nothing is deleted") {
		t.Errorf("degraded: %q, want the unreadable checkpoint named", s.GetDegraded())
	}
	after := contents(t, root.Store, "")
	for key := range before {
		if _, ok := after[key]; !ok && !strings.HasPrefix(key, layout.JournalPrefix("j")) {
			t.Errorf("%s was deleted while the job is degraded, want it kept", key)
		}
	}
	w.checkpoint(inlineState)
	// Files that became condemned meanwhile are deleted when the job has recovered, not only when it ends.
	eventually(t, "the condemned files are deleted", func() bool {
		folders := 0
		for key := range contents(t, root.Store, "j/") {
			if strings.HasSuffix(key, layout.MetadataName) {
				folders++
			}
		}
		s := d.status(t, "j")
		return s.GetDegraded() == "" && s.GetCondemnedFiles() == 0 && folders == 2
	})
	d.cancel(t, "j")
	w.ended()
	d.waitReleased(t)
	atRest(t, root, "j")
}

func TestMissingStateFile(t *testing.T) {
	root := newRoot()
	_, second := twoCheckpoints(t, root)
	var lost string
	for _, f := range filesOf(t, read(t, root.Store, layout.MetadataKey("j", second))) {
		if strings.HasPrefix(f.Key, "shared/") {
			lost = f.Key
		}
	}
	root.Store.Delete(t.Context(), []string{layout.JobPrefix("j") + lost})
	d := startDaemon(t, root, "")
	c, err := client.New([]string{d.http.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	job, err := c.AttachJob(t.Context(), client.JobSpec{ID: "j", Plan: sdkPlan(onePlan())})
	if err != nil {
		t.Fatal(err)
	}
	w := d.register(t, "j", "w2", 0, subtask("count"))
	s := expect[start](w).Start
	states, err := job.Assignment(t.Context(), s.GetAttempt(), []client.Subtask{{Operator: "count"}})
	if err != nil {
		t.Fatal(err)
	}
	failed := 0
	for _, h := range states[0].Handles {
		if _, err := job.ReadAll(t.Context(), h); err != nil {
			failed++
			if !errors.Is(err, client.ErrNotFound) || !strings.Contains(err.Error(), lost) {
				t.Errorf("restore: %v, want an error that names %s", err, lost)
			}
		}
	}
	if failed != 1 {
		t.Errorf("%d files failed, want 1", failed)
	}
}

// newerMarker replaces the root marker by one of a later format, with the right sum.
func newerMarker(b []byte) []byte {
	text := strings.NewReplacer("format 1\n", "format 9\n", "least-writer 1\n", "least-writer 9\n").Replace(string(b))
	text = text[:strings.LastIndex(text, "crc32c ")]
	return fmt.Appendf(nil, "%scrc32c %08x\n", text, crc32.Checksum([]byte(text), crc32.MakeTable(crc32.Castagnoli)))
}

func twoRetained(c *ckptdv1.JobConfig) { c.NumRetained = 2 }

// TestJournalOfANewerVersionIsLeftAlone: a daemon does not change a journal that it does not understand, or whose
// operations it lacks.
func TestJournalOfANewerVersionIsLeftAlone(t *testing.T) {
	for name, edit := range map[string]func(*journal.Entry){
		"an unknown status":        func(e *journal.Entry) { e.Status = journal.StatusRemoved + 1 },
		"an unknown state":         func(e *journal.Entry) { e.Retained[0].State = journal.StateHidden + 1 },
		"an unknown configuration": func(e *journal.Entry) { e.Config = journal.NewConfig([]byte{8, 99}) },
	} {
		t.Run(name, func(t *testing.T) {
			root := newRoot()
			twoCheckpoints(t, root)
			e := *head(t, root, "j")
			edit(&e)
			b, err := journal.Encode(&e)
			if err != nil {
				t.Fatal(err)
			}
			overwrite(t, root.Store, layout.SlotKey("j", e.Slot), func([]byte) []byte { return b })
			unchanged(t, root.Store, func() {
				d := startDaemon(t, root, "")
				_, err := d.engineService().AttachJob(t.Context(), &ckptdv1.AttachJobRequest{JobId: "j", Plan: onePlan()})
				if err == nil || !strings.Contains(err.Error(), "newer ckptd") {
					t.Errorf("attach: %v, want that a newer ckptd is needed", err)
				}
				if _, err := d.jobService().CancelJob(t.Context(), &ckptdv1.CancelJobRequest{JobId: "j"}); err == nil && !e.Status.Terminal() {
					t.Error("canceled, want a refusal")
				}
				d.kill()
			})
		})
	}
}

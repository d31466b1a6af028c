package service_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/auditlog"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
	"github.com/ckptd/ckptd/service/collect"
	"github.com/ckptd/ckptd/service/shell"
)

// collected asks a daemon for a collection of one job.
func (d *daemon) collected(t testing.TB, id string, execute bool) (*ckptdv1.CollectedJob, error) {
	t.Helper()
	stream, err := ckptdv1connect.NewCollectServiceClient(d.web, d.http.URL).Collect(t.Context(),
		&ckptdv1.CollectRequest{JobId: id, Execute: execute, Who: "me", Command: "ckptd gc"})
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	out := &ckptdv1.CollectedJob{}
	for stream.Receive() {
		addPage(out, stream.Msg())
	}
	return out, stream.Err()
}

func addPage(out *ckptdv1.CollectedJob, p *ckptdv1.CollectResponse) {
	for _, item := range p.GetItems() {
		collect.Add(out, item)
	}
	out.LookedAt = p.GetLookedAt()
	if p.GetDone() {
		out.Due, out.Unfinished, out.Strangers = p.GetDue(), p.GetUnfinished(), p.GetStrangers()
	}
}

// planned is the plan from outside.
func planned(t testing.TB, root storage.Opened, id string) *ckptdv1.CollectedJob {
	t.Helper()
	out := &ckptdv1.CollectedJob{}
	if err := collect.Plan(t.Context(), root.Store, id, time.Now(), out, func() {}); err != nil {
		t.Fatal("plan:", err)
	}
	return out
}

// asJanitor collects a job in this process.
func asJanitor(t testing.TB, root storage.Opened, id string, takeOver bool) *ckptdv1.CollectedJob {
	t.Helper()
	out := &ckptdv1.CollectedJob{}
	err := newJanitor(t, root).Do(t.Context(), id, takeOver, func(ctx context.Context, j *shell.Job) error {
		return j.Collect(ctx, &ckptdv1.CollectRequest{JobId: id, Execute: true, Who: "me", Command: "ckptd gc"}, func(p *ckptdv1.CollectResponse) error {
			addPage(out, p)
			return nil
		})
	})
	if err != nil {
		t.Fatal("collect:", err)
	}
	return out
}

// audited are the names in the audit log.
func audited(t testing.TB, root storage.Opened) (names []string) {
	t.Helper()
	err := auditlog.Read(t.Context(), root.Store, func(e *ckptdv1.AuditEntry) error {
		if e.GetWho() == "" || e.GetCommand() == "" || e.GetReason() == "" || e.GetJobId() == "" || e.GetTime() == nil {
			t.Errorf("an incomplete entry of the audit log: %v", e)
		}
		names = append(names, e.GetName())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// TestCollectByTheOwner: a running job's owner plans and deletes; the job runs on. A stranger's file stays.
func TestCollectByTheOwner(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	w := oneWorker(t, d, "j", nil)
	id := w.checkpoint(w.ofAll)
	orphan := plant(t, root, "j", w.epoch, id) // of this checkpoint, and no acknowledgement named it
	open := plant(t, root, "j", w.epoch, id+1)
	if err := root.Store.Publish(t.Context(), "j/shared/notes.txt", []byte("mine")); err != nil {
		t.Fatal(err)
	}
	before := keys(t, root, "j")
	out, err := d.collected(t, "j", false)
	if err != nil {
		t.Fatal(err)
	}
	if len(out.GetGroups()) != 1 || !slices.Equal(out.GetGroups()[0].GetKeys(), []string{orphan}) || out.GetBytes() != uint64(len("an orphan")) ||
		out.GetGroups()[0].GetReason() != ckptdv1.CollectReason_COLLECT_REASON_NEVER_ACKNOWLEDGED || out.GetStrangers() != 1 {
		t.Errorf("the plan is %v, want %s and one stranger", out, orphan)
	}
	if after := keys(t, root, "j"); !sameSet(before, after) || len(audited(t, root)) > 0 {
		t.Errorf("a plan changed %v to %v, and the audit log has %v", before, after, audited(t, root))
	}
	if out, err = d.collected(t, "j", true); err != nil || out.GetObjects() != 1 {
		t.Fatalf("collected %v, %v; want one object", out, err)
	}
	after := keys(t, root, "j")
	if slices.Contains(after, orphan) || !slices.Contains(after, open) || !slices.Contains(after, "j/shared/notes.txt") {
		t.Errorf("there are %v; want %s gone, %s and the stranger's file there", after, orphan, open)
	}
	if names := audited(t, root); !slices.Equal(names, []string{orphan}) {
		t.Errorf("the audit log has %v, want %s", names, orphan)
	}
	w.checkpoint(w.ofAll)
	_, err = d.collected(t, "nobody", false)
	wantCode(t, err, connect.CodeNotFound, "no job")
}

// TestNothingGoesWithoutARecord: while the audit log cannot be written, a person's deletes wait.
func TestNothingGoesWithoutARecord(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	w := oneWorker(t, d, "j", nil)
	orphan := plant(t, root, "j", w.epoch, w.checkpoint(w.ofAll))
	d.kill()
	store := &unrecorded{Store: root.Store, asked: make(chan struct{}, 100)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	n := newJanitor(t, storage.Opened{Store: store, Facts: root.Facts, Close: root.Close})
	go func() {
		done <- n.Do(ctx, "j", true, func(ctx context.Context, j *shell.Job) error {
			return j.Collect(ctx, &ckptdv1.CollectRequest{Execute: true, Who: "me", Command: "ckptd gc"}, func(*ckptdv1.CollectResponse) error { return nil })
		})
	}()
	for range 2 {
		select {
		case <-store.asked:
		case err := <-done:
			t.Fatal("the collection ended before it was recorded:", err)
		}
	}
	if !slices.Contains(keys(t, root, "j"), orphan) {
		t.Errorf("%s is deleted without a record", orphan)
	}
	cancel()
	if err := <-done; err == nil {
		t.Error("a collection that was interrupted says that it is done")
	}
	asJanitor(t, root, "j", false)
	atRest(t, root, "j")
}

// unrecorded is a store that takes no record of the audit log.
type unrecorded struct {
	storage.Store
	asked chan struct{}
}

func (s *unrecorded) Create(ctx context.Context, key string, opts storage.CreateOptions) (storage.Writer, error) {
	if strings.HasPrefix(key, layout.AuditPrefix) {
		s.asked <- struct{}{}
		return nil, errors.New("no room")
	}
	return s.Store.Create(ctx, key, opts)
}

// TestCollectAgainstAModel: random jobs, imports, orphans of killed daemons and ends. The plan from outside names what the
// collection deletes; no file goes that a listed checkpoint names, no orphan is left, and each name was recorded.
func TestCollectAgainstAModel(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 13))
			root := newRoot()
			d := startDaemon(t, root, "")
			var jobs []string
			for i := range 3 {
				id := fmt.Sprintf("job-%d", i)
				var w *worker
				if i > 0 && random.IntN(2) == 0 && head(t, root, jobs[i-1]).Newest() > 0 {
					from := head(t, root, jobs[i-1])
					w, _ = restoring(t, d, id, fmt.Sprintf("%s/%s", jobs[i-1], layout.CheckpointDir(from.Newest())))
				} else {
					w = oneWorker(t, d, id, nil)
				}
				jobs = append(jobs, id)
				last := head(t, root, id).Newest()
				for range 1 + random.IntN(3) {
					if i == 0 || random.IntN(4) > 0 {
						last = w.checkpoint(w.ofAll)
					}
				}
				for range random.IntN(4) {
					plant(t, root, id, w.epoch, 1+random.Uint64N(last+3))
				}
				if random.IntN(2) == 0 {
					d.cancel(t, id)
				}
			}
			d.kill() // jobs run, or have ended and wait for their last sweep
			for _, id := range jobs {
				needed := neededBy(t, root)
				before, plan := keys(t, root, id), planned(t, root, id)
				out := asJanitor(t, root, id, true)
				for key := range needed {
					if _, err := root.Store.Stat(t.Context(), key); err != nil {
						t.Fatalf("a listed checkpoint names %s: %v", key, err)
					}
				}
				atRestWithLoans(t, root, id)
				var gone []string
				for _, key := range before {
					if !slices.Contains(keys(t, root, id), key) && !strings.HasPrefix(key, layout.JournalPrefix(id)) {
						gone = append(gone, key)
					}
				}
				if uint64(len(gone)) != plan.GetObjects() || out.GetObjects() > plan.GetObjects() {
					t.Errorf("job %s: %d objects are gone, %d were collected, %d were planned", id, len(gone), out.GetObjects(), plan.GetObjects())
				}
				recorded := audited(t, root)
				for _, key := range gone {
					if !slices.Contains(recorded, key) {
						t.Errorf("%s is gone and not in the audit log", key)
					}
				}
				if left := planned(t, root, id); left.GetObjects() > 0 {
					t.Errorf("job %s: after a collection the plan is %v", id, left)
				}
			}
		})
	}
}

// neededBy are the objects that the retained checkpoints of all jobs name, but for hidden ones that nobody borrows.
func neededBy(t testing.TB, root storage.Opened) map[string]bool {
	t.Helper()
	needed := map[string]bool{}
	for key, content := range contents(t, root.Store, "") {
		job, relative, _ := strings.Cut(key, "/")
		k := layout.ParseJobKey(relative)
		if k.Place != layout.PlaceMetadata {
			continue
		}
		e := head(t, root, job)
		if c, ok := e.Checkpoint(k.Checkpoint); !ok || c.State == journal.StateHidden && !e.IsLent(c.ID) {
			continue
		}
		needed[key] = true
		for _, f := range filesOf(t, content) {
			owner := f.Job
			if owner == "" {
				owner = job
			}
			needed[layout.JobPrefix(owner)+f.Key] = true
		}
	}
	return needed
}

// atRestWithLoans checks that a job's folder holds its journal, and what the retained checkpoints of all jobs name of it.
func atRestWithLoans(t testing.TB, root storage.Opened, id string) {
	t.Helper()
	needed := neededBy(t, root)
	for _, key := range keys(t, root, id) {
		if !needed[key] && !strings.HasPrefix(key, layout.JournalPrefix(id)) && !ofHistory(head(t, root, id), key) {
			t.Errorf("%s is left, and no retained checkpoint names it", key)
		}
	}
}

func sameSet(a, b []string) bool {
	return maps.Equal(setOf(a), setOf(b))
}

func setOf(all []string) map[string]bool {
	set := map[string]bool{}
	for _, s := range all {
		set[s] = true
	}
	return set
}

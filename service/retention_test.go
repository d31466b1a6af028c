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
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/journalio"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/mem"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
	"github.com/ckptd/ckptd/retention"
	"github.com/ckptd/ckptd/service"
	"github.com/ckptd/ckptd/service/api"
	"github.com/ckptd/ckptd/service/owner"
	"github.com/ckptd/ckptd/service/shell"
)

func (d *daemon) retention() ckptdv1connect.RetentionServiceClient {
	return ckptdv1connect.NewRetentionServiceClient(d.web, d.http.URL)
}

func keeping(n uint32) func(*ckptdv1.JobConfig) {
	return func(c *ckptdv1.JobConfig) { c.NumRetained = n }
}

// TestPeopleChangeWhatARunningJobKeeps: by calls to its owner. The job runs on.
func TestPeopleChangeWhatARunningJobKeeps(t *testing.T) {
	root := newRoot()
	d := startDaemonWith(t, root, "", service.Options{Trash: time.Hour})
	w := oneWorker(t, d, "j", keeping(3))
	ids := []uint64{w.checkpoint(w.ofAll), w.checkpoint(w.ofAll), w.checkpoint(w.ofAll)}
	remove := &ckptdv1.RemoveCheckpointsRequest{JobId: "j", RequestId: "1", CheckpointIds: ids[:1]}
	for range 2 { // the second call is a repetition
		res, err := d.retention().RemoveCheckpoints(t.Context(), remove)
		if err != nil {
			t.Fatal(err)
		}
		c := res.GetChange().GetCheckpoints()
		if len(c) != 1 || c[0].GetState() != ckptdv1.CheckpointState_CHECKPOINT_STATE_TRASHED || c[0].GetTrashUntil().AsTime().Sub(c[0].GetTrashedAt().AsTime()) != time.Hour {
			t.Fatalf("%v, want checkpoint %d in the trash for an hour", res, ids[0])
		}
	}
	_, err := d.retention().RemoveCheckpoints(t.Context(), &ckptdv1.RemoveCheckpointsRequest{JobId: "j", RequestId: "2", CheckpointIds: ids[1:]})
	wantCode(t, err, connect.CodeFailedPrecondition, fmt.Sprintf("checkpoint %d of job j: the job has not ended", ids[2]))
	_, err = d.retention().RemoveCheckpoints(t.Context(), &ckptdv1.RemoveCheckpointsRequest{JobId: "j", RequestId: "3", CheckpointIds: []uint64{99}})
	wantCode(t, err, connect.CodeNotFound, "checkpoint 99 of job j")
	_, err = d.retention().PurgeJob(t.Context(), &ckptdv1.PurgeJobRequest{JobId: "j", RequestId: "4"})
	wantCode(t, err, connect.CodeFailedPrecondition, "the job has not ended")
	_, err = d.retention().PurgeJob(t.Context(), &ckptdv1.PurgeJobRequest{JobId: "nobody", RequestId: "4"})
	wantCode(t, err, connect.CodeNotFound, "no job")
	if _, err := d.retention().UndeleteCheckpoints(t.Context(), &ckptdv1.UndeleteCheckpointsRequest{JobId: "j", RequestId: "5", CheckpointIds: ids[:1]}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.retention().TagCheckpoints(t.Context(), &ckptdv1.TagCheckpointsRequest{JobId: "j", RequestId: "6", CheckpointIds: ids[:1], Tags: []string{"a"}}); err != nil {
		t.Fatal(err)
	}
	for range 4 { // the policy drops all others, and not this one
		w.checkpoint(w.ofAll)
	}
	if c, ok := head(t, root, "j").Checkpoint(ids[0]); !ok || !c.Keep || !slices.Equal(c.Tags, []string{"a"}) || c.State != journal.StateKept {
		t.Errorf("checkpoint %d is %+v, want it kept with its tag", ids[0], c)
	}
	by := &ckptdv1.PersonalCommand{Who: "me", Command: "ckptd rm"}
	if _, err := d.retention().RemoveCheckpoints(t.Context(), &ckptdv1.RemoveCheckpointsRequest{JobId: "j", RequestId: "7", CheckpointIds: ids[:1], Now: true, By: by}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the _metadata gone", func() bool { return !slices.Contains(keys(t, root, "j"), layout.MetadataKey("j", ids[0])) })
	if names := audited(t, root); !slices.Contains(names, layout.MetadataKey("j", ids[0])) {
		t.Errorf("the audit log has %v, want what was deleted at once", names)
	}
}

// TestTheEndOfAJobFillsItsTrash, and a purge empties it: a tombstone is left. The id can be used again.
func TestTheEndOfAJobFillsItsTrash(t *testing.T) {
	root := newRoot()
	d := startDaemonWith(t, root, "", service.Options{Trash: time.Hour})
	w := oneWorker(t, d, "j", func(c *ckptdv1.JobConfig) {
		c.NumRetained, c.Retention = 2, ckptdv1.Retention_RETENTION_NO_EXTERNALIZED_CHECKPOINTS
	})
	w.checkpoint(w.ofAll)
	newest := w.checkpoint(w.ofAll)
	d.cancel(t, "j")
	d.waitReleased(t)
	e := atRest(t, root, "j")
	if len(e.Retained) != 2 || e.Newest() != 0 || e.ReleasedAt == 0 {
		t.Fatalf("the journal has %+v, want two checkpoints in the trash", e.Retained)
	}
	n := newJanitor(t, root)
	edit := func(ctx context.Context, j *shell.Job) error {
		_, err := j.Edit(ctx, "u", &owner.Edit{Kind: owner.EditUndelete, IDs: []uint64{newest}}, nil)
		return err
	}
	if err := n.Do(t.Context(), "j", false, edit); err != nil {
		t.Fatal(err)
	}
	if e = atRest(t, root, "j"); e.Newest() != newest {
		t.Errorf("the newest is %d, want %d back from the trash", e.Newest(), newest)
	}
	purge := func(ctx context.Context, j *shell.Job) error {
		_, err := j.Edit(ctx, "p", &owner.Edit{Kind: owner.EditPurge}, nil)
		return err
	}
	if err := n.Do(t.Context(), "j", false, purge); err != nil {
		t.Fatal(err)
	}
	if e = atRest(t, root, "j"); e.Status != journal.StatusRemoved || len(e.Retained) != 0 {
		t.Fatalf("the journal says %v with %d retained, want a tombstone", e.Status, len(e.Retained))
	}
	w = oneWorker(t, d, "j", nil)
	if again := w.checkpoint(w.ofAll); again <= newest || head(t, root, "j").Epoch <= e.Epoch {
		t.Errorf("checkpoint %d, epoch %d; want later ones than %d and %d", again, head(t, root, "j").Epoch, newest, e.Epoch)
	}
}

// TestPeoplesCommandsAgainstAModel: random jobs, loans, ends, removals, undeletes, purges, and daemons that are killed. Never is a file
// gone that a listed checkpoint names, and at the end no orphan is left.
func TestPeoplesCommandsAgainstAModel(t *testing.T) {
	for seed := range uint64(16) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			p := &peopleModel{t: t, random: rand.New(rand.NewPCG(seed, 17)), root: newRoot()}
			p.opts = service.Options{Trash: time.Duration(p.random.IntN(2)) * time.Hour}
			p.d = startDaemonWith(t, p.root, "", p.opts)
			for i := range 3 {
				p.begin(i)
			}
			for i := range 14 {
				if p.command(i); len(p.jobs) < mostJobs && p.random.IntN(4) == 0 {
					p.begin(len(p.jobs)) // the lender may have pins, trash, or a purge that waits
				}
				if p.random.IntN(6) == 0 {
					p.d.kill()
					p.d = startDaemonWith(t, p.root, "", p.opts)
				}
				p.whole()
			}
			p.d.kill()
			for _, id := range p.jobs {
				if head(t, p.root, id).Status == journal.StatusRemoved {
					continue
				}
				asJanitor(t, p.root, id, true)
			}
			for _, id := range p.jobs {
				p.whole()
				atRestWithLoans(t, p.root, id)
			}
		})
	}
}

// mostJobs bounds the jobs of a run.
const mostJobs = 6

// peopleModel is one run of the model.
type peopleModel struct {
	t      *testing.T
	random *rand.Rand
	root   storage.Opened
	d      *daemon
	opts   service.Options
	jobs   []string
}

// begin begins a job, perhaps from one of those before, and ends it perhaps.
func (p *peopleModel) begin(i int) {
	id := fmt.Sprintf("job-%d", i)
	var w *worker
	checkpoints := 1 + p.random.IntN(4)
	lender := ""
	if i > 0 {
		lender = p.jobs[p.random.IntN(i)]
	}
	if i > 0 && p.random.IntN(3) > 0 && head(p.t, p.root, lender).Newest() > 0 {
		w, _ = restoring(p.t, p.d, id, fmt.Sprintf("%s/%s", lender, layout.CheckpointDir(head(p.t, p.root, lender).Newest())))
		checkpoints = p.random.IntN(4) / 3 // without one of its own it needs the loan
	} else {
		w = oneWorker(p.t, p.d, id, keeping(3))
	}
	p.jobs = append(p.jobs, id)
	for range checkpoints {
		w.checkpoint(w.ofAll)
	}
	if p.random.IntN(3) > 0 {
		p.d.cancel(p.t, id)
	}
}

// command gives a random command about a random job: to its owner, or as janitor.
func (p *peopleModel) command(i int) {
	id := p.jobs[p.random.IntN(len(p.jobs))]
	before := head(p.t, p.root, id)
	if p.random.IntN(5) == 0 {
		p.forget(i)
		return
	}
	e := &owner.Edit{Kind: []owner.EditKind{owner.EditRemove, owner.EditRemove, owner.EditUndelete, owner.EditTag, owner.EditPurge}[p.random.IntN(5)],
		Now: p.random.IntN(2) == 0, Lent: p.random.IntN(4) > 0}
	if e.Kind == owner.EditTag {
		e.Tags = []string{"tag"}
	}
	for _, c := range before.Retained {
		if e.Kind != owner.EditPurge && p.random.IntN(3) > 0 {
			e.IDs = append(e.IDs, c.ID)
		}
	}
	p.edit(i, id, e)
}

// edit carries one command out.
func (p *peopleModel) edit(i int, id string, e *owner.Edit) {
	before := head(p.t, p.root, id)
	edit := func(ctx context.Context, j *shell.Job) error {
		_, err := j.Edit(ctx, fmt.Sprint(i), e, &shell.Command{Who: "me", Command: "rm"})
		return err
	}
	_, why := e.Refused(before)
	n := newJanitor(p.t, p.root)
	err := n.Do(p.t.Context(), id, true, edit)
	if len(api.OwnerURLs(err)) > 0 {
		err = p.atOwner(id, i, e)
	}
	after := head(p.t, p.root, id)
	if err != nil && why == owner.ReasonNone && !strings.Contains(err.Error(), "borrowed") && !unsettled(err) {
		p.t.Errorf("command %+v on %s: %v", e, id, err)
	}
	if err == nil && why != owner.ReasonNone && before.Slot == after.Slot {
		p.t.Errorf("command %+v on %s was carried out, though %v", e, id, api.ReasonText(why))
	}
	if !after.Status.Terminal() && after.Newest() < before.Newest() {
		p.t.Errorf("command %+v took the newest checkpoint of %s, which runs", e, id)
	}
}

// forget keeps the newest checkpoint of each lineage, as the command does: it holds these by pins while it removes others. A killed
// command leaves its pins, which expire.
func (p *peopleModel) forget(i int) {
	var lines []retention.Line
	for _, id := range p.jobs {
		h := head(p.t, p.root, id)
		lines = append(lines, retention.Line{Job: id, From: h.Import.Job, Restorable: h.Newest() != 0})
	}
	ends := retention.Ends(lines)
	type held struct {
		pin *journalio.Pin
		job string
		id  uint64
	}
	removes, pins := map[string][]uint64{}, []held{}
	for _, id := range p.jobs {
		h := head(p.t, p.root, id)
		for _, c := range h.Retained {
			switch {
			case c.State != journal.StateKept || c.Keep || h.IsLent(c.ID):
			case c.ID != h.Newest() || !ends[id] && h.Status.Terminal():
				removes[id] = append(removes[id], c.ID)
			default:
				pin, err := journalio.Hold(p.t.Context(), p.root.Store, p.root.Facts, id, c.ID, "forget", time.Hour)
				if err != nil && !errors.Is(err, journalio.ErrNotKept) {
					p.t.Fatal(err)
				} else if err != nil {
					return // a running job has dropped it: forget gives up before it removes anything
				}
				pins = append(pins, held{pin, id, c.ID})
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(removes)) {
		p.edit(i, id, &owner.Edit{Kind: owner.EditRemove, IDs: removes[id], Now: p.random.IntN(2) == 0})
	}
	for _, h := range pins {
		if _, kept := head(p.t, p.root, h.job).Checkpoint(h.id); !kept {
			p.t.Errorf("checkpoint %d of %s is gone while forget held it", h.id, h.job)
		}
		if err := h.pin.Return(p.t.Context()); err != nil {
			p.t.Fatal(err)
		}
	}
}

// unsettled tells whether a job is being attached or released at this moment.
func unsettled(err error) bool {
	return api.IsNotAttached(err) || connect.CodeOf(err) == connect.CodeUnavailable || connect.CodeOf(err) == connect.CodeFailedPrecondition
}

func (p *peopleModel) atOwner(id string, i int, e *owner.Edit) (err error) {
	request, ctx := fmt.Sprint(i), p.t.Context()
	switch e.Kind {
	case owner.EditRemove:
		_, err = p.d.retention().RemoveCheckpoints(ctx, &ckptdv1.RemoveCheckpointsRequest{JobId: id, RequestId: request, CheckpointIds: e.IDs, Now: e.Now, EvenIfLent: e.Lent})
	case owner.EditUndelete:
		_, err = p.d.retention().UndeleteCheckpoints(ctx, &ckptdv1.UndeleteCheckpointsRequest{JobId: id, RequestId: request, CheckpointIds: e.IDs})
	case owner.EditPurge:
		_, err = p.d.retention().PurgeJob(ctx, &ckptdv1.PurgeJobRequest{JobId: id, RequestId: request})
	default:
		_, err = p.d.retention().TagCheckpoints(ctx, &ckptdv1.TagCheckpointsRequest{JobId: id, RequestId: request, CheckpointIds: e.IDs, Tags: e.Tags})
	}
	return err
}

// whole checks that all files are there which a listed checkpoint names. What becomes of a checkpoint while this looks is looked at again.
func (p *peopleModel) whole() {
	p.t.Helper()
	for key := range neededBy(p.t, p.root) {
		if _, err := p.root.Store.Stat(p.t.Context(), key); err != nil && neededBy(p.t, p.root)[key] {
			p.t.Fatalf("a listed checkpoint names %s: %v", key, err)
		}
	}
}

// TestACommandIsAnsweredThoughTheJobIsLetGo: the process is asked to stop while the entry of a command is published. The command is
// answered with its entry, and what it condemned is left to the next daemon.
func TestACommandIsAnsweredThoughTheJobIsLetGo(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	w := oneWorker(t, d, "j", keeping(2))
	old := w.checkpoint(w.ofAll)
	w.checkpoint(w.ofAll)
	d.cancel(t, "j")
	d.waitReleased(t)
	own, faults := faulty(root, nil)
	var entry *journal.Entry
	err := newJanitor(t, own).Do(t.Context(), "j", false, func(ctx context.Context, j *shell.Job) (err error) {
		faults.SetDecide(func(m mem.Mutation) mem.Outcome {
			if layout.ParseJobKey(strings.TrimPrefix(m.Key, "j/")).Place == layout.PlaceSlot {
				j.Release()
			}
			return mem.Done()
		})
		entry, err = j.Edit(ctx, "1", &owner.Edit{Kind: owner.EditRemove, IDs: []uint64{old}, Now: true}, &shell.Command{Who: "me", Command: "rm"})
		return err
	})
	faults.SetDecide(nil)
	if err != nil && connect.CodeOf(err) != connect.CodeUnavailable {
		t.Errorf("the command's error is %v", err)
	}
	if entry == nil {
		t.Fatal("the command has no answer")
	}
	if _, kept := entry.Checkpoint(old); kept {
		t.Errorf("the answer still has checkpoint %d", old)
	}
}

package collect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/owner"
)

// planTries is how often a plan is begun again because the job's journal went on meanwhile.
const planTries = 3

// errMoved: the journal went on while the plan was made.
var errMoved = errors.New("the job's journal went on meanwhile")

// Plan adds to out what a janitor would delete that attached to the job now. It is for jobs that have ended or that nobody
// owns, and for those whose owner does not answer. Its memory is about 16 bytes for each file that a retained checkpoint
// names, and a few MB of a list that runs ahead. looked is called after each object. now judges the trash. The janitor will judge it
// by the store's clock.
func Plan(ctx context.Context, s storage.Store, job string, now time.Time, out *ckptdv1.CollectedJob, looked func()) error {
	for try := 1; ; try++ {
		*out = ckptdv1.CollectedJob{JobId: job, By: out.GetBy()}
		err := plan(ctx, s, job, now, out, looked)
		if !errors.Is(err, errMoved) || try == planTries {
			return err
		}
	}
}

func plan(ctx context.Context, s storage.Store, job string, now time.Time, out *ckptdv1.CollectedJob, looked func()) error {
	head, err := catalog.Head(ctx, s, job)
	if err != nil {
		return err
	}
	prefix := layout.JobPrefix(job)
	objects, stop := ahead(ctx, s, prefix) // while the _metadata are read
	defer stop()
	out.Due = Due(ctx, s, head, now)
	retained, needed := map[uint64]bool{}, newNames()
	expired, expiring := map[uint64]bool{}, newNames()
	for i := range head.Retained {
		c := &head.Retained[i]
		if c.State == journal.StateHidden && !head.IsLent(c.ID) {
			continue // the janitor's first entry drops it
		}
		kept, names := retained, needed
		if goes(head, c, now) {
			kept, names = expired, expiring
		}
		kept[c.ID] = true
		if err := readNeeded(ctx, s, job, c, names); err != nil {
			if now, e := catalog.Head(ctx, s, job); e == nil && now.Slot != head.Slot {
				return errMoved
			}
			return fmt.Errorf("the _metadata of retained checkpoint %d cannot be read, so nothing of this job is deleted: %w", c.ID, err)
		}
	}
	view := owner.JanitorView(head)
	for info, err := range objects {
		if err != nil {
			return err
		}
		out.LookedAt++
		looked()
		relative := strings.TrimPrefix(info.Key, prefix)
		k := layout.ParseJobKey(relative)
		verdict, trash := owner.VerdictNeeded, false
		switch k.Place {
		case layout.PlaceUnknown:
			out.Strangers++
		case layout.PlaceMetadata:
			verdict, trash = view.JudgeMetadata(k.Checkpoint, retained[k.Checkpoint], false), expired[k.Checkpoint]
		case layout.PlaceShared, layout.PlaceExclusive:
			verdict = view.Judge(owner.Standing{Shared: k.Place == layout.PlaceShared, Epoch: k.File.Epoch, Checkpoint: k.File.Checkpoint,
				Reachable: needed.has(relative)})
			trash = len(expired) > 0 && expiring.has(relative)
		}
		if verdict.Dead() {
			item := &ckptdv1.CollectItem{Key: info.Key, Bytes: uint64(max(info.Size, 0)), Reason: Reason(verdict)}
			if trash {
				item.Reason = ckptdv1.CollectReason_COLLECT_REASON_EXPIRED_TRASH
			}
			Add(out, item)
		}
	}
	out.Unfinished = Unfinished(ctx, s, job, view)
	return nil
}

// goes tells whether the janitor's first sweep drops a checkpoint whose time in the trash is over. A lent one is hidden then.
func goes(head *journal.Entry, c *journal.Checkpoint, now time.Time) bool {
	return c.Expired(uint64(now.UnixMilli())) && !head.IsLent(c.ID)
}

// readNeeded adds the files that one retained checkpoint needs of its own job's folder.
func readNeeded(ctx context.Context, s storage.Store, job string, c *journal.Checkpoint, needed *names) error {
	body, err := s.Open(ctx, layout.MetadataKey(job, c.ID), 0, -1)
	if err != nil {
		return err
	}
	defer body.Close()
	r, err := layout.NewMetadataReader(body)
	if err != nil {
		return err
	}
	if r.Header().Nonce != c.Nonce.String() {
		return fmt.Errorf("it has the nonce %s, the journal names %s: %w", r.Header().Nonce, c.Nonce, layout.ErrCorrupt)
	}
	for {
		record, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if f, ok := record.(*layout.File); ok && f.Job == "" {
			needed.add(f.Key)
		}
	}
}

// Unfinished counts the unfinished writes and uploads of a job that nobody can finish any more. It aborts none.
func Unfinished(ctx context.Context, s storage.Store, job string, view owner.View) (n uint64) {
	prefix := layout.JobPrefix(job)
	_, _ = s.AbortUnfinished(ctx, prefix, func(key string) bool {
		k := layout.ParseJobKey(strings.TrimPrefix(key, prefix))
		switch k.Place {
		case layout.PlaceMetadata:
			if k.Checkpoint < view.Floor {
				n++
			}
		case layout.PlaceHistory:
			if k.History.Epoch < view.Epoch {
				n++
			}
		case layout.PlaceExclusive, layout.PlaceShared:
			if k.File.Epoch < view.Epoch || k.File.Epoch == view.Epoch && k.File.Checkpoint < view.Floor {
				n++
			}
		}
		return false
	})
	return n
}

// Due lists what the head of a job's journal shows to be due, beside the job's objects. now judges the trash. The owner will
// judge it by the store's clock.
func Due(ctx context.Context, s storage.Store, head *journal.Entry, now time.Time) (due []*ckptdv1.CollectDue) {
	for i := range head.Retained {
		c := &head.Retained[i]
		switch {
		case c.State == journal.StateHidden && !head.IsLent(c.ID):
			due = append(due, &ckptdv1.CollectDue{Kind: ckptdv1.CollectDueKind_COLLECT_DUE_KIND_HIDDEN, CheckpointId: c.ID, Bytes: c.NewBytes,
				Text: fmt.Sprintf("checkpoint %d is hidden, and no job has a pin on it any more", c.ID)})
		case goes(head, c, now):
			due = append(due, &ckptdv1.CollectDue{Kind: ckptdv1.CollectDueKind_COLLECT_DUE_KIND_EXPIRED_TRASH, CheckpointId: c.ID, Bytes: c.NewBytes,
				Text: fmt.Sprintf("checkpoint %d leaves the trash: its time there was over at %s", c.ID, time.UnixMilli(int64(c.TrashUntil)).UTC().Format(time.DateTime))})
		}
	}
	for _, l := range head.Lent {
		holder, err := catalog.Head(ctx, s, l.Holder)
		if err == nil && l.Leaked(holder) {
			due = append(due, &ckptdv1.CollectDue{Kind: ckptdv1.CollectDueKind_COLLECT_DUE_KIND_LEAKED_PIN, CheckpointId: l.Checkpoint,
				Text: fmt.Sprintf("the pin of job %s on checkpoint %d has leaked: that job does not need it any more", l.Holder, l.Checkpoint)})
		}
	}
	if head.PurgeWanted && head.Status != journal.StatusRemoved {
		due = append(due, &ckptdv1.CollectDue{Kind: ckptdv1.CollectDueKind_COLLECT_DUE_KIND_PURGE, Text: "a person wants all of the job deleted"})
	}
	return due
}

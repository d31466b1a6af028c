package shell

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/journalio"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/owner"
)

// trim deletes old slots of the journal. Only one trim of a job runs or waits at a time: start drops the others, so
// that they cannot pile up behind a slow store.
func (j *Job) trim(ctx context.Context, op owner.Op) {
	defer j.do(func() { j.trimming = false })
	keys := make([]string, len(op.IDs))
	for i, slot := range op.IDs {
		keys[i] = layout.SlotKey(j.id, slot)
	}
	if err := errors.Join(j.env.Collect.Delete(ctx, keys)...); err != nil {
		j.warn(ctx, "cannot trim the journal", "error", err)
	}
}

// left is a question that is asked before deletes: has another process taken the job over?
type left func(context.Context) (bool, error)

// leftCopy is that question for a copy, which the owner that the machine is now has to ask before each batch. `ckptd copy` gives an
// object that was dropped from the copy the same name again, and a process that was suspended would delete the new one. In other jobs
// no name is used twice: there the answer is no, without a read.
func (j *Job) leftCopy() left {
	head := j.told()
	if head == nil || head.CopiedFrom == (journal.Origin{}) {
		return func(context.Context) (bool, error) { return false, nil }
	}
	epoch := head.Epoch
	return func(ctx context.Context) (bool, error) {
		now, how, err := journalio.ReadHead(ctx, j.env.Collect, j.env.Facts, j.id)
		if err == nil && how != journal.ReadDone {
			err = errNoHead
		}
		return err == nil && now.Epoch != epoch, err
	}
}

var errNoHead = errors.New("the journal cannot be read")

// deleteMetas deletes the _metadata of checkpoints. The result names those that are certainly gone. If another process has taken a
// copy over, nothing is deleted, and it says that all are: the next entry tells the machine.
func (j *Job) deleteMetas(ctx context.Context, op owner.Op, entries []*ckptdv1.AuditEntry, left left) {
	if !j.recorded(ctx, entries) {
		j.result(op.Result(journal.Unknown))
		return
	}
	keys := make([]string, len(op.IDs))
	for i, id := range op.IDs {
		keys[i] = layout.MetadataKey(j.id, id)
	}
	r := op.Result(journal.Done)
	errs := j.deleteUnless(ctx, left, keys)
	for i, id := range op.IDs {
		if errs == nil || errs[i] == nil {
			r.IDs = append(r.IDs, id)
		} else {
			r.Outcome = journal.Unknown
			j.warn(ctx, "cannot delete", "key", keys[i], "error", errs[i])
		}
	}
	j.do(func() {
		for _, id := range r.IDs {
			delete(j.audit.metas, id)
		}
		j.feed(owner.Event{Kind: owner.EventResult, Result: r})
	})
}

// recorded writes what is about to be deleted to the audit log. It reports false if the deletes must wait, because the log
// could not be written.
func (j *Job) recorded(ctx context.Context, entries []*ckptdv1.AuditEntry) bool {
	if len(entries) == 0 {
		return true
	}
	err := j.env.Audit(ctx, entries)
	if err != nil {
		j.warn(ctx, "cannot write the audit log: the deletes wait", "error", err)
	}
	return err == nil
}

// deleteFiles deletes state files. The result names those that are certainly gone.
func (j *Job) deleteFiles(op owner.Op) func(context.Context) {
	var numbers []incremental.File
	var keys []string
	for n := range op.Files.All() {
		if d, ok := j.names.Describe(n); ok {
			numbers, keys = append(numbers, n), append(keys, layout.JobPrefix(j.id)+d.Key)
		}
	}
	entries, left := j.fileEntries(numbers, keys), j.leftCopy()
	return func(ctx context.Context) {
		if !j.recorded(ctx, entries) {
			j.result(op.Result(journal.Unknown))
			return
		}
		failed := j.deleteAll(ctx, keys, left)
		j.do(func() {
			r := op.Result(journal.Done)
			gone := op.Files
			if len(failed) > 0 {
				r.Outcome = journal.Unknown
				var kept incremental.Builder[incremental.File]
				for i := range failed {
					kept.Add(numbers[i])
				}
				gone = gone.Minus(kept.Set())
			}
			r.Files = gone
			if j.audit.waiting() > 0 {
				for n := range gone.All() {
					delete(j.audit.files, n)
				}
			}
			j.feed(owner.Event{Kind: owner.EventResult, Result: r})
			j.names.Forget(gone)
		})
	}
}

// deleteAll deletes objects in batches. It returns the errors of those that may still exist, by their positions in
// keys.
func (j *Job) deleteAll(ctx context.Context, keys []string, left left) map[int]error {
	var mu sync.Mutex
	failed := map[int]error{}
	var wg sync.WaitGroup
	size, callers := j.deletesAtOnce()
	turns := make(chan struct{}, callers)
	for from := 0; from < len(keys); from += size {
		batch := keys[from:min(from+size, len(keys))]
		turns <- struct{}{}
		wg.Go(func() {
			defer func() { <-turns }()
			began := time.Now()
			errs := j.deleteUnless(ctx, left, batch)
			if from+size < len(keys) {
				j.leaveTurn(ctx, began)
			}
			mu.Lock()
			defer mu.Unlock()
			for i, err := range errs {
				if err != nil {
					failed[from+i] = err
				}
			}
		})
	}
	wg.Wait()
	for i, err := range failed {
		j.warn(ctx, "cannot delete", "key", keys[i], "error", err, "failed", len(failed))
		break
	}
	return failed
}

// deleteUnless deletes objects, unless the answer to left is yes: then none of them is this owner's to delete.
func (j *Job) deleteUnless(ctx context.Context, left left, keys []string) []error {
	switch gone, err := left(ctx); {
	case err != nil:
		return slices.Repeat([]error{err}, len(keys))
	case gone:
		return nil
	}
	return j.env.Collect.Delete(ctx, keys)
}

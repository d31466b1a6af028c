package shell

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journal"
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

// deleteMetas deletes the _metadata of checkpoints. The result names those that are certainly gone.
func (j *Job) deleteMetas(ctx context.Context, op owner.Op, entries []*ckptdv1.AuditEntry) {
	if !j.recorded(ctx, entries) {
		j.result(op.Result(journal.Unknown))
		return
	}
	keys := make([]string, len(op.IDs))
	for i, id := range op.IDs {
		keys[i] = layout.MetadataKey(j.id, id)
	}
	r := op.Result(journal.Done)
	errs := j.env.Collect.Delete(ctx, keys)
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
	entries := j.fileEntries(numbers, keys)
	return func(ctx context.Context) {
		if !j.recorded(ctx, entries) {
			j.result(op.Result(journal.Unknown))
			return
		}
		failed := j.deleteAll(ctx, keys)
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
func (j *Job) deleteAll(ctx context.Context, keys []string) map[int]error {
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
			errs := j.env.Collect.Delete(ctx, batch)
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

package shell

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journal"
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
func (j *Job) deleteMetas(ctx context.Context, op owner.Op) {
	keys := make([]string, len(op.IDs))
	for i, id := range op.IDs {
		keys[i] = layout.MetadataKey(j.id, id)
	}
	r := op.Result(journal.Done)
	for i, err := range j.env.Collect.Delete(ctx, keys) {
		if err == nil {
			r.IDs = append(r.IDs, op.IDs[i])
		} else {
			r.Outcome = journal.Unknown
			j.warn(ctx, "cannot delete", "key", keys[i], "error", err)
		}
	}
	j.result(r)
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
	return func(ctx context.Context) {
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

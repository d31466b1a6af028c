package gcs

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	contract "github.com/ckptd/ckptd/layout/storage"
)

// Delete implements storage.Store. Each object is a request of its own; several are under way at once.
func (s *store) Delete(ctx context.Context, keys []string) []error {
	results := make([]error, len(keys))
	var all errgroup.Group
	all.SetLimit(deletesAtOnce)
	for i, key := range keys {
		all.Go(func() error {
			results[i] = s.deleteOne(ctx, key)
			return results[i]
		})
	}
	if all.Wait() == nil {
		return nil
	}
	for i, err := range results {
		if err != nil {
			results[i] = &contract.Error{Op: "delete", Key: keys[i], Err: err}
		}
	}
	return results
}

// deleteOne deletes an object. One that was made less than a second ago is tried again: the limit is the object's own,
// so it is no reason to slow down.
func (s *store) deleteOne(ctx context.Context, key string) error {
	if err := s.writable(ctx, key); err != nil {
		return err
	}
	watchedCtx, tries := watched(ctx)
	for attempt := 1; ; attempt++ {
		err := s.object(key).Delete(watchedCtx)
		if absent(err) {
			return nil
		}
		if attempt >= s.attempts() || !changedNow(err) {
			return tries.outcome(err)
		}
		select {
		case <-time.After(changePause):
			s.retries.report(err)
		case <-ctx.Done():
			return tries.outcome(err)
		}
	}
}

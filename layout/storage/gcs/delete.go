package gcs

import (
	"context"

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

func (s *store) deleteOne(ctx context.Context, key string) error {
	if err := s.writable(ctx, key); err != nil {
		return err
	}
	ctx, tries := watched(ctx)
	err := s.object(key).Delete(ctx)
	if absent(err) {
		return nil
	}
	return tries.outcome(err)
}

package service

import (
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/limit"
	"github.com/ckptd/ckptd/layout/storage/measure"
	"github.com/ckptd/ckptd/layout/storage/retry"
)

// ways are those to the root, one for each class of work. All have one limit in common; nothing but them reaches the store.
type ways struct {
	commit, restore, upload, collect storage.Store
	limiter                          *limit.Limiter
}

// layers stacks, from the driver upwards: what counts its requests, what ends the process when the store cannot be relied on any
// more, what makes requests wait for their turn, what repeats them. A request that waits to be repeated has no turn.
func layers(root storage.Opened, o *Options, m *metrics) ways {
	counts := measure.New(root.Facts.Kind, m.registry)
	store := storage.Store(watchedStore{counts.Store(root.Store), o.Fatal})
	limiter := limit.New(o.Budgets)
	if root.Facts.Repeats != nil {
		root.Facts.Repeats(func(cause error) { counts.Repeated(cause); limiter.Repeated(cause) })
	}
	way := func(c limit.Class) storage.Store {
		return retry.New(limiter.Store(store, c), retry.Policy{Retried: counts.Retried})
	}
	return ways{
		commit: way(limit.Commit), restore: way(limit.Restore), upload: way(limit.Upload), collect: way(limit.Collect),
		limiter: limiter,
	}
}

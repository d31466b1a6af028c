package service

import (
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/limit"
	"github.com/ckptd/ckptd/layout/storage/measure"
	"github.com/ckptd/ckptd/layout/storage/retry"
)

// stores reach the root, one for each class of work. They share one limiter. All requests to the root go through them.
type stores struct {
	commit, restore, upload, collect storage.Store
	// direct is the driver, measured: its requests wait for no turn and are not repeated. It is for probes.
	direct  storage.Store
	limiter *limit.Limiter
}

// newStores puts four layers over the driver. From the driver upwards: measure counts requests; watchedStore ends the
// process when the store cannot be relied on any more; limit makes requests wait for their turn; retry repeats them.
//
// A request that waits to be repeated holds no turn.
func newStores(root storage.Opened, o *Options, m *metrics) stores {
	counts := measure.New(root.Facts.Kind, m.registry)
	store := storage.Store(watchedStore{counts.Store(root.Store), o.Fatal})
	limiter := limit.New(o.Budgets)
	if root.Facts.Repeats != nil {
		root.Facts.Repeats(func(cause error) { counts.Repeated(cause); limiter.Repeated(cause) })
	}
	forClass := func(c limit.Class) storage.Store {
		return retry.New(limiter.Store(store, c), retry.Policy{Retried: counts.Retried})
	}
	return stores{
		commit: forClass(limit.Commit), restore: forClass(limit.Restore), upload: forClass(limit.Upload), collect: forClass(limit.Collect),
		direct: store, limiter: limiter,
	}
}

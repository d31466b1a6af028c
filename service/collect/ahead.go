package collect

import (
	"context"
	"iter"

	"github.com/ckptd/ckptd/layout/storage"
)

const (
	// batchObjects is how many objects are handed on at once.
	batchObjects = 256
	// batchesAhead is how many batches a list may be ahead of its reader: a few MB.
	batchesAhead = 64
)

// A batch is a piece of a list; err ends the list.
type batch struct {
	infos []storage.Info
	err   error
}

// ahead lists at once, in a goroutine of its own, so that the caller can do something else meanwhile. The caller must call
// stop, which waits for that goroutine.
func ahead(ctx context.Context, s storage.Store, prefix string) (objects iter.Seq2[storage.Info, error], stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	batches := make(chan batch, batchesAhead)
	go func() {
		defer close(batches)
		inBatches(s.List(ctx, prefix), func(b batch) bool {
			select {
			case batches <- b:
				return true
			case <-ctx.Done():
				return false
			}
		})
	}()
	objects = func(yield func(storage.Info, error) bool) {
		for b := range batches {
			for _, info := range b.infos {
				if !yield(info, nil) {
					return
				}
			}
			if b.err != nil {
				yield(storage.Info{}, b.err)
				return
			}
		}
		if ctx.Err() != nil { // some batch may be missing
			yield(storage.Info{}, context.Cause(ctx))
		}
	}
	return objects, func() {
		cancel()
		for range batches { // until the goroutine has ended
		}
	}
}

// inBatches sends a list in pieces, until send returns false.
func inBatches(list iter.Seq2[storage.Info, error], send func(batch) bool) {
	infos := make([]storage.Info, 0, batchObjects)
	for info, err := range list {
		if err != nil {
			send(batch{infos, err})
			return
		}
		if infos = append(infos, info); len(infos) < batchObjects {
			continue
		}
		if !send(batch{infos: infos}) {
			return
		}
		infos = make([]storage.Info, 0, batchObjects)
	}
	send(batch{infos: infos})
}

package shell

import (
	"context"
	"iter"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/mem"
	"github.com/ckptd/ckptd/service/owner"
)

// crowdedStore lists many dead files in the job's folder, and counts what it has shown and what is deleted.
type crowdedStore struct {
	storage.Store
	files          atomic.Int32
	shown, deletes atomic.Int32
	takes          time.Duration // by a delete
	running, most  atomic.Int32
	largest        atomic.Int32
	begins         func() // called before the first of the files is shown
}

func (s *crowdedStore) List(ctx context.Context, prefix string) iter.Seq2[storage.Info, error] {
	if prefix != layout.JobPrefix("j") {
		return s.Store.List(ctx, prefix)
	}
	return func(yield func(storage.Info, error) bool) {
		if s.files.Load() > 0 {
			s.begins()
		}
		nonce := layout.NewNonce()
		for i := range s.files.Load() {
			s.shown.Add(1)
			name := layout.FileName{Epoch: 0, Checkpoint: 1, Nonce: nonce, Sequence: uint64(i)}
			if !yield(storage.Info{Key: layout.SharedKey("j", name.String())}, nil) {
				return
			}
		}
	}
}

func (s *crowdedStore) Delete(_ context.Context, keys []string) []error {
	s.most.Store(max(s.most.Load(), s.running.Add(1)))
	defer s.running.Add(-1)
	s.largest.Store(max(s.largest.Load(), int32(len(keys))))
	time.Sleep(s.takes)
	s.deletes.Add(int32(len(keys)))
	return nil
}

// A sweep that finds many files yields to the job: its list waits until the job has taken the page before, and its deletes
// come in pieces, with pauses at a store that works with this machine's processors.
func TestASweepYields(t *testing.T) {
	const files, takes = 10_000, 5 * time.Millisecond
	for _, c := range []struct {
		name          string
		busy          bool
		most, largest int32
		least         time.Duration
	}{
		{"on this machine", true, callersLocal, deletesLocal, 2 * takes * (files/deletesLocal - 1) * 9 / 10},
		{"on a server", false, callersRemote, deletesRemote, takes * files / deletesRemote / callersRemote},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				root := mem.Open()
				store := &crowdedStore{Store: root.Store, takes: takes}
				root.Store, root.Facts.InProcess = store, c.busy
				j := attached(t, environment(t, root))
				store.files.Store(files)
				free := make(chan struct{})
				store.begins = func() { j.do(func() { <-free }) }
				j.do(func() { j.feed(owner.Event{Kind: owner.EventSweep}) })
				synctest.Wait()
				if n := store.shown.Load(); n < sweepPage || n > 2*sweepPage {
					t.Errorf("while the job is busy, its sweep lists %d files, want a page of %d, and at most the next", n, sweepPage)
				}
				began := time.Now()
				close(free)
				for store.deletes.Load() < files {
					time.Sleep(time.Millisecond)
				}
				if most, largest := store.most.Load(), store.largest.Load(); most > c.most || largest > c.largest {
					t.Errorf("%d deletes at a time, of up to %d files, want at most %d of up to %d", most, largest, c.most, c.largest)
				}
				if took := time.Since(began); took < c.least {
					t.Errorf("%d deletes took %v, want at least %v", files, took, c.least)
				}
			})
		})
	}
}

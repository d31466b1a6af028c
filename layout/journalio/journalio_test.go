package journalio_test

import (
	"context"
	"iter"
	"testing"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/journalio"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/mem"
)

// hookedStore calls after, once, when the first List has ended: there another daemon begins the job.
type hookedStore struct {
	storage.Store
	after func()
}

func (b *hookedStore) List(ctx context.Context, prefix string) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		b.Store.List(ctx, prefix)(yield)
		if f := b.after; f != nil {
			b.after = nil
			f()
		}
	}
}

func list(t *testing.T, s storage.Store) journal.Result {
	t.Helper()
	r, err := journalio.Execute(t.Context(), s, storage.Facts{}, "job", journal.Op{Kind: journal.OpList})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAJobBegunMeanwhileIsNotForeign(t *testing.T) {
	s := mem.Open().Store
	b := &hookedStore{Store: s, after: func() {
		if err := s.Publish(context.Background(), layout.SlotKey("job", 1), []byte("x")); err != nil {
			t.Error(err)
		}
	}}
	if r := list(t, b); r.Foreign || len(r.Slots) != 1 {
		t.Errorf("listed %+v; want one slot, and Foreign false", r)
	}
}

func TestAFolderWithoutJournalIsForeign(t *testing.T) {
	s := mem.Open().Store
	if r := list(t, s); r.Foreign || len(r.Slots) != 0 {
		t.Errorf("an empty store: listed %+v; want no slot, and Foreign false", r)
	}
	if err := s.Publish(t.Context(), "job/something", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if r := list(t, s); !r.Foreign {
		t.Errorf("a folder with an object but no journal: listed %+v; want Foreign true", r)
	}
}

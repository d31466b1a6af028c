package slots_test

import (
	"context"
	"iter"
	"testing"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/slots"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/mem"
)

// begins is a store in which somebody begins the job right after the first list of its journal.
type begins struct {
	storage.Store
	after func()
}

func (b *begins) List(ctx context.Context, prefix string) iter.Seq2[storage.Info, error] {
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
	r, err := slots.Execute(t.Context(), s, storage.Facts{}, "job", journal.Op{Kind: journal.OpList})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAJobBegunMeanwhileIsNotForeign(t *testing.T) {
	s := mem.Open().Store
	b := &begins{Store: s, after: func() {
		if err := s.Publish(context.Background(), layout.SlotKey("job", 1), []byte("x")); err != nil {
			t.Error(err)
		}
	}}
	if r := list(t, b); r.Foreign || len(r.Slots) != 1 {
		t.Errorf("%+v, want the slot", r)
	}
}

func TestAFolderWithoutJournalIsForeign(t *testing.T) {
	s := mem.Open().Store
	if r := list(t, s); r.Foreign || len(r.Slots) != 0 {
		t.Errorf("nothing there: %+v", r)
	}
	if err := s.Publish(t.Context(), "job/something", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if r := list(t, s); !r.Foreign {
		t.Errorf("%+v, want foreign", r)
	}
}

package catalog_test

import (
	"context"
	"iter"
	"testing"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/history"
	"github.com/ckptd/ckptd/layout/layouttest"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// afterList is a store in which something happens once after a folder was listed.
type afterList struct {
	storage.Store
	folder string
	then   func()
}

func (s *afterList) List(ctx context.Context, prefix string) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		for info, err := range s.Store.List(ctx, prefix) {
			if !yield(info, err) {
				return
			}
		}
		if then := s.then; prefix == s.folder && then != nil {
			s.then = nil
			then()
		}
	}
}

// TestHistoryIsMergedMeanwhile: the owner merges the segments that a reader has just listed. The reader misses no record and no count.
func TestHistoryIsMergedMeanwhile(t *testing.T) {
	s, _ := example(t)
	const job = layouttest.Running
	segment := func(sequence uint64, ids ...uint64) *history.Segment {
		g := &history.Segment{Job: job, Epoch: 1, Sequence: sequence}
		for _, id := range ids {
			g.Records = append(g.Records, &ckptdv1.CheckpointRecord{CheckpointId: id, Outcome: ckptdv1.CheckpointOutcome_CHECKPOINT_OUTCOME_COMPLETED})
		}
		g.Totals.Completed = ids[len(ids)-1]
		return g
	}
	write := func(g *history.Segment) string {
		b, err := history.Encode(g)
		if err != nil {
			t.Fatal(err)
		}
		key := layout.HistoryKey(job, g.Name())
		put(t, s, key, b)
		return key
	}
	small := []string{write(segment(1, 1)), write(segment(2, 2))}
	store := &afterList{Store: s, folder: layout.HistoryPrefix(job), then: func() {
		write(segment(2, 1, 2))
		for _, err := range s.Delete(t.Context(), small) {
			t.Fatal(err)
		}
	}}
	res, err := catalog.New(store).History(t.Context(), &ckptdv1.GetHistoryRequest{JobId: job}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(res.GetCheckpoints()) != 2 || res.GetCounts().GetCompleted() != 2 || len(res.GetUnreadable()) != 0 {
		t.Errorf("%v, want both checkpoints", res)
	}
}

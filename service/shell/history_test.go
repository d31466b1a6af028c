package shell

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/history"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/mem"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// readBack is the history that lies on a store.
func readBack(t *testing.T, s storage.Store, u *history.Unwritten) (*history.History, int) {
	t.Helper()
	listed, err := catalog.ListHistory(t.Context(), s, "j")
	if err != nil {
		t.Fatal(err)
	}
	var names []layout.HistoryName
	for _, l := range listed {
		names = append(names, l.Name)
	}
	segments, unreadable, err := catalog.ReadHistory(t.Context(), s, "j", names)
	if err != nil || len(unreadable) > 0 {
		t.Fatal(err, unreadable)
	}
	return history.Merge(segments, u, history.Limit), len(listed)
}

// add records a completed checkpoint in a history.
func (h *jobHistory) addCompleted(id uint64) {
	h.tail.Add(&ckptdv1.CheckpointRecord{CheckpointId: id, Epoch: h.epoch, Outcome: ckptdv1.CheckpointOutcome_CHECKPOINT_OUTCOME_COMPLETED})
}

// flown carries a write out, as the job's goroutine and its flight do together.
func (h *jobHistory) flown(ctx context.Context, s storage.Store) error {
	f := h.take("j")
	f.limit = history.Limit
	f.tidy = !h.tidy || h.untidied+1 >= history.MergeAt
	f.write(ctx, s)
	j := &Job{id: "j", env: &Env{Context: ctx}, history: h, log: slog.New(slog.DiscardHandler)}
	j.historyWritten(f)
	return f.err
}

// Owners come and go, write segments of all sizes to a store that fails in every way, and tidy up. What an owner has written is
// always there, nothing is counted twice, and the objects stay few.
func TestHistoryOnAFaultyStore(t *testing.T) {
	inner := mem.Open().Store
	f := mem.NewFaults(inner, nil)
	random := rand.New(rand.NewPCG(1, 2))
	calm := true
	f.SetDecide(func(mem.Mutation) mem.Outcome {
		switch n := random.IntN(40); {
		case calm || n > 3:
			return mem.Done()
		case n < 2:
			return mem.Failed()
		case n == 2:
			return mem.DoneButError()
		}
		return mem.Later(1 + random.IntN(3))
	})
	var written, id uint64
	most := 0
	for epoch := uint64(1); written < history.Limit+2500; epoch++ {
		h := &jobHistory{epoch: epoch}
		for range 1 + random.IntN(60) {
			for range 1 + random.IntN(150) {
				id++
				h.addCompleted(id)
			}
			calm = false
			_ = h.flown(t.Context(), f)
			listed, err := catalog.ListHistory(t.Context(), inner, "j")
			if err != nil {
				t.Fatal(err)
			}
			most = max(most, len(listed))
		}
		calm = true
		for h.tail.Len() > 0 { // it goes in order
			if err := h.flown(t.Context(), f); err != nil {
				t.Fatal(err)
			}
		}
		got, _ := readBack(t, inner, &history.Unwritten{})
		if written = got.Totals.Completed; written > id {
			t.Fatalf("epoch %d: %d are counted, %d have completed", epoch, written, id)
		}
		for i, r := range got.Records {
			if r.GetOutcome() != ckptdv1.CheckpointOutcome_CHECKPOINT_OUTCOME_COMPLETED || i > 0 && r.GetCheckpointId() >= got.Records[i-1].GetCheckpointId() {
				t.Fatalf("epoch %d: record %d is %v", epoch, i, r)
			}
		}
		if got.Records[0].GetCheckpointId() != id {
			t.Fatalf("epoch %d: the newest is %d, want %d", epoch, got.Records[0].GetCheckpointId(), id)
		}
	}
	got, n := readBack(t, inner, &history.Unwritten{})
	t.Logf("%d checkpoints, %d counted, %d listed, at most %d objects", id, written, len(got.Records), most)
	if len(got.Records) != history.Limit || n > 150 || most > 160 {
		t.Errorf("%d are listed, in %d objects, at most %d", len(got.Records), n, most)
	}
	if oldest := got.Records[len(got.Records)-1].GetCheckpointId(); oldest > id-history.Limit+1 || id-oldest > history.Limit+3000 {
		t.Errorf("from %d to %d are listed", oldest, id)
	}
}

// A write whose answer is lost is repeated, and its checkpoints are counted once.
func TestHistoryWrittenButNotKnown(t *testing.T) {
	inner := mem.Open().Store
	f := mem.NewFaults(inner, func(mem.Mutation) mem.Outcome { return mem.DoneButError() })
	h := &jobHistory{epoch: 1}
	for id := range uint64(3) {
		h.addCompleted(id + 1)
	}
	if err := h.flown(t.Context(), f); err == nil {
		t.Fatal("the write succeeded")
	}
	f.SetDecide(func(mem.Mutation) mem.Outcome { return mem.Done() })
	h.addCompleted(4)
	if err := h.flown(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	if got, n := readBack(t, inner, &history.Unwritten{}); got.Totals.Completed != 4 || len(got.Records) != 4 || n != 1 {
		t.Errorf("%d are counted, %d listed, in %d objects, want 4, 4 and 1: the first object is deleted", got.Totals.Completed, len(got.Records), n)
	}
}

// counted counts as an operator sees it.
type counted struct{ written, failed, lost atomic.Int64 }

func (c *counted) HistoryWritten(n int) { c.written.Add(int64(n)) }
func (c *counted) HistoryFailed()       { c.failed.Add(1) }
func (c *counted) HistoryLost(n int)    { c.lost.Add(int64(n)) }

// What does not fill a segment is written after a while, and nothing stays in memory then. While the store refuses, the tries get rarer,
// and what is kept in memory is bounded.
func TestHistoryIsWrittenAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := mem.Open()
		var refuses atomic.Bool
		f := mem.NewFaults(root.Store, func(m mem.Mutation) mem.Outcome {
			if refuses.Load() && strings.Contains(m.Key, "/_history/") {
				return mem.Failed()
			}
			return mem.Done()
		})
		root.Store = f
		env := environment(t, root)
		var metrics counted
		env.History = &metrics
		j := attached(t, env)
		do := func(f func()) {
			done := make(chan struct{})
			j.do(func() { f(); close(done) })
			<-done
		}
		next := uint64(0)
		record := func(n int) {
			do(func() {
				for range n {
					next++
					j.memory().addCompleted(next)
				}
				j.planHistory()
			})
		}
		record(3)
		time.Sleep(historyEvery - time.Second)
		if metrics.written.Load() != 0 {
			t.Error("it was written before its time")
		}
		time.Sleep(historyEvery/4 + 2*time.Second)
		synctest.Wait()
		if got, n := readBack(t, root.Store, &history.Unwritten{}); n != 1 || len(got.Records) != 3 || metrics.written.Load() != 3 {
			t.Errorf("%d objects with %d records", n, len(got.Records))
		}
		do(func() {
			if h := j.history; !h.tail.Empty() || len(h.drafts) > 0 || h.flight != nil || !j.nextHistory().IsZero() {
				t.Errorf("in memory there is %+v", h)
			}
		})
		record(history.SegmentRecords)
		synctest.Wait()
		if metrics.written.Load() != 103 {
			t.Errorf("a full segment waits: %d records are written", metrics.written.Load())
		}
		refuses.Store(true)
		for range 12 { // an hour
			record(history.SegmentRecords)
			time.Sleep(5 * time.Minute)
		}
		if n := metrics.failed.Load(); n < 6 || n > 12 {
			t.Errorf("%d tries in an hour", n)
		}
		do(func() {
			if n := j.history.tail.Len(); n > 3*history.SegmentRecords {
				t.Errorf("%d records are in memory", n)
			}
		})
		if metrics.lost.Load() == 0 {
			t.Error("nothing is lost, though the memory is bounded")
		}
		refuses.Store(false)
		time.Sleep(historyEvery + time.Minute)
		synctest.Wait()
		got, _ := readBack(t, root.Store, &history.Unwritten{})
		if got.Totals.Completed != next || got.Records[0].GetCheckpointId() != next {
			t.Errorf("%d are counted, want %d: what is lost is counted, too", got.Totals.Completed, next)
		}
		j.Release()
		<-j.Done()
	})
}

// slowStore lets a write of the history wait.
type slowStore struct {
	storage.Store
	gate chan struct{}
	fail atomic.Bool
}

func (s *slowStore) Create(ctx context.Context, key string, o storage.CreateOptions) (storage.Writer, error) {
	if strings.Contains(key, "/_history/") {
		<-s.gate
		if s.fail.Load() {
			return nil, errors.New("refused")
		}
	}
	return s.Store.Create(ctx, key, o)
}

// A job that is let go while a write runs writes the rest after it; if the write fails, all of it. Its release does not wait.
func TestLastWriteOfTheHistory(t *testing.T) {
	for name, fails := range map[string]bool{"the first write succeeds": false, "the first write fails": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				root := mem.Open()
				slow := &slowStore{Store: root.Store, gate: make(chan struct{})}
				slow.fail.Store(fails)
				root.Store = slow
				env := environment(t, root)
				j := attached(t, env)
				j.do(func() {
					for id := range uint64(history.SegmentRecords) {
						j.memory().addCompleted(id + 1)
					}
					j.planHistory() // begins a write
					j.memory().addCompleted(500)
					j.planHistory()
					u := j.unwritten()
					if h := history.Merge(nil, u, history.Limit); len(h.Records) != 101 || h.Totals.Completed != 101 {
						t.Errorf("%d are known, %d counted, while a write runs", len(h.Records), h.Totals.Completed)
					}
				})
				j.Release()
				<-j.Done()
				synctest.Wait()
				slow.gate <- struct{}{}
				synctest.Wait()
				slow.fail.Store(false)
				slow.gate <- struct{}{}
				if fails {
					close(slow.gate)
				}
				env.Background.Wait()
				if got, _ := readBack(t, root.Store, &history.Unwritten{}); got.Totals.Completed != 101 || len(got.Records) != 101 {
					t.Errorf("%d are counted, %d listed, want 101", got.Totals.Completed, len(got.Records))
				}
				if head, err := catalog.Head(t.Context(), root.Store, "j"); err != nil || head.Kind != journal.KindRelease {
					t.Errorf("the head is %+v, %v", head, err)
				}
			})
		})
	}
}

// The history is written when the job has ended, not only when it is released: the release waits for the last sweep.
func TestHistoryIsWrittenAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := mem.Open()
		var ended atomic.Bool
		root.Store = mem.NewFaults(root.Store, func(m mem.Mutation) mem.Outcome {
			if ended.Load() && strings.Contains(m.Key, "/_journal/") {
				return mem.Failed() // the release
			}
			return mem.Done()
		})
		env := environment(t, root)
		env.Step = func(step string) { ended.Store(ended.Load() || step == StepEnd) }
		j := attached(t, env)
		j.do(func() { j.memory().addCompleted(1); j.planHistory() })
		if _, err := j.Cancel(t.Context(), &ckptdv1.CancelJobRequest{JobId: "j", RequestId: "c"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		select {
		case <-j.Done():
			t.Fatal("the job was released")
		default:
		}
		if got, _ := readBack(t, root.Store, &history.Unwritten{}); len(got.Records) != 1 {
			t.Errorf("%d records are written", len(got.Records))
		}
	})
}

package history_test

import (
	"slices"
	"testing"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/history"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// shelf is a job's folder, as far as plans see it.
type shelf struct {
	t        *testing.T
	segments map[layout.HistoryName]*history.Segment
	sizes    map[layout.HistoryName]int64
	most     int // objects that lay there at one time
}

func newShelf(t *testing.T) *shelf {
	return &shelf{t: t, segments: map[layout.HistoryName]*history.Segment{}, sizes: map[layout.HistoryName]int64{}}
}

func (s *shelf) put(segments ...*history.Segment) {
	for _, x := range segments {
		b, err := history.Encode(x)
		if err != nil {
			s.t.Fatal(err)
		}
		name := x.Name()
		s.segments[name], s.sizes[name] = x, int64(len(b))
	}
	s.most = max(s.most, len(s.segments))
}

func (s *shelf) listed() (out []history.Listed) {
	for name := range s.segments {
		out = append(out, history.Listed{Name: name, Size: s.sizes[name]})
	}
	return out
}

func (s *shelf) all() (out []*history.Segment) {
	for _, x := range s.segments {
		out = append(out, x)
	}
	return out
}

// tidy carries a plan out. It reports how many segments were read for it.
func (s *shelf) tidy(epoch uint64) int {
	p := history.Plan(epoch, s.listed(), history.Limit)
	var small []*history.Segment
	for _, n := range p.Merge {
		small = append(small, s.segments[n])
	}
	if len(small) > 0 {
		s.put(history.Merged(small, history.Newest(s.all()))...)
	}
	for _, n := range slices.Concat(p.Merge, p.Drop) {
		delete(s.segments, n)
	}
	return len(small)
}

// An owner writes small and full segments and makes a plan after each ten. The last 10,000 records are always there, there are never
// more than 150 objects, and no record is read and written more than a few times.
func TestTheOldestAreDropped(t *testing.T) {
	for _, size := range []uint64{7, 51, 100} {
		s := newShelf(t)
		var totals history.Totals
		var written, moved uint64
		for sequence := uint64(1); written < 10_700; sequence++ {
			var tail history.Tail
			for range size {
				written++
				tail.Add(&ckptdv1.CheckpointRecord{CheckpointId: written, Outcome: completed, Kind: periodic})
			}
			s.put(tail.Segments("job", 1, sequence, &totals)...)
			totals.Add(&tail.Totals)
			if sequence%history.MergeAt == 0 {
				moved += uint64(s.tidy(1)) * size
			}
		}
		h := history.Merge(s.all(), &history.Unwritten{}, history.Limit)
		if len(h.Records) != history.Limit || h.Records[0].GetCheckpointId() != written || h.Records[history.Limit-1].GetCheckpointId() != written-history.Limit+1 {
			t.Errorf("segments of %d: %d records, from %d to %d", size, len(h.Records), h.Records[len(h.Records)-1].GetCheckpointId(), h.Records[0].GetCheckpointId())
		}
		if h.Totals.Completed != written {
			t.Errorf("segments of %d: %d have completed, want %d", size, h.Totals.Completed, written)
		}
		stored := uint64(0)
		for _, x := range s.all() {
			stored += uint64(len(x.Records))
		}
		if s.most > 150 || stored > history.Limit+2*history.SegmentRecords+(history.MergeAt+1)*size+history.SegmentRecords {
			t.Errorf("segments of %d: %d objects and %d records lie there", size, s.most, stored)
		}
		t.Logf("segments of %d: at most %d objects, %d records read for merges", size, s.most, moved)
	}
}

// Owners that die after one segment each leave no more objects than one that lives.
func TestManyOwners(t *testing.T) {
	s := newShelf(t)
	for epoch := uint64(1); epoch <= 500; epoch++ {
		s.put(tailOf(record(16*epoch, completed, periodic)).Segments("job", epoch, 1, &history.Totals{})...)
		s.tidy(epoch) // a new owner makes a plan after its first segment
	}
	if len(s.segments) > 15+history.MergeAt || len(history.Merge(s.all(), &history.Unwritten{}, history.Limit).Records) != 500 {
		t.Errorf("%d objects", len(s.segments))
	}
}

// An owner that sees a later one's segment deletes nothing. What knows most is never dropped, also if it has no records.
func TestPlanDeletesNothingOfOthers(t *testing.T) {
	name := func(first, epoch, sequence, records uint64) history.Listed {
		n := layout.HistoryName{First: first, Last: first + records, Records: records, Epoch: epoch, Sequence: sequence, Nonce: layout.NewNonce()}
		return history.Listed{Name: n, Size: 1000}
	}
	var all []history.Listed
	for i := range uint64(200) {
		all = append(all, name(100*i+1, 1, i, 100))
	}
	if p := history.Plan(1, all, history.Limit); len(p.Drop) != 200-102 || p.Drop[0].First != 1 || len(p.Merge) != 0 {
		t.Errorf("%d are dropped, %d merged, want 98 and none", len(p.Drop), len(p.Merge))
	}
	counts := name(0, 1, 1000, 0)
	if p := history.Plan(1, append(slices.Clone(all), counts), history.Limit); slices.Contains(p.Drop, counts.Name) || len(p.Drop) < 98 {
		t.Errorf("%d are dropped; the newest counts among them: %v", len(p.Drop), slices.Contains(p.Drop, counts.Name))
	}
	all[0].Name.Records, all[1].Name.Records = 100, 1                     // an older full one stays, so a younger small one stays, too
	if p := history.Plan(1, all[:103], history.Limit); len(p.Drop) != 0 { // without the first, 101 hundred and 1 are left
		t.Errorf("%v are dropped, though the oldest stays", p.Drop)
	}
	if p := history.Plan(1, append(slices.Clone(all), name(20_001, 2, 1, 1)), history.Limit); len(p.Drop)+len(p.Merge) > 0 {
		t.Errorf("an owner that is none any more drops %d and merges %d", len(p.Drop), len(p.Merge))
	}
}

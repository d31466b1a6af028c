package history

import (
	"cmp"
	"maps"
	"slices"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// History is what is known of a job's checkpoints.
type History struct {
	Totals Totals
	// Records are the last ones, newest first.
	Records []*ckptdv1.CheckpointRecord
}

// Unwritten is what a job's owner knows beside the segments. Its zero value is that of a job without an owner.
type Unwritten struct {
	Epoch uint64
	// Records are not in a segment, or in one that is being written.
	Records []*ckptdv1.CheckpointRecord
	// Parts are the counts of the records, in the order in which they are written.
	Parts []Part
}

// Part is what the segment with the sequence number adds to the totals.
type Part struct {
	Sequence uint64
	Totals   Totals
}

// Merge puts segments together with what the owner has not written. It keeps the newest limit records.
//
// The totals are those of the newest segment: a later owner has read them before its first own. What a suspended owner writes after
// that is listed, and not counted.
func Merge(segments []*Segment, u *Unwritten, limit int) *History {
	byID := map[uint64]*ckptdv1.CheckpointRecord{}
	add := func(r *ckptdv1.CheckpointRecord) {
		if other := byID[r.GetCheckpointId()]; other != nil {
			r = Better(other, r)
		}
		byID[r.GetCheckpointId()] = r
	}
	for _, s := range segments {
		for _, r := range s.Records {
			add(r)
		}
	}
	for _, r := range u.Records {
		add(r)
	}
	h := &History{Records: sorted(slices.Collect(maps.Values(byID)))}
	slices.Reverse(h.Records)
	h.Records = h.Records[:min(len(h.Records), limit)]
	newest := Newest(segments)
	if newest != nil {
		h.Totals = newest.Totals
	}
	for _, p := range u.Parts {
		if newest == nil || later(u.Epoch, p.Sequence, newest.Epoch, newest.Sequence) > 0 {
			h.Totals.Add(&p.Totals)
		}
	}
	return h
}

// Newest is the segment that knows most; nil: there is none.
func Newest(segments []*Segment) *Segment {
	if len(segments) == 0 {
		return nil
	}
	return slices.MaxFunc(segments, func(a, b *Segment) int { return later(a.Epoch, a.Sequence, b.Epoch, b.Sequence) })
}

// NewestOf is the position of the segment that knows most, by its name. There is one at least.
func NewestOf(listed []Listed) (newest int) {
	for i := range listed {
		if n, m := listed[i].Name, listed[newest].Name; later(n.Epoch, n.Sequence, m.Epoch, m.Sequence) > 0 {
			newest = i
		}
	}
	return newest
}

// later compares two segments by when they were written.
func later(epochA, sequenceA, epochB, sequenceB uint64) int {
	return cmp.Or(cmp.Compare(epochA, epochB), cmp.Compare(sequenceA, sequenceB))
}

// sorted sorts records by their ids. Of two with the same id, the better one stays.
func sorted(records []*ckptdv1.CheckpointRecord) []*ckptdv1.CheckpointRecord {
	slices.SortStableFunc(records, func(a, b *ckptdv1.CheckpointRecord) int { return cmp.Compare(a.GetCheckpointId(), b.GetCheckpointId()) })
	out := records[:0]
	for _, r := range records {
		if n := len(out); n > 0 && out[n-1].GetCheckpointId() == r.GetCheckpointId() {
			out[n-1] = Better(out[n-1], r)
			continue
		}
		out = append(out, r)
	}
	return out
}

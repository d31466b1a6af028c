package history

import (
	"cmp"
	"slices"

	"github.com/ckptd/ckptd/layout"
)

// Listed is a segment as a list of the store shows it.
type Listed struct {
	Name layout.HistoryName
	Size int64
}

// Tidying is what an owner does with the segments of its job.
type Tidying struct {
	// Merge are small segments. The owner writes fuller ones with all their records (Merged), and then deletes them.
	Merge []layout.HistoryName
	// Drop are the oldest segments. The owner deletes them.
	Drop []layout.HistoryName
}

// Plan says what the owner of an epoch does with the segments of its job. The owner has written a segment just now, with the totals; that
// one stays, or is merged. An owner that sees a segment of a later epoch is none any more: it does nothing. The last limit records are kept.
func Plan(epoch uint64, segments []Listed, limit uint64) Tidying {
	all := slices.Clone(segments)
	slices.SortFunc(all, func(a, b Listed) int { // the oldest first
		return cmp.Or(cmp.Compare(a.Name.Last, b.Name.Last), later(a.Name.Epoch, a.Name.Sequence, b.Name.Epoch, b.Name.Sequence),
			cmp.Compare(a.Name.Nonce, b.Name.Nonce))
	})
	var p Tidying
	newest, records := 0, uint64(0)
	for i, l := range all {
		if l.Name.Epoch > epoch {
			return Tidying{}
		}
		records += l.Name.Records
		if n := all[newest].Name; later(l.Name.Epoch, l.Name.Sequence, n.Epoch, n.Sequence) >= 0 {
			newest = i
		}
	}
	var rest []Listed
	kept, tooMany := len(all), true
	for i, l := range all {
		tooMany = tooMany && (kept > MaxSegments || records >= limit+spare+l.Name.Records) // no younger one goes before an older one
		switch {
		case tooMany && i != newest:
			p.Drop, records, kept = append(p.Drop, l.Name), records-l.Name.Records, kept-1
		case l.isSmall():
			rest = append(rest, l)
		}
	}
	if len(rest) < MergeAt {
		return p
	}
	for _, l := range rest[:min(len(rest), mergeAtMost)] {
		p.Merge = append(p.Merge, l.Name)
	}
	return p
}

// isSmall tells whether other records have room in the segment.
func (l Listed) isSmall() bool { return l.Name.Records < SegmentRecords && l.Size < SegmentBytes*3/4 }

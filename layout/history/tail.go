package history

import (
	"slices"

	"google.golang.org/protobuf/proto"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// Tail is what an owner knows and has not written to a segment. Records are kept encoded: as messages, those of a thousand busy jobs
// would take ten times the memory. The zero value is empty.
type Tail struct {
	Totals  Totals
	records [][]byte
	bytes   int
}

// Add adds a record that has passed Clip, and counts it.
func (t *Tail) Add(r *ckptdv1.CheckpointRecord) {
	t.Totals.Count(r)
	b, err := proto.Marshal(r)
	if err != nil {
		return // never: all texts are valid
	}
	t.records = append(t.records, b)
	t.bytes += len(b)
}

// Empty reports whether there is nothing to write.
func (t *Tail) Empty() bool { return len(t.records) == 0 && t.Totals.Empty() }

// Len is the number of records.
func (t *Tail) Len() int { return len(t.records) }

// Full reports whether the tail fills a segment, with so many records more that are not in it yet.
func (t *Tail) Full(more int) bool {
	return len(t.records)+more >= SegmentRecords || t.bytes >= SegmentBytes
}

// Before puts what an earlier tail has before this one, because it could not be written. It drops the oldest records beyond two
// segments, and returns their number.
func (t *Tail) Before(earlier *Tail) (dropped int) {
	totals := earlier.Totals
	totals.Add(&t.Totals)
	t.Totals, t.records, t.bytes = totals, slices.Concat(earlier.records, t.records), t.bytes+earlier.bytes
	for len(t.records) > 2*SegmentRecords || t.bytes > 2*SegmentBytes {
		t.bytes -= len(t.records[0])
		t.records = t.records[1:]
		dropped++
	}
	return dropped
}

// Records decodes the records, in ascending order of ids.
func (t *Tail) Records() []*ckptdv1.CheckpointRecord {
	out := make([]*ckptdv1.CheckpointRecord, 0, len(t.records))
	for _, b := range t.records {
		r := &ckptdv1.CheckpointRecord{}
		if proto.Unmarshal(b, r) == nil {
			out = append(out, r)
		}
	}
	return sorted(out)
}

// Segments puts the tail into segments that are not too large; usually it is one. base are the totals before the tail.
func (t *Tail) Segments(job string, epoch, sequence uint64, base *Totals) []*Segment {
	totals := *base
	totals.Add(&t.Totals)
	return inSegments(t.Records(), Segment{Job: job, Epoch: epoch, Sequence: sequence, Totals: totals})
}

// Merged puts the records of small segments into fuller ones. like is the newest segment that the owner has written: they know what it
// knows.
func Merged(small []*Segment, like *Segment) []*Segment {
	var records []*ckptdv1.CheckpointRecord
	for _, s := range small {
		records = append(records, s.Records...)
	}
	return inSegments(sorted(records), *like)
}

// inSegments cuts records, in ascending order of ids, into what fits into segments. There is at least one segment.
func inSegments(records []*ckptdv1.CheckpointRecord, like Segment) (out []*Segment) {
	ops := operatorTable{numbers: map[string]uint32{}}
	from, bytes := 0, 0
	cut := func(to int) {
		s := like
		s.Records = records[from:to]
		out, from, bytes, ops = append(out, &s), to, 0, operatorTable{numbers: map[string]uint32{}}
	}
	for i, r := range records {
		if i-from == SegmentRecords || bytes >= SegmentBytes {
			cut(i)
		}
		before := len(ops.ids)
		bytes += proto.Size(toRecord(r, &ops))
		for _, id := range ops.ids[before:] {
			bytes += len(id)
		}
	}
	cut(len(records))
	return out
}

package history_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/history"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

const (
	completed = ckptdv1.CheckpointOutcome_CHECKPOINT_OUTCOME_COMPLETED
	failed    = ckptdv1.CheckpointOutcome_CHECKPOINT_OUTCOME_FAILED
	periodic  = ckptdv1.RecordKind_RECORD_KIND_CHECKPOINT
	savepoint = ckptdv1.RecordKind_RECORD_KIND_SAVEPOINT
)

var at = time.Date(2026, 11, 21, 17, 0, 0, 0, time.UTC)

// record is what became of a checkpoint.
func record(id uint64, outcome ckptdv1.CheckpointOutcome, kind ckptdv1.RecordKind) *ckptdv1.CheckpointRecord {
	r := &ckptdv1.CheckpointRecord{
		CheckpointId: id, Kind: kind, Outcome: outcome, Epoch: 1, Attempt: 1, StartedAt: timestamppb.New(at), EndedAt: timestamppb.New(at.Add(time.Second)),
		AcknowledgedAfter: durationpb.New(900 * time.Millisecond), Duration: durationpb.New(time.Duration(id) * time.Millisecond), StateBytes: 100 * id, NewBytes: id,
		Subtasks: 3, Acknowledged: 3,
		Operators: []*ckptdv1.OperatorRecord{
			{OperatorId: "count", Subtasks: 2, Acknowledged: 2, SlowestSubtask: 1, SlowestAfter: durationpb.New(900 * time.Millisecond)},
			{OperatorId: "source", Subtasks: 1, Acknowledged: 1, SlowestAfter: durationpb.New(0)},
		},
	}
	switch {
	case outcome == failed:
		missing := uint32(1)
		r.Reason, r.Cause, r.Acknowledged = "CHECKPOINT_EXPIRED", "no acknowledgement from count[1]", 2
		r.Operators[0].Acknowledged, r.Operators[0].SlowestSubtask, r.Operators[0].MissingSubtask = 1, 0, &missing
		r.Operators[1].SlowestAfter = nil
	case kind == savepoint:
		r.Path = fmt.Sprint("file:///savepoints/savepoint-job-", id)
	default:
		r.Path = fmt.Sprint("job/chk-", id)
	}
	return r
}

// some are records with the ids from to to.
func some(from, to uint64) (out []*ckptdv1.CheckpointRecord) {
	for id := from; id <= to; id++ {
		out = append(out, record(id, completed, periodic))
	}
	return out
}

// written returns the segments that a tail makes, after their way through the codec.
func written(t *testing.T, tail *history.Tail, epoch, sequence uint64, base *history.Totals) (out []*history.Segment) {
	t.Helper()
	for _, s := range tail.Segments("job", epoch, sequence, base) {
		out = append(out, throughCodec(t, s))
	}
	return out
}

func throughCodec(t *testing.T, s *history.Segment) *history.Segment {
	t.Helper()
	b, err := history.Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	back, err := history.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	return back
}

func tailOf(records ...*ckptdv1.CheckpointRecord) *history.Tail {
	var t history.Tail
	for _, r := range records {
		history.Clip(r)
		t.Add(r)
	}
	return &t
}

func ids(records []*ckptdv1.CheckpointRecord) (out []uint64) {
	for _, r := range records {
		out = append(out, r.GetCheckpointId())
	}
	return out
}

// What is written is what is read: every kind of record, and the totals.
func TestASegmentReadsAsItWasWritten(t *testing.T) {
	want := []*ckptdv1.CheckpointRecord{record(1, completed, periodic), record(2, failed, periodic), record(4, completed, savepoint), record(5, failed, savepoint)}
	adopted := record(7, failed, periodic) // its owner has not seen it begin
	adopted.StartedAt, adopted.Operators = nil, nil
	want = append(want, adopted)
	tail := tailOf(want...)
	tail.Totals.Refuse()
	tail.Totals.Restore(&ckptdv1.RestoreRecord{CheckpointId: 1, Attempt: 2, RestoredAt: timestamppb.New(at), Savepoint: true})
	got := written(t, tail, 3, 4, &history.Totals{})
	if len(got) != 1 || got[0].Epoch != 3 || got[0].Sequence != 4 || got[0].Job != "job" || len(got[0].Records) != len(want) {
		t.Fatalf("%+v", got)
	}
	for i, r := range got[0].Records {
		if !proto.Equal(r, want[i]) {
			t.Errorf("read %v\nwant %v", r, want[i])
		}
	}
	c := got[0].Totals
	if c.Completed != 2 || c.Failed != 4 || c.NotBegun != 1 || c.Restored != 1 || c.LatestCompleted.GetCheckpointId() != 1 ||
		!proto.Equal(c.LatestSavepoint, want[2]) || !proto.Equal(c.LatestFailed, adopted) || c.LatestRestored.GetAttempt() != 2 || !c.LatestRestored.GetSavepoint() {
		t.Errorf("totals %+v", c)
	}
	name := got[0].Name()
	if back, err := layout.ParseHistoryName(name.String()); err != nil || back != name || back.First != 1 || back.Last != 7 || back.Records != 5 {
		t.Errorf("the name %s reads as %+v, %v", name, back, err)
	}
}

var rewrite = flag.Bool("rewrite", false, "write the golden file anew: only while no release has written the format")

// A reader of any version reads every older version: the golden file of version 1 stays here for ever.
func TestGolden(t *testing.T) {
	tail := tailOf(record(1, completed, periodic), record(2, failed, periodic), record(4, completed, savepoint))
	tail.Totals.Refuse()
	tail.Totals.Restore(&ckptdv1.RestoreRecord{CheckpointId: 1, Attempt: 2, RestoredAt: timestamppb.New(at)})
	want := tail.Segments("job", 3, 4, &history.Totals{})[0]
	b, err := history.Encode(want)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", "v1")
	if *rewrite {
		if err := os.WriteFile(path, b, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, golden) {
		t.Errorf("a segment has other bytes than those of version 1")
	}
	got, err := history.Decode(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(got.Records, want.Records, func(a, b *ckptdv1.CheckpointRecord) bool { return proto.Equal(a, b) }) || got.Totals.Failed != 2 {
		t.Errorf("the golden file reads as %+v", got)
	}
}

// A changed bit, and a byte that is missing or too many, is an error.
func TestADamagedSegmentIsRefused(t *testing.T) {
	b, err := history.Encode(tailOf(some(1, 5)...).Segments("job", 1, 1, &history.Totals{})[0])
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		bad := slices.Clone(b)
		bad[i] ^= 1 << (i % 8)
		if _, err := history.Decode(bad); !errors.Is(err, history.ErrCorrupt) {
			t.Fatalf("a changed bit in byte %d: %v, want ErrCorrupt", i, err)
		}
	}
	for _, bad := range [][]byte{nil, b[:len(b)-1], append(slices.Clone(b), 0)} {
		if _, err := history.Decode(bad); !errors.Is(err, history.ErrCorrupt) {
			t.Errorf("%d bytes: %v, want ErrCorrupt", len(bad), err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	full, err := history.Encode(tailOf(record(1, completed, periodic), record(2, failed, periodic), record(3, completed, savepoint)).Segments("job", 1, 1, &history.Totals{})[0])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(full)
	f.Add(full[24:])
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, history.Framed(b)} {
			s, err := history.Decode(b)
			if err != nil {
				if !errors.Is(err, history.ErrCorrupt) && !errors.Is(err, history.ErrNewer) {
					t.Fatalf("%v, want ErrCorrupt or ErrNewer", err)
				}
				continue
			}
			again, err := history.Encode(s)
			if err != nil {
				continue // what a stranger wrote may be too large for a writer
			}
			back, err := history.Decode(again)
			if err != nil {
				t.Fatalf("a segment that was read and written does not read: %v", err)
			}
			third, err := history.Encode(back)
			if err != nil || !bytes.Equal(again, third) {
				t.Fatalf("written twice, it differs: %v", err)
			}
			history.Summary(s.Records)
			history.Merge([]*history.Segment{s, back}, &history.Unwritten{}, history.Limit)
		}
	})
}

// The largest records fit into a segment, and their texts and operators are cut.
func TestTheLargestRecordsFit(t *testing.T) {
	tail := &history.Tail{}
	for id := uint64(1); id <= history.SegmentRecords; id++ {
		r := record(id, failed, savepoint)
		r.Cause, r.Reason, r.Path, r.Operators = strings.Repeat("é", 4000), strings.Repeat("R", 1000), strings.Repeat("p", 4000), nil
		for i := range uint32(300) {
			r.Operators = append(r.Operators, &ckptdv1.OperatorRecord{OperatorId: fmt.Sprintf("%0128d", uint64(i)*id), Subtasks: 30_000, Acknowledged: 30_000,
				SlowestSubtask: 29_999, SlowestAfter: durationpb.New(time.Duration(i) * time.Hour)})
		}
		history.Clip(r)
		if len(r.GetOperators()) != history.MaxOperators || r.GetOperatorsOmitted() != 300-history.MaxOperators || r.GetOperators()[0].GetSlowestAfter().AsDuration() != 299*time.Hour {
			t.Fatalf("%d operators, %d left out, the first is %v: want the slowest ones", len(r.GetOperators()), r.GetOperatorsOmitted(), r.GetOperators()[0])
		}
		if len(r.GetCause()) > 512+8 || !strings.HasPrefix(r.GetCause(), "éé") {
			t.Fatalf("a cause of %d bytes", len(r.GetCause()))
		}
		tail.Add(r)
		if tail.Full(0) {
			break
		}
	}
	total := 0
	for _, s := range written(t, tail, 1, 1, &history.Totals{}) {
		total += len(s.Records)
	}
	if total != tail.Len() {
		t.Errorf("%d records in segments, want %d", total, tail.Len())
	}
}

func TestStatistics(t *testing.T) {
	segments := func(n uint64) []*history.Segment {
		tail := tailOf(some(1, n)...)
		tail.Add(record(n+1, completed, savepoint))
		tail.Add(record(n+2, failed, periodic))
		tail.Add(record(n+3, completed, periodic))
		return written(t, tail, 1, 1, &history.Totals{})
	}
	latest := func(t *testing.T, h *history.History, completed, savepoint, failed uint64) {
		t.Helper()
		if c := h.Totals; c.LatestCompleted.GetCheckpointId() != completed || c.LatestSavepoint.GetCheckpointId() != savepoint || c.LatestFailed.GetCheckpointId() != failed {
			t.Errorf("latest are %v, %v and %v, want %d, %d and %d", c.LatestCompleted, c.LatestSavepoint, c.LatestFailed, completed, savepoint, failed)
		}
	}
	t.Run("MT-1: of a history of no checkpoint the latest ones are known", func(t *testing.T) {
		h := history.Merge(segments(2), &history.Unwritten{}, 0)
		if len(h.Records) != 0 {
			t.Errorf("%d are listed", len(h.Records))
		}
		latest(t, h, 5, 3, 4)
	})
	t.Run("MT-2: of a history of one checkpoint the younger is listed", func(t *testing.T) {
		if h := history.Merge(segments(2), &history.Unwritten{}, 1); !slices.Equal(ids(h.Records), []uint64{5}) {
			t.Errorf("%v are listed, want 5", ids(h.Records))
		}
	})
	t.Run("MT-3: the newest are listed first, and the latest of each kind stay", func(t *testing.T) {
		all := segments(3)
		tail := tailOf(some(10, 20)...)
		all = append(all, written(t, tail, 2, 1, &all[0].Totals)...)
		h := history.Merge(all[len(all)-1:], &history.Unwritten{}, 3)
		if !slices.Equal(ids(h.Records), []uint64{20, 19, 18}) {
			t.Errorf("%v are listed, want the newest first", ids(h.Records))
		}
		latest(t, h, 20, 4, 5)
	})
	t.Run("MT-5: counts and summary", func(t *testing.T) {
		h := history.Merge(segments(997), &history.Unwritten{}, history.Limit)
		if c := h.Totals; c.Completed != 999 || c.Failed != 1 {
			t.Errorf("totals %+v", c)
		}
		s := history.Summary(some(1, 1000))
		d := s.GetDuration()
		got := []time.Duration{d.GetMin().AsDuration(), d.GetAvg().AsDuration(), d.GetMax().AsDuration(), d.GetP50().AsDuration(), d.GetP90().AsDuration(),
			d.GetP95().AsDuration(), d.GetP99().AsDuration(), d.GetP999().AsDuration()}
		want := []time.Duration{1, 500, 1000, 500, 900, 950, 990, 999}
		for i := range want {
			if got[i] != want[i]*time.Millisecond {
				t.Errorf("figure %d is %v, want %d ms", i, got[i], want[i])
			}
		}
		if s.GetStateBytes().GetP90() != 90_000 || s.GetNewBytes().GetMax() != 1000 || d.GetCount() != 1000 {
			t.Errorf("summary %v", s)
		}
		if d := history.Summary(some(1, 3)).GetDuration(); d.GetP50().AsDuration() != 2*time.Millisecond || d.GetP90().AsDuration() != 3*time.Millisecond {
			t.Errorf("of three, p50 is %v and p90 %v; want the second and the third", d.GetP50().AsDuration(), d.GetP90().AsDuration())
		}
		if s := history.Summary([]*ckptdv1.CheckpointRecord{record(1, failed, periodic)}); s != nil {
			t.Errorf("failed ones are summed up: %v", s)
		}
	})
}

// Savepoints that end in another order are booked as savepoints, the newest by id.
func TestASavepointIsNeverTheLatestCheckpoint(t *testing.T) {
	h := history.Merge(written(t, tailOf(record(1, completed, periodic), record(3, completed, savepoint), record(2, completed, savepoint)), 1, 1, &history.Totals{}), &history.Unwritten{}, 10)
	if h.Totals.LatestCompleted.GetCheckpointId() != 1 || h.Totals.LatestSavepoint.GetCheckpointId() != 3 {
		t.Errorf("latest %v and %v", h.Totals.LatestCompleted, h.Totals.LatestSavepoint)
	}
}

// Two owners: what one has seen complete is complete, whoever wrote last. A suspended owner's late segment is listed; it does not change
// the counts of the later owner.
func TestTwoOwners(t *testing.T) {
	first := written(t, tailOf(some(1, 10)...), 1, 1, &history.Totals{})
	late := written(t, tailOf(some(11, 12)...), 1, 2, &first[0].Totals)
	gave := record(12, failed, periodic)
	gave.Epoch = 2
	second := written(t, tailOf(gave, record(27, completed, periodic)), 2, 1, &first[0].Totals)
	all := slices.Concat(first, late, second)
	for range 20 {
		rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		h := history.Merge(all, &history.Unwritten{}, history.Limit)
		if !slices.Equal(ids(h.Records), []uint64{27, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1}) {
			t.Fatalf("%v are listed", ids(h.Records))
		}
		if h.Records[1].GetOutcome() != completed {
			t.Fatalf("checkpoint 12 is %v, though its owner saw it complete", h.Records[1])
		}
		if c := h.Totals; c.Completed != 11 || c.Failed != 1 {
			t.Fatalf("totals %+v, want those of the later owner", c)
		}
	}
}

// What the owner has not written counts once, also while it is being written.
func TestUnwrittenCountsOnce(t *testing.T) {
	base := written(t, tailOf(some(1, 5)...), 2, 1, &history.Totals{})
	flight, tail := tailOf(some(6, 8)...), tailOf(some(9, 10)...)
	u := &history.Unwritten{Epoch: 2, Records: slices.Concat(flight.Records(), tail.Records()),
		Parts: []history.Part{{Sequence: 2, Totals: flight.Totals}, {Sequence: 3, Totals: tail.Totals}}}
	landed := written(t, flight, 2, 2, &base[0].Totals)
	for _, all := range [][]*history.Segment{base, slices.Concat(base, landed), slices.Concat(base, landed, written(t, tail, 2, 3, &landed[0].Totals))} {
		if h := history.Merge(all, u, history.Limit); len(h.Records) != 10 || h.Totals.Completed != 10 || h.Totals.LatestCompleted.GetCheckpointId() != 10 {
			t.Errorf("with %d segments: %d are listed, totals %+v", len(all), len(h.Records), h.Totals)
		}
	}
}

// TestBetterKnowsTheBegin: two owners have seen a checkpoint fail. The one that triggered it knows more; the later one has seen only that
// it came to nothing.
func TestBetterKnowsTheBegin(t *testing.T) {
	failed := func(epoch uint64, begun bool) *ckptdv1.CheckpointRecord {
		r := &ckptdv1.CheckpointRecord{CheckpointId: 7, Outcome: ckptdv1.CheckpointOutcome_CHECKPOINT_OUTCOME_FAILED, Epoch: epoch}
		if begun {
			r.StartedAt = timestamppb.New(time.Unix(1, 0))
		}
		return r
	}
	for _, c := range []struct {
		name         string
		better, less *ckptdv1.CheckpointRecord
	}{
		{"begun wins over later", failed(1, true), failed(2, false)},
		{"later wins if both have begun it", failed(2, true), failed(1, true)},
		{"later wins if none has", failed(2, false), failed(1, false)},
	} {
		if history.Better(c.better, c.less) != c.better || history.Better(c.less, c.better) != c.better {
			t.Errorf("%s: it does not", c.name)
		}
	}
}

// TestForgetOperators: a reader that lists ten thousand records holds the operators of the one that it shows.
func TestForgetOperators(t *testing.T) {
	record := func(id uint64) *ckptdv1.CheckpointRecord {
		return &ckptdv1.CheckpointRecord{CheckpointId: id, Operators: []*ckptdv1.OperatorRecord{{OperatorId: "a"}}, OperatorsOmitted: 1}
	}
	s := &history.Segment{Records: []*ckptdv1.CheckpointRecord{record(1), record(2)}, Totals: history.Totals{LatestFailed: record(1), LatestCompleted: record(2)}}
	s.ForgetOperators(2)
	for _, r := range append(slices.Clone(s.Records), s.Totals.LatestFailed, s.Totals.LatestCompleted) {
		if n := uint64(len(r.GetOperators())); n != r.GetCheckpointId()-1 || uint64(r.GetOperatorsOmitted()) != n {
			t.Errorf("checkpoint %d has %d operators", r.GetCheckpointId(), n)
		}
	}
}

package layouttest

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/history"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// History adds what became of the checkpoints 38 to 42 of Running, in two segments: 39 is a savepoint, 40 has failed. A checkpoint was
// refused, and an attempt began with checkpoint 38.
func History(t testing.TB, s storage.Store) {
	t.Helper()
	var first, second history.Tail
	first.Add(record(38, ckptdv1.RecordKind_RECORD_KIND_CHECKPOINT))
	saved := record(39, ckptdv1.RecordKind_RECORD_KIND_SAVEPOINT)
	saved.Path = "file:///savepoints/savepoint-clicks-0a1b2c3d4e5f"
	first.Add(saved)
	failed, missing := record(40, ckptdv1.RecordKind_RECORD_KIND_MANUAL), uint32(1)
	failed.Outcome, failed.Reason, failed.Cause = ckptdv1.CheckpointOutcome_CHECKPOINT_OUTCOME_FAILED, "CHECKPOINT_EXPIRED", "no acknowledgement from sum[1]"
	failed.Path, failed.Acknowledged, failed.Operators[0].Acknowledged, failed.Operators[0].MissingSubtask = "", 2, 1, &missing
	first.Add(failed)
	first.Totals.Refuse()
	first.Totals.Restore(&ckptdv1.RestoreRecord{CheckpointId: 38, Attempt: 1, RestoredAt: timestamppb.New(At.Add(-2 * time.Minute))})
	second.Add(record(Old, ckptdv1.RecordKind_RECORD_KIND_CHECKPOINT))
	second.Add(record(New, ckptdv1.RecordKind_RECORD_KIND_CHECKPOINT))
	var totals history.Totals
	for i, tail := range []*history.Tail{&first, &second} {
		for _, segment := range tail.Segments(Running, 2, uint64(i+1), &totals) {
			totals = segment.Totals
			b, err := history.Encode(segment)
			if err != nil {
				t.Fatal(err)
			}
			name := segment.Name()
			name.Nonce = fileNonce
			if err := s.Publish(t.Context(), layout.HistoryKey(Running, name), b); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// record is a checkpoint that has completed.
func record(id uint64, kind ckptdv1.RecordKind) *ckptdv1.CheckpointRecord {
	at := At.Add(time.Duration(int64(id)-Old) * time.Minute)
	return &ckptdv1.CheckpointRecord{
		CheckpointId: id, Kind: kind, Outcome: ckptdv1.CheckpointOutcome_CHECKPOINT_OUTCOME_COMPLETED, Epoch: 2, Attempt: 1,
		StartedAt: timestamppb.New(at), EndedAt: timestamppb.New(at.Add(1500 * time.Millisecond)), AcknowledgedAfter: durationpb.New(1200 * time.Millisecond),
		Duration: durationpb.New(1500 * time.Millisecond), StateBytes: sharedSize + exclusiveSize, NewBytes: exclusiveSize, Subtasks: 3, Acknowledged: 3,
		Operators: []*ckptdv1.OperatorRecord{
			{OperatorId: "sum", Subtasks: 2, Acknowledged: 2, SlowestSubtask: 0, SlowestAfter: durationpb.New(1200 * time.Millisecond)},
			{OperatorId: "source", Subtasks: 1, Acknowledged: 1, SlowestAfter: durationpb.New(300 * time.Millisecond)},
		},
	}
}

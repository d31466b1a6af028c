package history

import (
	"errors"
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	storedv1 "github.com/ckptd/ckptd/proto/ckptd/stored/v1"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// operatorTable numbers the operators that a segment names.
type operatorTable struct {
	ids     []string
	numbers map[string]uint32
}

func (t *operatorTable) number(id string) uint32 {
	n, ok := t.numbers[id]
	if !ok {
		n = uint32(len(t.ids))
		t.ids, t.numbers[id] = append(t.ids, id), n
	}
	return n
}

func toStored(s *Segment) *storedv1.HistorySegment {
	ops := &operatorTable{numbers: map[string]uint32{}}
	m := &storedv1.HistorySegment{Job: s.Job, Epoch: s.Epoch, Sequence: s.Sequence, Records: make([]*storedv1.HistoryRecord, len(s.Records))}
	for i, r := range s.Records {
		m.Records[i] = toRecord(r, ops)
	}
	t := &s.Totals
	m.Totals = &storedv1.HistoryTotals{
		Completed: t.Completed, Failed: t.Failed, NotBegun: t.NotBegun, Restored: t.Restored, LatestCompleted: toRecord(t.LatestCompleted, ops),
		LatestSavepoint: toRecord(t.LatestSavepoint, ops), LatestFailed: toRecord(t.LatestFailed, ops),
	}
	if r := t.LatestRestored; r != nil {
		m.Totals.LatestRestored = &storedv1.HistoryRestore{
			Checkpoint: r.GetCheckpointId(), Attempt: r.GetAttempt(), AtMillis: toMillis(r.GetRestoredAt()), Savepoint: r.GetSavepoint(),
		}
	}
	m.OperatorIds = ops.ids
	return m
}

func toRecord(r *ckptdv1.CheckpointRecord, ops *operatorTable) *storedv1.HistoryRecord {
	if r == nil {
		return nil
	}
	m := &storedv1.HistoryRecord{
		Id: r.GetCheckpointId(), Kind: uint32(r.GetKind()), Outcome: uint32(r.GetOutcome()), Epoch: r.GetEpoch(), Attempt: r.GetAttempt(),
		StartedMillis: toMillis(r.GetStartedAt()), EndedMillis: toMillis(r.GetEndedAt()), AcknowledgedAfterMillis: fromDuration(r.GetAcknowledgedAfter()),
		DurationMillis: fromDuration(r.GetDuration()), StateBytes: r.GetStateBytes(), NewBytes: r.GetNewBytes(), Reason: r.GetReason(), Cause: r.GetCause(),
		Subtasks: r.GetSubtasks(), Acknowledged: r.GetAcknowledged(), OperatorsOmitted: r.GetOperatorsOmitted(),
	}
	if IsSavepoint(r) {
		m.Path = r.GetPath()
	}
	for _, o := range r.GetOperators() {
		m.Operator = append(m.Operator, ops.number(o.GetOperatorId()))
		m.OperatorSubtasks = append(m.OperatorSubtasks, o.GetSubtasks())
		m.OperatorAcknowledged = append(m.OperatorAcknowledged, o.GetAcknowledged())
		m.Slowest = append(m.Slowest, o.GetSlowestSubtask())
		after := uint64(0) // not known
		if o.GetSlowestAfter() != nil {
			after = fromDuration(o.GetSlowestAfter()) + 1
		}
		m.SlowestAfterMillis = append(m.SlowestAfterMillis, after)
		missing := uint32(0)
		if o.MissingSubtask != nil {
			missing = o.GetMissingSubtask() + 1
		}
		m.Missing = append(m.Missing, missing)
	}
	return m
}

// fromStored refuses what no writer of this format could have written.
func fromStored(m *storedv1.HistorySegment) (*Segment, error) {
	s := &Segment{Job: m.GetJob(), Epoch: m.GetEpoch(), Sequence: m.GetSequence()}
	if s.Job == "" || s.Epoch == 0 || m.GetTotals() == nil {
		return nil, errors.New("no job, epoch or counts")
	}
	var last uint64
	for _, r := range m.GetRecords() {
		if r.GetId() <= last {
			return nil, fmt.Errorf("checkpoint %d is out of order", r.GetId())
		}
		last = r.GetId()
		out, err := fromRecord(s.Job, r, m.GetOperatorIds())
		if err != nil {
			return nil, err
		}
		s.Records = append(s.Records, out)
	}
	t := m.GetTotals()
	s.Totals = Totals{Completed: t.GetCompleted(), Failed: t.GetFailed(), NotBegun: t.GetNotBegun(), Restored: t.GetRestored()}
	for _, l := range []struct {
		from *storedv1.HistoryRecord
		to   **ckptdv1.CheckpointRecord
	}{
		{t.GetLatestCompleted(), &s.Totals.LatestCompleted}, {t.GetLatestSavepoint(), &s.Totals.LatestSavepoint}, {t.GetLatestFailed(), &s.Totals.LatestFailed},
	} {
		if l.from == nil {
			continue
		}
		var err error
		if *l.to, err = fromRecord(s.Job, l.from, m.GetOperatorIds()); err != nil {
			return nil, err
		}
	}
	if r := t.GetLatestRestored(); r != nil {
		s.Totals.LatestRestored = &ckptdv1.RestoreRecord{CheckpointId: r.GetCheckpoint(), Attempt: r.GetAttempt(), RestoredAt: fromMillis(r.GetAtMillis()), Savepoint: r.GetSavepoint()}
	}
	return s, nil
}

func fromRecord(job string, m *storedv1.HistoryRecord, ids []string) (*ckptdv1.CheckpointRecord, error) {
	r := &ckptdv1.CheckpointRecord{
		CheckpointId: m.GetId(), Kind: ckptdv1.RecordKind(m.GetKind()), Outcome: ckptdv1.CheckpointOutcome(m.GetOutcome()), Epoch: m.GetEpoch(), Attempt: m.GetAttempt(),
		StartedAt: fromMillis(m.GetStartedMillis()), EndedAt: fromMillis(m.GetEndedMillis()), AcknowledgedAfter: toDuration(m.GetAcknowledgedAfterMillis()),
		Duration: toDuration(m.GetDurationMillis()), StateBytes: m.GetStateBytes(), NewBytes: m.GetNewBytes(), Reason: m.GetReason(), Cause: m.GetCause(),
		Subtasks: m.GetSubtasks(), Acknowledged: m.GetAcknowledged(), OperatorsOmitted: m.GetOperatorsOmitted(),
	}
	switch r.GetOutcome() {
	case ckptdv1.CheckpointOutcome_CHECKPOINT_OUTCOME_COMPLETED, ckptdv1.CheckpointOutcome_CHECKPOINT_OUTCOME_FAILED:
	default:
		return nil, fmt.Errorf("checkpoint %d has the outcome %d", m.GetId(), m.GetOutcome())
	}
	r.Path = pathOf(job, r, m.GetPath())
	n := len(m.GetOperator())
	if n > MaxOperators || len(m.GetOperatorSubtasks()) != n || len(m.GetOperatorAcknowledged()) != n || len(m.GetSlowest()) != n ||
		len(m.GetSlowestAfterMillis()) != n || len(m.GetMissing()) != n {
		return nil, fmt.Errorf("checkpoint %d: the lists of its operators differ in length", m.GetId())
	}
	for i, number := range m.GetOperator() {
		if int(number) >= len(ids) {
			return nil, fmt.Errorf("checkpoint %d: operator %d is not in the table", m.GetId(), number)
		}
		o := &ckptdv1.OperatorRecord{OperatorId: ids[number], Subtasks: m.GetOperatorSubtasks()[i], Acknowledged: m.GetOperatorAcknowledged()[i], SlowestSubtask: m.GetSlowest()[i]}
		if after := m.GetSlowestAfterMillis()[i]; after > 0 {
			o.SlowestAfter = toDuration(after - 1)
		}
		if missing := m.GetMissing()[i]; missing > 0 {
			missing--
			o.MissingSubtask = &missing
		}
		r.Operators = append(r.Operators, o)
	}
	return r, nil
}

// maxMillis is the largest number of milliseconds that a time.Duration holds.
const maxMillis = uint64(math.MaxInt64 / int64(time.Millisecond))

func toMillis(t *timestamppb.Timestamp) uint64 {
	if t == nil {
		return 0
	}
	return uint64(max(0, t.AsTime().UnixMilli()))
}

func fromMillis(ms uint64) *timestamppb.Timestamp {
	if ms == 0 {
		return nil
	}
	return timestamppb.New(time.UnixMilli(int64(min(ms, maxMillis))))
}

func fromDuration(d *durationpb.Duration) uint64 {
	return uint64(max(0, d.AsDuration().Milliseconds()))
}

func toDuration(ms uint64) *durationpb.Duration {
	return durationpb.New(time.Duration(min(ms, maxMillis)) * time.Millisecond)
}

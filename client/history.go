package client

import (
	"time"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// HistoryQuery says which checkpoints Admin.History lists. The zero value lists the newest 100.
type HistoryQuery struct {
	// PageSize is how many are listed at most; 0: 100. At most 1,000.
	PageSize uint32
	// Before leaves out checkpoints with this id and above; 0: none. A next page begins at History.NextBefore.
	Before uint64
	// Failed lists only those that failed.
	Failed bool
	// Checkpoint lists only this one, with its operators; 0: all.
	Checkpoint uint64
}

// History is what became of a job's checkpoints.
type History struct {
	Job    string
	Counts HistoryCounts
	Latest HistoryLatest
	// Summary is over the completed ones of the last 10,000 checkpoints; nil: there is none, or one checkpoint was asked for.
	Summary *HistorySummary
	// Checkpoints are listed newest first.
	Checkpoints []CheckpointRecord
	// NextBefore is where the next page begins; 0: there is none.
	NextBefore uint64
	// Unreadable names objects of the history that could not be read, each with the reason.
	Unreadable []string
	// Live: the job's owner has answered. Otherwise checkpoints can be missing that the owner has not written yet.
	Live bool
}

// HistoryCounts are the numbers of checkpoints in a job's whole life.
type HistoryCounts struct {
	InProgress, Completed, Failed uint64
	// Restored counts attempts that began with the state of a checkpoint.
	Restored uint64
	// NotBegun counts the failed ones that had no id. They are not listed.
	NotBegun uint64
}

// HistoryLatest are the newest checkpoints; nil: there is none. They stay when they have left the last 10,000.
type HistoryLatest struct {
	// Completed is not a savepoint.
	Completed, Savepoint, Failed *CheckpointRecord
	Restored                     *RestoreRecord
}

// RestoreRecord is an attempt that began with the state of a checkpoint.
type RestoreRecord struct {
	Checkpoint, Attempt uint64
	RestoredAt          time.Time
	Savepoint           bool
}

// CheckpointRecord is what became of one checkpoint.
type CheckpointRecord struct {
	ID      uint64
	Kind    RecordKind
	Outcome CheckpointOutcome
	// Epoch is that of the owner that saw it end.
	Epoch, Attempt uint64
	// StartedAt is zero if the owner that saw it end has not seen it begin.
	StartedAt, EndedAt time.Time
	// AcknowledgedAfter counts from the trigger to the last acknowledgement so far, Duration to the end.
	AcknowledgedAfter, Duration time.Duration
	StateBytes, NewBytes        uint64
	// Reason is Flink's name for why it failed, Cause a text.
	Reason, Cause          string
	Subtasks, Acknowledged uint32
	// Path is "<job id>/chk-N", or the URL of a savepoint's folder; empty: it did not complete.
	Path string
	// Retained: the job keeps it. It is said of checkpoints, not of savepoints.
	Retained bool
	// Operators are the slowest first. They are listed only if one checkpoint was asked for.
	Operators        []OperatorRecord
	OperatorsOmitted uint32
}

// OperatorRecord is the part of one operator in a checkpoint.
type OperatorRecord struct {
	OperatorID             string
	Subtasks, Acknowledged uint32
	// SlowestSubtask acknowledged last, SlowestAfter after the trigger; nil: none has.
	SlowestSubtask uint32
	SlowestAfter   *time.Duration
	// MissingSubtask is the first one that has not acknowledged; nil: all have.
	MissingSubtask *uint32
}

// HistorySummary sums up completed checkpoints.
type HistorySummary struct {
	Duration             Spread[time.Duration]
	StateBytes, NewBytes Spread[uint64]
}

// Spread has the smallest value, the mean, the largest value and percentiles. A percentile is a value that occurred.
type Spread[T time.Duration | uint64] struct {
	Count                    uint64
	Min, Avg, Max            T
	P50, P90, P95, P99, P999 T
}

// RecordKind says why a checkpoint was taken.
type RecordKind int

// The values of RecordKind.
const (
	// KindCheckpoint: it was due.
	KindCheckpoint RecordKind = RecordKind(ckptdv1.RecordKind_RECORD_KIND_CHECKPOINT)
	// KindManual: a person asked for it.
	KindManual RecordKind = RecordKind(ckptdv1.RecordKind_RECORD_KIND_MANUAL)
	// KindSavepoint: it is a savepoint.
	KindSavepoint RecordKind = RecordKind(ckptdv1.RecordKind_RECORD_KIND_SAVEPOINT)
	// KindStop: it is a savepoint that stops the job.
	KindStop RecordKind = RecordKind(ckptdv1.RecordKind_RECORD_KIND_STOP)
)

// String is the value's name in the API, without its prefix.
func (k RecordKind) String() string {
	return flinks(ckptdv1.RecordKind(k).String(), "RECORD_KIND_")
}

// CheckpointOutcome says what became of a checkpoint.
type CheckpointOutcome int

// The values of CheckpointOutcome.
const (
	// OutcomeInProgress: it has not ended.
	OutcomeInProgress CheckpointOutcome = CheckpointOutcome(ckptdv1.CheckpointOutcome_CHECKPOINT_OUTCOME_IN_PROGRESS)
	// OutcomeCompleted: it is complete.
	OutcomeCompleted CheckpointOutcome = CheckpointOutcome(ckptdv1.CheckpointOutcome_CHECKPOINT_OUTCOME_COMPLETED)
	// OutcomeFailed: it was given up.
	OutcomeFailed CheckpointOutcome = CheckpointOutcome(ckptdv1.CheckpointOutcome_CHECKPOINT_OUTCOME_FAILED)
)

// String is the value's name in the API, without its prefix.
func (o CheckpointOutcome) String() string {
	return flinks(ckptdv1.CheckpointOutcome(o).String(), "CHECKPOINT_OUTCOME_")
}

func fromHistory(m *ckptdv1.GetHistoryResponse) History {
	out := History{
		Job: m.GetJobId(), Counts: fromCounts(m.GetCounts()), Checkpoints: all(m.GetCheckpoints(), fromRecord), NextBefore: m.GetNextBefore(),
		Unreadable: m.GetUnreadable(), Live: m.GetLive(), Latest: fromLatest(m.GetLatest()),
	}
	if s := m.GetSummary(); s != nil {
		out.Summary = &HistorySummary{Duration: fromDurations(s.GetDuration()), StateBytes: fromBytes(s.GetStateBytes()), NewBytes: fromBytes(s.GetNewBytes())}
	}
	return out
}

func fromCounts(m *ckptdv1.HistoryCounts) HistoryCounts {
	return HistoryCounts{
		InProgress: m.GetInProgress(), Completed: m.GetCompleted(), Failed: m.GetFailed(), Restored: m.GetRestored(), NotBegun: m.GetNotBegun(),
	}
}

func fromLatest(m *ckptdv1.HistoryLatest) (out HistoryLatest) {
	one := func(r *ckptdv1.CheckpointRecord) *CheckpointRecord {
		if r == nil {
			return nil
		}
		record := fromRecord(r)
		return &record
	}
	out.Completed, out.Savepoint, out.Failed = one(m.GetCompleted()), one(m.GetSavepoint()), one(m.GetFailed())
	if m.GetRestored() != nil {
		restored := fromRestore(m.GetRestored())
		out.Restored = &restored
	}
	return out
}

func fromRestore(m *ckptdv1.RestoreRecord) RestoreRecord {
	return RestoreRecord{Checkpoint: m.GetCheckpointId(), Attempt: m.GetAttempt(), RestoredAt: fromTime(m.GetRestoredAt()), Savepoint: m.GetSavepoint()}
}

func fromRecord(m *ckptdv1.CheckpointRecord) CheckpointRecord {
	return CheckpointRecord{
		ID: m.GetCheckpointId(), Kind: RecordKind(m.GetKind()), Outcome: CheckpointOutcome(m.GetOutcome()), Epoch: m.GetEpoch(), Attempt: m.GetAttempt(),
		StartedAt: fromTime(m.GetStartedAt()), EndedAt: fromTime(m.GetEndedAt()), AcknowledgedAfter: fromDuration(m.GetAcknowledgedAfter()),
		Duration: fromDuration(m.GetDuration()), StateBytes: m.GetStateBytes(), NewBytes: m.GetNewBytes(), Reason: m.GetReason(), Cause: m.GetCause(),
		Subtasks: m.GetSubtasks(), Acknowledged: m.GetAcknowledged(), Path: m.GetPath(), Retained: m.GetRetained(),
		Operators: all(m.GetOperators(), fromOperatorRecord), OperatorsOmitted: m.GetOperatorsOmitted(),
	}
}

func fromOperatorRecord(m *ckptdv1.OperatorRecord) OperatorRecord {
	out := OperatorRecord{
		OperatorID: m.GetOperatorId(), Subtasks: m.GetSubtasks(), Acknowledged: m.GetAcknowledged(), SlowestSubtask: m.GetSlowestSubtask(),
		MissingSubtask: m.MissingSubtask,
	}
	if m.GetSlowestAfter() != nil {
		after := fromDuration(m.GetSlowestAfter())
		out.SlowestAfter = &after
	}
	return out
}

func fromDurations(m *ckptdv1.DurationSummary) Spread[time.Duration] {
	return Spread[time.Duration]{
		Count: m.GetCount(), Min: fromDuration(m.GetMin()), Avg: fromDuration(m.GetAvg()), Max: fromDuration(m.GetMax()), P50: fromDuration(m.GetP50()),
		P90: fromDuration(m.GetP90()), P95: fromDuration(m.GetP95()), P99: fromDuration(m.GetP99()), P999: fromDuration(m.GetP999()),
	}
}

func fromBytes(m *ckptdv1.ByteSummary) Spread[uint64] {
	return Spread[uint64]{
		Count: m.GetCount(), Min: m.GetMin(), Avg: m.GetAvg(), Max: m.GetMax(), P50: m.GetP50(), P90: m.GetP90(), P95: m.GetP95(), P99: m.GetP99(), P999: m.GetP999(),
	}
}

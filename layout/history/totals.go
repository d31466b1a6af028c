package history

import (
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// Totals are counts of checkpoints, and the newest checkpoint of each kind of end. The records are never changed.
type Totals struct {
	Completed, Failed, Restored uint64
	// NotBegun counts the failed checkpoints that had no id.
	NotBegun uint64
	// LatestCompleted is not a savepoint.
	LatestCompleted, LatestSavepoint, LatestFailed *ckptdv1.CheckpointRecord
	LatestRestored                                 *ckptdv1.RestoreRecord
}

// Count adds a checkpoint that has ended.
func (t *Totals) Count(r *ckptdv1.CheckpointRecord) {
	switch r.GetOutcome() {
	case ckptdv1.CheckpointOutcome_CHECKPOINT_OUTCOME_COMPLETED:
		t.Completed++
	case ckptdv1.CheckpointOutcome_CHECKPOINT_OUTCOME_FAILED:
		t.Failed++
	default:
		return
	}
	t.look(r)
}

// look makes a record the newest of its kind of end, if it is.
func (t *Totals) look(r *ckptdv1.CheckpointRecord) {
	to := &t.LatestFailed
	switch {
	case r.GetOutcome() == ckptdv1.CheckpointOutcome_CHECKPOINT_OUTCOME_FAILED:
	case IsSavepoint(r):
		to = &t.LatestSavepoint
	default:
		to = &t.LatestCompleted
	}
	if *to == nil || r.GetCheckpointId() >= (*to).GetCheckpointId() {
		*to = r
	}
}

// Refuse counts a checkpoint that failed before it had an id.
func (t *Totals) Refuse() {
	t.Failed++
	t.NotBegun++
}

// Restore counts an attempt that began with the state of a checkpoint.
func (t *Totals) Restore(r *ckptdv1.RestoreRecord) {
	t.Restored++
	t.lookRestored(r)
}

func (t *Totals) lookRestored(r *ckptdv1.RestoreRecord) {
	if t.LatestRestored == nil || r.GetAttempt() >= t.LatestRestored.GetAttempt() {
		t.LatestRestored = r
	}
}

// Add adds what has happened after t.
func (t *Totals) Add(later *Totals) {
	t.Completed += later.Completed
	t.Failed += later.Failed
	t.Restored += later.Restored
	t.NotBegun += later.NotBegun
	for _, r := range []*ckptdv1.CheckpointRecord{later.LatestCompleted, later.LatestSavepoint, later.LatestFailed} {
		if r != nil {
			t.look(r)
		}
	}
	if later.LatestRestored != nil {
		t.lookRestored(later.LatestRestored)
	}
}

// Empty reports whether nothing was counted.
func (t *Totals) Empty() bool { return t.Completed == 0 && t.Failed == 0 && t.Restored == 0 }

// IsSavepoint tells whether a record is that of a savepoint.
func IsSavepoint(r *ckptdv1.CheckpointRecord) bool {
	k := r.GetKind()
	return k == ckptdv1.RecordKind_RECORD_KIND_SAVEPOINT || k == ckptdv1.RecordKind_RECORD_KIND_STOP
}

package history

import (
	"cmp"
	"slices"
	"strings"

	"github.com/ckptd/ckptd/layout"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// Clip brings a record within its bounds: long texts are cut, the operators are sorted, the slowest first, and those beyond
// MaxOperators are left out.
func Clip(r *ckptdv1.CheckpointRecord) {
	r.Reason, r.Cause, r.Path = clip(r.GetReason(), maxReason), clip(r.GetCause(), maxCause), clip(r.GetPath(), maxPath)
	slices.SortStableFunc(r.Operators, slowerFirst)
	if n := len(r.GetOperators()); n > MaxOperators {
		r.OperatorsOmitted += uint32(n - MaxOperators)
		r.Operators = slices.Clone(r.GetOperators()[:MaxOperators])
	}
}

// slowerFirst orders operators: first those of which a subtask has not acknowledged, then by the last acknowledgement.
func slowerFirst(a, b *ckptdv1.OperatorRecord) int {
	missing := func(o *ckptdv1.OperatorRecord) int {
		if o.MissingSubtask != nil {
			return 0
		}
		return 1
	}
	return cmp.Or(cmp.Compare(missing(a), missing(b)), cmp.Compare(b.GetSlowestAfter().AsDuration(), a.GetSlowestAfter().AsDuration()))
}

// clip cuts a text, and makes it valid.
func clip(s string, most int) string {
	const more = "…"
	if len(s) > most {
		s = s[:most-len(more)] + more
	}
	return strings.ToValidUTF8(s, "�")
}

// pathOf is where a checkpoint that completed lies. That of a savepoint is on record.
func pathOf(job string, r *ckptdv1.CheckpointRecord, recorded string) string {
	switch {
	case r.GetOutcome() != ckptdv1.CheckpointOutcome_CHECKPOINT_OUTCOME_COMPLETED:
		return ""
	case IsSavepoint(r):
		return recorded
	}
	return job + "/" + layout.CheckpointDir(r.GetCheckpointId())
}

// Better chooses between two records of one checkpoint, which two owners have written. A checkpoint that one of them has seen complete
// is complete: the other one was suspended, or died. Else an owner that has seen it begin knows more, and then the later one.
func Better(a, b *ckptdv1.CheckpointRecord) *ckptdv1.CheckpointRecord {
	rank := func(r *ckptdv1.CheckpointRecord) int {
		switch r.GetOutcome() {
		case ckptdv1.CheckpointOutcome_CHECKPOINT_OUTCOME_COMPLETED:
			return 2
		case ckptdv1.CheckpointOutcome_CHECKPOINT_OUTCOME_FAILED:
			return 1
		}
		return 0
	}
	begun := func(r *ckptdv1.CheckpointRecord) int {
		if r.GetStartedAt() == nil {
			return 0
		}
		return 1
	}
	if cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(begun(a), begun(b)), cmp.Compare(a.GetEpoch(), b.GetEpoch())) >= 0 {
		return a
	}
	return b
}

package shell

import (
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/history"
	"github.com/ckptd/ckptd/layout/journal"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/coordinator"
)

// kindOf says why a checkpoint is taken.
func (j *Job) kindOf(id uint64, manual bool) ckptdv1.RecordKind {
	saved, ok := j.told().Savepoint(id)
	switch {
	case ok && saved.Stop != journal.StopNone:
		return ckptdv1.RecordKind_RECORD_KIND_STOP
	case ok:
		return ckptdv1.RecordKind_RECORD_KIND_SAVEPOINT
	case manual:
		return ckptdv1.RecordKind_RECORD_KIND_MANUAL
	}
	return ckptdv1.RecordKind_RECORD_KIND_CHECKPOINT
}

// recordOf begins the record of a checkpoint that has a content.
func (j *Job) recordOf(id uint64, c *content, outcome ckptdv1.CheckpointOutcome) *ckptdv1.CheckpointRecord {
	head := j.told()
	return &ckptdv1.CheckpointRecord{
		CheckpointId: id, Kind: c.kind, Outcome: outcome, Epoch: head.Epoch, Attempt: head.Attempt, StartedAt: timestamppb.New(c.triggeredAt),
	}
}

// ended sets the time at which a checkpoint ended.
func ended(r *ckptdv1.CheckpointRecord, now time.Time) {
	r.EndedAt = timestamppb.New(now)
	if r.GetStartedAt() != nil {
		r.Duration = durationpb.New(max(0, now.Sub(r.GetStartedAt().AsTime())))
	}
}

// recordCompleted records a checkpoint that is complete, or a savepoint that is done. It does nothing without a content: this owner has
// not triggered the checkpoint, or has recorded it.
func (j *Job) recordCompleted(id uint64, c *content) {
	if c == nil {
		return
	}
	r := j.recordOf(id, c, ckptdv1.CheckpointOutcome_CHECKPOINT_OUTCOME_COMPLETED)
	ended(r, time.Now())
	c.acks.describe(r)
	if saved, ok := j.told().Savepoint(id); ok { // one that stops the job is retained, too
		bytes := j.stateBytes(c)
		r.Path, r.StateBytes, r.NewBytes = saved.Path, bytes, bytes // a savepoint brings all its state
	} else if k, ok := j.told().Checkpoint(id); ok {
		r.Path, r.StateBytes, r.NewBytes = layout.JobPrefix(j.id)+layout.CheckpointDir(id), k.StateBytes, k.NewBytes
	}
	history.Clip(r)
	h := j.memory()
	if h.seen.Completed++; !history.IsSavepoint(r) {
		operators := r.Operators
		r.Operators = nil
		h.seen.Last = proto.CloneOf(r)
		r.Operators = operators
	}
	h.tail.Add(r)
	j.planHistory()
}

// stateBytes sums up the state that a checkpoint names.
func (j *Job) stateBytes(c *content) uint64 {
	seen, bytes := map[any]bool{}, uint64(c.inline)
	for _, pieces := range c.pieces {
		for i := range pieces {
			if p := &pieces[i]; p.isFile && !seen[p.file] {
				seen[p.file] = true
				if d, ok := j.names.Describe(p.file); ok {
					bytes += d.Size
				}
			}
		}
	}
	return bytes
}

// recordFailed records a checkpoint that has failed. c is nil if an earlier owner triggered it. If that one has left a record, it knows
// more (history.Better).
func (j *Job) recordFailed(id uint64, c *content, reason coordinator.Reason, cause string) {
	d := &draft{}
	if c != nil {
		d.acks, d.triggered = c.acks, c.triggeredAt
		d.record = j.recordOf(id, c, ckptdv1.CheckpointOutcome_CHECKPOINT_OUTCOME_FAILED)
		d.record.StateBytes = j.stateBytes(c)
	} else {
		head := j.told()
		d.record = &ckptdv1.CheckpointRecord{CheckpointId: id, Kind: j.kindOf(id, false), Outcome: ckptdv1.CheckpointOutcome_CHECKPOINT_OUTCOME_FAILED,
			Epoch: head.Epoch, Attempt: head.Attempt}
		cause = "the daemon that took it lost the job before it was complete"
	}
	d.record.Reason, d.record.Cause = string(reason), cause
	ended(d.record, time.Now())
	h := j.memory()
	h.seen.Failed++
	h.drafts = append(h.drafts, d)
	if len(h.drafts) > draftsKept {
		h.seal(1)
	}
	j.planHistory()
}

// recordRefused counts a checkpoint that failed before it had an id.
func (j *Job) recordRefused() {
	h := j.memory()
	h.seen.Failed++
	h.tail.Totals.Refuse()
	j.planHistory()
}

// recordRestored records an attempt that begins with the state of a checkpoint.
func (j *Job) recordRestored(id, attempt uint64) {
	h := j.memory()
	h.seen.Restored = time.Now()
	_, savepoint := j.told().Savepoint(id)
	h.tail.Totals.Restore(&ckptdv1.RestoreRecord{CheckpointId: id, Attempt: attempt, RestoredAt: timestamppb.New(h.seen.Restored), Savepoint: savepoint})
	j.planHistory()
}

// nextHistory is when the history has to be written; zero: there is nothing to write, or a write runs.
func (j *Job) nextHistory() time.Time {
	if j.history == nil || j.history.flight != nil {
		return time.Time{}
	}
	return j.history.due
}

// unwritten is what the segments of the job's history lack.
func (j *Job) unwritten() *history.Unwritten {
	u := &history.Unwritten{Epoch: j.epoch()}
	for _, p := range j.m.Pending() {
		if c := j.contents[p.ID]; c != nil {
			r := j.recordOf(p.ID, c, ckptdv1.CheckpointOutcome_CHECKPOINT_OUTCOME_IN_PROGRESS)
			c.acks.describe(r)
			history.Clip(r)
			u.Records = append(u.Records, r)
		}
	}
	h := j.history
	if h == nil {
		return u
	}
	next := h.sequence + 1
	if f := h.flight; f != nil {
		u.Records = append(u.Records, f.tail.Records()...)
		u.Parts = append(u.Parts, history.Part{Sequence: next, Totals: f.tail.Totals})
		next++
	}
	part := history.Part{Sequence: next, Totals: h.tail.Totals}
	u.Records = append(u.Records, h.tail.Records()...)
	for _, d := range h.drafts {
		r := proto.CloneOf(d.finished())
		part.Totals.Count(r)
		u.Records = append(u.Records, r)
	}
	u.Parts = append(u.Parts, part)
	return u
}

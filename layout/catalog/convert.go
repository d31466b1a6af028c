package catalog

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journal"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// Job returns the summary of a job, from the journal's head.
func Job(e *journal.Entry) *ckptdv1.JobSummary {
	s := &ckptdv1.JobSummary{
		JobId: e.About.Job, Status: HeadStatus(e), Labels: Labels(e.About), Epoch: e.Epoch, Attempt: e.Attempt,
		Retained: uint32(len(e.Retained)), LatestCheckpointId: e.Newest(),
	}
	if !e.Owner.IsZero() {
		s.OwnerUrls = e.URLs
	}
	if e.Import.Job != "" {
		s.RestoredFrom = e.Import.Job + "/" + layout.CheckpointDir(e.Import.Checkpoint)
	}
	s.EndedAt, s.EndReason = timeOut(e.Ended.At), e.Ended.Why
	if c, ok := e.Checkpoint(s.GetLatestCheckpointId()); ok {
		s.LatestCompletedAt = timeOut(c.CompletedAt)
	}
	return s
}

// Checkpoints returns the checkpoints that an entry retains, oldest first.
func Checkpoints(e *journal.Entry) []*ckptdv1.CheckpointSummary {
	var out []*ckptdv1.CheckpointSummary
	for i := range e.Retained {
		out = append(out, Checkpoint(e.About.Job, &e.Retained[i]))
	}
	return out
}

// Checkpoint returns what an entry says of one checkpoint.
func Checkpoint(job string, c *journal.Checkpoint) *ckptdv1.CheckpointSummary {
	return &ckptdv1.CheckpointSummary{
		CheckpointId: c.ID, Path: job + "/" + layout.CheckpointDir(c.ID), CompletedAt: timeOut(c.CompletedAt),
		StateBytes: c.StateBytes, NewBytes: c.NewBytes, ReusedBytes: c.StateBytes - min(c.NewBytes, c.StateBytes),
		Duration: millisOut(c.DurationMillis), Savepoint: c.Type == journal.TypeSavepoint,
	}
}

func entryOut(e *journal.Entry) *ckptdv1.JournalEntry {
	out := &ckptdv1.JournalEntry{
		Slot: e.Slot, Kind: kindOut(e.Kind), Nonce: e.Nonce.String(), Epoch: e.Epoch, OwnerNonce: e.Owner.String(), OwnerUrls: e.URLs,
		Attempt: e.Attempt, RestoreCheckpointId: e.Restore, Status: Status(e.Status), Reserved: e.Reserved,
		Plan: planOut(e.Plan), Config: configOut(e.Config), Labels: Labels(e.About), EndedAt: timeOut(e.Ended.At), EndReason: e.Ended.Why,
	}
	for i := range e.Retained {
		c := &e.Retained[i]
		out.Retained = append(out.Retained, &ckptdv1.JournalCheckpoint{
			Summary: Checkpoint(e.About.Job, c), State: CheckpointState(c.State), Nonce: c.Nonce.String(), MetadataBytes: c.Size, MetadataCrc32C: c.CRC,
		})
	}
	for _, l := range e.Lent {
		out.Lent = append(out.Lent, Pin(&l))
	}
	for _, b := range e.Borrowed {
		out.Borrowed = append(out.Borrowed, &ckptdv1.JournalPin{
			Pin: b.Pin.String(), CheckpointId: b.Checkpoint, JobId: b.Job, Mode: ckptdv1.ClaimMode(b.Mode) + 1,
		})
	}
	return out
}

// Pin is a pin on a checkpoint of a job.
func Pin(l *journal.Lent) *ckptdv1.JournalPin {
	p := &ckptdv1.JournalPin{
		Pin: l.Pin.String(), CheckpointId: l.Checkpoint, JobId: l.Holder, HolderEpoch: l.HolderEpoch, Mode: ckptdv1.ClaimMode(l.Mode) + 1,
	}
	if l.OfTool() {
		p.ExpiresAt = timestamppb.New(time.UnixMilli(int64(l.Expires)))
	}
	return p
}

func planOut(p *journal.Plan) *ckptdv1.Plan {
	out := &ckptdv1.Plan{}
	for _, op := range p.Operators {
		out.Operators = append(out.Operators, &ckptdv1.Operator{
			Id: op.ID, Uid: op.UID, Parallelism: op.Parallelism, MaxParallelism: op.MaxParallelism, Triggered: op.Triggered,
		})
	}
	return out
}

// configOut is the message that the journal keeps, as it is; nil if it cannot be read.
func configOut(c *journal.Config) *ckptdv1.JobConfig {
	out := &ckptdv1.JobConfig{}
	if proto.Unmarshal(c.Bytes, out) != nil {
		return nil
	}
	return out
}

// Labels returns a job's labels.
func Labels(a *journal.About) map[string]string {
	if len(a.Labels) == 0 {
		return nil
	}
	out := make(map[string]string, len(a.Labels))
	for _, l := range a.Labels {
		out[l.Key] = l.Value
	}
	return out
}

// HeadStatus returns a job's status in the API's words, from the journal's head. A job that is suspended goes on with its next owner.
func HeadStatus(e *journal.Entry) ckptdv1.JobStatus {
	if e.Suspended && e.Owner.IsZero() && !e.Status.Terminal() {
		return ckptdv1.JobStatus_JOB_STATUS_SUSPENDED
	}
	return Status(e.Status)
}

// Status returns a job's status in the API's words.
func Status(s journal.Status) ckptdv1.JobStatus {
	switch s {
	case journal.StatusRunning:
		return ckptdv1.JobStatus_JOB_STATUS_RUNNING
	case journal.StatusCanceled:
		return ckptdv1.JobStatus_JOB_STATUS_CANCELED
	case journal.StatusFailed:
		return ckptdv1.JobStatus_JOB_STATUS_FAILED
	case journal.StatusFinished:
		return ckptdv1.JobStatus_JOB_STATUS_FINISHED
	case journal.StatusStopping:
		return ckptdv1.JobStatus_JOB_STATUS_STOPPING
	case journal.StatusCopied:
		return ckptdv1.JobStatus_JOB_STATUS_COPIED
	case journal.StatusRemoved:
		return ckptdv1.JobStatus_JOB_STATUS_REMOVED
	}
	return ckptdv1.JobStatus_JOB_STATUS_UNSPECIFIED
}

// CheckpointState returns what an entry says of a retained checkpoint in the API's words.
func CheckpointState(s journal.CheckpointState) ckptdv1.CheckpointState {
	switch s {
	case journal.StateTrashed:
		return ckptdv1.CheckpointState_CHECKPOINT_STATE_TRASHED
	case journal.StateHidden:
		return ckptdv1.CheckpointState_CHECKPOINT_STATE_HIDDEN
	}
	return ckptdv1.CheckpointState_CHECKPOINT_STATE_KEPT
}

var kinds = map[journal.Kind]string{
	journal.KindAttach: "attach", journal.KindAttempt: "attempt", journal.KindCommit: "commit", journal.KindReserve: "reserve",
	journal.KindEnd: "end", journal.KindRelease: "release", journal.KindLend: "lend", journal.KindReturn: "return",
	journal.KindImport: "import", journal.KindDiscard: "discard", journal.KindUndelete: "undelete", journal.KindTag: "tag",
	journal.KindSavepoint: "savepoint", journal.KindRemove: "remove",
}

// kindOut names a kind of entry; one of a newer version by its number.
func kindOut(k journal.Kind) string {
	if name, ok := kinds[k]; ok {
		return name
	}
	return fmt.Sprintf("kind %d", k)
}

// timeOut and millisOut return nil for zero.

func timeOut(millis uint64) *timestamppb.Timestamp {
	if millis == 0 {
		return nil
	}
	return timestamppb.New(time.UnixMilli(int64(millis)))
}

func millisOut(millis uint64) *durationpb.Duration {
	if millis == 0 {
		return nil
	}
	return durationpb.New(time.Duration(millis) * time.Millisecond)
}

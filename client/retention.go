package client

import (
	"context"
	"time"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// Retained is a checkpoint that a job retains, with what people and policies want of it.
type Retained struct {
	Summary CheckpointSummary
	State   CheckpointState
	// Keep: no policy drops it.
	Keep bool
	Tags []string
	// TrashedAt is when it went into the trash, TrashUntil when it leaves it, by the store's clock.
	TrashedAt, TrashUntil time.Time
	// Borrowers are jobs that have borrowed it.
	Borrowers []string
}

// RetentionChange is what a job's journal says after a change.
type RetentionChange struct {
	Status JobStatus
	// Checkpoints are those named that are still retained: kept, in the trash, or hidden.
	Checkpoints []Retained
	// Borrowers are jobs that have borrowed a checkpoint. A purge waits for them.
	Borrowers []string
}

// RemoveOptions say how checkpoints are removed.
type RemoveOptions struct {
	// Now does not use the trash, and takes out of it what lies there.
	Now bool
	// EvenIfLent also removes what other jobs have borrowed: it is hidden, and goes when they have returned it.
	EvenIfLent bool
}

// Remove puts checkpoints into the job's trash, or drops them if there is no trash: all of them, or none. It refuses the newest
// checkpoint of a job that has not ended.
func (a *Admin) Remove(ctx context.Context, job string, checkpoints []uint64, how RemoveOptions) (RetentionChange, error) {
	res, err := a.Messages().Remove(ctx, &ckptdv1.RemoveCheckpointsRequest{JobId: job, CheckpointIds: checkpoints, Now: how.Now, EvenIfLent: how.EvenIfLent})
	return fromChange(res), err
}

// Undelete brings checkpoints back from the trash. From then on no policy drops them.
func (a *Admin) Undelete(ctx context.Context, job string, checkpoints []uint64) (RetentionChange, error) {
	res, err := a.Messages().Undelete(ctx, &ckptdv1.UndeleteCheckpointsRequest{JobId: job, CheckpointIds: checkpoints})
	return fromChange(res), err
}

// Tag adds tags to checkpoints.
func (a *Admin) Tag(ctx context.Context, job string, checkpoints []uint64, tags ...string) (RetentionChange, error) {
	res, err := a.Messages().Tag(ctx, &ckptdv1.TagCheckpointsRequest{JobId: job, CheckpointIds: checkpoints, Tags: tags})
	return fromChange(res), err
}

// Untag takes tags away from checkpoints.
func (a *Admin) Untag(ctx context.Context, job string, checkpoints []uint64, tags ...string) (RetentionChange, error) {
	res, err := a.Messages().Tag(ctx, &ckptdv1.TagCheckpointsRequest{JobId: job, CheckpointIds: checkpoints, Tags: tags, Remove: true})
	return fromChange(res), err
}

// Purge removes a job that has ended, with all that it retains. What other jobs have borrowed stays until they have returned it.
func (a *Admin) Purge(ctx context.Context, job string) (RetentionChange, error) {
	res, err := a.Messages().Purge(ctx, &ckptdv1.PurgeJobRequest{JobId: job})
	return fromChange(res), err
}

// DropStalePins drops the pins on a job's checkpoints that nobody returns any more: their holder does not list them and never will, or
// their time is over. No other pin is dropped.
func (a *Admin) DropStalePins(ctx context.Context, job string) error {
	return a.Messages().DropStalePins(ctx, &ckptdv1.DropStalePinsRequest{JobId: job})
}

func fromChange(m *ckptdv1.RetentionChange) RetentionChange {
	return RetentionChange{Status: JobStatus(m.GetStatus()), Checkpoints: all(m.GetCheckpoints(), fromRetained), Borrowers: m.GetBorrowers()}
}

func fromRetained(m *ckptdv1.RetainedCheckpoint) Retained {
	return Retained{
		Summary: fromCheckpoint(m.GetSummary()), State: CheckpointState(m.GetState()), Keep: m.GetKeep(), Tags: m.GetTags(),
		TrashedAt: fromTime(m.GetTrashedAt()), TrashUntil: fromTime(m.GetTrashUntil()), Borrowers: m.GetBorrowers(),
	}
}

package api

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// Retention converts what an entry says of checkpoints. which says which ones are meant.
func Retention(e *journal.Entry, which func(*journal.Checkpoint) bool) *ckptdv1.RetentionChange {
	res := &ckptdv1.RetentionChange{JobId: e.About.Job, Status: catalog.Status(e.Status)}
	for i := range e.Retained {
		if which(&e.Retained[i]) {
			res.Checkpoints = append(res.Checkpoints, RetainedCheckpoint(e, &e.Retained[i]))
		}
	}
	for _, l := range e.Lent {
		res.Borrowers = append(res.Borrowers, l.Holder)
	}
	return res
}

// RetainedCheckpoint converts a checkpoint with what people and policies want of it.
func RetainedCheckpoint(e *journal.Entry, c *journal.Checkpoint) *ckptdv1.RetainedCheckpoint {
	out := &ckptdv1.RetainedCheckpoint{
		Summary: catalog.Checkpoint(e.About.Job, c), State: catalog.CheckpointState(c.State), Keep: c.Keep, Tags: c.Tags,
		TrashedAt: stamp(c.TrashedAt), TrashUntil: stamp(c.TrashUntil),
	}
	for _, l := range e.Lent {
		if l.Checkpoint == c.ID {
			out.Borrowers = append(out.Borrowers, l.Holder)
		}
	}
	return out
}

// stamp converts milliseconds since 1970; nil: 0.
func stamp(millis uint64) *timestamppb.Timestamp {
	if millis == 0 {
		return nil
	}
	return timestamppb.New(time.UnixMilli(int64(millis)))
}

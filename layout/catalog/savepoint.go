package catalog

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ckptd/ckptd/layout/journal"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// Savepoints lists the savepoints that a journal has on record.
func Savepoints(head *journal.Entry) *ckptdv1.ListSavepointsResponse {
	res := &ckptdv1.ListSavepointsResponse{JobId: head.About.Job}
	for i := range head.Savepoints {
		res.Savepoints = append(res.Savepoints, Savepoint(&head.Savepoints[i]))
	}
	return res
}

// Savepoint describes a savepoint as the journal has it.
func Savepoint(p *journal.Savepoint) *ckptdv1.Savepoint {
	out := &ckptdv1.Savepoint{
		CheckpointId: p.ID, Path: p.Path, Outcome: ckptdv1.SavepointOutcome(p.Outcome + 1), MetadataBytes: p.Size, MetadataCrc32C: p.CRC, Periodic: p.Periodic,
	}
	out.Stop = ckptdv1.SavepointStop(p.Stop) // they have the same numbers
	if p.EndedAt > 0 {
		out.EndedAt = timestamppb.New(time.UnixMilli(int64(p.EndedAt)))
	}
	return out
}

package shell

import (
	"context"

	"github.com/ckptd/ckptd/incremental"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/api"
	"github.com/ckptd/ckptd/service/coordinator"
	"github.com/ckptd/ckptd/service/owner"
)

// BeginSnapshot returns which of a subtask's files are known. The known files are promised to the checkpoint.
func (j *Job) BeginSnapshot(ctx context.Context, req *ckptdv1.BeginSnapshotRequest) (*ckptdv1.BeginSnapshotResponse, error) {
	return ask(ctx, j, func(reply func(*ckptdv1.BeginSnapshotResponse, error)) {
		numbers := make([]incremental.File, len(req.GetFiles()))
		found := make([]bool, len(numbers))
		var known incremental.Builder[incremental.File]
		for i, f := range req.GetFiles() {
			numbers[i], found[i] = j.names.Lookup(f.GetInstanceNonce(), f.GetName(), f.GetSize(), f.GetRestoredKey())
			if found[i] {
				d, _ := j.names.Describe(numbers[i])
				found[i] = api.ScopeOf(d.Key) == ckptdv1.Scope_SCOPE_SHARED // an exclusive file is never reused
			}
			if found[i] {
				known.Add(numbers[i])
			}
		}
		caller := j.wait(func(op *owner.Op) {
			if err := j.refusal(op); err != nil {
				reply(nil, err)
				return
			}
			res := &ckptdv1.BeginSnapshotResponse{Known: make([]uint32, len(numbers))}
			for i, n := range numbers {
				if found[i] && op.Files.Has(n) {
					res.Known[i] = uint32(n) + 1
				}
			}
			reply(res, nil)
		})
		j.feed(owner.Event{
			Kind: owner.EventBegin, Caller: caller, Epoch: req.GetEpoch(), Attempt: req.GetAttempt(), ID: req.GetCheckpointId(), Files: known.Set(),
		})
	})
}

// Decline aborts a checkpoint on behalf of a subtask.
func (j *Job) Decline(ctx context.Context, req *ckptdv1.DeclineRequest) (*ckptdv1.DeclineResponse, error) {
	return ask(ctx, j, func(reply func(*ckptdv1.DeclineResponse, error)) {
		head := j.m.Head()
		switch {
		case head == nil:
			reply(nil, api.NotAttached(j.id))
			return
		case head.Epoch == req.GetEpoch() && head.Attempt == req.GetAttempt() && j.contents[req.GetCheckpointId()] != nil:
			j.coordinate(coordinator.Declined{
				Checkpoint: req.GetCheckpointId(), Reason: coordinator.ParseReason(req.GetReason()), Cause: req.GetCause(),
			})
		}
		reply(&ckptdv1.DeclineResponse{}, nil) // a late or repeated call changes nothing
	})
}

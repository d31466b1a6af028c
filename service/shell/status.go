package shell

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/history"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/api"
	"github.com/ckptd/ckptd/service/owner"
)

// Status describes the job: what it is doing, and what it waits for.
func (j *Job) Status(ctx context.Context, req *ckptdv1.GetStatusRequest) (*ckptdv1.JobState, error) {
	return ask(ctx, j, func(reply func(*ckptdv1.JobState, error)) { reply(j.state(req), nil) })
}

// Unwritten is what the segments of the job's history lack.
func (j *Job) Unwritten(ctx context.Context) (*history.Unwritten, error) {
	return ask(ctx, j, func(reply func(*history.Unwritten, error)) {
		if j.m.Head() == nil {
			reply(nil, api.NotAttached(j.id))
			return
		}
		reply(j.unwritten(), nil)
	})
}

// state describes the job for the status.
func (j *Job) state(req *ckptdv1.GetStatusRequest) *ckptdv1.JobState {
	s := &ckptdv1.JobState{
		Phase: j.phase(), SubtasksMissing: uint32(j.m.Missing().Len()), CommittedCheckpointId: j.progress.announced, CondemnedFiles: uint64(j.m.Condemned()),
		Events: j.events.after(req.GetEventsAfter()),
	}
	s.WaitingForStore = j.outage.String()
	if j.coord != nil {
		s.ConsecutiveFailures = uint32(j.coord.State().ConsecutiveFailures)
	}
	head := j.m.Head()
	if head == nil {
		s.Summary = &ckptdv1.JobSummary{JobId: j.id}
		return s
	}
	s.Summary, s.OwnerNonce, s.Subtasks = catalog.Job(head), head.Owner.String(), head.Plan.Subtasks()
	s.Summary.InMemory, s.BeganAnew = j.env.InMemory, j.life.anew
	if reason, id := j.m.Degraded(); reason == owner.ReasonDegraded {
		s.Degraded = fmt.Sprintf("checkpoint %d: %s", id, api.ReasonText(reason))
	}
	for _, p := range j.m.Pending() {
		pending := &ckptdv1.PendingCheckpoint{
			CheckpointId: p.ID, Acknowledged: uint32(p.Acked.Len()), Subtasks: head.Plan.Subtasks(), State: api.PendingOut(p.State),
		}
		if c := j.contents[p.ID]; c != nil {
			pending.TriggeredAt = timestamppb.New(c.triggeredAt)
		}
		s.Pending = append(s.Pending, pending)
	}
	for _, r := range j.m.Registrations() {
		if w := j.workers.numbered(r.Worker); w != nil {
			s.Workers = append(s.Workers, &ckptdv1.WorkerState{
				Nonce: w.nonce, ExchangeAddress: w.address, Attempt: r.Attempt, Subtasks: api.SubtasksOut(head.Plan, r.Subtasks),
				LastHeard: timestamppb.New(w.heard), Running: !r.Running.IsEmpty(),
			})
			s.Records += w.records
		}
	}
	end, all := j.progress.sources(head.Plan)
	s.SourcesAtEnd, s.Sources = uint32(end), uint32(all)
	return s
}

// phase returns what the job's owner is doing.
func (j *Job) phase() ckptdv1.JobPhase {
	head := j.m.Head()
	switch {
	case head == nil:
		return ckptdv1.JobPhase_JOB_PHASE_ATTACHING
	case head.Status.Terminal():
		return ckptdv1.JobPhase_JOB_PHASE_CLEARING_UP
	case head.Importing():
		return ckptdv1.JobPhase_JOB_PHASE_IMPORTING
	case j.m.AllRunning():
		return ckptdv1.JobPhase_JOB_PHASE_RUNNING
	case !j.m.Missing().IsEmpty():
		return ckptdv1.JobPhase_JOB_PHASE_WAITING_FOR_WORKERS
	case j.m.Live():
		return ckptdv1.JobPhase_JOB_PHASE_STARTING
	}
	return ckptdv1.JobPhase_JOB_PHASE_WAITING_FOR_ATTEMPT
}

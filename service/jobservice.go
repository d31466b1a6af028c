package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
	"github.com/ckptd/ckptd/service/owner"
)

// jobService implements JobService: the calls that people and their tools make.
type jobService struct{ s *Server }

var _ ckptdv1connect.JobServiceHandler = jobService{}

// ListJobs lists the jobs under the root.
func (p jobService) ListJobs(ctx context.Context, _ *ckptdv1.ListJobsRequest) (*ckptdv1.ListJobsResponse, error) {
	res, err := catalog.New(p.s.stores.restore).Jobs(ctx)
	return res, rpcError(err)
}

// ListCheckpoints lists a job's retained checkpoints.
func (p jobService) ListCheckpoints(ctx context.Context, req *ckptdv1.ListCheckpointsRequest) (*ckptdv1.ListCheckpointsResponse, error) {
	res, err := catalog.New(p.s.stores.restore).Checkpoints(ctx, req.GetJobId())
	return res, rpcError(err)
}

// ShowCheckpoint describes one checkpoint.
func (p jobService) ShowCheckpoint(ctx context.Context, req *ckptdv1.ShowCheckpointRequest) (*ckptdv1.ShowCheckpointResponse, error) {
	res, err := catalog.New(p.s.stores.restore).Show(ctx, req.GetJobId(), req.GetCheckpointId())
	return res, rpcError(err)
}

// GetStatus describes what the daemon and its jobs are doing, and what they wait for.
func (p jobService) GetStatus(ctx context.Context, req *ckptdv1.GetStatusRequest) (*ckptdv1.GetStatusResponse, error) {
	res := p.s.status()
	jobs := p.s.allJobs()
	if id := req.GetJobId(); id != "" {
		j, err := p.s.job(id)
		if err != nil {
			return nil, p.elsewhere(ctx, id, err)
		}
		jobs = []*job{j}
	}
	for _, j := range jobs {
		state, err := ask(ctx, j, func(reply func(*ckptdv1.JobState, error)) { reply(j.state(req), nil) })
		switch {
		case err == nil:
			res.Jobs = append(res.Jobs, state)
		case req.GetJobId() != "":
			return nil, p.elsewhere(ctx, j.id, err) // the job was released meanwhile
		}
	}
	slices.SortFunc(res.Jobs, func(a, b *ckptdv1.JobState) int {
		return strings.Compare(a.GetSummary().GetJobId(), b.GetSummary().GetJobId())
	})
	return res, nil
}

// elsewhere returns the error for a call about a job that this daemon does not own. It names the job's owner, if the
// journal has one. err is the error so far.
func (p jobService) elsewhere(ctx context.Context, id string, err error) error {
	if connect.CodeOf(err) != connect.CodeFailedPrecondition {
		return err
	}
	head, how, rerr := p.s.readHead(ctx, id)
	switch {
	case rerr != nil:
		return rpcError(rerr)
	case how == journal.ReadEmpty:
		return connect.NewError(connect.CodeNotFound, fmt.Errorf("there is no job %s", id))
	case how != journal.ReadDone:
		return connect.NewError(connect.CodeDataLoss, fmt.Errorf("the journal of job %s cannot be read: `ckptd journal show` says why", id))
	case head.Status.Terminal():
		return refused(&ckptdv1.Refused{Reason: ckptdv1.Refused_REASON_JOB_TERMINAL, Status: catalog.Status(head.Status)},
			"job %s is %s%s; no daemon owns it", id, statusWord(head.Status), endedText(head.Ended))
	case head.Owner.IsZero():
		return connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf("job %s is %s; no daemon owns it", id, statusWord(head.Status)))
	}
	return notOwner(id, head.URLs, head.Epoch)
}

// CancelJob cancels a job.
func (p jobService) CancelJob(ctx context.Context, req *ckptdv1.CancelJobRequest) (*ckptdv1.CancelJobResponse, error) {
	j, err := p.s.job(req.GetJobId())
	switch {
	case err != nil && connect.CodeOf(err) == connect.CodeFailedPrecondition:
		return p.cancelUnowned(ctx, req, p.elsewhere(ctx, req.GetJobId(), err))
	case err != nil:
		return nil, err
	}
	res, err := ask(ctx, j, func(reply func(*ckptdv1.CancelJobResponse, error)) { j.cancel(req, reply) })
	if err != nil && isNotAttached(err) { // the job is being attached, or was released meanwhile
		return p.cancelUnowned(ctx, req, p.elsewhere(ctx, j.id, err))
	}
	return res, err
}

// cancel asks the owner machine to end the job as canceled.
func (j *job) cancel(req *ckptdv1.CancelJobRequest, reply func(*ckptdv1.CancelJobResponse, error)) {
	caller := j.wait(func(op *owner.Op) {
		if err := j.refusal(op); err != nil {
			reply(nil, err)
			return
		}
		head := j.m.Head()
		reply(&ckptdv1.CancelJobResponse{Status: catalog.Status(head.Status), Retained: retainedOut(head)}, nil)
	})
	j.feed(owner.Event{
		Kind: owner.EventEnd, Status: journal.StatusCanceled, Ended: endedNow("canceled by a person"), Caller: caller,
		Request: journal.RequestOf(req.GetRequestId()),
	})
}

// cancelUnowned cancels a job that this daemon does not own. It attaches the job first. A job that has ended stays as
// it is. why is the error if the journal cannot be read.
func (p jobService) cancelUnowned(ctx context.Context, req *ckptdv1.CancelJobRequest, why error) (*ckptdv1.CancelJobResponse, error) {
	head, how, err := p.s.readHead(ctx, req.GetJobId())
	if err != nil || how != journal.ReadDone {
		return nil, errors.Join(why, err)
	}
	if head.Status.Terminal() {
		return &ckptdv1.CancelJobResponse{Status: catalog.Status(head.Status), Retained: retainedOut(head)}, nil
	}
	if _, err := engineService(p).AttachJob(ctx, &ckptdv1.AttachJobRequest{JobId: req.GetJobId(), RequestId: req.GetRequestId()}); err != nil {
		return nil, err
	}
	j, err := p.s.job(req.GetJobId())
	if err != nil {
		return nil, err
	}
	return ask(ctx, j, func(reply func(*ckptdv1.CancelJobResponse, error)) { j.cancel(req, reply) })
}

// state describes the job for the status.
func (j *job) state(req *ckptdv1.GetStatusRequest) *ckptdv1.JobState {
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
	if reason, id := j.m.Degraded(); reason == owner.ReasonDegraded {
		s.Degraded = fmt.Sprintf("checkpoint %d: %s", id, reasonText(reason))
	}
	for _, p := range j.m.Pending() {
		pending := &ckptdv1.PendingCheckpoint{
			CheckpointId: p.ID, Acknowledged: uint32(p.Acked.Len()), Subtasks: head.Plan.Subtasks(), State: pendingOut(p.State),
		}
		if c := j.contents[p.ID]; c != nil {
			pending.TriggeredAt = timestamppb.New(c.triggeredAt)
		}
		s.Pending = append(s.Pending, pending)
	}
	for _, r := range j.m.Registrations() {
		if w := j.workers[r.Worker]; w != nil {
			s.Workers = append(s.Workers, &ckptdv1.WorkerState{
				Nonce: w.nonce, ExchangeAddress: w.address, Attempt: r.Attempt, Subtasks: subtasksOut(head.Plan, r.Subtasks),
				LastHeard: timestamppb.New(w.heard), Running: !r.Running.IsEmpty(),
			})
			s.Records += w.records
		}
	}
	end, all := j.progress.sources(head.Plan)
	s.SourcesAtEnd, s.Sources = uint32(end), uint32(all)
	return s
}

func pendingOut(s owner.PendingState) ckptdv1.PendingState {
	switch s {
	case owner.PendingOpen:
		return ckptdv1.PendingState_PENDING_STATE_OPEN
	case owner.PendingUnresolved:
		return ckptdv1.PendingState_PENDING_STATE_UNRESOLVED
	}
	return ckptdv1.PendingState_PENDING_STATE_WRITING
}

// phase returns what the job's owner is doing.
func (j *job) phase() ckptdv1.JobPhase {
	head := j.m.Head()
	switch {
	case head == nil:
		return ckptdv1.JobPhase_JOB_PHASE_ATTACHING
	case head.Status.Terminal():
		return ckptdv1.JobPhase_JOB_PHASE_CLEARING_UP
	case j.m.AllRunning():
		return ckptdv1.JobPhase_JOB_PHASE_RUNNING
	case !j.m.Missing().IsEmpty():
		return ckptdv1.JobPhase_JOB_PHASE_WAITING_FOR_WORKERS
	case j.m.Live():
		return ckptdv1.JobPhase_JOB_PHASE_STARTING
	}
	return ckptdv1.JobPhase_JOB_PHASE_WAITING_FOR_ATTEMPT
}

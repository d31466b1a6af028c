package service

import (
	"context"
	"errors"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/layout/journal"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
	"github.com/ckptd/ckptd/service/api"
	"github.com/ckptd/ckptd/service/shell"
)

// engineService implements EngineService: the calls that engines and other daemons make. Each call finds its job, and
// the job answers.
type engineService struct{ s *Server }

var _ ckptdv1connect.EngineServiceHandler = engineService{}

// AttachJob makes this daemon the job's owner, or returns the URLs of the daemon that is.
func (e engineService) AttachJob(ctx context.Context, req *ckptdv1.AttachJobRequest) (*ckptdv1.AttachJobResponse, error) {
	for range attachTries {
		j, req, err := e.s.attaching(ctx, req)
		if err != nil {
			return nil, err
		}
		res, err := j.Attach(ctx, req)
		if !errors.Is(err, api.ErrNotAttached) {
			return res, err
		}
		<-j.Done() // the job's goroutine was ending; the next try starts a new one
	}
	return nil, api.NotAttached(req.GetJobId())
}

// attachTries is how often an attach is tried when it meets a job whose goroutine is ending. Then the caller is told to
// look elsewhere.
const attachTries = 5

// Owns answers another daemon whether this one owns the job under the nonce.
func (e engineService) Owns(ctx context.Context, req *ckptdv1.OwnsRequest) (*ckptdv1.OwnsResponse, error) {
	nonce, err := journal.ParseNonce(req.GetOwnerNonce())
	if err != nil {
		return nil, api.Invalidf("%v", err)
	}
	j, err := e.s.job(req.GetJobId())
	if err != nil {
		return &ckptdv1.OwnsResponse{}, nil
	}
	owns, err := j.Owns(ctx, nonce)
	if err != nil {
		return nil, err
	}
	return &ckptdv1.OwnsResponse{Owns: owns}, nil
}

// Register registers a worker process and streams its commands.
func (e engineService) Register(ctx context.Context, req *ckptdv1.RegisterRequest, stream *connect.ServerStream[ckptdv1.RegisterResponse]) error {
	j, err := e.s.job(req.GetJobId())
	if err != nil {
		return err
	}
	return j.Register(ctx, req, stream.Send)
}

// Report tells the owner the state of subtasks.
func (e engineService) Report(ctx context.Context, req *ckptdv1.ReportRequest) (*ckptdv1.ReportResponse, error) {
	return called(ctx, e.s, req, (*shell.Job).Report)
}

// BeginSnapshot returns which of a subtask's files are known. The known files are promised to the checkpoint.
func (e engineService) BeginSnapshot(ctx context.Context, req *ckptdv1.BeginSnapshotRequest) (*ckptdv1.BeginSnapshotResponse, error) {
	return called(ctx, e.s, req, (*shell.Job).BeginSnapshot)
}

// Acknowledge takes the state of a worker's subtasks for a checkpoint.
func (e engineService) Acknowledge(ctx context.Context, req *ckptdv1.AcknowledgeRequest) (*ckptdv1.AcknowledgeResponse, error) {
	return called(ctx, e.s, req, (*shell.Job).Acknowledge)
}

// Decline aborts a checkpoint on behalf of a subtask.
func (e engineService) Decline(ctx context.Context, req *ckptdv1.DeclineRequest) (*ckptdv1.DeclineResponse, error) {
	return called(ctx, e.s, req, (*shell.Job).Decline)
}

// Assignment returns the state handles that subtasks restore, page by page.
func (e engineService) Assignment(ctx context.Context, req *ckptdv1.AssignmentRequest) (*ckptdv1.AssignmentResponse, error) {
	return called(ctx, e.s, req, (*shell.Job).Assignment)
}

// NewAttempt begins the next attempt.
func (e engineService) NewAttempt(ctx context.Context, req *ckptdv1.NewAttemptRequest) (*ckptdv1.NewAttemptResponse, error) {
	return called(ctx, e.s, req, (*shell.Job).NewAttempt)
}

// called passes a call to the job that it names, if this daemon owns it or is attaching it.
func called[Req interface{ GetJobId() string }, Res any](ctx context.Context, s *Server, req Req, call func(*shell.Job, context.Context, Req) (*Res, error)) (*Res, error) {
	j, err := s.job(req.GetJobId())
	if err != nil {
		return nil, err
	}
	return call(j, ctx, req)
}

package service

import (
	"context"
	"errors"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
	"github.com/ckptd/ckptd/service/coordinator"
	"github.com/ckptd/ckptd/service/owner"
)

// engineService implements EngineService: the calls that engines and other daemons make.
type engineService struct{ s *Server }

var _ ckptdv1connect.EngineServiceHandler = engineService{}

// AttachJob makes this daemon the job's owner, or returns the URLs of the daemon that is.
func (e engineService) AttachJob(ctx context.Context, req *ckptdv1.AttachJobRequest) (*ckptdv1.AttachJobResponse, error) {
	create, err := creationIn(req, e.s.opts.URLs)
	if err != nil {
		return nil, err
	}
	plan, cfg, err := askedIn(req)
	if err != nil {
		return nil, err
	}
	for range attachTries {
		j, err := e.s.open(req.GetJobId())
		if err != nil {
			return nil, err
		}
		res, err := ask(ctx, j, func(reply func(*ckptdv1.AttachJobResponse, error)) {
			caller := j.wait(func(op *owner.Op) {
				if op.Kind != owner.TellAttached {
					reply(nil, j.refusal(op))
					return
				}
				reply(j.attachedOut(), nil)
			})
			j.feed(owner.Event{Kind: owner.EventAttach, Caller: caller, Create: create, Plan: plan, Config: cfg})
		})
		if !errors.Is(err, errLetGo) {
			return res, err
		}
		<-j.done // the job's goroutine was ending; the next try starts a new one
	}
	return nil, notAttached(req.GetJobId())
}

// attachTries is how often an attach is tried when it meets a job whose goroutine is ending. Then the caller is told to
// look elsewhere.
const attachTries = 5

// attachedOut makes the answer to a caller that has attached.
func (j *job) attachedOut() *ckptdv1.AttachJobResponse {
	head := j.m.Head()
	return &ckptdv1.AttachJobResponse{
		Epoch: head.Epoch, Attempt: head.Attempt, Status: catalog.Status(head.Status),
		InlineThreshold: uint32(j.s.opts.InlineThreshold), InlineCap: uint32(j.s.opts.InlineCap), Config: configOut(head.Config),
	}
}

// creationIn returns how to create the job if it does not exist; nil: the caller gave no plan, so the job is not
// created.
func creationIn(req *ckptdv1.AttachJobRequest, urls []string) (*owner.Creation, error) {
	if err := layout.ValidateJobID(req.GetJobId()); err != nil {
		return nil, invalidf("%v", err)
	}
	if req.GetPlan() == nil {
		return nil, nil
	}
	plan, err := planIn(req.GetPlan())
	if err != nil {
		return nil, err
	}
	cfg, err := configIn(req.GetConfig())
	if err != nil {
		return nil, err
	}
	c := &owner.Creation{Plan: plan, Config: cfg, About: aboutIn(req.GetJobId(), req.GetLabels())}
	if err := journal.Fits(plan, cfg, c.About, urls); err != nil {
		return nil, invalidf("job %s: %v", req.GetJobId(), err)
	}
	return c, nil
}

// Owns answers another daemon whether this one owns the job under the nonce.
func (e engineService) Owns(ctx context.Context, req *ckptdv1.OwnsRequest) (*ckptdv1.OwnsResponse, error) {
	nonce, err := journal.ParseNonce(req.GetOwnerNonce())
	if err != nil {
		return nil, invalidf("%v", err)
	}
	j, err := e.s.job(req.GetJobId())
	if err != nil {
		return &ckptdv1.OwnsResponse{}, nil
	}
	return ask(ctx, j, func(reply func(*ckptdv1.OwnsResponse, error)) {
		reply(&ckptdv1.OwnsResponse{Owns: j.m.Owns(nonce)}, nil)
	})
}

// Report tells the owner the state of subtasks.
func (e engineService) Report(ctx context.Context, req *ckptdv1.ReportRequest) (*ckptdv1.ReportResponse, error) {
	j, err := e.s.job(req.GetJobId())
	if err != nil {
		return nil, err
	}
	if req.GetKind() == ckptdv1.ReportRequest_KIND_UNSPECIFIED {
		return nil, invalidf("report of job %s: it has no kind: say KIND_ALIVE, KIND_RUNNING, KIND_FAILED, KIND_END_OF_DATA or KIND_COMMITTED", j.id)
	}
	return ask(ctx, j, func(reply func(*ckptdv1.ReportResponse, error)) {
		reply(&ckptdv1.ReportResponse{}, j.report(req))
	})
}

// BeginSnapshot returns which of a subtask's files are known. The known files are promised to the checkpoint.
func (e engineService) BeginSnapshot(ctx context.Context, req *ckptdv1.BeginSnapshotRequest) (*ckptdv1.BeginSnapshotResponse, error) {
	j, err := e.s.job(req.GetJobId())
	if err != nil {
		return nil, err
	}
	return ask(ctx, j, func(reply func(*ckptdv1.BeginSnapshotResponse, error)) {
		numbers := make([]incremental.File, len(req.GetFiles()))
		found := make([]bool, len(numbers))
		var known incremental.Builder
		for i, f := range req.GetFiles() {
			numbers[i], found[i] = j.names.Lookup(f.GetInstanceNonce(), f.GetName(), f.GetSize(), f.GetRestoredKey())
			if found[i] {
				d, _ := j.names.Describe(numbers[i])
				found[i] = scopeOf(d.Key) == ckptdv1.Scope_SCOPE_SHARED // an exclusive file is never reused
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
func (e engineService) Decline(ctx context.Context, req *ckptdv1.DeclineRequest) (*ckptdv1.DeclineResponse, error) {
	j, err := e.s.job(req.GetJobId())
	if err != nil {
		return nil, err
	}
	return ask(ctx, j, func(reply func(*ckptdv1.DeclineResponse, error)) {
		head := j.m.Head()
		switch {
		case head == nil:
			reply(nil, notAttached(j.id))
			return
		case head.Epoch == req.GetEpoch() && head.Attempt == req.GetAttempt() && j.contents[req.GetCheckpointId()] != nil:
			j.coordinate(coordinator.Declined{
				Checkpoint: req.GetCheckpointId(), Reason: coordinator.ParseReason(req.GetReason()), Cause: req.GetCause(),
			})
		}
		reply(&ckptdv1.DeclineResponse{}, nil) // a late or repeated call changes nothing
	})
}

// NewAttempt begins the next attempt.
func (e engineService) NewAttempt(ctx context.Context, req *ckptdv1.NewAttemptRequest) (*ckptdv1.NewAttemptResponse, error) {
	j, err := e.s.job(req.GetJobId())
	if err != nil {
		return nil, err
	}
	return ask(ctx, j, func(reply func(*ckptdv1.NewAttemptResponse, error)) {
		caller := j.wait(func(op *owner.Op) {
			if err := j.refusal(op); err != nil {
				reply(nil, err)
				return
			}
			reply(&ckptdv1.NewAttemptResponse{Attempt: op.Attempt}, nil)
		})
		j.coordinate(coordinator.NewAttempt{Attempt: req.GetAttempt(), Cause: req.GetReason()})
		j.feed(owner.Event{
			Kind: owner.EventNewAttempt, Caller: caller, Attempt: req.GetAttempt(), Request: journal.RequestOf(req.GetRequestId()),
		})
	})
}

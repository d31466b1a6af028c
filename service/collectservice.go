package service

import (
	"context"

	"connectrpc.com/connect"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
	"github.com/ckptd/ckptd/service/api"
)

// collectService implements CollectService: people's calls that delete what nothing needs.
type collectService struct{ s *Server }

var _ ckptdv1connect.CollectServiceHandler = collectService{}

// Collect plans or executes a collection of one job that this daemon owns.
func (c collectService) Collect(ctx context.Context, req *ckptdv1.CollectRequest, stream *connect.ServerStream[ckptdv1.CollectResponse]) error {
	j, err := c.s.job(req.GetJobId())
	if err == nil {
		err = api.Error(j.Collect(ctx, req, stream.Send))
	}
	if api.IsNotAttached(err) {
		return jobService(c).elsewhere(ctx, req.GetJobId(), err)
	}
	return err
}

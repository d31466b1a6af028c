package service

import (
	"context"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/layout/catalog"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
	"github.com/ckptd/ckptd/service/api"
)

// historyService implements HistoryService.
type historyService struct{ s *Server }

var _ ckptdv1connect.HistoryServiceHandler = historyService{}

// GetHistory answers what became of a job's checkpoints. The owner adds what it has not written. Of a job that nobody owns, the storage
// tells. For a job of another daemon, the error names that daemon.
func (p historyService) GetHistory(ctx context.Context, req *ckptdv1.GetHistoryRequest) (*ckptdv1.GetHistoryResponse, error) {
	history := catalog.New(p.s.storeOf(req.GetJobId(), p.s.stores.restore))
	j, err := p.s.job(req.GetJobId())
	if err == nil {
		u, askErr := j.Unwritten(ctx)
		if askErr == nil {
			res, err := history.History(ctx, req, u)
			return res, api.Error(err)
		}
		err = askErr
	}
	if connect.CodeOf(err) != connect.CodeFailedPrecondition {
		return nil, err
	}
	head, headErr := p.s.headOf(ctx, req.GetJobId())
	if headErr != nil || !head.Owner.IsZero() && len(head.URLs) > 0 && !head.Status.Terminal() {
		return nil, jobService(p).elsewhere(ctx, req.GetJobId(), err)
	}
	res, err := history.History(ctx, req, nil)
	return res, api.Error(err)
}

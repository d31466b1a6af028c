package main

import (
	"context"
	"log/slog"
	"net/http"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/ckptd/ckptd/layout/copying"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/proto/address"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
	"github.com/ckptd/ckptd/service"
)

// copierService is all that a copier answers: whether it owns a job.
type copierService struct {
	ckptdv1connect.UnimplementedEngineServiceHandler
	claims *copying.Claims
}

// Owns answers a daemon that finds this process in a journal.
func (s *copierService) Owns(_ context.Context, req *ckptdv1.OwnsRequest) (*ckptdv1.OwnsResponse, error) {
	nonce, err := journal.ParseNonce(req.GetOwnerNonce())
	if err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	return &ckptdv1.OwnsResponse{Owns: s.claims.Owns(req.GetJobId(), nonce)}, nil
}

// answerForCopy answers at an address whether this process owns a copy, until stop is called. It tells opts the address,
// and how to ask other owners.
func answerForCopy(ctx context.Context, cmd *cobra.Command, listenAt string, to *copying.Place, opts *copying.Options) (stop func(), err error) {
	credentials, err := address.NewCredentials(credentialsOf(cmd))
	if err != nil {
		return nil, err
	}
	if _, err := checkListen(ctx, listenAt); err != nil {
		return nil, err
	}
	l, url, err := listen(ctx, listenAt, false, 0o600)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle(ckptdv1connect.NewEngineServiceHandler(&copierService{claims: opts.Claims},
		connect.WithInterceptors(service.RootProof(to.Store, to.Facts.Location))))
	server := newHTTPServer(mux)
	go func() { _ = server.Serve(l) }() // it ends with Close
	opts.URLs = []string{url}
	log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
	opts.Owns = func(ctx context.Context, urls []string, job, nonce string) bool {
		return service.AskOwner(ctx, to.Store, urls, job, nonce, credentials, log)
	}
	return func() { _ = server.Close() }, nil
}

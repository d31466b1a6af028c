package service

import (
	"context"
	"net/http"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/proto/address"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/api"
)

// rootProof is an interceptor. It refuses a call whose caller means another root than this daemon serves. Callers that
// have found this daemon in a journal name an object of the root that holds the journal.
type rootProof struct {
	store    storage.Store
	location string
}

// RootProof returns the interceptor that a process which answers for jobs of a root puts before its calls. It refuses
// callers that mean another root than the one in store, whose URL is location.
func RootProof(store storage.Store, location string) connect.Interceptor {
	return rootProof{store, location}
}

var _ connect.Interceptor = rootProof{}

// WrapUnary implements connect.Interceptor.
func (p rootProof) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		if err := p.check(ctx, req.Header()); err != nil {
			return nil, err
		}
		return next(ctx, req)
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (p rootProof) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler implements connect.Interceptor.
func (p rootProof) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		if err := p.check(ctx, conn.RequestHeader()); err != nil {
			return err
		}
		return next(ctx, conn)
	}
}

func (p rootProof) check(ctx context.Context, header http.Header) error {
	key := header.Get(address.RootProofHeader)
	if key == "" {
		return nil
	}
	switch sees, err := layout.SeesProof(ctx, p.store, key); {
	case err != nil:
		return api.Error(err)
	case !sees:
		return api.Refused(&ckptdv1.Refused{Reason: ckptdv1.Refused_REASON_ANOTHER_ROOT},
			"this daemon serves another root, %s: the root with that journal was copied by hand, or was moved", p.location)
	}
	return nil
}

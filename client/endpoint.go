package client

import (
	"context"
	"net/http"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/proto/address"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
	"github.com/ckptd/ckptd/proto/data"
)

// endpoint is one daemon's address. It has separate connections for control and for data, so that a slow data stream
// never delays an acknowledgement.
type endpoint struct {
	url     string
	engine  ckptdv1connect.EngineServiceClient
	state   ckptdv1connect.StateServiceClient
	jobs    ckptdv1connect.JobServiceClient
	collect ckptdv1connect.CollectServiceClient
	retain  ckptdv1connect.RetentionServiceClient
	saves   ckptdv1connect.SavepointServiceClient
	history ckptdv1connect.HistoryServiceClient
	// chunk is the best size of chunks for data sent to this daemon.
	chunk      int
	transports [2]*http.Transport
}

// newEndpoint makes no connection yet.
func newEndpoint(at address.Address, credentials *address.Credentials, rootProof string) *endpoint {
	e := &endpoint{url: at.String(), chunk: data.ChunkTCP}
	if at.IsUnix() {
		e.chunk = data.ChunkUnix
	}
	for i := range e.transports {
		e.transports[i] = at.Transport(&address.Options{Credentials: credentials, UnixBuffer: data.UnixBuffer})
	}
	control, bulk := e.transports[0], e.transports[1]
	bulk.ExpectContinueTimeout = data.AdmissionWait
	bulk.MaxIdleConnsPerHost = 64 // each sends much, so that opening one costs little
	calls := at.Client(control, credentials)
	proven := connect.WithInterceptors(proof(rootProof))
	e.engine = ckptdv1connect.NewEngineServiceClient(calls, at.BaseURL(), proven)
	e.jobs = ckptdv1connect.NewJobServiceClient(calls, at.BaseURL(), proven)
	e.collect = ckptdv1connect.NewCollectServiceClient(calls, at.BaseURL(), proven)
	e.retain = ckptdv1connect.NewRetentionServiceClient(calls, at.BaseURL(), proven)
	e.saves = ckptdv1connect.NewSavepointServiceClient(calls, at.BaseURL(), proven)
	e.history = ckptdv1connect.NewHistoryServiceClient(calls, at.BaseURL(), proven)
	e.state = ckptdv1connect.NewStateServiceClient(data.Doer{Client: at.Client(bulk, credentials)}, at.BaseURL(), data.ClientOptions())
	return e
}

func (e *endpoint) close() {
	for _, t := range e.transports {
		t.CloseIdleConnections()
	}
}

// proof is an interceptor that shows each daemon which root the caller means; empty: it shows nothing.
type proof string

// WrapUnary implements connect.Interceptor.
func (p proof) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		if p != "" {
			req.Header().Set(address.RootProofHeader, string(p))
		}
		return next(ctx, req)
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (p proof) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec)
		if p != "" {
			conn.RequestHeader().Set(address.RootProofHeader, string(p))
		}
		return conn
	}
}

// WrapStreamingHandler implements connect.Interceptor.
func (p proof) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

package client

import (
	"net/http"

	"github.com/ckptd/ckptd/proto/address"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
	"github.com/ckptd/ckptd/proto/data"
)

// endpoint is one daemon's address. It has separate connections for control and for data, so that a slow data stream
// never delays an acknowledgement.
type endpoint struct {
	url    string
	engine ckptdv1connect.EngineServiceClient
	state  ckptdv1connect.StateServiceClient
	jobs   ckptdv1connect.JobServiceClient
	// chunk is the best size of chunks for data sent to this daemon.
	chunk      int
	transports [2]*http.Transport
}

// newEndpoint makes no connection yet.
func newEndpoint(at address.Address, credentials *address.Credentials) *endpoint {
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
	e.engine = ckptdv1connect.NewEngineServiceClient(calls, at.BaseURL())
	e.jobs = ckptdv1connect.NewJobServiceClient(calls, at.BaseURL())
	e.state = ckptdv1connect.NewStateServiceClient(data.Doer{Client: at.Client(bulk, credentials)}, at.BaseURL(), data.ClientOptions())
	return e
}

func (e *endpoint) close() {
	for _, t := range e.transports {
		t.CloseIdleConnections()
	}
}

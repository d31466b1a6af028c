package client

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
	"github.com/ckptd/ckptd/proto/data"
)

// endpoint is one daemon's address, with connections for control and others for data: a data stream that waits or is slow
// never stands before an acknowledgement.
type endpoint struct {
	url    string
	engine ckptdv1connect.EngineServiceClient
	state  ckptdv1connect.StateServiceClient
	// chunk is the best size of chunks on the way there.
	chunk      int
	transports [2]*http.Transport
}

// newEndpoint knows "http://host:port" and "unix:/path".
func newEndpoint(raw string) (*endpoint, error) {
	e := &endpoint{url: raw, chunk: data.ChunkTCP}
	base := raw
	var dial func(ctx context.Context, network, addr string) (net.Conn, error)
	if path, ok := strings.CutPrefix(raw, "unix:"); ok {
		if !strings.HasPrefix(path, "/") {
			return nil, fmt.Errorf("%w: daemon %q: want unix:/path", ErrInvalid, raw)
		}
		// The host is never looked up; it only has to be one.
		base, e.chunk, dial = "http://ckptd", data.ChunkUnix, dialUnix(path)
	} else if u, err := url.Parse(raw); err != nil || u.Scheme != "http" || u.Host == "" || strings.Trim(u.Path, "/") != "" {
		return nil, fmt.Errorf("%w: daemon %q: want http://host:port or unix:/path", ErrInvalid, raw)
	}
	for i := range e.transports {
		e.transports[i] = newTransport(dial)
	}
	control, bulk := e.transports[0], e.transports[1]
	bulk.ExpectContinueTimeout = data.AdmissionWait
	bulk.MaxIdleConnsPerHost = 64
	e.engine = ckptdv1connect.NewEngineServiceClient(&http.Client{Transport: control}, base)
	e.state = ckptdv1connect.NewStateServiceClient(data.Doer{Client: &http.Client{Transport: bulk}}, base, data.ClientOptions())
	return e, nil
}

func newTransport(dial func(ctx context.Context, network, addr string) (net.Conn, error)) *http.Transport {
	if dial == nil {
		dial = (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext
	}
	return &http.Transport{
		DialContext:         dial,
		DisableCompression:  true,
		MaxIdleConnsPerHost: 8,
		IdleConnTimeout:     time.Minute,
	}
}

func dialUnix(path string) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
		if u, ok := conn.(*net.UnixConn); ok {
			// Best effort: a smaller buffer is only slower.
			_ = u.SetWriteBuffer(data.UnixBuffer)
		}
		return conn, err
	}
}

func (e *endpoint) close() {
	for _, t := range e.transports {
		t.CloseIdleConnections()
	}
}

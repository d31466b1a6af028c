package service

import (
	"context"
	"net/http"
	"time"

	"github.com/ckptd/ckptd/proto/address"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
)

// ownerProbe asks other daemons whether they still own a job. Its answer decides only whether an attach is tried. It
// never decides whether an attach is safe.
type ownerProbe struct {
	// timeout limits the call to each URL.
	timeout time.Duration
}

// probeTimeout is the timeout of a daemon's probe.
const probeTimeout = time.Second

// owns reports whether a daemon at one of the URLs says that it owns the job under the nonce.
func (p ownerProbe) owns(ctx context.Context, urls []string, job, nonce string) bool {
	for _, u := range urls {
		if p.ownsAt(ctx, u, job, nonce) {
			return true
		}
	}
	return false
}

// ownsAt calls the daemon at one URL. A daemon that cannot be reached does not own the job.
func (p ownerProbe) ownsAt(ctx context.Context, url, job, nonce string) bool {
	at, err := address.Parse(url)
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	transport := at.Transport(nil)
	defer transport.CloseIdleConnections()
	daemon := ckptdv1connect.NewEngineServiceClient(&http.Client{Transport: transport}, at.BaseURL())
	res, err := daemon.Owns(ctx, &ckptdv1.OwnsRequest{JobId: job, OwnerNonce: nonce})
	return err == nil && res.GetOwns()
}

package service

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/proto/address"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
)

// ownerProbe asks other daemons whether they still own a job. Its answer decides only whether an attach is tried. It
// never decides whether an attach is safe.
type ownerProbe struct {
	// self are the URLs of this daemon. They are not asked: who answers there is this process, which does not own the job yet.
	// A daemon that starts would ask itself once for each job of its predecessor.
	self []string
	// timeout limits the call to each URL.
	timeout time.Duration
	// credentials are what this daemon shows to others; nil: nothing.
	credentials *address.Credentials
	log         *slog.Logger
}

// AskOwner asks the daemons at these URLs whether one owns the job under the nonce, as a daemon does before it takes a job
// over. It is for tools that become the owner of a job.
func AskOwner(ctx context.Context, urls []string, job, nonce string, credentials *address.Credentials, log *slog.Logger) bool {
	return ownerProbe{timeout: probeTimeout, credentials: credentials, log: log}.owns(ctx, urls, job, nonce)
}

// probeTimeout is the timeout of a daemon's probe.
const probeTimeout = time.Second

// owns reports whether a daemon at one of the URLs says that it owns the job under the nonce.
func (p ownerProbe) owns(ctx context.Context, urls []string, job, nonce string) bool {
	for _, u := range urls {
		if !slices.Contains(p.self, u) && p.ownsAt(ctx, u, job, nonce) {
			return true
		}
	}
	return false
}

// ownsAt calls the daemon at one URL. A daemon that cannot be reached does not own the job. A daemon that refuses the
// question lives, so the job stays with it: otherwise two daemons that lack each other's tokens would take a job from
// each other for ever.
func (p ownerProbe) ownsAt(ctx context.Context, url, job, nonce string) bool {
	at, err := address.Parse(url)
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	transport := at.Transport(&address.Options{Credentials: p.credentials})
	defer transport.CloseIdleConnections()
	daemon := ckptdv1connect.NewEngineServiceClient(at.Client(transport, p.credentials), at.BaseURL())
	res, err := daemon.Owns(ctx, &ckptdv1.OwnsRequest{JobId: job, OwnerNonce: nonce})
	code := connect.CodeOf(err)
	refused := err != nil && (code == connect.CodeUnauthenticated || code == connect.CodePermissionDenied)
	if refused || errors.Is(err, address.ErrUntrusted) || errors.Is(err, address.ErrExposed) {
		p.log.Warn("another daemon cannot be asked whether it owns a job: the job stays with it", "daemon", at.String(), "job", job, "error", err,
			"advice", "give this daemon a token with the role read by --token-file, or a client certificate, and the authority by --tls-ca")
		return true
	}
	return err == nil && res.GetOwns()
}

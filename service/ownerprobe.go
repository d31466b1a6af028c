package service

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/proto/address"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
	"github.com/ckptd/ckptd/service/api"
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
	// root is where the proof is written that tells the daemon which root is meant; nil: no proof is shown.
	root storage.Store
	log  *slog.Logger
}

// AskOwner asks the daemons at these URLs whether one owns the job under the nonce, as a daemon does before it takes a job
// over. It is for tools that become the owner of a job in root.
func AskOwner(ctx context.Context, root storage.Store, urls []string, job, nonce string, credentials *address.Credentials, log *slog.Logger) bool {
	return ownerProbe{timeout: probeTimeout, credentials: credentials, root: root, log: log}.owns(ctx, urls, job, nonce)
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
	transport := at.Transport(&address.Options{Credentials: p.credentials})
	defer transport.CloseIdleConnections()
	daemon := ckptdv1connect.NewEngineServiceClient(at.Client(transport, p.credentials), at.BaseURL())
	owns := func(proof string) (bool, error) {
		ctx, info := connect.NewClientContext(ctx)
		if proof != "" {
			info.RequestHeader().Set(address.RootProofHeader, proof)
		}
		ctx, cancel := context.WithTimeout(ctx, p.timeout)
		defer cancel()
		res, err := daemon.Owns(ctx, &ckptdv1.OwnsRequest{JobId: job, OwnerNonce: nonce})
		return res.GetOwns(), err
	}
	answer, err := owns("")
	code := connect.CodeOf(err)
	refused := err != nil && (code == connect.CodeUnauthenticated || code == connect.CodePermissionDenied)
	if refused || errors.Is(err, address.ErrUntrusted) || errors.Is(err, address.ErrExposed) {
		p.log.Warn("another daemon cannot be asked whether it owns a job: the job stays with it", "daemon", at.String(), "job", job, "error", err,
			"advice", "give this daemon a token with the role read by --token-file, or a client certificate, and the authority by --tls-ca")
		return true
	}
	return err == nil && answer && p.sameRoot(ctx, at, job, owns)
}

// proofTries is how often a proof is written again that a daemon which started meanwhile has removed.
const proofTries = 3

// sameRoot tells whether a daemon that owns a job of this id and nonce serves this root. If somebody has copied the root
// by hand, the daemon owns the original. Without a proof, the job stays with the daemon.
func (p ownerProbe) sameRoot(ctx context.Context, at address.Address, job string, owns func(proof string) (bool, error)) bool {
	for range proofTries {
		if p.root == nil {
			break
		}
		proof, remove, err := layout.ProveRoot(ctx, p.root)
		if err != nil {
			p.log.Warn("cannot prove to another daemon which root is meant: the job stays with it", "daemon", at.String(), "job", job, "error", err)
			break
		}
		answer, err := owns(proof)
		sees, errSees := layout.SeesProof(ctx, p.root, proof)
		remove()
		switch {
		case err == nil:
			return answer
		case !api.IsAnotherRoot(err):
			return true
		case errSees == nil && sees:
			p.log.Warn("the daemon that the journal names owns a job of this name in another root: this root is a copy", "daemon", at.String(), "job", job)
			return false
		}
	}
	return true
}

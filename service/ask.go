package service

import (
	"context"
	"encoding/hex"
	"net"
	"net/http"
	"strings"
	"time"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
)

// askTimeout is how long an owner is given to answer at each of its URLs.
const askTimeout = time.Second

// asker asks other daemons whether they still own a job. It decides only whether to try an attach, never whether one is safe.
type asker struct{ client *http.Client }

func newAsker() *asker {
	dialer := &net.Dialer{}
	return &asker{&http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if host, _, err := net.SplitHostPort(addr); err == nil && strings.HasPrefix(host, unixHost) {
				return dialer.DialContext(ctx, "unix", unixPath(host))
			}
			return dialer.DialContext(ctx, network, addr)
		},
		MaxIdleConnsPerHost: 1,
	}}}
}

func (a *asker) close() { a.client.CloseIdleConnections() }

// owns reports whether a process that answers at one of the URLs says that it owns the job under that nonce.
func (a *asker) owns(ctx context.Context, urls []string, job, nonce string) bool {
	for _, u := range urls {
		if a.ask(ctx, u, job, nonce) {
			return true
		}
	}
	return false
}

func (a *asker) ask(ctx context.Context, u, job, nonce string) bool {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if path, ok := strings.CutPrefix(u, "unix:"); ok {
		u = "http://" + unixHost + hexPath(path)
	}
	res, err := ckptdv1connect.NewEngineServiceClient(a.client, u).Owns(ctx, &ckptdv1.OwnsRequest{JobId: job, OwnerNonce: nonce})
	return err == nil && res.GetOwns()
}

// unixHost marks host names that stand for the path of a Unix socket, in hex: URLs have no other place for it.
const unixHost = "unix-"

func hexPath(path string) string { return hex.EncodeToString([]byte(path)) }

func unixPath(host string) string {
	b, _ := hex.DecodeString(strings.TrimPrefix(host, unixHost))
	return string(b)
}

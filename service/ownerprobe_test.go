package service

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/proto/address"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
)

// claim is a daemon that owns one job under one nonce.
type claim struct {
	ckptdv1connect.UnimplementedEngineServiceHandler
	job, nonce string
}

// Owns implements EngineService.
func (c claim) Owns(_ context.Context, req *ckptdv1.OwnsRequest) (*ckptdv1.OwnsResponse, error) {
	return &ckptdv1.OwnsResponse{Owns: req.GetJobId() == c.job && req.GetOwnerNonce() == c.nonce}, nil
}

// TestOwnerProbe: an owner is found at each form of address, behind URLs that nobody answers, and only under its own
// nonce.
func TestOwnerProbe(t *testing.T) {
	mux := http.NewServeMux()
	mux.Handle(ckptdv1connect.NewEngineServiceHandler(claim{job: "j", nonce: "n"}))
	tcp := httptest.NewServer(mux)
	defer tcp.Close()
	dir, err := os.MkdirTemp("", "p-") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	socket := &httptest.Server{Listener: l, Config: &http.Server{Handler: mux}}
	socket.Start()
	defer socket.Close()

	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = connect.NewErrorWriter().Write(w, r, connect.NewError(connect.CodeUnauthenticated, errors.New("no token")))
	}))
	defer refusing.Close()
	myself := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the daemon asked itself") }))
	defer myself.Close()
	silent := address.Unix(filepath.Join(dir, "nobody")).String()
	for _, c := range []struct {
		name       string
		urls       []string
		job, nonce string
		want       bool
	}{
		{"at a TCP address", []string{tcp.URL}, "j", "n", true},
		{"at a Unix socket", []string{address.Unix(path).String()}, "j", "n", true},
		{"at the second URL, when nobody answers at the first", []string{silent, tcp.URL}, "j", "n", true},
		{"at the second URL, when the first is no address", []string{"ftp://x", tcp.URL}, "j", "n", true},
		{"with another nonce", []string{tcp.URL}, "j", "m", false},
		{"with another job", []string{tcp.URL}, "k", "n", false},
		{"where nobody answers", []string{silent}, "j", "n", false},
		{"where a daemon refuses the question", []string{refusing.URL}, "j", "n", true},
		{"at the daemon's own URL, which is not asked", []string{myself.URL}, "j", "n", false},
		{"at the URL behind the daemon's own", []string{myself.URL, tcp.URL}, "j", "n", true},
		{"without a URL", nil, "j", "n", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := (ownerProbe{[]string{myself.URL}, time.Minute, nil, nil, slog.New(slog.DiscardHandler)}).owns(t.Context(), c.urls, c.job, c.nonce); got != c.want {
				t.Errorf("owns = %v, want %v", got, c.want)
			}
		})
	}
}

package access

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ckptd/ckptd/proto/freshfile"
)

// Guard lets a request through if its sender has the role that the path wants. It is safe for concurrent use.
type Guard struct {
	file   string
	list   *freshfile.Files[list]
	log    *slog.Logger
	errors *connect.ErrorWriter
	counts *prometheus.CounterVec

	mu sync.Mutex
	// quiet is when the next refusal may be logged; unlogged counts the refusals since the last line.
	quiet    time.Time
	unlogged int
}

// NewGuard reads an access file. The guard reads the file again when it changes. A file that became wrong is reported
// in the log, and the lines before the change stay in force.
func NewGuard(file string, log *slog.Logger) (*Guard, error) {
	list, err := freshfile.Open(func(b [][]byte) (list, error) { return parseList(b[0]) }, file)
	if err != nil {
		return nil, fmt.Errorf("access file %s: %w", file, err)
	}
	g := &Guard{file: file, list: list, log: log, errors: connect.NewErrorWriter(), counts: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ckptd_refused_calls_total", Help: "Calls that the access file does not allow, by the code of the answer.",
	}, []string{"code"})}
	for _, code := range []connect.Code{connect.CodeUnauthenticated, connect.CodePermissionDenied, connect.CodeUnimplemented} {
		g.counts.WithLabelValues(code.String())
	}
	return g, nil
}

// Metrics count the refused calls.
func (g *Guard) Metrics() prometheus.Collector { return g.counts }

// Wrap puts the guard before a daemon's handler. Requests by a Unix socket pass: the rights of the socket's file say
// who may connect.
func (g *Guard) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if at, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && at.Network() == "unix" {
			next.ServeHTTP(w, r)
			return
		}
		if err := g.check(r); err != nil {
			g.refuse(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

var (
	errNobody = errors.New("this daemon wants a token (--token-file or CKPTD_TOKEN) or a client certificate (--client-cert)")
	errToken  = errors.New("this daemon does not know the token: it was mistyped or withdrawn; ask for a line in the daemon's access file")
)

// check returns nil if the sender of a request may make it.
func (g *Guard) check(r *http.Request) *connect.Error {
	want, known := Needed(r.URL.Path)
	if known && want == open {
		return nil
	}
	who, err := g.sender(r)
	switch {
	case err != nil:
		return connect.NewError(connect.CodeUnauthenticated, err)
	case !known:
		return connect.NewError(connect.CodeUnimplemented, errors.New("this daemon has no such path"))
	case who.roles&want == 0:
		return connect.NewError(connect.CodePermissionDenied, fmt.Errorf(
			"%s has the role %s, and this call wants %s: the daemon's access file gives roles", who.name, who.roles, want))
	}
	return nil
}

// sender finds the line of the sender of a request. A token wins over a certificate, and a wrong token is refused even
// beside a certificate.
func (g *Guard) sender(r *http.Request) (entry, error) {
	list, err := g.list.Get()
	if err != nil {
		g.log.Error("the access file has changed and cannot be used: the lines before the change stay in force", "file", g.file, "error", err)
	}
	if header := r.Header.Get("Authorization"); header != "" {
		scheme, token, _ := strings.Cut(header, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return entry{}, errNobody
		}
		if e, ok := list.byToken(strings.TrimSpace(token)); ok {
			return e, nil
		}
		return entry{}, errToken
	}
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return entry{}, errNobody
	}
	cert := r.TLS.VerifiedChains[0][0]
	if e, ok := list.byCertificate(cert); ok {
		return e, nil
	}
	return entry{}, fmt.Errorf("no line of the daemon's access file names the client certificate of %q", cert.Subject.CommonName)
}

// refuse answers in the protocol of the request, and logs a line a second at most.
func (g *Guard) refuse(w http.ResponseWriter, r *http.Request, err *connect.Error) {
	if err.Code() == connect.CodeUnauthenticated {
		w.Header().Set("WWW-Authenticate", `Bearer realm="ckptd"`)
	}
	g.counts.WithLabelValues(err.Code().String()).Inc()
	// An error here means that the sender has gone.
	_ = g.errors.Write(w, r, err)
	g.mu.Lock()
	defer g.mu.Unlock()
	if now := time.Now(); now.After(g.quiet) {
		args := []any{"from", r.RemoteAddr, "path", r.URL.Path, "error", err.Message()}
		if g.unlogged > 0 {
			args = append(args, "refused_since_last_line", g.unlogged)
		}
		g.log.Warn("a request was refused", args...)
		g.quiet, g.unlogged = now.Add(time.Second), 0
		return
	}
	g.unlogged++
}

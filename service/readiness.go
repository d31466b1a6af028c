package service

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
)

const (
	// readyFresh is how long an answer of the store counts for later calls. Probes of many callers cost the store one
	// request in this time.
	readyFresh = time.Second
	// readyTime is how long the store may take to answer a probe.
	readyTime = 2 * time.Second
)

// readiness says whether the store answers: it asks for the root's marker. It is safe for concurrent use.
type readiness struct {
	store storage.Store
	log   *slog.Logger

	mu     sync.Mutex
	closed bool
	last   error         // answer of the last probe; nil: the store has answered
	at     time.Time     // when it came; zero: there was none yet
	asked  time.Time     // when the running probe began
	done   chan struct{} // closed at the end of the running probe; nil: none runs
}

func newReadiness(store storage.Store, log *slog.Logger) *readiness {
	return &readiness{store: store, log: log}
}

// The answers that are not the store's. Their texts are for callers without a role.
var (
	errShutDown = errors.New("the daemon is shutting down")
	errSilent   = fmt.Errorf("the store has not answered within %s", readyTime)
)

// check returns nil if the store answers, else an error whose text anybody may read.
func (r *readiness) check(ctx context.Context) error {
	r.mu.Lock()
	switch {
	case r.closed:
		r.mu.Unlock()
		return errShutDown
	case !r.at.IsZero() && time.Since(r.at) < readyFresh:
		defer r.mu.Unlock()
		return r.last
	case r.done == nil:
		r.done, r.asked = make(chan struct{}), time.Now()
		go r.probe(r.done)
	}
	done, left := r.done, time.Until(r.asked.Add(readyTime))
	r.mu.Unlock()
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-done:
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.last
	case <-timer.C: // the driver does not heed its context: a file system can hang
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.done == done {
			r.answered(errSilent, errSilent)
		}
		return r.last
	case <-ctx.Done():
		return errSilent
	}
}

// probe asks the store once.
func (r *readiness) probe(done chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), readyTime)
	defer cancel()
	_, err := r.store.Stat(ctx, layout.RootMarkerKey)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answered(plainly(err), err)
	r.at, r.done = time.Now(), nil
	close(done)
}

// answered keeps the result of a probe; mu is locked. The log says when the store goes and when it is back.
func (r *readiness) answered(plain, err error) {
	switch {
	case plain != nil && r.last == nil:
		r.log.Warn("not ready: the store does not answer", "error", err)
	case plain == nil && r.last != nil:
		r.log.Info("ready again: the store answers")
	}
	r.last = plain
}

// close answers from now on that the daemon is shutting down.
func (r *readiness) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
}

// plainly says why the store did not answer, without addresses, names and paths: whoever asks needs no role.
func plainly(err error) error {
	var number syscall.Errno
	var name *net.DNSError
	var certificate *tls.CertificateVerificationError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return errSilent
	case errors.Is(err, storage.ErrMoved):
		return errors.New("the root is not where it was: it was moved or removed, or its disk was unmounted")
	case errors.Is(err, storage.ErrNotFound):
		return errors.New("the root's marker is gone: was the root deleted?")
	case errors.Is(err, storage.ErrThrottled):
		return errors.New("the store asks for fewer requests")
	case errors.Is(err, fs.ErrPermission):
		return errors.New("the store refuses access")
	case errors.As(err, &certificate):
		return errors.New("the store's certificate is not trusted")
	case errors.As(err, &name):
		return errors.New("the name of the store's host is not known")
	case errors.As(err, &number):
		return fmt.Errorf("the store does not answer: %s", number.Error())
	}
	return errors.New("the store does not answer: the daemon's log says why")
}

// ServeHTTP answers /readyz.
func (r *readiness) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if err := r.check(req.Context()); err != nil {
		http.Error(w, "not ready: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}

// healthChecker is gRPC's health service: a service is serving while the store answers.
type healthChecker struct {
	ready *readiness
	names []string
}

var _ grpchealth.Watcher = (*healthChecker)(nil)

// known refuses services that the daemon does not have; the empty name is the daemon itself.
func (h *healthChecker) known(req *grpchealth.CheckRequest) error {
	if req.Service == "" || slices.Contains(h.names, req.Service) {
		return nil
	}
	return connect.NewError(connect.CodeNotFound, fmt.Errorf("there is no service %q", req.Service))
}

// Watch implements grpchealth.Watcher. It looks again as often as an answer of the store counts.
func (h *healthChecker) Watch(_ context.Context, req *grpchealth.CheckRequest, onChange func()) (stop func(), err error) {
	if err := h.known(req); err != nil {
		return nil, err
	}
	done, ticker := make(chan struct{}), time.NewTicker(readyFresh)
	go func() {
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				onChange()
			}
		}
	}()
	return func() { close(done) }, nil
}

// Check implements grpchealth.Checker.
func (h *healthChecker) Check(ctx context.Context, req *grpchealth.CheckRequest) (*grpchealth.CheckResponse, error) {
	if err := h.known(req); err != nil {
		return nil, err
	}
	if h.ready.check(ctx) != nil {
		return &grpchealth.CheckResponse{Status: grpchealth.StatusNotServing}, nil
	}
	return &grpchealth.CheckResponse{Status: grpchealth.StatusServing}, nil
}

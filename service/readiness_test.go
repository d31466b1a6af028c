package service

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
)

// probed is a store that answers nothing but Stat of the marker. It counts the requests.
type probed struct {
	storage.Store
	requests atomic.Int32
	answer   func(ctx context.Context) error
}

func (p *probed) Stat(ctx context.Context, key string) (storage.Info, error) {
	p.requests.Add(1)
	if key != layout.RootMarkerKey {
		return storage.Info{}, fmt.Errorf("stat %s: want the marker", key)
	}
	return storage.Info{}, p.answer(ctx)
}

// TestReady: /readyz and gRPC's health say what the store answers. Many callers cost the store one request a second.
func TestReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var answer error
		var log strings.Builder
		store := &probed{answer: func(context.Context) error { return answer }}
		r := newReadiness(store, slog.New(slog.NewTextHandler(&log, nil)))
		health := &healthChecker{r, []string{"a.Service"}}
		want := func(code int, text string, status grpchealth.Status) {
			t.Helper()
			time.Sleep(readyFresh)
			for range 20 {
				w := httptest.NewRecorder()
				r.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
				if w.Code != code || !strings.Contains(w.Body.String(), text) || strings.Contains(w.Body.String(), "secret") {
					t.Errorf("%d %s, want %d %s", w.Code, w.Body, code, text)
				}
			}
			for _, name := range []string{"", "a.Service"} {
				if res, err := health.Check(t.Context(), &grpchealth.CheckRequest{Service: name}); err != nil || res.Status != status {
					t.Errorf("health of %q: %v, %v, want %v", name, res, err, status)
				}
			}
		}
		want(http.StatusOK, "ready", grpchealth.StatusServing)
		for _, c := range []struct {
			err  error
			text string
		}{
			{&storage.Error{Op: "stat", Key: "secret", Err: syscall.ECONNREFUSED}, "connection refused"},
			{&storage.Error{Op: "stat", Key: "secret", Err: storage.ErrNotFound}, "marker is gone"},
			{&storage.Error{Op: "stat", Key: "secret", Err: fs.ErrPermission}, "refuses access"},
			{&storage.Error{Op: "stat", Key: "secret", Err: storage.ErrMoved}, "its disk was unmounted"},
			{&net.DNSError{Name: "secret", Err: "no such host"}, "host is not known"},
			{errors.New("secret"), "the daemon's log says why"},
		} {
			answer = c.err
			want(http.StatusServiceUnavailable, c.text, grpchealth.StatusNotServing)
		}
		if n := store.requests.Load(); n != 7 {
			t.Errorf("%d requests to the store, want one a second", n)
		}
		answer = nil
		want(http.StatusOK, "ready", grpchealth.StatusServing)
		if text := log.String(); strings.Count(text, "level=WARN") != 1 || strings.Count(text, "ready again") != 1 || !strings.Contains(text, "secret") {
			t.Errorf("the log has\n%s\nwant a line with the whole cause, and one when the store is back", text)
		}
		if _, err := health.Check(t.Context(), &grpchealth.CheckRequest{Service: "none"}); connect.CodeOf(err) != connect.CodeNotFound {
			t.Errorf("health of an unknown service: %v", err)
		}
		r.close()
		want(http.StatusServiceUnavailable, "shutting down", grpchealth.StatusNotServing)
	})
}

// TestReadyOfAHungStore: a store that does not answer at all, and does not heed the context, costs a caller readyTime
// once, and later callers nothing. There is one request to it.
func TestReadyOfAHungStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hung := make(chan struct{})
		store := &probed{answer: func(context.Context) error { <-hung; return nil }}
		r := newReadiness(store, slog.New(slog.DiscardHandler))
		for i, want := range []time.Duration{readyTime, 0, 0} {
			began := time.Now()
			err := r.check(t.Context())
			if took := time.Since(began); !errors.Is(err, errSilent) || took != want {
				t.Errorf("call %d: %v after %v, want %v after %v", i, err, took, errSilent, want)
			}
		}
		if n := store.requests.Load(); n != 1 {
			t.Errorf("%d requests, want 1", n)
		}
		close(hung)
		synctest.Wait()
		if err := r.check(t.Context()); err != nil {
			t.Errorf("after its answer: %v", err)
		}
	})
}

// TestHealthWatch: a watcher hears of a change within about readyFresh.
func TestHealthWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &healthChecker{newReadiness(&probed{answer: func(context.Context) error { return nil }}, slog.New(slog.DiscardHandler)), nil}
		var looks atomic.Int32
		stop, err := h.Watch(t.Context(), &grpchealth.CheckRequest{}, func() { looks.Add(1) })
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(3*readyFresh + readyFresh/2)
		stop()
		if n := looks.Load(); n != 3 {
			t.Errorf("%d looks, want 3", n)
		}
		if _, err := h.Watch(t.Context(), &grpchealth.CheckRequest{Service: "none"}, func() {}); connect.CodeOf(err) != connect.CodeNotFound {
			t.Errorf("watch of an unknown service: %v", err)
		}
	})
}

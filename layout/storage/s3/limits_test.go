package s3_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ckptd/ckptd/conformance/servers"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/s3"
)

// gofakes3 silently ignores If-None-Match on CompleteMultipartUpload. The driver finds out before it relies on the
// condition.
func TestCompleteWithoutCondition(t *testing.T) {
	server := servers.StartS3(t, servers.Gofakes3, false)
	opened := open(t, server.URL("condition", ""))
	defer opened.Close()
	large := random(9 << 20)
	err := create(t.Context(), opened.Store, "job/chk-1/_metadata", large, storage.CreateOptions{IfAbsent: true})
	if err == nil || errors.Is(err, storage.ErrUnknown) || errors.Is(err, storage.ErrExists) || !strings.Contains(err.Error(), "ignores If-None-Match") {
		t.Errorf("a large object IfAbsent on a store that ignores the condition: %v, want an error that says so", err)
	}
	if err := create(t.Context(), opened.Store, "job/chk-1/_metadata", large[:8<<20], storage.CreateOptions{IfAbsent: true}); err != nil {
		t.Errorf("an object IfAbsent that fits into one request: %v, want no error", err)
	}
	if err := create(t.Context(), opened.Store, "job/shared/f", large, storage.CreateOptions{}); err != nil {
		t.Errorf("a large object without a condition: %v, want no error", err)
	}
	for info, err := range opened.Store.List(t.Context(), "") {
		if err != nil || strings.HasPrefix(info.Key, "_probe") {
			t.Errorf("left behind: %s, %v; want nothing of the probe", info.Key, err)
		}
	}
	n, err := opened.Store.AbortUnfinished(t.Context(), "", func(string) bool { return true })
	if n != 0 || err != nil {
		t.Errorf("%d uploads left behind, %v; want none", n, err)
	}
}

// A writer whose object is streamed is given up in the middle, in every possible way.
func TestStreamGivenUp(t *testing.T) {
	server := servers.StartS3(t, servers.Versitygw, false)
	opened := open(t, server.URL("stream", ""))
	defer opened.Close()
	data := random(1 << 20)
	begin := func(ctx context.Context, key string, part int) storage.Writer {
		w, err := opened.Store.Create(ctx, key, announced(data))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data[:part]); err != nil {
			t.Fatal(err)
		}
		return w
	}
	for key, part := range map[string]int{"a/begun": 1, "a/half": 500_000, "a/all": len(data)} {
		w := begin(t.Context(), key, part)
		time.Sleep(100 * time.Millisecond) // the server has received everything
		w.Abort()
		ctx, cancel := context.WithCancel(t.Context())
		w = begin(ctx, key, part)
		cancel()
		if err := w.Commit(); !errors.Is(err, context.Canceled) || errors.Is(err, storage.ErrUnknown) {
			t.Errorf("%s: commit after cancelling: %v, want the context's error", key, err)
		}
		w = begin(t.Context(), key, part)
		if part < len(data) {
			if err := w.Commit(); !errors.Is(err, storage.ErrMismatch) {
				t.Errorf("%s: commit of a part: %v, want ErrMismatch", key, err)
			}
		}
		w.Abort()
		if _, err := opened.Store.Stat(t.Context(), key); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("%s: stat after giving up: %v, want ErrNotFound", key, err)
		}
	}
}

// A read-only store changes nothing.
func TestReadOnly(t *testing.T) {
	server := servers.StartS3(t, servers.Versitygw, false)
	clean := open(t, server.URL("readonly", ""))
	defer clean.Close()
	if err := clean.Store.Publish(t.Context(), "a/f", []byte("x")); err != nil {
		t.Fatal(err)
	}
	c, err := s3.Parse(server.URL("readonly", ""))
	if err != nil {
		t.Fatal(err)
	}
	c.ReadOnly = true
	opened, err := s3.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	if got, err := readAll(t.Context(), opened.Store, "a/f"); err != nil || string(got) != "x" {
		t.Errorf("read %q, %v; want x", got, err)
	}
	if err := opened.Store.Publish(t.Context(), "a/g", nil); err == nil {
		t.Error("publish into a read-only store: no error, want one")
	}
	if _, err := opened.Store.Create(t.Context(), "a/g", storage.CreateOptions{}); err == nil {
		t.Error("create in a read-only store: no error, want one")
	}
	if errs := opened.Store.Delete(t.Context(), []string{"a/f"}); errs == nil {
		t.Error("delete in a read-only store: no error, want one")
	}
	if _, err := opened.Store.AbortUnfinished(t.Context(), "", func(string) bool { return true }); err == nil {
		t.Error("abort unfinished in a read-only store: no error, want one")
	}
}

// Servers that know no newer sums get none. They get Content-MD5 where the protocol requires a sum.
func TestChecksumsWhenRequired(t *testing.T) {
	server := servers.StartS3(t, servers.Versitygw, false)
	var unknown []string
	m := newMiddleman(t, server, 0)
	strict := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name := range r.Header {
			if n := strings.ToLower(name); strings.HasPrefix(n, "x-amz-checksum") || strings.HasPrefix(n, "x-amz-sdk-checksum") || n == "x-amz-trailer" {
				unknown = append(unknown, r.Method+" "+name)
			}
		}
		if r.Method == http.MethodPost && r.URL.Query().Has("delete") && r.Header.Get("Content-Md5") == "" {
			unknown = append(unknown, "no Content-MD5")
		}
		m.ServeHTTP(w, r)
	}))
	defer strict.Close()
	opened := open(t, server.URLAt(strict.URL, "old", "checksums=when_required"))
	defer opened.Close()
	large := random(9 << 20)
	for key, opts := range map[string]storage.CreateOptions{"a/known": announced(large[:1<<20]), "a/small": announced(large[:10])} {
		if err := create(t.Context(), opened.Store, key, large[:opts.Size], opts); err != nil {
			t.Error(err)
		}
	}
	if err := create(t.Context(), opened.Store, "a/large", large, storage.CreateOptions{}); err != nil {
		t.Error(err)
	}
	if err := opened.Store.Publish(t.Context(), "a/entry", []byte("x")); err != nil {
		t.Error(err)
	}
	if errs := opened.Store.Delete(t.Context(), []string{"a/known", "a/small", "a/large", "a/entry"}); errs != nil {
		t.Error(errs)
	}
	if len(unknown) > 0 {
		t.Errorf("headers that an old server does not know: %q, want none", unknown)
	}
}

// A Complete that the store did not receive, or refused for now, is repeated. Otherwise the whole object would have
// to be sent again.
func TestCompleteUnasked(t *testing.T) {
	servers.Credentials(t)
	for way, asked := range map[string]int64{"throttled": 2, "nobody there for a moment": 1} {
		t.Run(way, func(t *testing.T) {
			var parts, completes atomic.Int64
			back := &http.Server{}
			defer back.Close()
			var p *puppet
			p = newPuppet(t, func(w http.ResponseWriter, r *http.Request) bool {
				switch request(r) {
				case "PUT uploadId":
					if parts.Add(1) == 2 && way != "throttled" {
						_ = p.Listener.Close()
						time.AfterFunc(300*time.Millisecond, func() {
							listener, err := net.Listen("tcp", p.Listener.Addr().String())
							if err != nil {
								t.Error(err)
								return
							}
							_ = back.Serve(listener)
						})
					}
				case "POST uploadId":
					if completes.Add(1) == 1 && way == "throttled" {
						w.WriteHeader(http.StatusTooManyRequests)
						return true
					}
				}
				return false
			})
			back.Handler = p
			p.Config.SetKeepAlivesEnabled(false)
			opened := p.open(t, "")
			defer opened.Close()
			if err := create(t.Context(), opened.Store, "a/f", random(9<<20), storage.CreateOptions{}); err != nil {
				t.Error(err)
			}
			if completes.Load() != asked {
				t.Errorf("%d requests to complete came, want %d", completes.Load(), asked)
			}
		})
	}
}

// A creation that waits for another one's try of the condition waits no longer than its own context.
func TestConditionWaitCancelled(t *testing.T) {
	servers.Credentials(t)
	probing, release := make(chan struct{}), make(chan struct{})
	p := newPuppet(t, func(w http.ResponseWriter, r *http.Request) bool {
		if request(r) == "PUT" && strings.Contains(r.URL.Path, "/_probe/") {
			close(probing)
			<-release
		}
		return false
	})
	opened := p.open(t, "&max_attempts=1")
	defer opened.Close()
	first := make(chan error, 1)
	go func() {
		first <- create(t.Context(), opened.Store, "a/f", random(9<<20), storage.CreateOptions{IfAbsent: true})
	}()
	<-probing
	ctx, cancel := context.WithCancel(t.Context())
	second := make(chan error, 1)
	go func() {
		second <- create(ctx, opened.Store, "a/g", random(9<<20), storage.CreateOptions{IfAbsent: true})
	}()
	time.AfterFunc(300*time.Millisecond, cancel)
	select {
	case err := <-second:
		if !errors.Is(err, context.Canceled) || errors.Is(err, storage.ErrUnknown) {
			t.Errorf("after cancelling: %v, want the context's error", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("the creation still waits after its context was cancelled, want it to return")
	}
	close(release)
	<-first
}

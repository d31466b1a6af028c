package s3_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ckptd/ckptd/conformance/servers"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/limit"
	"github.com/ckptd/ckptd/layout/storage/measure"
	"github.com/ckptd/ckptd/layout/storage/retry"
)

// A puppet is an S3 server under the test's control: it returns wrong replies first, and then replies with which the
// driver can continue.
type puppet struct {
	*httptest.Server
	// answer writes a wrong reply; if it returns false, the request gets a correct reply.
	answer func(w http.ResponseWriter, r *http.Request) bool
}

func newPuppet(t *testing.T, answer func(w http.ResponseWriter, r *http.Request) bool) *puppet {
	p := &puppet{answer: answer}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *puppet) open(t *testing.T, extra string) storage.Opened {
	t.Helper()
	return open(t, "s3://b/p?endpoint="+p.URL+extra)
}

// request names the purpose of a request: "PUT", "PUT uploadId", "POST uploads", …
func request(r *http.Request) string {
	name := r.Method
	for _, q := range []string{"uploadId", "uploads", "delete", "list-type"} {
		if r.URL.Query().Has(q) {
			name += " " + q
		}
	}
	return name
}

func (p *puppet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	look := r.URL.Query().Get("max-keys") == "1"
	if !look && p.answer(w, r) {
		return
	}
	w.Header().Set("ETag", `"e"`)
	switch request(r) {
	case "GET list-type":
		_, _ = io.WriteString(w, "<ListBucketResult><Name>b</Name></ListBucketResult>")
	case "POST uploads":
		_, _ = io.WriteString(w, "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>")
	case "POST uploadId":
		_, _ = io.WriteString(w, "<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>")
	case "POST delete":
		_, _ = io.WriteString(w, "<DeleteResult></DeleteResult>")
	case "GET uploads":
		_, _ = io.WriteString(w, "<ListMultipartUploadsResult><Upload><Key>p/a/f</Key><UploadId>u</UploadId></Upload></ListMultipartUploadsResult>")
	case "HEAD":
		w.WriteHeader(http.StatusNotFound)
	case "GET":
		_, _ = w.Write([]byte("content"))
	}
	_ = body
}

// replies that ask for fewer requests.
var slowDowns = []struct {
	name    string
	status  int
	body    string
	certain bool // a mutation was not done
}{
	{"SlowDown", 503, "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>", false},
	{"ServiceUnavailable", 503, "<Error><Code>ServiceUnavailable</Code></Error>", false},
	{"MinIO's", 503, "<Error><Code>SlowDownWrite</Code></Error>", false},
	{"a proxy's", 503, "<html><body>503 Service Unavailable</body></html>", false},
	{"without a word", 503, "", false},
	{"429", 429, "<Error><Code>TooManyRequests</Code></Error>", true},
	{"429 without a word", 429, "", true},
	{"a code of another status", 400, "<Error><Code>RequestLimitExceeded</Code></Error>", true},
	{"hidden in a 200", 200, "<Error><Code>SlowDown</Code></Error>", false},
}

// TestThrottled: if the store asks for fewer requests, the error says so; the outcome is the same as without the
// throttle.
func TestThrottled(t *testing.T) {
	t.Parallel()
	servers.Credentials(t)
	large := random(9 << 20)
	ctx := t.Context()
	for _, c := range []struct {
		name, strikes string
		mutation      bool // done by the request in which the fault is injected
		run           func(s storage.Store) error
	}{
		{"publish", "PUT", true, func(s storage.Store) error { return s.Publish(ctx, "a/f", []byte("x")) }},
		{"create", "PUT", true, func(s storage.Store) error { return create(ctx, s, "a/f", large[:10], storage.CreateOptions{}) }},
		{"create, streamed", "PUT", true, func(s storage.Store) error { return create(ctx, s, "a/f", large[:1<<20], announced(large[:1<<20])) }},
		{"create in parts: begin", "POST uploads", false, func(s storage.Store) error { return create(ctx, s, "a/f", large, storage.CreateOptions{}) }},
		{"create in parts: a part", "PUT uploadId", false, func(s storage.Store) error { return create(ctx, s, "a/f", large, storage.CreateOptions{}) }},
		{"create in parts: complete", "POST uploadId", true, func(s storage.Store) error { return create(ctx, s, "a/f", large, storage.CreateOptions{}) }},
		{"open", "GET", false, func(s storage.Store) error { _, err := readAll(ctx, s, "a/f"); return err }},
		{"stat", "HEAD", false, func(s storage.Store) error { _, err := s.Stat(ctx, "a/f"); return err }},
		{"list", "GET list-type", false, func(s storage.Store) error {
			for _, err := range s.List(ctx, "a/") {
				return err
			}
			return nil
		}},
		{"delete", "POST delete", true, func(s storage.Store) error { return errors.Join(s.Delete(ctx, []string{"a/f", "a/g"})...) }},
		{"abort: list", "GET uploads", false, aborting(ctx)},
		{"abort: one", "DELETE uploadId", false, aborting(ctx)},
	} {
		for _, reply := range slowDowns {
			if reply.status == 200 && (c.strikes == "GET" || c.strikes == "HEAD") {
				continue // it is an object
			}
			if reply.status == 400 && c.strikes == "HEAD" {
				continue // the reply has no body, so no code
			}
			t.Run(c.name+"/"+reply.name, func(t *testing.T) {
				t.Parallel()
				var injected atomic.Int64
				p := newPuppet(t, func(w http.ResponseWriter, r *http.Request) bool {
					if request(r) != c.strikes {
						return false
					}
					injected.Add(1)
					w.WriteHeader(reply.status)
					_, _ = io.WriteString(w, reply.body)
					return true
				})
				opened := p.open(t, "&max_attempts=1")
				defer opened.Close()
				err := c.run(opened.Store)
				if !errors.Is(err, storage.ErrThrottled) || injected.Load() == 0 {
					t.Errorf("told to slow down %d times: %v, want ErrThrottled", injected.Load(), err)
				}
				if unknown := errors.Is(err, storage.ErrUnknown); unknown != (c.mutation && !reply.certain) {
					t.Errorf("unknown: %v, want the opposite; %v", unknown, err)
				}
			})
		}
	}
}

func aborting(ctx context.Context) func(s storage.Store) error {
	return func(s storage.Store) error {
		_, err := s.AbortUnfinished(ctx, "", func(string) bool { return true })
		return err
	}
}

// Some keys of a batch are refused for a while.
func TestThrottledKeys(t *testing.T) {
	servers.Credentials(t)
	p := newPuppet(t, func(w http.ResponseWriter, r *http.Request) bool {
		if request(r) == "POST delete" {
			_, _ = io.WriteString(w, "<DeleteResult><Deleted><Key>p/a/1</Key></Deleted><Error><Key>p/a/2</Key><Code>SlowDown</Code></Error><Error><Key>p/a/3</Key><Code>InternalError</Code></Error></DeleteResult>")
		}
		return request(r) == "POST delete"
	})
	opened := p.open(t, "")
	defer opened.Close()
	errs := opened.Store.Delete(t.Context(), []string{"a/1", "a/2", "a/3"})
	if len(errs) != 3 || errs[0] != nil || !errors.Is(errs[1], storage.ErrThrottled) || !errors.Is(errs[1], storage.ErrUnknown) ||
		errors.Is(errs[2], storage.ErrThrottled) || !errors.Is(errs[2], storage.ErrUnknown) {
		t.Errorf("results %q, want the first key deleted and the others refused", errs)
	}
}

// There is one retry policy: the driver sends only once what a caller repeats. It obeys max_attempts, if given.
func TestAskedOnce(t *testing.T) {
	t.Parallel()
	servers.Credentials(t)
	for _, c := range []struct {
		request string
		want    int64 // 3 by package retry, 1 by the driver
		run     func(ctx context.Context, s storage.Store) error
	}{
		{"HEAD", 3, func(ctx context.Context, s storage.Store) error { _, err := s.Stat(ctx, "a/f"); return err }},
		{"GET", 3, func(ctx context.Context, s storage.Store) error { _, err := s.Open(ctx, "a/f", 0, 1); return err }},
		{"POST delete", 3, func(ctx context.Context, s storage.Store) error {
			return errors.Join(s.Delete(ctx, []string{"a/f"})...)
		}},
		{"GET list-type", 3, func(ctx context.Context, s storage.Store) error {
			for _, err := range s.List(ctx, "") {
				return err
			}
			return nil
		}},
		{"PUT", 1, func(ctx context.Context, s storage.Store) error { return s.Publish(ctx, "a/f", nil) }},
	} {
		for extra, times := range map[string]int64{"": 1, "&max_attempts=2": 2} {
			t.Run(c.request+extra, func(t *testing.T) {
				t.Parallel()
				var asked atomic.Int64
				p := newPuppet(t, func(w http.ResponseWriter, r *http.Request) bool {
					asked.Add(1)
					w.WriteHeader(http.StatusServiceUnavailable)
					return true
				})
				opened := p.open(t, extra)
				defer opened.Close()
				err := c.run(t.Context(), retry.New(opened.Store, retry.Policy{Tries: 3, First: time.Millisecond}))
				if err == nil || asked.Load() != c.want*times {
					t.Errorf("%d requests, want %d; %v", asked.Load(), c.want*times, err)
				}
			})
		}
	}
}

// The driver reports what it repeats: the repetition is counted, and the limiter sees the throttle although no
// request failed.
func TestRepeatsTold(t *testing.T) {
	servers.Credentials(t)
	var parts atomic.Int64
	p := newPuppet(t, func(w http.ResponseWriter, r *http.Request) bool {
		slow := request(r) == "PUT uploadId" && parts.Add(1) == 1
		if slow {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, slowDowns[0].body)
		}
		return slow
	})
	opened := p.open(t, "")
	defer opened.Close()
	layers := stack(opened)
	if err := create(t.Context(), layers.way(limit.Upload), "a/f", random(9<<20), storage.CreateOptions{}); err != nil {
		t.Error(err)
	}
	if got := layers.throttles(t); got["driver"] != 1 || len(got) != 1 {
		t.Errorf("throttles counted: %v, want one, of the driver", got)
	}
	if got := layers.limiter.Line(limit.Restore).Allowed; got != 32 && got != 0 { // 0: in the pause
		t.Errorf("%d reads allowed, want half of 64", got)
	}
}

// layers are the decorators over a driver, stacked as in the daemon.
type layers struct {
	registry *prometheus.Registry
	counts   *measure.Metrics
	limiter  *limit.Limiter
	store    storage.Store
}

func stack(opened storage.Opened) *layers {
	l := &layers{registry: prometheus.NewRegistry(), limiter: limit.New(limit.Budgets{})}
	l.counts = measure.New("s3", l.registry)
	l.store = l.counts.Store(opened.Store)
	opened.Facts.Repeats(func(cause error) { l.counts.Repeated(cause); l.limiter.Repeated(cause) })
	return l
}

func (l *layers) way(c limit.Class) storage.Store {
	return retry.New(l.limiter.Store(l.store, c), retry.Policy{Retried: l.counts.Retried})
}

// throttles returns the counted throttles, by operation.
func (l *layers) throttles(t *testing.T) map[string]int {
	families, err := l.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counted := map[string]int{}
	for _, f := range families {
		if f.GetName() != "ckptd_store_throttles_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, label := range m.GetLabel() {
				if n := int(m.GetCounter().GetValue()); n > 0 && label.GetName() == "op" {
					counted[label.GetValue()] = n
				}
			}
		}
	}
	return counted
}

// A throttler stands in front of a server. While it is on, it answers every request but the journal's with SlowDown,
// as S3 does for a hot prefix.
type throttler struct {
	*httptest.Server
	on      atomic.Bool
	refused atomic.Int64
}

func newThrottler(t *testing.T, server *servers.S3) *throttler {
	target, err := url.Parse(server.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 128}
	through := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host
		r.Out.Header.Del("Expect")
	}}
	th := &throttler{}
	th.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !th.on.Load() || strings.Contains(r.URL.Path, "/_journal/") {
			through.ServeHTTP(w, r)
			return
		}
		th.refused.Add(1)
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, slowDowns[0].body)
	}))
	t.Cleanup(func() { th.Close(); transport.CloseIdleConnections() })
	return th
}

// TestSlowDown: a real server whose prefix is overloaded for a while. Commits continue as usual. All other work slows
// down, recovers, and is complete in the end.
func TestSlowDown(t *testing.T) {
	t.Parallel()
	server := servers.StartS3(t, servers.Versitygw, false)
	th := newThrottler(t, server)
	opened := open(t, server.URLAt(th.URL, "slow", ""))
	defer opened.Close()
	l := stack(opened)
	content := random(100 << 10)
	const each = 20
	for i := range each {
		for _, kind := range []string{"read", "deleted"} {
			if err := opened.Store.Publish(t.Context(), fmt.Sprintf("job/shared/%s-%d", kind, i), content); err != nil {
				t.Fatal(err)
			}
		}
	}
	th.on.Store(true)
	var wg sync.WaitGroup
	untilDone := func(run func() error) { // repeats from the source, as the sender and the reader of state do
		wg.Go(func() {
			for err := run(); err != nil; err = run() {
				if !errors.Is(err, storage.ErrThrottled) {
					t.Error(err)
					return
				}
			}
		})
	}
	upload, restore, collect := l.way(limit.Upload), l.way(limit.Restore), l.way(limit.Collect)
	for i := range each {
		untilDone(func() error {
			return create(t.Context(), upload, fmt.Sprintf("job/shared/new-%d", i), content, announced(content))
		})
		untilDone(func() error {
			got, err := readAll(t.Context(), restore, fmt.Sprintf("job/shared/read-%d", i))
			if err == nil && string(got) != string(content) {
				t.Errorf("read %d other bytes, want the content", len(got))
			}
			return err
		})
		untilDone(func() error {
			return errors.Join(collect.Delete(t.Context(), []string{fmt.Sprintf("job/shared/deleted-%d", i)})...)
		})
	}
	untilDone(func() error {
		return create(t.Context(), upload, "job/shared/large", random(9<<20), storage.CreateOptions{})
	})
	lowest := func(c limit.Class) bool { return l.limiter.Line(c).Allowed <= 1 }
	eventually(t, "everything but commits makes room", func() bool {
		return lowest(limit.Upload) && lowest(limit.Restore) && lowest(limit.Collect) && th.refused.Load() > 2*each
	})
	before := th.refused.Load()
	for i := range 100 {
		if err := l.way(limit.Commit).Publish(t.Context(), fmt.Sprintf("job/_journal/%d", i), content[:100]); err != nil {
			t.Fatal(err)
		}
	}
	refused := th.refused.Load()
	// After some bursts, each half as large, one request of each class is sent after each pause, and the pauses
	// double. 300 requests would take many minutes.
	if refused > 300 {
		t.Errorf("%d requests to a store that asks for fewer, want at most 300", refused)
	}
	t.Logf("%d requests refused before the commits, %d while 100 of them went through", before, refused-before)
	th.on.Store(false)
	wg.Wait()
	for i := range each {
		judge(t, opened.Store, fmt.Sprintf("job/shared/new-%d", i), content, nil, "uploaded")
		if _, err := opened.Store.Stat(t.Context(), fmt.Sprintf("job/shared/deleted-%d", i)); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("stat of a deleted object: %v, want ErrNotFound", err)
		}
	}
	judge(t, opened.Store, "job/shared/large", random(9<<20), nil, "uploaded")
	eventually(t, "uploads come back", func() bool { return l.limiter.Line(limit.Upload).Allowed > 2 })
	counted, sum := l.throttles(t), int64(0)
	for _, n := range counted {
		sum += int64(n)
	}
	if counted["create"] == 0 || counted["open"] == 0 || counted["delete"] == 0 || sum > th.refused.Load() {
		t.Errorf("throttles counted: %v; want some of each operation, and at most %d", counted, th.refused.Load())
	}
	t.Logf("throttles counted: %v, of %d", counted, th.refused.Load())
}

func eventually(t *testing.T, what string, reached func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !reached(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not reached in time: %s", what)
		}
	}
}

package gcs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ckptd/ckptd/conformance/gcsfake"
	"github.com/ckptd/ckptd/conformance/servers"
	"github.com/ckptd/ckptd/crc32c"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/gcs"
)

// A way is a fault of one request between the driver and the server.
type way struct {
	name string
	// forwarded: the server received the request and carried it out.
	forwarded bool
	// status and body of the reply; 0: the connection is cut instead.
	status int
	body   string
	// half: half of a reply is sent before the cut.
	half bool
}

func errorBody(status int, reason string) string {
	return fmt.Sprintf(`{"error":{"code":%d,"message":"Said by the test.","errors":[{"domain":"global","reason":%q,"message":"Said by the test."}]}}`, status, reason)
}

var ways = []way{
	{name: "cut before the request"},
	{name: "cut before the reply", forwarded: true},
	{name: "cut in the reply", forwarded: true, half: true},
	{name: "503 and not done", status: 503, body: errorBody(503, "backendError")},
	{name: "500 and done", forwarded: true, status: 500, body: errorBody(500, "backendError")},
	{name: "429 and not done", status: 429, body: errorBody(429, "rateLimitExceeded")},
	{name: "408 and done", forwarded: true, status: 408, body: errorBody(408, "uploadBrokenConnection")},
	{name: "200 with a page and not done", status: 200, body: "<html>Log in first.</html>"},
	{name: "200 with a page and done", forwarded: true, status: 200, body: "<html>Log in first.</html>"},
	{name: "200 with nothing and not done", status: 200, body: "{}"},
	{name: "403 and not done", status: 403, body: errorBody(403, "forbidden")},
	{name: "410 and not done", status: 410, body: errorBody(410, "gone")},
	{name: "404 and not done", status: 404, body: errorBody(404, "notFound")}, // the last: a delete takes it for done
}

// A middleman is a proxy between a driver and a server. Once armed, it makes one request fail.
type middleman struct {
	*httptest.Server
	endpoint string
	client   *http.Client
	only     func(r *http.Request) bool // requests that count; nil: all

	mu       sync.Mutex
	armed    bool
	target   int // number of the request
	way      way
	seen     int
	injected bool
}

// newMiddleman returns a middleman; step decides which request fails, and in which way.
func newMiddleman(t *testing.T, endpoint string, step int) *middleman {
	m := &middleman{endpoint: endpoint, client: &http.Client{Transport: &http.Transport{}}, target: step / len(ways), way: ways[step%len(ways)]}
	m.Server = httptest.NewServer(m)
	t.Cleanup(func() {
		m.Server.CloseClientConnections()
		m.Server.Close()
		m.client.CloseIdleConnections()
	})
	return m
}

func (m *middleman) arm() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.armed = true
}

func (m *middleman) wasInjected() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.injected
}

// strikes reports whether this request must fail.
func (m *middleman) strikes(r *http.Request) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.armed || m.only != nil && !m.only(r) || r.Method == http.MethodDelete && m.way.status == http.StatusNotFound {
		return false
	}
	m.seen++
	if m.seen-1 != m.target {
		return false
	}
	m.injected = true
	return true
}

func (m *middleman) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	hit := m.strikes(r)
	if hit && !m.way.forwarded {
		m.answer(w, r, nil)
		return
	}
	out, err := http.NewRequestWithContext(r.Context(), r.Method, m.endpoint+r.URL.RequestURI(), r.Body)
	if err != nil {
		panic(err)
	}
	out.Header, out.Host, out.ContentLength = r.Header.Clone(), r.Host, r.ContentLength
	out.Header.Del("Expect")
	if r.ContentLength == 0 {
		out.Body = nil
	}
	resp, err := m.client.Do(out)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if hit {
		m.answer(w, r, body)
		return
	}
	for name, values := range resp.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(resp.StatusCode)
	_, _ = w.Write(body)
}

// answer carries out the way.
func (m *middleman) answer(w http.ResponseWriter, r *http.Request, body []byte) {
	switch {
	case m.way.half:
		w.Header().Set("Content-Length", fmt.Sprint(len(body)+10))
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusOK)
		_, _ = w.Write(body[:len(body)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	case m.way.status == 0:
		panic(http.ErrAbortHandler)
	}
	if !m.way.forwarded {
		_, _ = io.Copy(io.Discard, r.Body)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(m.way.status)
	_, _ = io.WriteString(w, m.way.body)
}

// faulty is the suite's store in which every request of every mutation fails in every way.
func faulty(endpoint string) func(t *testing.T, root string, step int) (storage.Opened, func(), func() bool) {
	return func(t *testing.T, root string, step int) (storage.Opened, func(), func() bool) {
		m := newMiddleman(t, endpoint, step)
		return open(t, servers.GCSURL(m.URL, root, "max_attempts=1")), m.arm, m.wasInjected
	}
}

// TestFaultsRetried makes each request fail in each way, with retries on and off. It covers what the suite lacks:
// resumable uploads, their chunks, and requests that were repeated.
func TestFaultsRetried(t *testing.T) {
	t.Parallel()
	_, endpoint := strict(t, gcsfake.Bucket{})
	large := random(600 << 10)
	small := []byte("an entry")
	for name, do := range map[string]struct {
		content []byte
		run     func(ctx context.Context, s storage.Store, key string) error
	}{
		"publish":                   {small, func(ctx context.Context, s storage.Store, key string) error { return s.Publish(ctx, key, small) }},
		"create, small":             {small, creating(small, storage.CreateOptions{})},
		"create":                    {large, creating(large, announced(large))},
		"create, resumable":         {large, creating(large, storage.CreateOptions{})},
		"create, resumable, absent": {large, creating(large, storage.CreateOptions{IfAbsent: true, HasSize: true, Size: int64(len(large))})},
	} {
		for _, retries := range []string{"max_attempts=1", "max_attempts=3"} {
			resumable, absent, once := strings.Contains(name, "resumable"), strings.HasSuffix(name, "absent"), retries == "max_attempts=1"
			if !full() && absent || os.Getenv("CKPTD_NIGHTLY") != "1" && resumable && absent != once { // each alone, but in the long run
				continue
			}
			t.Run(name+"/"+retries, func(t *testing.T) {
				t.Parallel()
				prefix := fmt.Sprintf("faults/%s/%s", strings.ReplaceAll(name, " ", "-"), retries)
				clean := open(t, servers.GCSURL(endpoint, prefix, ""))
				defer clean.Close()
				for request := 0; request < 50; request++ {
					if !wrong(t, endpoint, clean.Store, prefix, retries, request, do.content, do.run) {
						return
					}
				}
				t.Fatal("there is always one more request, want a last one")
			})
		}
	}
}

// wrong makes one request of a creation fail in every way. It reports whether there was such a request.
func wrong(t *testing.T, endpoint string, clean storage.Store, prefix, retries string, request int, content []byte,
	run func(context.Context, storage.Store, string) error) bool {
	var wg sync.WaitGroup
	var injected atomic.Bool
	turns := make(chan struct{}, 4) // the contents are large
	for i, way := range ways {
		m := newMiddleman(t, endpoint, request*len(ways)+i)
		opened := gcs.SmallChunks(open(t, servers.GCSURL(m.URL, prefix, retries)))
		m.arm()
		wg.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			defer opened.Close()
			key := fmt.Sprintf("job/shared/%d-%d", request, i)
			err := run(t.Context(), opened.Store, key)
			judge(t, clean, key, content, err, fmt.Sprintf("request %d: %s", request, way.name))
			if m.wasInjected() {
				injected.Store(true)
			} else if err != nil {
				t.Errorf("without a fault: error %v, want none", err)
			}
		})
	}
	wg.Wait()
	return injected.Load()
}

// judge compares the reported outcome of a creation of an absent key with the store's content.
func judge(t *testing.T, clean storage.Store, key string, content []byte, reported error, how string) {
	t.Helper()
	got, err := readAll(t.Context(), clean, key)
	there := err == nil
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("%s: %v", how, err)
	}
	if there && !bytes.Equal(got, content) {
		t.Errorf("%s: the object has %d other bytes, want the %d written (reported: %v)", how, len(got), len(content), reported)
	}
	switch {
	case reported == nil && !there:
		t.Errorf("%s: reported as done, and no object is there; want one", how)
	case errors.Is(reported, storage.ErrExists) && !there:
		t.Errorf("%s: reported as existing, and no object is there; want one", how)
	case reported != nil && !errors.Is(reported, storage.ErrExists) && !errors.Is(reported, storage.ErrUnknown) && there:
		t.Errorf("%s: reported as not done (%v), and an object is there; want none", how, reported)
	}
}

func random(n int) []byte {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n)}).Read(data)
	return data
}

func announced(data []byte) storage.CreateOptions {
	sum := crc32c.Sum(data)
	return storage.CreateOptions{Size: int64(len(data)), HasSize: true, CRC32C: sum, HasCRC32C: true}
}

func creating(data []byte, opts storage.CreateOptions) func(context.Context, storage.Store, string) error {
	return func(ctx context.Context, s storage.Store, key string) error { return create(ctx, s, key, data, opts) }
}

func create(ctx context.Context, s storage.Store, key string, data []byte, opts storage.CreateOptions) error {
	w, err := s.Create(ctx, key, opts)
	if err != nil {
		return err
	}
	defer w.Abort()
	for len(data) > 0 {
		n := min(len(data), 512<<10)
		if _, err := w.Write(data[:n]); err != nil {
			return err
		}
		data = data[n:]
	}
	return w.Commit()
}

package gcs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ckptd/ckptd/conformance/gcsfake"
	"github.com/ckptd/ckptd/conformance/servers"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/gcs"
)

// answering starts the strict server behind a handler that may answer in its place.
func answering(t *testing.T, b gcsfake.Bucket, before func(w http.ResponseWriter, r *http.Request) bool) (*gcsfake.Server, string) {
	server, endpoint := strict(t, b)
	server.Before = before
	return server, endpoint
}

// An object that was damaged on its way is refused by the store, whichever way it was sent. Nothing is left.
func TestDamagedOnItsWay(t *testing.T) {
	t.Parallel()
	content := random(900 << 10)
	for name, opts := range map[string]storage.CreateOptions{
		"one request": announced(content[:800<<10]), "resumable, sum known": {HasCRC32C: true, CRC32C: announced(content).CRC32C}, "resumable": {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := content
			if opts.HasSize {
				data = content[:opts.Size]
			}
			server, endpoint := strict(t, gcsfake.Bucket{})
			server.Before = func(_ http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, "/upload/") {
					r.Body = &flipping{ReadCloser: r.Body, at: 100_000}
				}
				return false
			}
			opened := gcs.SmallChunks(open(t, servers.GCSURL(endpoint, "damaged", "")))
			defer opened.Close()
			err := create(t.Context(), opened.Store, "job/shared/f", data, opts)
			if err == nil || errors.Is(err, storage.ErrUnknown) || !strings.Contains(err.Error(), "CRC32C") {
				t.Errorf("error %v, want one about the sum, not an unknown outcome", err)
			}
			if live, _, _, _ := server.Versions(servers.Bucket); live != 0 {
				t.Errorf("%d objects, want none", live)
			}
		})
	}
}

// A flipping body changes one bit.
type flipping struct {
	io.ReadCloser
	at, seen int
}

func (f *flipping) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	if i := f.at - f.seen; i >= 0 && i < n {
		p[i] ^= 4
	}
	f.seen += n
	return n, err
}

// A server that does not compare sums has made a damaged object. The reply tells, and the object is removed.
func TestSumsThatNobodyChecks(t *testing.T) {
	t.Parallel()
	server, endpoint := strict(t, gcsfake.Bucket{})
	var armed atomic.Bool
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !armed.Load() || r.URL.Query().Get("uploadType") != "multipart" {
			server.ServeHTTP(w, r)
			return
		}
		reply := httptest.NewRecorder()
		server.ServeHTTP(reply, r)
		body := reply.Body.String()
		if i := strings.Index(body, `"crc32c":"`); i >= 0 {
			body = body[:i] + `"crc32c":"AAAAAA==` + body[i+len(`"crc32c":"AAAAAA==`):]
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, body)
	}))
	defer front.Close()
	opened := open(t, servers.GCSURL(front.URL, "unchecked", ""))
	defer opened.Close()
	clean := open(t, servers.GCSURL(endpoint, "unchecked", ""))
	defer clean.Close()
	armed.Store(true)
	err := opened.Store.Publish(t.Context(), "job/_journal/1", []byte("an entry"))
	if !errors.Is(err, storage.ErrMismatch) || errors.Is(err, storage.ErrUnknown) {
		t.Errorf("error %v, want a mismatch", err)
	}
	if _, err := clean.Store.Stat(t.Context(), "job/_journal/1"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("stat: %v, want that the object is gone", err)
	}
}

// The reply to a write is lost, though the store has made the object. Whatever the server says to a repetition, the
// outcome stays unknown.
func TestRefusedAfterALostReply(t *testing.T) {
	t.Parallel()
	server, endpoint := strict(t, gcsfake.Bucket{})
	for _, status := range []int{0, http.StatusForbidden, http.StatusTooManyRequests} {
		var armed, lost atomic.Bool
		front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case !armed.Load():
				server.ServeHTTP(w, r)
			case !lost.Swap(true):
				server.ServeHTTP(httptest.NewRecorder(), r)
				panic(http.ErrAbortHandler)
			case status == 0:
				panic(http.ErrAbortHandler)
			default:
				_, _ = io.Copy(io.Discard, r.Body)
				w.WriteHeader(status)
				_, _ = io.WriteString(w, errorBody(status, "said by the test"))
			}
		}))
		opened := open(t, servers.GCSURL(front.URL, "lost", "max_attempts=3"))
		armed.Store(true)
		entry, file := fmt.Sprintf("job/_journal/%d", status), fmt.Sprintf("job/shared/%d", status)
		if err := opened.Store.Publish(t.Context(), entry, []byte("an entry")); !errors.Is(err, storage.ErrUnknown) {
			t.Errorf("publish, then status %d: error %v, want an unknown outcome", status, err)
		}
		lost.Store(false)
		if err := create(t.Context(), opened.Store, file, []byte("state"), storage.CreateOptions{}); !errors.Is(err, storage.ErrUnknown) {
			t.Errorf("create, then status %d: error %v, want an unknown outcome", status, err)
		}
		clean := open(t, servers.GCSURL(endpoint, "lost", ""))
		for _, key := range []string{entry, file} {
			if _, err := clean.Store.Stat(t.Context(), key); err != nil {
				t.Errorf("%s: %v, want that it was made", key, err)
			}
		}
		_ = errors.Join(clean.Close(), opened.Close())
		front.Close()
	}
}

// Replies that ask for fewer requests are called so, and the outcome of a mutation is told beside it. One object's own
// limit is no such reply.
func TestThrottled(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		status    int
		body      string
		throttled bool
		unknown   bool
	}{
		{"429", 429, errorBody(429, "rateLimitExceeded"), true, false},
		{"503", 503, errorBody(503, "backendError"), true, true},
		{"403 of a quota", 403, errorBody(403, "quotaExceeded"), true, false},
		{"403", 403, errorBody(403, "forbidden"), false, false},
		{"503 of a proxy", 503, "<html>busy</html>", true, true},
		{"one object", 429, strings.Replace(errorBody(429, "rateLimitExceeded"), "Said by the test", "exceeded the rate limit for object mutation operations", 2), false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var armed atomic.Bool
			_, endpoint := answering(t, gcsfake.Bucket{}, func(w http.ResponseWriter, r *http.Request) bool {
				if armed.Load() {
					_, _ = io.Copy(io.Discard, r.Body)
					w.WriteHeader(c.status)
					_, _ = io.WriteString(w, c.body)
				}
				return armed.Load()
			})
			opened := open(t, servers.GCSURL(endpoint, "throttled", "max_attempts=1"))
			defer opened.Close()
			armed.Store(true)
			s := opened.Store
			_, statErr := s.Stat(t.Context(), "f")
			_, openErr := s.Open(t.Context(), "f", 0, -1)
			var listErr error
			for _, err := range s.List(t.Context(), "") {
				listErr = err
			}
			mutations := map[string]error{"publish": s.Publish(t.Context(), "f", []byte("x")), "delete": s.Delete(t.Context(), []string{"f"})[0]}
			for name, err := range map[string]error{"stat": statErr, "open": openErr, "list": listErr, "publish": mutations["publish"], "delete": mutations["delete"]} {
				if err == nil || errors.Is(err, storage.ErrThrottled) != c.throttled {
					t.Errorf("%s: %v; want throttled: %v", name, err, c.throttled)
				}
				if mutations[name] != nil && errors.Is(err, storage.ErrUnknown) != c.unknown {
					t.Errorf("%s: %v; want an unknown outcome: %v", name, err, c.unknown)
				}
			}
		})
	}
}

// A read goes on where a reply broke off, as long as replies bring something. It ends if they do not.
func TestReadGoesOn(t *testing.T) {
	t.Parallel()
	data := random(3 << 20)
	for _, c := range []struct {
		name   string
		each   int // bytes that each reply brings
		whole  bool
		repeat int // reported repetitions, at least
	}{{"a megabyte each", 1 << 20, true, 2}, {"nothing", 0, false, 2}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var armed atomic.Bool
			server, endpoint := strict(t, gcsfake.Bucket{})
			front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if armed.Load() && r.URL.Query().Get("alt") == "media" {
					w = &breaking{ResponseWriter: w, rest: c.each}
				}
				server.ServeHTTP(w, r)
			}))
			defer front.Close()
			opened := open(t, servers.GCSURL(endpoint, "broken", ""))
			defer opened.Close()
			if err := create(t.Context(), opened.Store, "f", data, announced(data)); err != nil {
				t.Fatal(err)
			}
			through := open(t, servers.GCSURL(front.URL, "broken", ""))
			defer through.Close()
			repeats := 0
			through.Facts.Repeats(func(error) { repeats++ })
			armed.Store(true)
			got, err := readAll(t.Context(), through.Store, "f")
			if (err == nil) != c.whole || c.whole && !bytes.Equal(got, data) || repeats < c.repeat {
				t.Errorf("%d bytes, %v, %d repetitions; want all: %v, at least %d", len(got), err, repeats, c.whole, c.repeat)
			}
		})
	}
}

// A breaking reply ends after some bytes.
type breaking struct {
	http.ResponseWriter
	rest int
}

func (b *breaking) Write(p []byte) (int, error) {
	if len(p) > b.rest {
		_, _ = b.ResponseWriter.Write(p[:b.rest])
		_ = http.NewResponseController(b.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	b.rest -= len(p)
	return b.ResponseWriter.Write(p)
}

// An object that rotted on the server's disk is found by a whole read.
func TestRotten(t *testing.T) {
	t.Parallel()
	server, endpoint := strict(t, gcsfake.Bucket{})
	opened := open(t, servers.GCSURL(endpoint, "rotten", ""))
	defer opened.Close()
	if err := opened.Store.Publish(t.Context(), "f", random(1000)); err != nil {
		t.Fatal(err)
	}
	server.Corrupt(servers.Bucket, "rotten/f")
	if _, err := readAll(t.Context(), opened.Store, "f"); err == nil {
		t.Error("read without an error, want one about the sum")
	}
}

// An upload that is given up ends its session, so that the store keeps nothing of it.
func TestAbortEndsSession(t *testing.T) {
	t.Parallel()
	server, endpoint := strict(t, gcsfake.Bucket{})
	opened := gcs.SmallChunks(open(t, servers.GCSURL(endpoint, "aborted", "")))
	defer opened.Close()
	for name, giveUp := range map[string]func(w storage.Writer, cancel func()){
		"abort": func(w storage.Writer, _ func()) { w.Abort() }, "cancel": func(w storage.Writer, cancel func()) { cancel(); w.Abort() },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		w, err := opened.Store.Create(ctx, "job/shared/"+name, storage.CreateOptions{})
		if err == nil {
			_, err = w.Write(random(1 << 20))
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, _, _, uploads := server.Versions(servers.Bucket); uploads != 1 {
			t.Errorf("%s: %d uploads before, want 1", name, uploads)
		}
		giveUp(w, cancel)
		if live, _, _, uploads := server.Versions(servers.Bucket); live+uploads > 0 {
			t.Errorf("%s: %d objects, %d uploads are left; want none", name, live, uploads)
		}
	}
}

// A store that lists the same page for ever is an error, not a list without end; so is one that leaves a list with
// nothing that is the store's.
func TestListWithoutEnd(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"kind":"storage#objects","nextPageToken":"same","items":[{"name":"list/a","size":"1","timeCreated":"2026-01-01T00:00:00Z"}]}`: "the same page",
		"<html>Log in</html>": "does not come from",
	} {
		var armed atomic.Bool
		_, endpoint := answering(t, gcsfake.Bucket{}, func(w http.ResponseWriter, r *http.Request) bool {
			if armed.Load() {
				w.Header().Set("Content-Type", map[bool]string{true: "application/json", false: "text/html"}[strings.HasPrefix(body, "{")])
				_, _ = io.WriteString(w, body)
			}
			return armed.Load()
		})
		opened := open(t, servers.GCSURL(endpoint, "list", ""))
		defer opened.Close()
		armed.Store(true)
		n, last := 0, error(nil)
		for _, err := range opened.Store.List(t.Context(), "") {
			if n, last = n+1, err; n > 10 {
				break
			}
		}
		if last == nil || !strings.Contains(last.Error(), want) {
			t.Errorf("%d elements, %v; want an error about %q", n, last, want)
		}
	}
}

// Later pages of a list are repeated by the driver, and show each object once.
func TestListRepeatsLaterPages(t *testing.T) {
	t.Parallel()
	var armed atomic.Bool
	failed := atomic.Int64{}
	_, endpoint := answering(t, gcsfake.Bucket{PageSize: 10}, func(w http.ResponseWriter, r *http.Request) bool {
		if !armed.Load() || r.URL.Query().Get("pageToken") == "" || failed.Add(1)%2 == 0 {
			return false
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	opened := open(t, servers.GCSURL(endpoint, "pages", ""))
	defer opened.Close()
	for i := range 35 {
		if err := opened.Store.Publish(t.Context(), "f"+strconv.Itoa(i), nil); err != nil {
			t.Fatal(err)
		}
	}
	armed.Store(true)
	seen := map[string]int{}
	for info, err := range opened.Store.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		seen[info.Key]++
	}
	if len(seen) != 35 || seen["f7"] != 1 || failed.Load() < 6 {
		t.Errorf("%d objects, f7 %d times, %d requests for later pages; want 35, once, repetitions", len(seen), seen["f7"], failed.Load())
	}
}

// New objects get the key and the class of the URL, and the mark of their writer.
func TestSettingsOfObjects(t *testing.T) {
	t.Parallel()
	key := "projects/p/locations/l/keyRings/r/cryptoKeys/k"
	var asked atomic.Pointer[string]
	_, endpoint := answering(t, gcsfake.Bucket{}, func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost {
			body, _ := io.ReadAll(r.Body)
			text := r.URL.RawQuery + string(body)
			asked.Store(&text)
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		return false
	})
	opened := open(t, servers.GCSURL(endpoint, "set", "storage_class=NEARLINE&user_project=payer&kms_key="+key))
	defer opened.Close()
	if err := opened.Store.Publish(t.Context(), "f", []byte("x")); err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(*asked.Load(), "%2F", "/")
	for _, want := range []string{`"storageClass":"NEARLINE"`, "kmsKeyName=" + key, "ifGenerationMatch=0", `"crc32c":"`, "ckptd-writer", "userProject=payer"} {
		if !strings.Contains(text, want) {
			t.Errorf("asked %q, want %q in it", text, want)
		}
	}
	if !strings.Contains(opened.Facts.Location, fmt.Sprintf("kms_key=%s", key)) {
		t.Errorf("location %q, want the key in it", opened.Facts.Location)
	}
}

// Only what nobody above can repeat is repeated here, also after other operations with policies of their own.
func TestNothingIsRepeatedTwice(t *testing.T) {
	t.Parallel()
	var armed atomic.Bool
	var requests atomic.Int64
	_, endpoint := answering(t, gcsfake.Bucket{PageSize: 1}, func(w http.ResponseWriter, r *http.Request) bool {
		if !armed.Load() {
			return false
		}
		_, _ = io.Copy(io.Discard, r.Body)
		requests.Add(1)
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	opened := gcs.SmallChunks(open(t, servers.GCSURL(endpoint, "once", "")))
	defer opened.Close()
	s, large := opened.Store, random(600<<10)
	for i := range 2 {
		if err := create(t.Context(), s, fmt.Sprint("f", i), large, storage.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range s.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
	}
	armed.Store(true)
	for name, c := range map[string]struct {
		most int64
		do   func() error
	}{
		"stat":    {1, func() error { _, err := s.Stat(t.Context(), "f0"); return err }},
		"open":    {1, func() error { _, err := s.Open(t.Context(), "f0", 0, -1); return err }},
		"delete":  {1, func() error { return s.Delete(t.Context(), []string{"f0"})[0] }},
		"publish": {2, func() error { return s.Publish(t.Context(), "f2", nil) }}, // and a look at what is there
		"create":  {6, func() error { return create(t.Context(), s, "f3", nil, storage.CreateOptions{}) }},
	} {
		requests.Store(0)
		if err := c.do(); err == nil || requests.Load() > c.most || requests.Load() == 0 {
			t.Errorf("%s: %v after %d requests; want an error after at most %d", name, err, requests.Load(), c.most)
		}
	}
}

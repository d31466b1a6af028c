package s3_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ckptd/ckptd/conformance/servers"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/retry"
)

// A 200 that does not come from the store (a gateway's page, or nothing) proves nothing: a mutation is unknown, and a
// read is an error.
func TestNotS3(t *testing.T) {
	t.Parallel()
	ctx, large := t.Context(), random(9<<20)
	for name, c := range map[string]struct {
		strikes string
		unknown bool
		run     func(s storage.Store) error
	}{
		"publish":  {"PUT", true, func(s storage.Store) error { return s.Publish(ctx, "a/f", nil) }},
		"create":   {"PUT", true, func(s storage.Store) error { return create(ctx, s, "a/f", large[:1<<20], announced(large[:1<<20])) }},
		"begin":    {"POST uploads", false, func(s storage.Store) error { return create(ctx, s, "a/f", large, storage.CreateOptions{}) }},
		"part":     {"PUT uploadId", false, func(s storage.Store) error { return create(ctx, s, "a/f", large, storage.CreateOptions{}) }},
		"complete": {"POST uploadId", true, func(s storage.Store) error { return create(ctx, s, "a/f", large, storage.CreateOptions{}) }},
		"delete":   {"POST delete", true, func(s storage.Store) error { return errors.Join(s.Delete(ctx, []string{"a/f"})...) }},
		"stat":     {"HEAD", false, func(s storage.Store) error { _, err := s.Stat(ctx, "a/f"); return err }},
		"open":     {"GET", false, func(s storage.Store) error { _, err := readAll(ctx, s, "a/f"); return err }},
		"list": {"GET list-type", false, func(s storage.Store) error {
			for _, err := range s.List(ctx, "a/") {
				return err
			}
			return nil
		}},
	} {
		for _, body := range []string{"", "OK", "<html><body>Welcome</body></html>", "<CompleteMultipartUploadResult>", "{}"} {
			t.Run(name+"/"+body, func(t *testing.T) {
				t.Parallel()
				p := newPuppet(t, func(w http.ResponseWriter, r *http.Request) bool {
					if request(r) != c.strikes {
						return false
					}
					_, _ = io.WriteString(w, body)
					return true
				})
				opened := p.open(t, "&max_attempts=1")
				defer opened.Close()
				if err := c.run(opened.Store); err == nil || errors.Is(err, storage.ErrUnknown) != c.unknown || errors.Is(err, storage.ErrNotFound) {
					t.Errorf("error %v, want one, unknown: %v", err, c.unknown)
				}
			})
		}
	}
}

// A 404 that does not come from the store (its gateway cannot reach it) does not mean that an object is absent.
func TestNotFoundByAGateway(t *testing.T) {
	t.Parallel()
	servers.Credentials(t)
	for body, notFound := range map[string]bool{
		"": false, "404 page not found": false, "<html><body>default backend</body></html>": false, "{}": false,
		"<Error><Code>NoSuchBucket</Code></Error>": false, "<Error><Code>NoSuchKey</Code></Error>": true,
	} {
		p := newPuppet(t, func(w http.ResponseWriter, r *http.Request) bool {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, body)
			return true
		})
		opened := p.open(t, "")
		defer opened.Close()
		if _, err := readAll(t.Context(), opened.Store, "a/f"); err == nil || errors.Is(err, storage.ErrNotFound) != notFound {
			t.Errorf("%q: %v, want an error, not found: %v", body, err, notFound)
		}
	}
}

// The driver itself repeats a request for a later page of a list, because no caller can.
func TestLaterPageRepeated(t *testing.T) {
	t.Parallel()
	servers.Credentials(t)
	for _, folders := range []bool{false, true} {
		var second atomic.Int64
		p := newPuppet(t, func(w http.ResponseWriter, r *http.Request) bool {
			switch {
			case r.URL.Query().Get("continuation-token") == "":
				_, _ = io.WriteString(w, "<ListBucketResult><Name>b</Name><IsTruncated>true</IsTruncated><NextContinuationToken>2</NextContinuationToken>"+
					"<Contents><Key>p/a</Key></Contents><CommonPrefixes><Prefix>p/a/</Prefix></CommonPrefixes></ListBucketResult>")
			case second.Add(1) == 1:
				w.WriteHeader(http.StatusServiceUnavailable)
				_, _ = io.WriteString(w, slowDowns[0].body)
			default:
				_, _ = io.WriteString(w, "<ListBucketResult><Name>b</Name>"+
					"<Contents><Key>p/b</Key></Contents><CommonPrefixes><Prefix>p/b/</Prefix></CommonPrefixes></ListBucketResult>")
			}
			return true
		})
		opened := p.open(t, "")
		defer opened.Close()
		s, shown := retry.New(opened.Store, retry.Policy{}), 0
		if folders {
			for _, err := range storage.Folders(t.Context(), s, "") {
				shown++
				if err != nil {
					t.Error(err)
				}
			}
		} else {
			for _, err := range s.List(t.Context(), "") {
				shown++
				if err != nil {
					t.Error(err)
				}
			}
		}
		if shown != 2 || second.Load() != 2 {
			t.Errorf("folders %v: %d shown, want 2; the second page was asked for %d times, want 2", folders, shown, second.Load())
		}
	}
}

// Pages may repeat keys, be empty, and be in no order: each key is shown once. A list whose pages repeat for ever
// ends with an error.
func TestListPages(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		pages []string // keys; the last says that it is the last, unless round
		round bool
		want  string
	}{
		"repeated at the border": {[]string{"a b c", "c d"}, false, "a b c d"},
		"repeated as a whole":    {[]string{"a b c", "a b c d"}, false, "a b c d"},
		"repeated within":        {[]string{"a b b c c"}, false, "a b c"},
		"in no order":            {[]string{"c a", "b a", "d"}, false, "a b c d"},
		"empty ones":             {[]string{"", "a", "", "b"}, false, "a b"},
		"without end":            {[]string{"a", "b"}, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPuppet(t, func(w http.ResponseWriter, r *http.Request) bool {
				n := 0
				_, _ = fmt.Sscan(r.URL.Query().Get("continuation-token"), &n)
				next := n + 1
				last := next == len(c.pages)
				if last && c.round {
					last, next = false, n
				}
				fmt.Fprintf(w, "<ListBucketResult><Name>b</Name><IsTruncated>%v</IsTruncated>", !last)
				if !last {
					fmt.Fprintf(w, "<NextContinuationToken>%d</NextContinuationToken>", next)
				}
				for key := range strings.FieldsSeq(c.pages[n]) {
					fmt.Fprintf(w, "<Contents><Key>p/%s</Key><Size>1</Size></Contents>", key)
				}
				_, _ = io.WriteString(w, "</ListBucketResult>")
				return true
			})
			opened := p.open(t, "")
			defer opened.Close()
			var got []string
			for info, err := range opened.Store.List(t.Context(), "") {
				if err != nil {
					if c.want != "" || !strings.Contains(err.Error(), "again and again") {
						t.Error(err)
					}
					return
				}
				got = append(got, info.Key)
			}
			if slices.Sort(got); strings.Join(got, " ") != c.want {
				t.Errorf("shown %q, want %q", got, c.want)
			}
		})
	}
}

// If a server's clock is wrong, the driver uses the server's time after the first refusal.
func TestClockSkew(t *testing.T) {
	servers.Credentials(t)
	skew := 3 * time.Hour
	var refused atomic.Int64
	p := newPuppet(t, func(w http.ResponseWriter, r *http.Request) bool { return false })
	inner := p.Config.Handler
	p.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		there := time.Now().Add(skew)
		w.Header().Set("Date", there.UTC().Format(http.TimeFormat))
		said, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
		if off := there.Sub(said); err != nil || off.Abs() > 15*time.Minute {
			refused.Add(1)
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, "<Error><Code>RequestTimeTooSkewed</Code></Error>")
			return
		}
		inner.ServeHTTP(w, r)
	})
	opened := p.open(t, "")
	defer opened.Close()
	if err := opened.Store.Publish(t.Context(), "a/f", nil); err != nil || refused.Load() != 1 {
		t.Errorf("%d requests refused, want the first; %v", refused.Load(), err)
	}
	skew = -3 * time.Hour // it was set while we run
	if err := opened.Store.Publish(t.Context(), "a/f", nil); err == nil || errors.Is(err, storage.ErrUnknown) {
		t.Errorf("by the old clock: %v, want one that is certain", err)
	}
	if err := opened.Store.Publish(t.Context(), "a/f", nil); err != nil {
		t.Errorf("by the new clock: %v, want no error", err)
	}
}

// A read that is cut in the middle returns an error, wherever the cut is.
func TestReadCut(t *testing.T) {
	servers.Credentials(t)
	data := random(100_000)
	for _, whole := range []int{0, 1, 50_000, 99_999} {
		p := newPuppet(t, func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
			w.Header().Set("ETag", `"e"`)
			_, _ = w.Write(data[:whole])
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		})
		opened := p.open(t, "")
		defer opened.Close()
		got, err := readAll(t.Context(), opened.Store, "a/f")
		var named *storage.Error
		if !errors.As(err, &named) || named.Key != "a/f" || len(got) > whole || string(got) != string(data[:len(got)]) {
			t.Errorf("cut after %d: %d bytes, %v; want an error, and only bytes that were written", whole, len(got), err)
		}
	}
}

// A writer whose context ends during a request of any kind leaves neither an object nor an upload. Only the request
// that makes the object may have an unknown outcome.
func TestCancelledInEachPhase(t *testing.T) {
	server := servers.StartS3(t, servers.Versitygw, false)
	clean := open(t, server.URL("cancelled", ""))
	defer clean.Close()
	large := random(20 << 20)
	for name, c := range map[string]struct {
		phase   string
		unknown bool
		opts    storage.CreateOptions
		size    int
	}{
		"small":    {"PUT", true, storage.CreateOptions{}, 100},
		"streamed": {"PUT", false, announced(large[:1<<20]), 1 << 20}, // it lacks its last byte
		"begin":    {"POST uploads", false, storage.CreateOptions{}, len(large)},
		"part":     {"PUT uploadId", false, storage.CreateOptions{}, len(large)},
		"complete": {"POST uploadId", true, storage.CreateOptions{}, len(large)},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			m := newMiddleman(t, server, 0)
			held := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if request(r) != c.phase {
					m.ServeHTTP(w, r)
					return
				}
				cancel()
				_, _ = io.Copy(io.Discard, r.Body) // only a read notices that the client is gone
				<-r.Context().Done()
			}))
			defer held.Close()
			opened := open(t, server.URLAt(held.URL, "cancelled", ""))
			defer opened.Close()
			var err error
			if name == "streamed" {
				err = createHalf(ctx, opened.Store, "a/"+name, large[:c.size], c.opts)
			} else {
				err = create(ctx, opened.Store, "a/"+name, large[:c.size], c.opts)
			}
			if !errors.Is(err, context.Canceled) || errors.Is(err, storage.ErrUnknown) != c.unknown {
				t.Errorf("error %v, want that it was cancelled, unknown: %v", err, c.unknown)
			}
			if _, err := clean.Store.Stat(t.Context(), "a/"+name); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("stat of the object: %v, want ErrNotFound", err)
			}
			left, err := clean.Store.AbortUnfinished(t.Context(), "", func(string) bool { return true })
			// An upload that may be an object is not aborted; the sweep removes it.
			if want := map[bool]int{true: 1}[c.phase == "POST uploadId"]; left != want || err != nil {
				t.Errorf("%d unfinished uploads left, want %d; %v", left, want, err)
			}
		})
	}
}

// A missing function of the server is neither an unknown outcome nor a missing permission: the store is unfit, and
// nothing was done.
func TestLacking(t *testing.T) {
	servers.Credentials(t)
	p := newPuppet(t, func(w http.ResponseWriter, r *http.Request) bool {
		w.WriteHeader(http.StatusNotImplemented)
		_, _ = io.WriteString(w, "<Error><Code>NotImplemented</Code><Message>A header you provided implies more</Message></Error>")
		return true
	})
	opened := p.open(t, "")
	defer opened.Close()
	_, abortErr := opened.Store.AbortUnfinished(t.Context(), "", func(string) bool { return true })
	for name, err := range map[string]error{
		"publish":          opened.Store.Publish(t.Context(), "a/f", nil),
		"delete":           errors.Join(opened.Store.Delete(t.Context(), []string{"a/f"})...),
		"abort unfinished": abortErr,
	} {
		if !errors.Is(err, storage.ErrUnfit) || errors.Is(err, storage.ErrUnknown) || !strings.Contains(err.Error(), "NotImplemented") {
			t.Errorf("%s: %v, want that the store is unfit", name, err)
		}
	}
}

// createHalf writes one half, and the other half after the context has ended.
func createHalf(ctx context.Context, s storage.Store, key string, data []byte, opts storage.CreateOptions) error {
	w, err := s.Create(ctx, key, opts)
	if err != nil {
		return err
	}
	defer w.Abort()
	half := len(data) / 2
	if _, err := w.Write(data[:half]); err != nil {
		return err
	}
	<-ctx.Done()
	if _, err := w.Write(data[half:]); err != nil {
		return err
	}
	return w.Commit()
}

// Objects that end exactly at the end of a part.
func TestPartBorders(t *testing.T) {
	server := servers.StartS3(t, servers.Versitygw, false)
	opened := open(t, server.URL("borders", ""))
	defer opened.Close()
	large := random(16<<20 + 1)
	for _, size := range []int{0, 1, 64 << 10, 64<<10 + 1, 8<<20 - 1, 8 << 20, 8<<20 + 1, 16<<20 - 1, 16 << 20, 16<<20 + 1} {
		for name, opts := range map[string]storage.CreateOptions{"unknown": {}, "length": {Size: int64(size), HasSize: true}, "announced": announced(large[:size])} {
			key := fmt.Sprintf("a/%s-%d", name, size)
			err := create(t.Context(), opened.Store, key, large[:size], opts)
			if err != nil {
				t.Errorf("%s: %v", key, err)
			}
			judge(t, opened.Store, key, large[:size], err, key)
		}
	}
	n, err := opened.Store.AbortUnfinished(t.Context(), "", func(string) bool { return true })
	if n != 0 || err != nil {
		t.Errorf("%d uploads left, %v; want none", n, err)
	}
	_, err = opened.Store.Create(t.Context(), "a/huge", storage.CreateOptions{Size: 3 << 40, HasSize: true})
	if err == nil || !strings.Contains(err.Error(), "want at most") {
		t.Errorf("create of 3 TiB: %v, want an error that names the limit", err)
	}
}

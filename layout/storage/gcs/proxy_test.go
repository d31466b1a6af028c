package gcs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ckptd/ckptd/conformance/gcsfake"
	"github.com/ckptd/ckptd/conformance/servers"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/gcs"
)

// A result is the reported outcome of a mutation through the proxy.
type result struct {
	key     string
	content []byte
	deleted bool
	err     error
}

// mutate does several of each mutation at once and returns what each reported.
func mutate(t *testing.T, s, clean storage.Store, round string) []result {
	large := random(900 << 10)
	var results []result
	var wg sync.WaitGroup
	for i := range 4 {
		entry, file := fmt.Appendf(nil, "entry %s %d", round, i), large[:300<<10+i]
		results = append(results, result{key: fmt.Sprintf("job/_journal/%s-%d", round, i), content: entry},
			result{key: fmt.Sprintf("job/shared/%s-%d", round, i), content: file},
			result{key: fmt.Sprintf("job/chk-1/%s-%d", round, i), content: entry, deleted: true})
	}
	results = append(results, result{key: "job/shared/large-" + round, content: large})
	for _, r := range results {
		if r.deleted {
			if err := clean.Publish(t.Context(), r.key, r.content); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range results {
		r := &results[i]
		wg.Go(func() {
			switch {
			case r.deleted:
				if errs := s.Delete(t.Context(), []string{r.key}); errs != nil {
					r.err = errs[0]
				}
			case len(r.content) < 100:
				r.err = s.Publish(t.Context(), r.key, r.content)
			case len(r.content) < 400<<10:
				r.err = create(t.Context(), s, r.key, r.content, announced(r.content))
			default:
				r.err = create(t.Context(), s, r.key, r.content, storage.CreateOptions{})
			}
		})
	}
	wg.Wait()
	return results
}

// check compares the reported outcomes with the server's content, read directly.
func check(t *testing.T, clean storage.Store, results []result) (done, unknown int) {
	t.Helper()
	for _, r := range results {
		switch {
		case r.err == nil:
			done++
		case errors.Is(r.err, storage.ErrUnknown):
			unknown++
		}
		if !r.deleted {
			judge(t, clean, r.key, r.content, r.err, r.key)
			continue
		}
		_, err := clean.Stat(t.Context(), r.key)
		if there := err == nil; r.err == nil && there || r.err != nil && !errors.Is(r.err, storage.ErrUnknown) && !there {
			t.Errorf("%s: delete reported %v, and is there: %t", r.key, r.err, there)
		}
	}
	return done, unknown
}

// TestProxy puts a proxy that adds faults between driver and server. Every mutation still ends as done, not done or
// unknown, and the server's content agrees. Publish is then repeated, as the protocol does, and gets an outcome.
func TestProxy(t *testing.T) {
	t.Parallel()
	server := servers.StartGCS(t)
	proxy := servers.StartProxy(t, server.Address())
	clean := open(t, servers.GCSURL(server.Endpoint, "proxy", ""))
	defer clean.Close()
	for name, toxic := range map[string]servers.Toxic{
		"latency":            {Type: "latency", Stream: "downstream", Attributes: map[string]any{"latency": 50, "jitter": 40}},
		"slices":             {Type: "slicer", Stream: "downstream", Attributes: map[string]any{"average_size": 64, "size_variation": 32, "delay": 10}},
		"reset in the reply": {Type: "reset_peer", Stream: "downstream", Attributes: map[string]any{"timeout": 3}},
		"reset on the way":   {Type: "reset_peer", Stream: "upstream", Attributes: map[string]any{"timeout": 3}},
		"half a reply":       {Type: "limit_data", Stream: "downstream", Attributes: map[string]any{"bytes": 120}},
		"half a request":     {Type: "limit_data", Stream: "upstream", Attributes: map[string]any{"bytes": 200 << 10}},
	} {
		for _, retries := range []string{"max_attempts=1", "max_attempts=2"} {
			t.Run(name+"/"+retries, func(t *testing.T) {
				opened := gcs.SmallChunks(open(t, servers.GCSURL("http://"+proxy.Address, "proxy", retries)))
				defer opened.Close()
				harm := proxy.Add(t, toxic)
				results := mutate(t, opened.Store, clean.Store, fmt.Sprintf("%s-%s-%s", toxic.Type, toxic.Stream, retries))
				proxy.Remove(t, harm)
				done, unknown := check(t, clean.Store, results)
				t.Logf("%d done, %d unknown, %d not done", done, unknown, len(results)-done-unknown)
				if slow := name == "latency" || name == "slices"; slow && done != len(results) {
					t.Errorf("%d of %d done; nothing was lost, want all", done, len(results))
				}
				for _, r := range results {
					for try := 0; try < 20 && !r.deleted && errors.Is(r.err, storage.ErrUnknown); try++ { // dead connections are noticed one by one
						r.err = opened.Store.Publish(t.Context(), r.key, r.content)
					}
					if r.err != nil && errors.Is(r.err, storage.ErrUnknown) && !r.deleted {
						t.Errorf("%s: repeated, and still: %v", r.key, r.err)
					}
				}
			})
		}
	}
}

// Five hundred streams at once, of known and of unknown length, are whole. They need less than 512 MiB.
func TestManyStreams(t *testing.T) {
	const streams = 500
	opened := open(t, servers.GCSURL(servers.StartGCS(t).Endpoint, "many", ""))
	defer opened.Close()
	data := random(300 << 10)
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range streams {
		wg.Go(func() {
			opts := announced(data)
			if i%2 == 0 {
				opts = storage.CreateOptions{}
			}
			w, err := opened.Store.Create(t.Context(), fmt.Sprintf("job/shared/%d", i), opts)
			if err == nil {
				_, err = w.Write(data[:40<<10])
			}
			<-start // all are under way
			if err == nil {
				_, err = w.Write(data[40<<10:])
			}
			if err == nil {
				err = w.Commit()
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	var peak uint64
	ended := make(chan struct{})
	go func() { wg.Wait(); close(ended) }()
	close(start)
	for {
		var now runtime.MemStats
		runtime.ReadMemStats(&now)
		peak = max(peak, now.Sys-min(now.Sys, before.Sys))
		select {
		case <-ended:
			t.Logf("%d MiB more at most", peak>>20)
			if peak > 512<<20 {
				t.Errorf("%d MiB, want less than 512", peak>>20)
			}
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// A cancelled context ends an upload at any point, and nothing is left: no object, no session, no goroutine.
func TestCancelled(t *testing.T) {
	t.Parallel()
	server, endpoint := strict(t, gcsfake.Bucket{})
	opened := gcs.SmallChunks(open(t, servers.GCSURL(endpoint, "cancelled", "")))
	defer opened.Close()
	large := random(1 << 20)
	for i := range 30 {
		ctx, cancel := context.WithCancel(t.Context())
		data := large[:(i%3)*300<<10+200<<10]
		opts := storage.CreateOptions{}
		if i%2 == 0 && len(data) < 600<<10 {
			opts = announced(data)
		}
		w, err := opened.Store.Create(ctx, fmt.Sprintf("job/shared/%d", i), opts)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data[:len(data)-1]); err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := w.Commit(); !errors.Is(err, context.Canceled) || errors.Is(err, storage.ErrUnknown) {
			t.Errorf("%d: commit: %v, want that it was cancelled and not done", i, err)
		}
	}
	if live, _, _, uploads := server.Versions(servers.Bucket); live+uploads > 0 {
		t.Errorf("%d objects and %d uploads are left, want none", live, uploads)
	}
}

// An object known to be large goes up in chunks of 16 MiB, and is whole. One that is given up leaves nothing.
func TestLargeChunks(t *testing.T) {
	t.Parallel()
	var chunks atomic.Int64
	server, endpoint := answering(t, gcsfake.Bucket{}, func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Content-Range") != "" {
			chunks.Add(1)
		}
		return false
	})
	opened := open(t, servers.GCSURL(endpoint, "large", ""))
	defer opened.Close()
	data := bytes.Repeat(random(1<<20), 65)
	if err := create(t.Context(), opened.Store, "job/shared/whole", data, announced(data)); err != nil {
		t.Fatal(err)
	}
	if got, err := readAll(t.Context(), opened.Store, "job/shared/whole"); err != nil || !bytes.Equal(got, data) || chunks.Load() != 5 {
		t.Errorf("read %d bytes, %v, after %d chunks; want what was written, after 5", len(got), err, chunks.Load())
	}
	w, err := opened.Store.Create(t.Context(), "job/shared/given-up", announced(data))
	if err == nil {
		_, err = w.Write(data[:40<<20])
	}
	if err != nil {
		t.Fatal(err)
	}
	w.Abort()
	if live, _, _, uploads := server.Versions(servers.Bucket); live != 1 || uploads > 0 {
		t.Errorf("%d objects and %d uploads are left, want 1 and none", live, uploads)
	}
}

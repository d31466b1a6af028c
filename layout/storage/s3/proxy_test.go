package s3_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/ckptd/ckptd/conformance/servers"
	"github.com/ckptd/ckptd/layout/storage"
)

// A result is the reported outcome of a mutation through the proxy.
type result struct {
	key     string
	content []byte
	deleted bool
	err     error
}

// mutate does several of each mutation at once and returns what each reported. An error comes only from the store.
func mutate(t *testing.T, s storage.Store, round string, victims []string, contents map[string][]byte) []result {
	large := random(9 << 20)
	var mu sync.Mutex
	var results []result
	note := func(r result) {
		mu.Lock()
		defer mu.Unlock()
		results = append(results, r)
	}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			r := result{key: fmt.Sprintf("job/_journal/%s-%d", round, i), content: fmt.Appendf(nil, "entry %s %d", round, i)}
			r.err = s.Publish(t.Context(), r.key, r.content)
			note(r)
		})
		wg.Go(func() {
			r := result{key: fmt.Sprintf("job/shared/%s-%d", round, i), content: large[:300<<10+i]}
			r.err = create(t.Context(), s, r.key, r.content, announced(r.content))
			note(r)
		})
	}
	wg.Go(func() {
		r := result{key: "job/shared/large-" + round, content: large}
		r.err = create(t.Context(), s, r.key, r.content, storage.CreateOptions{})
		note(r)
	})
	wg.Go(func() {
		errs := s.Delete(t.Context(), victims)
		for i, key := range victims {
			r := result{key: key, content: contents[key], deleted: true}
			if errs != nil {
				r.err = errs[i]
			}
			note(r)
		}
	})
	wg.Wait()
	return results
}

// check compares the reported outcomes with the server's content, read directly. It returns the number of done and of
// unknown mutations.
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
		there := err == nil
		if r.err == nil && there {
			t.Errorf("%s: reported as deleted, and is there; want it gone", r.key)
		}
		if r.err != nil && !errors.Is(r.err, storage.ErrUnknown) && !there {
			t.Errorf("%s: reported as not deleted (%v), and is gone; want it there", r.key, r.err)
		}
	}
	return done, unknown
}

// TestProxy puts a proxy that adds faults between driver and server. Every mutation still ends as done, not done or
// unknown, and the server's content agrees. After the faults everything works.
func TestProxy(t *testing.T) {
	t.Parallel()
	server := servers.StartS3(t, servers.Versitygw, false)
	proxy := servers.StartProxy(t, server.Address())
	clean := open(t, server.URL("proxy", ""))
	defer clean.Close()
	toxics := map[string]servers.Toxic{
		"latency":            {Type: "latency", Stream: "downstream", Attributes: map[string]any{"latency": 50, "jitter": 40}},
		"bandwidth":          {Type: "bandwidth", Stream: "upstream", Attributes: map[string]any{"rate": 8 << 10}},
		"slices":             {Type: "slicer", Stream: "downstream", Attributes: map[string]any{"average_size": 64, "size_variation": 32, "delay": 10}},
		"reset in the reply": {Type: "reset_peer", Stream: "downstream", Attributes: map[string]any{"timeout": 3}},
		"reset on the way":   {Type: "reset_peer", Stream: "upstream", Attributes: map[string]any{"timeout": 3}},
		"half a reply":       {Type: "limit_data", Stream: "downstream", Attributes: map[string]any{"bytes": 120}},
		"half a request":     {Type: "limit_data", Stream: "upstream", Attributes: map[string]any{"bytes": 200 << 10}},
	}
	for name, toxic := range toxics {
		for _, retries := range []string{"max_attempts=1", "max_attempts=2"} {
			t.Run(name+"/"+retries, func(t *testing.T) {
				opened := open(t, server.URLAt("http://"+proxy.Address, "proxy", retries))
				defer opened.Close()
				victims, contents := victims(t, clean.Store)
				harm := proxy.Add(t, toxic)
				results := mutate(t, opened.Store, fmt.Sprintf("%s-%s", toxic.Type+toxic.Stream, retries), victims, contents)
				proxy.Remove(t, harm)
				done, unknown := check(t, clean.Store, results)
				t.Logf("%d done, %d unknown, %d not done", done, unknown, len(results)-done-unknown)
				if slow := name == "latency" || name == "bandwidth" || name == "slices"; slow && done != len(results) {
					t.Errorf("%d of %d done; nothing was lost, want all", done, len(results))
				}
				resolve(t, opened.Store, clean.Store, results)
			})
		}
	}
}

// victims makes objects that will be deleted.
func victims(t *testing.T, clean storage.Store) (keys []string, contents map[string][]byte) {
	contents = map[string][]byte{}
	for i := range 5 {
		key := fmt.Sprintf("job/chk-1/victim-%d-%d", time.Now().UnixNano(), i)
		contents[key] = []byte(key)
		if err := clean.Publish(t.Context(), key, contents[key]); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	return keys, contents
}

// resolve repeats every mutation of unknown outcome, as the protocol does. The server works now, so each gets an
// outcome.
func resolve(t *testing.T, s, clean storage.Store, results []result) {
	t.Helper()
	for _, r := range results {
		if !errors.Is(r.err, storage.ErrUnknown) || r.deleted {
			continue
		}
		err := s.Publish(t.Context(), r.key, r.content)
		for range 20 { // dead connections are noticed one by one
			if !errors.Is(err, storage.ErrUnknown) {
				break
			}
			err = s.Publish(t.Context(), r.key, r.content)
		}
		if err != nil && !errors.Is(err, storage.ErrExists) {
			t.Errorf("%s: repeated, and still: %v; want it done, or existing", r.key, err)
		}
		judge(t, clean, r.key, r.content, err, r.key)
	}
}

// TestServerAway kills the server while mutations are under way, cuts the proxy, and brings both back.
func TestServerAway(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds(t) {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			server := servers.StartS3(t, kind, false)
			proxy := servers.StartProxy(t, server.Address())
			clean := open(t, server.URL("away", ""))
			defer clean.Close()
			opened := open(t, server.URLAt("http://"+proxy.Address, "away", "max_attempts=1"))
			defer opened.Close()
			for round := range 6 {
				victims, contents := victims(t, clean.Store)
				ended := make(chan []result)
				go func() { ended <- mutate(t, opened.Store, fmt.Sprint(round), victims, contents) }()
				time.Sleep(time.Duration(round*7) * time.Millisecond)
				if round%2 == 0 {
					server.Kill()
				} else {
					proxy.Enable(t, false)
				}
				results := <-ended
				if round%2 == 0 {
					if err := opened.Store.Publish(t.Context(), "job/_journal/away", nil); err == nil {
						t.Error("publish without a server: no error, want one")
					}
					if err := server.Start(); err != nil {
						t.Fatal(err)
					}
				} else {
					proxy.Enable(t, true)
				}
				done, unknown := check(t, clean.Store, results)
				t.Logf("round %d: %d done, %d unknown, %d not done", round, done, unknown, len(results)-done-unknown)
				resolve(t, opened.Store, clean.Store, results)
			}
			if _, err := clean.Store.AbortUnfinished(t.Context(), "", func(string) bool { return true }); err != nil {
				t.Error(err)
			}
		})
	}
}

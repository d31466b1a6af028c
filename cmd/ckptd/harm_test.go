package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ckptd/ckptd/cmd/ckptd/demo"
	"github.com/ckptd/ckptd/cmd/ckptd/launch"
	"github.com/ckptd/ckptd/conformance/servers"
)

// The whole job runs over a proxy that does one harm after the other, while workers, the daemon and the server are
// killed. The counts are exact, no complete checkpoint is lost, and no garbage is left.
func TestJobOverProxy(t *testing.T) {
	t.Parallel()
	seeds, harms := 1, harmKinds/2
	switch {
	case os.Getenv("CKPTD_NIGHTLY") != "":
		seeds, harms = 10, 4*harmKinds
	case os.Getenv("CKPTD_TEST_FULL") != "":
		harms = harmKinds
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			jobOverProxy(t, seed, harms)
		})
	}
}

func jobOverProxy(t *testing.T, seed uint64, harms int) {
	h := &harm{t: t, rng: rand.New(rand.NewPCG(seed, 0x6861726d)), server: servers.StartS3(t, servers.Versitygw, false)}
	h.proxy = servers.StartProxy(t, h.server.Address())
	r := newRigFor(t, 5*time.Minute, demo.Options{
		Seed: seed, Kills: harms / 5, Records: uint64(harms) * 2000, Rate: 1000, Interval: "200ms",
		Root: h.server.URLAt("http://"+h.proxy.Address, "job", ""),
	})
	r.bare = h.server.URL("job", "")
	r.tolerant()
	r.begin()
	followed := make(chan error, 1)
	go func() { followed <- r.Follow(r.ctx) }()
	for range harms {
		before := r.completed()
		h.once()
		for len(followed) == 0 && r.completed() == before { // each harm meets another checkpoint
			if !launch.Sleep(r.ctx, pollEvery) {
				t.Fatal("no checkpoint completes any more")
			}
		}
		if len(followed) > 0 {
			break
		}
	}
	h.proxy.Reset(t)
	r.must(<-followed)
	t.Logf("%d harms", h.done)
	if h.done == 0 {
		t.Error("no harm was done")
	}
	r.end()
}

// completed is how many completed checkpoints were told of.
func (r *rig) completed() int { return strings.Count(r.out.String(), " complete in ") }

// harm disturbs the connection between daemon and server, or the server itself.
type harm struct {
	t      *testing.T
	rng    *rand.Rand
	server *servers.S3
	proxy  *servers.Proxy
	done   int
	order  []int
}

// harmKinds is how many different harms there are.
const harmKinds = 10

// once does one harm for up to a second, and then does none for a moment. It does no harm a second time before it has
// done all others.
func (h *harm) once() {
	h.t.Helper()
	if len(h.order) == 0 {
		h.order = h.rng.Perm(harmKinds)
	}
	n, long := h.order[0], h.between(100, 600)
	h.order = h.order[1:]
	switch n {
	case 0: // connections are cut and refused
		h.proxy.Enable(h.t, false)
		time.Sleep(long)
		h.proxy.Enable(h.t, true)
	case 1: // the server dies, and is back
		h.server.Kill()
		time.Sleep(long)
		if err := h.server.Start(); err != nil {
			h.t.Fatal(err)
		}
	default:
		name := h.proxy.Add(h.t, h.toxic(n-2))
		time.Sleep(long)
		h.proxy.Remove(h.t, name)
	}
	h.done++
	time.Sleep(h.between(10, 200))
}

func (h *harm) toxic(n int) servers.Toxic {
	number := func(key string, low, high int) map[string]any { return map[string]any{key: low + h.rng.IntN(high-low)} }
	return []servers.Toxic{
		{Type: "latency", Stream: "downstream", Attributes: number("latency", 10, 300)},
		{Type: "bandwidth", Stream: "upstream", Attributes: number("rate", 5, 100)}, // KB/s
		{Type: "reset_peer", Stream: "downstream", Attributes: number("timeout", 0, 5)},
		{Type: "reset_peer", Stream: "upstream", Attributes: number("timeout", 0, 5)},
		{Type: "limit_data", Stream: "downstream", Attributes: number("bytes", 1, 400)}, // half a reply
		{Type: "limit_data", Stream: "upstream", Attributes: number("bytes", 100, 4000)},
		{Type: "timeout", Stream: "downstream", Attributes: number("timeout", 50, 500)}, // the answer is swallowed, then the connection cut
		{Type: "timeout", Stream: "upstream", Attributes: number("timeout", 50, 500)},
	}[n]
}

// between is a time at random, in milliseconds.
func (h *harm) between(low, high int) time.Duration {
	return time.Duration(low+h.rng.IntN(high-low)) * time.Millisecond
}

package main

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/conformance/daemontest"
	"github.com/ckptd/ckptd/layout/storage/mem"
)

// heard is a writer that calls found when text was written.
type heard struct {
	mu    sync.Mutex
	out   bytes.Buffer
	text  string
	found func()
}

func (h *heard) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.out.Write(p)
	if h.found != nil && strings.Contains(h.out.String(), h.text) {
		h.found()
		h.found = nil
	}
	return len(p), nil
}

func (h *heard) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.out.String()
}

// jobOfAwayStore is a daemon with the job clicks, whose store takes nothing until back is called.
func jobOfAwayStore(t *testing.T) (url string, back func()) {
	t.Helper()
	d := daemontest.Start(t)
	c, err := client.New([]string{d.URL()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	plan := &client.Plan{Operators: []client.Operator{{ID: "a", Parallelism: 1, MaxParallelism: 1, Triggered: true}}}
	if _, err := c.AttachJob(t.Context(), client.JobSpec{ID: "clicks", Plan: plan}); err != nil {
		t.Fatal(err)
	}
	d.SetStore(func(mem.Mutation) mem.Outcome { return mem.Failed() })
	return d.URL(), func() { d.SetStore(nil) }
}

// While the store is away, cancel says so on the standard error, also with --json. It goes on waiting, and succeeds when
// the store is back.
func TestCancelSaysThatTheStoreIsAway(t *testing.T) {
	t.Parallel()
	url, back := jobOfAwayStore(t)
	var out bytes.Buffer
	said := &heard{text: "ckptd: cancel: still waiting: the owner of job clicks waits for its store", found: back}
	code := run(t.Context(), []string{"cancel", "clicks", "--server", url, "--json"}, &out, said)
	if code != exit.Done || !strings.Contains(out.String(), "JOB_STATUS_CANCELED") || said.found != nil {
		t.Errorf("exit code %d\n%s\n%s", code, &out, said)
	}
}

// Ctrl-C ends the waiting. The error says that the job may still end.
func TestCancelIsInterrupted(t *testing.T) {
	t.Parallel()
	url, back := jobOfAwayStore(t)
	defer back()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	said := &heard{text: "still waiting", found: cancel}
	code := run(ctx, []string{"cancel", "clicks", "--server", url}, said, said)
	if code != exit.Interrupted || !strings.Contains(said.String(), "may still carry the call out: `ckptd status clicks` says") {
		t.Errorf("exit code %d\n%s", code, said)
	}
}

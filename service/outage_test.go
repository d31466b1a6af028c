package service_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage/mem"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service"
)

// TestStoreAway: while the store takes no journal entry, the commit waits. One event and the status report the outage,
// and the log does not grow with each try. When the store answers again, the checkpoint completes, and one event
// reports it.
func TestStoreAway(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	tries, away := 0, false
	under := newRoot()
	root, _ := faulty(under, func(m mem.Mutation) mem.Outcome {
		mu.Lock()
		defer mu.Unlock()
		if away && m.Op == mem.OpPublish && strings.HasPrefix(m.Key, layout.JournalPrefix("j")) {
			tries++
			return mem.Failed()
		}
		return mem.Done()
	})
	var log locked
	d := startDaemonWith(t, root, "", service.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	w := oneWorker(t, d, "j", nil)
	w.checkpoint(inlineState)
	mu.Lock()
	away = true
	mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	res := make(chan error, 1)
	go func() { res <- d.trigger(ctx, "j") }()
	id := w.triggered()
	w.mustAck(id, inlineState(id)...)
	eventually(t, "the status says that the owner waits for the store", func() bool { return d.status(t, "j").GetWaitingForStore() != "" })
	d.scrape(t).want(t, samples{`ckptd_jobs_waiting_for_store`: 1})
	failed := func() int { mu.Lock(); defer mu.Unlock(); return tries }
	eventually(t, "five tries", func() bool { return failed() >= 5 })
	mu.Lock()
	away = false
	mu.Unlock()
	if err := <-res; err != nil {
		t.Errorf("the checkpoint failed with %v, want it complete", err)
	}
	s := d.status(t, "j")
	d.scrape(t).want(t, samples{`ckptd_jobs_waiting_for_store`: 0})
	if s.GetWaitingForStore() != "" || s.GetSummary().GetLatestCheckpointId() != id {
		t.Errorf("status %v, want checkpoint %d and no outage", s, id)
	}
	for _, kind := range []ckptdv1.JobEventKind{ckptdv1.JobEventKind_JOB_EVENT_KIND_STORE_AWAY, ckptdv1.JobEventKind_JOB_EVENT_KIND_STORE_BACK} {
		if n := count(s.GetEvents(), kind); n != 1 {
			t.Errorf("%d events %v, want 1", n, kind)
		}
	}
	if n := strings.Count(log.String(), "the store does not answer for the journal"); n > 4 || n >= failed() {
		t.Errorf("%d of %d tries are in the log, want at most 4 and fewer than tries:\n%s", n, failed(), log.String())
	}
	if n := strings.Count(log.String(), "level=WARN msg=store-away"); n != 1 {
		t.Errorf("%d lines say that the store is away, want 1:\n%s", n, log.String())
	}
	d.cancel(t, "j")
	w.ended()
	d.waitReleased(t)
}

func count(events []*ckptdv1.JobEvent, kind ckptdv1.JobEventKind) (n int) {
	for _, e := range events {
		if e.GetKind() == kind {
			n++
		}
	}
	return n
}

// locked is a buffer for a log. It is safe for concurrent use.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

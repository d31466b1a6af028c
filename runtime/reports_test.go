package runtime_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/layout/storage/mem"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
	"github.com/ckptd/ckptd/runtime"
)

// listen hands each report that arrives to heard.
func (d *realDaemon) listen(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if d.heard != nil && r.URL.Path == ckptdv1connect.EngineServiceReportProcedure {
			b, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(b))
			var m ckptdv1.ReportRequest
			if err := proto.Unmarshal(b, &m); err != nil {
				d.t.Error("a report that is no message:", err)
			}
			d.heard(&m)
		}
		next.ServeHTTP(w, r)
	})
}

// tally counts reports by their kind.
type tally struct {
	mu    sync.Mutex
	kinds map[ckptdv1.ReportRequest_Kind]int
}

func (c *tally) add(r *ckptdv1.ReportRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kinds[r.GetKind()]++
}

// facts are the counts without the signs of life, which are returned apart.
func (c *tally) facts() (facts map[ckptdv1.ReportRequest_Kind]int, alive int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	facts = maps.Clone(c.kinds)
	alive = facts[ckptdv1.ReportRequest_KIND_ALIVE]
	delete(facts, ckptdv1.ReportRequest_KIND_ALIVE)
	return facts, alive
}

// An owner hears a thing once. The next owner learns it from the registrations. Then there are only signs of life, which
// the owner asks for.
func TestAnOwnerHearsAThingOnce(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, slog.New(slog.DiscardHandler), 1, mem.Rates{})
	d.kill()
	count := &tally{kinds: map[ckptdv1.ReportRequest_Kind]int{}}
	d.ping, d.heard = 5*time.Millisecond, count.add
	d.start(slog.New(slog.DiscardHandler))
	c := &clicks{parallelism: 2, records: 100, users: 5, target: newTarget()}
	job := c.job()
	l := runtime.StartLocal(context.Background(), runtime.LocalOptions{
		JobID: "clicks", Job: job, Workers: 2, Dir: t.TempDir(), Attach: func(ctx context.Context, _ int) (runtime.Coordinator, error) {
			cl, err := client.New([]string{d.url()})
			if err != nil {
				return nil, err
			}
			context.AfterFunc(ctx, func() { cl.Close() })
			attached, err := cl.AttachJob(ctx, client.JobSpec{ID: "clicks", Plan: job.Plan(), Config: client.DefaultConfig(time.Hour)})
			if err != nil {
				return nil, err
			}
			return runtime.NewCoordinator(attached), nil
		},
	})
	defer l.Stop()
	people, done := d.people()
	defer done()
	known := func(s *ckptdv1.JobState) bool {
		return s.GetPhase() == ckptdv1.JobPhase_JOB_PHASE_RUNNING && s.GetSourcesAtEnd() == 2 && s.GetSources() == 2
	}
	poll(t, "the sources have read all", func() bool { return known(jobState(t.Context(), people)) })
	res, err := people.TriggerCheckpoint(t.Context(), &ckptdv1.TriggerCheckpointRequest{JobId: "clicks"})
	if err != nil {
		t.Fatal(err)
	}
	committed := func(id uint64) func() bool {
		return func() bool {
			s := jobState(t.Context(), people)
			return known(s) && s.GetCommittedCheckpointId() >= id
		}
	}
	// quiet waits for a while without a report. A first report may still be under way when the owner knows enough; one that
	// is repeated for ever leaves no such while.
	quiet := func() (told map[ckptdv1.ReportRequest_Kind]int) {
		t.Helper()
		for range 3 {
			before, began := count.facts()
			poll(t, "200 signs of life", func() bool { _, n := count.facts(); return n > began+200 })
			if told, _ = count.facts(); maps.Equal(told, before) {
				return told
			}
		}
		t.Errorf("the owner hears reports again and again: %v", told)
		return told
	}
	id := res.GetCheckpoint().GetCheckpointId()
	poll(t, "the sinks have committed", committed(id))
	told := quiet()
	if n := told[ckptdv1.ReportRequest_KIND_RUNNING]; n != 2 {
		t.Errorf("two workers said %d times that they run, want twice", n)
	}
	d.kill()
	d.start(slog.New(slog.DiscardHandler))
	// The next owner finds all sources at the end of their input, and takes one checkpoint.
	poll(t, "the next owner knows all", committed(id+1))
	for kind, n := range quiet() {
		if kind != ckptdv1.ReportRequest_KIND_COMMITTED && n != told[kind] {
			t.Errorf("%v: the first owner heard it %d times, the next makes it %d; want that the registrations told it", kind, told[kind], n)
		}
	}
}

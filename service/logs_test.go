package service_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage/mem"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service"
)

// logLine is a line of a daemon's log in JSON.
type logLine map[string]any

func (l logLine) String() string { return fmt.Sprintf("%v %v", l["level"], l["msg"]) }

// lines reads a log in JSON. Each line names a job, and no attribute is empty or 0.
func (l *locked) lines(t *testing.T, job string) (all []logLine) {
	t.Helper()
	for s := bufio.NewScanner(strings.NewReader(l.String())); s.Scan(); {
		var line logLine
		if err := json.Unmarshal(s.Bytes(), &line); err != nil {
			t.Fatalf("%s: %v", s.Text(), err)
		}
		if line["job"] != job {
			t.Errorf("the line does not name job %s: %s", job, s.Text())
		}
		for key, v := range line {
			if key != "duration_ms" && (v == nil || v == "" || v == 0.0) {
				t.Errorf("%s has no value: %s", key, s.Text())
			}
		}
		all = append(all, line)
	}
	return all
}

// words are the lines without their attributes.
func words(lines []logLine) (all []string) {
	for _, l := range lines {
		all = append(all, l.String())
	}
	return all
}

func jsonLog(w *locked) *slog.Logger { return slog.New(slog.NewJSONHandler(w, nil)) }

// TestLogOfALife: a job starts, completes checkpoints, fails over, restores and is canceled. The log at its usual level
// has one line for each checkpoint, and WARN lines only for what went wrong.
func TestLogOfALife(t *testing.T) {
	t.Parallel()
	var log locked
	d := startDaemonWith(t, newRoot(), "", service.Options{Log: jsonLog(&log)})
	w := oneWorker(t, d, "j", func(c *ckptdv1.JobConfig) {
		c.RestartStrategy = &ckptdv1.RestartStrategy{Attempts: 3, Delay: durationpb.New(time.Millisecond)}
	})
	first := w.checkpoint(inlineState)
	second := w.checkpoint(inlineState)
	w.report(ckptdv1.ReportRequest_KIND_FAILED, func(r *ckptdv1.ReportRequest) { r.Cause = "the disk is gone" })
	w.begin()
	third := w.checkpoint(inlineState)
	d.cancel(t, "j")
	w.ended()
	d.waitReleased(t)

	lines := log.lines(t, "j")
	want := []string{
		"INFO attached", "INFO attempt", "INFO running", "INFO completed", "INFO completed",
		"WARN task-failed", "WARN failover", "INFO attempt", "INFO running", "INFO completed", "INFO canceled", "INFO released",
	}
	if got := words(lines); !slices.Equal(got, want) {
		t.Errorf("the log has\n%q, want\n%q\n%s", got, want, log.String())
	}
	var ids []float64
	for _, l := range lines {
		if l["msg"] != "completed" {
			continue
		}
		ids = append(ids, l["checkpoint"].(float64))
		for _, key := range []string{"bytes", "new_bytes", "duration_ms", "attempt"} {
			if _, ok := l[key]; !ok {
				t.Errorf("the line of a checkpoint has no %s: %v", key, l)
			}
		}
	}
	if want := []float64{float64(first), float64(second), float64(third)}; !slices.Equal(ids, want) {
		t.Errorf("checkpoints %v have lines, want %v, each once", ids, want)
	}
}

// TestLogOfADeath: the failure that no restart follows is the one line at ERROR, with the cause.
func TestLogOfADeath(t *testing.T) {
	t.Parallel()
	var log locked
	d := startDaemonWith(t, newRoot(), "", service.Options{Log: jsonLog(&log)})
	w := oneWorker(t, d, "j", func(c *ckptdv1.JobConfig) {
		c.RestartStrategy = &ckptdv1.RestartStrategy{Type: ckptdv1.RestartStrategy_TYPE_NONE}
	})
	w.report(ckptdv1.ReportRequest_KIND_FAILED, func(r *ckptdv1.ReportRequest) { r.Cause = "the disk is gone" })
	w.ended()
	d.waitReleased(t)
	d.scrape(t).want(t, samples{`ckptd_jobs_ended_total{status="failed"}`: 1, `ckptd_jobs_ended_total{status="canceled"}`: 0})
	lines := log.lines(t, "j")
	want := []string{"INFO attached", "INFO attempt", "INFO running", "WARN task-failed", "ERROR failed", "INFO released"}
	if got := words(lines); !slices.Equal(got, want) {
		t.Errorf("the log has\n%q, want\n%q\n%s", got, want, log.String())
	}
	for _, l := range lines {
		if text, _ := l["text"].(string); l["level"] == "ERROR" && !strings.Contains(text, "the disk is gone") {
			t.Errorf("the line at ERROR does not name the cause: %v", l)
		}
	}
}

// TestLogOfLostWorkers: a worker that does not come back is WARN.
func TestLogOfLostWorkers(t *testing.T) {
	t.Parallel()
	var log locked
	root := newRoot()
	a := startDaemonWith(t, root, "", service.Options{Log: jsonLog(&log)})
	w := oneWorker(t, a, "j", func(c *ckptdv1.JobConfig) {
		c.RestartStrategy = &ckptdv1.RestartStrategy{Attempts: 3, Delay: durationpb.New(time.Millisecond)}
	})
	w.leave()
	eventually(t, "the worker counts as lost", func() bool {
		return count(a.status(t, "j").GetEvents(), ckptdv1.JobEventKind_JOB_EVENT_KIND_FAILOVER) > 0
	})
	got := words(log.lines(t, "j"))
	for _, want := range []string{"WARN worker-lost", "WARN failover"} {
		if !slices.Contains(got, want) {
			t.Errorf("the log has %q, want %s", got, want)
		}
	}
}

// TestExpiredSaysWhy: a checkpoint that was not complete in time names the subtasks that have not acknowledged it.
func TestExpiredSaysWhy(t *testing.T) {
	t.Parallel()
	var log locked
	d := startDaemonWith(t, newRoot(), "", service.Options{Log: jsonLog(&log)})
	plan := &ckptdv1.Plan{Operators: []*ckptdv1.Operator{
		{Id: "source", Parallelism: 2, MaxParallelism: 128, Triggered: true}, {Id: "sink", Parallelism: 3, MaxParallelism: 128},
	}}
	d.attach(t, "j", plan, func(c *ckptdv1.JobConfig) {
		c.Timeout, c.TolerableFailedCheckpoints = durationpb.New(50*time.Millisecond), 100
	})
	all := func(operator string, indices ...uint32) (s []*ckptdv1.Subtask) {
		for _, i := range indices {
			s = append(s, &ckptdv1.Subtask{OperatorId: operator, Index: i})
		}
		return s
	}
	early := d.register(t, "j", "early", 0, append(all("source", 0, 1), all("sink", 1)...)...)
	late := d.register(t, "j", "late", 0, all("sink", 0, 2)...)
	early.begin()
	late.begin()
	res := make(chan error, 1)
	var err error
	for late := true; late; { // an acknowledgement may come after the timeout, and then says nothing
		go func() { res <- d.trigger(t.Context(), "j") }()
		late = early.ack(early.triggered()) != nil
		err = <-res
	}
	const want = "not complete after 50ms: no acknowledgement from sink[0,2]"
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("the caller got %v, want %q", err, want)
	}
	eventually(t, "the log says why", func() bool {
		return slices.ContainsFunc(log.lines(t, "j"), func(l logLine) bool {
			text, _ := l["text"].(string)
			return l.String() == "WARN aborted" && strings.Contains(text, want)
		})
	})
}

// TestStoreErrorIsTheCause: a checkpoint that ends because the store does not answer names the store's error: while it
// waits for a file, and when it cannot even begin.
func TestStoreErrorIsTheCause(t *testing.T) {
	t.Parallel()
	var log locked
	var files, entries atomic.Bool
	root, _ := faulty(newRoot(), func(m mem.Mutation) mem.Outcome {
		journal := strings.HasPrefix(m.Key, layout.JournalPrefix("j"))
		if files.Load() && !journal || entries.Load() && journal {
			return mem.Failed()
		}
		return mem.Done()
	})
	d := startDaemonWith(t, root, "", service.Options{Log: jsonLog(&log)})
	w := oneWorker(t, d, "j", func(c *ckptdv1.JobConfig) {
		c.Timeout, c.TolerableFailedCheckpoints = durationpb.New(100*time.Millisecond), 100
	})
	res := make(chan error, 1)
	trigger := func() { go func() { res <- d.trigger(t.Context(), "j") }() }

	files.Store(true)
	for late := true; late; { // a put may come after the checkpoint's timeout, and then says nothing of the store
		trigger()
		_, put := w.putAt(d, shared, w.triggered(), "abc")
		if put == nil {
			t.Fatal("the store took a file")
		}
		err := <-res
		if late = connect.CodeOf(put) == connect.CodeFailedPrecondition; late {
			continue
		}
		if err == nil || !strings.Contains(err.Error(), "no acknowledgement from count[0]; the store's last error for a file: ") {
			t.Errorf("the checkpoint ends with %v, want the subtask and the store's error; the put: %v", err, put)
		}
	}
	d.scrape(t).want(t, samples{`ckptd_jobs_waiting_for_store`: 1})
	files.Store(false)

	entries.Store(true)
	for { // until ids have to be reserved in the journal
		trigger()
		if err := <-res; strings.Contains(fmt.Sprint(err), "not begun after 100ms: the owner waits for its store: ") {
			break
		} else if err == nil || !strings.Contains(err.Error(), "not complete after") {
			t.Fatalf("the checkpoint ends with %v", err)
		}
	}
	entries.Store(false)
}

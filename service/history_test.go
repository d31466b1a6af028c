package service_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/history"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/mem"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
	"github.com/ckptd/ckptd/service"
	"github.com/ckptd/ckptd/service/coordinator"
	"github.com/ckptd/ckptd/service/owner"
	"github.com/ckptd/ckptd/service/shell"
)

const (
	inProgress = ckptdv1.CheckpointOutcome_CHECKPOINT_OUTCOME_IN_PROGRESS
	completed  = ckptdv1.CheckpointOutcome_CHECKPOINT_OUTCOME_COMPLETED
	failed     = ckptdv1.CheckpointOutcome_CHECKPOINT_OUTCOME_FAILED
)

// history asks the daemon. A request without a job means "j".
func (d *daemon) history(t testing.TB, req *ckptdv1.GetHistoryRequest) *ckptdv1.GetHistoryResponse {
	t.Helper()
	if req.GetJobId() == "" {
		req.JobId = "j"
	}
	res, err := ckptdv1connect.NewHistoryServiceClient(d.web, d.http.URL).GetHistory(t.Context(), req)
	if err != nil {
		t.Fatal("history:", err)
	}
	return res
}

// recordOf is what became of one checkpoint, with its operators.
func (d *daemon) recordOf(t testing.TB, id uint64) *ckptdv1.CheckpointRecord {
	t.Helper()
	return d.history(t, &ckptdv1.GetHistoryRequest{CheckpointId: id}).GetCheckpoints()[0]
}

func wantCounts(t testing.TB, res *ckptdv1.GetHistoryResponse, inProgress, completed, failed, restored uint64) {
	t.Helper()
	if c := res.GetCounts(); c.GetInProgress() != inProgress || c.GetCompleted() != completed || c.GetFailed()-c.GetNotBegun() != failed || c.GetRestored() != restored {
		t.Errorf("counts %v, want %d in progress, %d completed, %d failed with an id, %d restored", c, inProgress, completed, failed, restored)
	}
}

func listed(res *ckptdv1.GetHistoryResponse) (ids []uint64) {
	for _, r := range res.GetCheckpoints() {
		ids = append(ids, r.GetCheckpointId())
	}
	return ids
}

// segments are the names of the objects of the history of "j", in order.
func segments(t testing.TB, s storage.Store) (names []layout.HistoryName) {
	t.Helper()
	all, err := catalog.ListHistory(t.Context(), s, "j")
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(all, func(a, b history.Listed) int { return strings.Compare(a.Name.String(), b.Name.String()) })
	for _, l := range all {
		names = append(names, l.Name)
	}
	return names
}

// TestHistory: the answers to the questions of Flink's page of checkpoints, while the job runs.
func TestHistory(t *testing.T) {
	root, far := newRoot(), newRoot()
	d := startDaemonWith(t, root, "", service.Options{Savepoints: farSavepoints(far), JobMetrics: 1})
	d.attach(t, "j", twoPlan(), func(c *ckptdv1.JobConfig) { c.TolerableFailedCheckpoints = 100 })
	source, sink := d.register(t, "j", "source", 0, subtask("source")), d.register(t, "j", "sink", 0, subtask("sink"))
	source.begin()
	sink.begin()
	if res := d.history(t, &ckptdv1.GetHistoryRequest{}); len(res.GetCheckpoints()) != 0 || res.GetLatest().GetCompleted() != nil || res.GetSummary() != nil {
		t.Errorf("before the first checkpoint: %v", res)
	}
	var calls sync.WaitGroup
	t.Cleanup(calls.Wait)
	trigger := func() uint64 {
		calls.Go(func() { _ = d.trigger(t.Context(), "j") })
		id := source.triggered()
		sink.triggered()
		return id
	}
	var first, second uint64
	t.Run("MT-5: a checkpoint in progress, and complete", func(t *testing.T) {
		first = trigger()
		source.mustAck(first, inlineState(first)...)
		r := d.recordOf(t, first)
		if r.GetOutcome() != inProgress || r.GetAcknowledged() != 1 || r.GetSubtasks() != 2 || r.GetOperators()[0].GetOperatorId() != "sink" || r.GetOperators()[0].MissingSubtask == nil ||
			r.GetOperators()[1].SlowestAfter == nil {
			t.Errorf("in progress: %v", r)
		}
		wantCounts(t, d.history(t, &ckptdv1.GetHistoryRequest{}), 1, 0, 0, 0)
		sink.mustAck(first)
		expect[complete](source)
		r = d.recordOf(t, first)
		if r.GetOutcome() != completed || r.GetKind() != ckptdv1.RecordKind_RECORD_KIND_MANUAL || r.GetAcknowledged() != 2 || r.GetPath() != "j/chk-1" || !r.GetRetained() ||
			r.GetStateBytes() != 1 || r.GetNewBytes() != 1 || r.GetEpoch() != 1 || r.GetAttempt() != 1 || r.GetStartedAt() == nil || r.GetEndedAt().AsTime().Before(r.GetStartedAt().AsTime()) {
			t.Errorf("complete: %v", r)
		}
		if ops := r.GetOperators(); len(ops) != 2 || ops[0].GetOperatorId() != "sink" || ops[0].MissingSubtask != nil || ops[0].GetSlowestAfter().AsDuration() < ops[1].GetSlowestAfter().AsDuration() {
			t.Errorf("its operators: %v, want the slowest first", ops)
		}
		res := d.history(t, &ckptdv1.GetHistoryRequest{})
		wantCounts(t, res, 0, 1, 0, 0)
		if res.GetLatest().GetCompleted().GetCheckpointId() != first || res.GetSummary().GetDuration().GetCount() != 1 || !res.GetLive() || res.GetCheckpoints()[0].GetOperators() != nil {
			t.Errorf("history: %v", res)
		}
	})
	t.Run("CO-45: a late acknowledgement is added to the failed checkpoint", func(t *testing.T) {
		second = trigger()
		decline := &ckptdv1.DeclineRequest{JobId: "j", Epoch: source.epoch, Attempt: source.attempt, CheckpointId: second, Subtasks: source.subtasks, Reason: "CHECKPOINT_ASYNC_EXCEPTION", Cause: "no room"}
		if _, err := d.engineService().Decline(t.Context(), decline); err != nil {
			t.Fatal(err)
		}
		expect[abort](sink)
		r := d.recordOf(t, second)
		if r.GetOutcome() != failed || r.GetReason() != "CHECKPOINT_ASYNC_EXCEPTION" || !strings.Contains(r.GetCause(), "no room") || r.GetAcknowledged() != 0 || r.GetPath() != "" {
			t.Errorf("declined: %v", r)
		}
		wantRefused(t, sink.ack(second), ckptdv1.Refused_REASON_NOT_OPEN)
		if r := d.recordOf(t, second); r.GetAcknowledged() != 1 || r.GetOperators()[0].GetOperatorId() != "source" || r.GetOperators()[1].SlowestAfter == nil || r.GetOperators()[1].MissingSubtask != nil {
			t.Errorf("after a late acknowledgement: %v", r)
		}
		res := d.history(t, &ckptdv1.GetHistoryRequest{Failed: true})
		if !slices.Equal(listed(res), []uint64{second}) || res.GetLatest().GetFailed().GetCheckpointId() != second {
			t.Errorf("the failed ones: %v", res)
		}
		wantCounts(t, res, 0, 1, 1, 0)
	})
	t.Run("CO-31: a savepoint is counted as completed", func(t *testing.T) {
		saved := d.savepoint(t, "j", "r")
		id := source.triggered()
		sink.triggered()
		source.mustAck(id, inline("n", "12345"))
		sink.mustAck(id)
		eventually(t, "the savepoint", func() bool { return d.outcome(t, "j", id) == done })
		r := d.recordOf(t, id)
		if r.GetOutcome() != completed || r.GetKind() != ckptdv1.RecordKind_RECORD_KIND_SAVEPOINT || r.GetPath() != saved.GetPath() || r.GetStateBytes() != 5 || r.GetRetained() {
			t.Errorf("the savepoint: %v", r)
		}
		res := d.history(t, &ckptdv1.GetHistoryRequest{})
		if l := res.GetLatest(); l.GetSavepoint().GetCheckpointId() != id || l.GetCompleted().GetCheckpointId() != first {
			t.Errorf("the latest: %v", l)
		}
		wantCounts(t, res, 0, 2, 1, 0)
	})
	t.Run("CO-53: a restore is the latest restored", func(t *testing.T) {
		open := trigger()
		source.report(ckptdv1.ReportRequest_KIND_FAILED, nil)
		source.begin()
		sink.begin()
		res := d.history(t, &ckptdv1.GetHistoryRequest{})
		wantCounts(t, res, 0, 2, 2, 1)
		if l := res.GetLatest(); l.GetRestored().GetCheckpointId() != first || l.GetRestored().GetAttempt() != 2 || l.GetRestored().GetRestoredAt() == nil ||
			l.GetFailed().GetCheckpointId() != open || l.GetFailed().GetReason() != string(coordinator.ReasonFailover) {
			t.Errorf("the latest: %v", l)
		}
	})
	t.Run("MT-4: an answer is a copy", func(t *testing.T) {
		res := d.history(t, &ckptdv1.GetHistoryRequest{})
		want := proto.CloneOf(res)
		res.Checkpoints[0].Cause, res.Counts.Completed, res.Latest.Completed.StateBytes = "changed", 77, 77
		if again := d.history(t, &ckptdv1.GetHistoryRequest{}); !proto.Equal(again, want) {
			t.Errorf("the history is %v, was %v", again, want)
		}
	})
	t.Run("MT-7: the metrics follow without a question", func(t *testing.T) {
		s := d.scrape(t)
		s.want(t, samples{`ckptd_job_checkpoints_total{job="j",outcome="completed"}`: 2, `ckptd_job_last_checkpoint_id{job="j"}`: float64(first),
			`ckptd_job_last_checkpoint_bytes{job="j",kind="state"}`: 1, `ckptd_history_records_total{outcome="written"}`: 0})
		if s[`ckptd_job_checkpoints_total{job="j",outcome="failed"}`] < 2 || s[`ckptd_job_last_restore_timestamp_seconds{job="j"}`] < 1e9 {
			t.Errorf("metrics %v", s)
		}
	})
	res := d.history(t, &ckptdv1.GetHistoryRequest{PageSize: 2})
	rest := d.history(t, &ckptdv1.GetHistoryRequest{PageSize: 2, Before: res.GetNextBefore()})
	if got := slices.Concat(listed(res), listed(rest)); !slices.Equal(got, []uint64{4, 3, 2, 1}) || rest.GetNextBefore() != 0 {
		t.Errorf("in pages: %v, and then %d", got, rest.GetNextBefore())
	}
	if len(segments(t, root.Store)) != 0 {
		t.Error("something was written before it was due")
	}
	_, err := ckptdv1connect.NewHistoryServiceClient(d.web, d.http.URL).GetHistory(t.Context(), &ckptdv1.GetHistoryRequest{JobId: "j", CheckpointId: 99})
	wantCode(t, err, connect.CodeNotFound, "checkpoint 99")
	_, err = ckptdv1connect.NewHistoryServiceClient(d.web, d.http.URL).GetHistory(t.Context(), &ckptdv1.GetHistoryRequest{JobId: "nobody"})
	wantCode(t, err, connect.CodeNotFound)
}

// TestHistoryOfFailures: a checkpoint that has no id yet is counted and not listed; one that has is listed with its cause.
func TestHistoryOfFailures(t *testing.T) {
	t.Run("CO-41: what failed before it had an id is counted", func(t *testing.T) {
		root, f := faulty(newRoot(), nil)
		d := startDaemon(t, root, "")
		w := oneWorker(t, d, "j", func(c *ckptdv1.JobConfig) {
			c.TolerableFailedCheckpoints, c.Timeout = 1000, durationpb.New(20*time.Millisecond)
		})
		id := w.open()
		expect[abort](w)
		for last := head(t, root, "j").Reserved; id < last; expect[abort](w) {
			id = w.open() // it expires
		}
		before := d.history(t, &ckptdv1.GetHistoryRequest{})
		f.SetDecide(func(m mem.Mutation) mem.Outcome {
			if strings.Contains(m.Key, "/_journal/") {
				return mem.Failed() // no further id can be reserved
			}
			return mem.Done()
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); _ = d.trigger(ctx, "j") }()
		t.Cleanup(func() { cancel(); <-done })
		var res *ckptdv1.GetHistoryResponse
		eventually(t, "a failure without an id", func() bool {
			res = d.history(t, &ckptdv1.GetHistoryRequest{})
			return res.GetCounts().GetNotBegun() > before.GetCounts().GetNotBegun()
		})
		if len(res.GetCheckpoints()) != len(before.GetCheckpoints()) || res.GetLatest().GetFailed().GetCheckpointId() != id || res.GetCounts().GetInProgress() != 0 ||
			res.GetCounts().GetFailed() != res.GetCounts().GetNotBegun()+id {
			t.Errorf("history: %v, want one failure more that is not listed", res)
		}
		f.SetDecide(func(mem.Mutation) mem.Outcome { return mem.Done() })
	})
	t.Run("CO-42: what failed after it had an id is listed", func(t *testing.T) {
		root, f := faulty(newRoot(), nil)
		d := startDaemon(t, root, "")
		w := oneWorker(t, d, "j", nil)
		var refused atomic.Bool
		f.SetDecide(func(m mem.Mutation) mem.Outcome {
			if strings.HasSuffix(m.Key, layout.MetadataName) && !refused.Swap(true) {
				return mem.Failed()
			}
			return mem.Done()
		})
		id := w.open()
		w.mustAck(id, inlineState(id)...)
		expect[abort](w)
		if s := w.begin(); s.GetAttempt() != 2 {
			t.Errorf("attempt %d begins, want the second: no failure is tolerated", s.GetAttempt())
		}
		r := d.recordOf(t, id)
		if r.GetOutcome() != failed || r.GetReason() == "" || r.GetCause() == "" || r.GetAcknowledged() != 1 {
			t.Errorf("the record is %v", r)
		}
		wantCounts(t, d.history(t, &ckptdv1.GetHistoryRequest{}), 0, 0, 1, 0)
	})
	t.Run("an expired checkpoint names who is missing", func(t *testing.T) {
		d := startDaemon(t, newRoot(), "")
		w := oneWorker(t, d, "j", func(c *ckptdv1.JobConfig) {
			c.TolerableFailedCheckpoints, c.Timeout = 100, durationpb.New(20*time.Millisecond)
		})
		id := w.open()
		expect[abort](w)
		if r := d.recordOf(t, id); r.GetReason() != string(coordinator.ReasonExpired) || !strings.Contains(r.GetCause(), "count[0]") || r.GetOperators()[0].MissingSubtask == nil {
			t.Errorf("the record is %v", r)
		}
	})
}

// TestHistoryAfterTheEnd: the history of a job that keeps nothing is there after its end, through any daemon, until the job is purged.
func TestHistoryAfterTheEnd(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	w := oneWorker(t, d, "j", func(c *ckptdv1.JobConfig) { c.Retention = ckptdv1.Retention_RETENTION_DELETE_ON_CANCELLATION })
	for range 3 {
		w.checkpoint(inlineState)
	}
	d.cancel(t, "j")
	d.waitReleased(t)
	d.kill()
	d = startDaemon(t, root, "")
	res := d.history(t, &ckptdv1.GetHistoryRequest{})
	wantCounts(t, res, 0, 3, 0, 0)
	if !slices.Equal(listed(res), []uint64{3, 2, 1}) || res.GetLive() || res.GetCheckpoints()[0].GetRetained() || len(segments(t, root.Store)) != 1 {
		t.Errorf("after the end: %v", res)
	}
	if p := planned(t, root, "j"); p.GetObjects() != 0 || p.GetStrangers() != 0 {
		t.Errorf("a collection would delete %d objects, and finds %d strangers", p.GetObjects(), p.GetStrangers())
	}
	name := layout.HistoryKey("j", segments(t, root.Store)[0])
	err := newJanitor(t, root).Do(t.Context(), "j", false, func(ctx context.Context, j *shell.Job) error {
		_, err := j.Edit(ctx, "p", &owner.Edit{Kind: owner.EditPurge}, &shell.Command{Who: "me", Command: "ckptd purge"})
		return err
	})
	if err != nil || head(t, root, "j").Status != journal.StatusRemoved {
		t.Fatal("purge:", err)
	}
	if left := segments(t, root.Store); len(left) > 0 {
		t.Errorf("after the purge %v are left", left)
	}
	if all := audited(t, root); !slices.Contains(all, name) {
		t.Errorf("the audit log has %v, want %s", all, name)
	}
	_, err = catalog.New(root.Store).History(t.Context(), &ckptdv1.GetHistoryRequest{JobId: "j"}, nil)
	if !errors.Is(err, catalog.ErrNoJob) {
		t.Errorf("the history of a purged job: %v, want ErrNoJob", err)
	}
}

// TestHistoryOverOwners: a daemon that is shut down writes what it knows, and its successor goes on. One that is killed loses its tail,
// and the records and counts that are there stay right. What a later owner gives up of an earlier one's is failed.
func TestHistoryOverOwners(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	w := oneWorker(t, d, "j", nil)
	for range 3 {
		w.checkpoint(inlineState)
	}
	if err := d.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.kill()
	w.leave()
	d = startDaemon(t, root, "")
	d.attach(t, "j", onePlan(), nil)
	w = d.register(t, "j", "next", 0, subtask("count"))
	w.begin()
	a := w.checkpoint(inlineState)
	res := d.history(t, &ckptdv1.GetHistoryRequest{})
	wantCounts(t, res, 0, 4, 0, 1)
	if !slices.Equal(listed(res), []uint64{a, 3, 2, 1}) || res.GetCheckpoints()[0].GetEpoch() != 2 || res.GetLatest().GetRestored().GetCheckpointId() != 3 {
		t.Errorf("the second owner's answer: %v", res)
	}
	open := w.open()
	d.kill() // without a word: what it has not written is lost
	w.leave()
	d = startDaemon(t, root, d.addr())
	d.attach(t, "j", onePlan(), nil)
	w = d.registerWith(t, "next", &ckptdv1.RegisterRequest{JobId: "j", Attempt: w.attempt, Subtasks: w.subtasks, BegunCheckpointIds: []uint64{open},
		Reports: []*ckptdv1.StandingReport{{Kind: ckptdv1.ReportRequest_KIND_RUNNING}}})
	eventually(t, "the checkpoint that the dead owner began is recorded", func() bool {
		return d.history(t, &ckptdv1.GetHistoryRequest{}).GetLatest().GetFailed().GetCheckpointId() == open
	})
	if r := d.recordOf(t, open); r.GetOutcome() != failed || r.GetStartedAt() != nil || r.GetEpoch() != 3 ||
		r.GetCause() != "the daemon that took it lost the job before it was complete" {
		t.Errorf("what the dead owner began: %v", r)
	}
	b := w.checkpoint(inlineState)
	res = d.history(t, &ckptdv1.GetHistoryRequest{})
	if !slices.Equal(listed(res), []uint64{b, open, 3, 2, 1}) {
		t.Errorf("%v are listed, want all but %d, which died with its owner", listed(res), a)
	}
	wantCounts(t, res, 0, 4, 1, 0)
}

// TestHistoryOfAFencedOwner: a daemon that was taken over says what it knows, and the later owner's counts stay its own.
func TestHistoryOfAFencedOwner(t *testing.T) {
	root := newRoot()
	old := startDaemon(t, root, "")
	w := oneWorker(t, old, "j", nil)
	w.checkpoint(inlineState)
	id := w.open()
	old.http.CloseClientConnections()
	old.http.Listener.Close() // it does not answer any more, and does not know that
	d := startDaemon(t, root, "")
	d.attach(t, "j", onePlan(), nil)
	next := d.register(t, "j", "next", 0, subtask("count"))
	next.begin()
	b := next.checkpoint(inlineState)
	if b <= id {
		t.Fatalf("checkpoint %d after %d", b, id)
	}
	if err := old.Shutdown(t.Context()); err != nil { // its release finds the later owner
		t.Fatal(err)
	}
	if names := segments(t, root.Store); len(names) != 1 || names[0].Epoch != 1 {
		t.Fatalf("the old owner has written %v", names)
	}
	d.cancel(t, "j")
	d.waitReleased(t)
	res := d.history(t, &ckptdv1.GetHistoryRequest{})
	if !slices.Contains(listed(res), 1) || !slices.Contains(listed(res), b) || res.GetLatest().GetCompleted().GetCheckpointId() != b {
		t.Errorf("%v are listed: %v", listed(res), res)
	}
	for _, r := range res.GetCheckpoints() {
		if (r.GetCheckpointId() == 1 || r.GetCheckpointId() == b) != (r.GetOutcome() == completed) {
			t.Errorf("a wrong record: %v", r)
		}
	}
}

// hangingHistory is a store in which a write of a history waits until it is let go.
type hangingHistory struct {
	storage.Store
	letGo chan struct{}
}

func (s hangingHistory) Create(ctx context.Context, key string, o storage.CreateOptions) (storage.Writer, error) {
	if strings.Contains(key, "/_history/") {
		<-s.letGo
	}
	return s.Store.Create(ctx, key, o)
}

// TestHistoryNeverDelaysACheckpoint: while a store takes nothing of the history, checkpoints complete and the job ends (MT-9). A
// thousand records make ten objects.
func TestHistoryNeverDelaysACheckpoint(t *testing.T) {
	t.Run("MT-9: checkpoints complete without a history", func(t *testing.T) {
		root, f := faulty(newRoot(), nil)
		var refuses atomic.Bool
		refuses.Store(true)
		f.SetDecide(func(m mem.Mutation) mem.Outcome {
			if strings.Contains(m.Key, "/_history/") && refuses.Load() {
				return mem.Failed()
			}
			return mem.Done()
		})
		d := startDaemon(t, root, "")
		w := oneWorker(t, d, "j", nil)
		for range 2*history.SegmentRecords + 50 {
			w.checkpoint(func(uint64) []*ckptdv1.SnapshotHandle { return nil })
		}
		res := d.history(t, &ckptdv1.GetHistoryRequest{PageSize: 1000})
		if n := len(res.GetCheckpoints()); n > 250 || n < 200 || res.GetCounts().GetCompleted() != 250 {
			t.Errorf("%d are listed, %v", n, res.GetCounts())
		}
		d.cancel(t, "j")
		d.waitReleased(t)
		if s := d.scrape(t); s[`ckptd_history_write_failures_total`] == 0 || len(segments(t, root.Store)) != 0 {
			t.Errorf("%v writes have failed", s[`ckptd_history_write_failures_total`])
		}
	})
	t.Run("MT-9: a write that hangs holds nothing up", func(t *testing.T) {
		root, letGo := newRoot(), make(chan struct{})
		root.Store = hangingHistory{root.Store, letGo}
		release := sync.OnceFunc(func() { close(letGo) })
		d := startDaemon(t, root, "")
		t.Cleanup(release)
		w := oneWorker(t, d, "j", nil)
		for range history.SegmentRecords + 50 {
			w.checkpoint(func(uint64) []*ckptdv1.SnapshotHandle { return nil })
		}
		if res := d.history(t, &ckptdv1.GetHistoryRequest{PageSize: 1000}); len(res.GetCheckpoints()) != 150 || res.GetCounts().GetCompleted() != 150 {
			t.Errorf("%d are listed, %v, while they are being written", len(res.GetCheckpoints()), res.GetCounts())
		}
		d.cancel(t, "j")
		d.waitReleased(t)
		release()
	})
	t.Run("a hundred records make an object", func(t *testing.T) {
		root, f := faulty(newRoot(), nil)
		var mu sync.Mutex
		written := map[string]bool{}
		f.SetDecide(func(m mem.Mutation) mem.Outcome {
			mu.Lock()
			defer mu.Unlock()
			if strings.Contains(m.Key, "/_history/") {
				written[m.Key] = true
			}
			return mem.Done()
		})
		d := startDaemon(t, root, "")
		w := oneWorker(t, d, "j", nil)
		const n = 4*history.SegmentRecords + 10
		for range n {
			w.checkpoint(func(uint64) []*ckptdv1.SnapshotHandle { return nil })
		}
		eventually(t, "four segments", func() bool { return len(segments(t, root.Store)) == 4 })
		wantCounts(t, d.history(t, &ckptdv1.GetHistoryRequest{}), 0, n, 0, 0)
		d.cancel(t, "j")
		d.waitReleased(t)
		mu.Lock()
		defer mu.Unlock()
		if len(written) > 6 {
			t.Errorf("%d objects were written for %d checkpoints: %v", len(written), n, slices.Sorted(maps.Keys(written)))
		}
	})
}

// TestDamagedHistory: a segment that is rotten, or under another job's name, is named, and the rest is shown. The next owner goes on.
func TestDamagedHistory(t *testing.T) {
	root := newRoot()
	for range 2 {
		d := startDaemon(t, root, "")
		d.attach(t, "j", onePlan(), nil)
		w := d.register(t, "j", layout.NewNonce(), 0, subtask("count"))
		w.begin()
		w.checkpoint(inlineState)
		if err := d.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.leave()
	}
	names := segments(t, root.Store)
	if len(names) != 2 {
		t.Fatalf("segments %v", names)
	}
	overwrite(t, root.Store, layout.HistoryKey("j", names[1]), flip)
	d := startDaemon(t, root, "")
	res := d.history(t, &ckptdv1.GetHistoryRequest{})
	if !slices.Equal(listed(res), []uint64{1}) || len(res.GetUnreadable()) != 1 || !strings.Contains(res.GetUnreadable()[0], names[1].String()) {
		t.Errorf("with a damaged segment: %v", res)
	}
	d.attach(t, "j", onePlan(), nil)
	w := d.register(t, "j", "third", 0, subtask("count"))
	w.begin()
	id := w.checkpoint(inlineState)
	d.cancel(t, "j")
	d.waitReleased(t)
	res = d.history(t, &ckptdv1.GetHistoryRequest{})
	if !slices.Equal(listed(res), []uint64{id, 1}) || len(res.GetUnreadable()) != 1 {
		t.Errorf("after the next owner: %v", res)
	}
	wantCounts(t, res, 0, 2, 0, 1)
}

// TestHistoryInMemory: the history of a job in the daemon's memory lies there, also after the job's end.
func TestHistoryInMemory(t *testing.T) {
	root := newRoot()
	d, store := memoryDaemon(t, root, 1<<20)
	w := oneWorker(t, d, "j", inJobManager)
	id := w.checkpoint(inlineState)
	wantCounts(t, d.history(t, &ckptdv1.GetHistoryRequest{}), 0, 1, 0, 0)
	d.cancel(t, "j")
	d.waitReleased(t)
	holdsNothing(t, root)
	if res := d.history(t, &ckptdv1.GetHistoryRequest{}); !slices.Equal(listed(res), []uint64{id}) || len(segments(t, store)) != 1 {
		t.Errorf("after the end %v are listed", listed(res))
	}
}

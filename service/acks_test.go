package service_test

import (
	"fmt"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/client"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// open triggers a checkpoint and returns its id. No subtask has acknowledged it. open does not wait for its completion.
func (w *worker) open() uint64 {
	w.t.Helper()
	ctx := w.t.Context()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.d.trigger(ctx, w.job)
	}()
	w.t.Cleanup(func() { <-done })
	return w.triggered()
}

func TestAcknowledgementsThatAreRefused(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	w := oneWorker(t, d, "j", nil)
	var old *ckptdv1.FileHandle
	w.checkpoint(func(id uint64) []*ckptdv1.SnapshotHandle {
		old = w.put(shared, id, "old")
		return []*ckptdv1.SnapshotHandle{uploaded("i", "old", old)}
	})
	id := w.open()
	mine := w.put(exclusive, id, "abc")
	renamed := func(key string) *ckptdv1.FileHandle { return &ckptdv1.FileHandle{Key: key, Length: 3} }
	unknown := ckptdv1.Refused_REASON_UNKNOWN_HANDLE
	unchanged(t, root.Store, func() {
		for name, h := range map[string]*ckptdv1.SnapshotHandle{
			"a file of another checkpoint, as uploaded": uploaded("i", "old", old),
			"another checkpoint's folder":               uploaded("i", "x", renamed(strings.Replace(mine.GetKey(), fmt.Sprintf("chk-%d/", id), "chk-9/", 1))),
			"another job's file":                        uploaded("i", "x", renamed("../k/"+old.GetKey())),
			"the journal":                               uploaded("i", "x", renamed("_journal/00000000000000000001")),
			"a _metadata":                               uploaded("i", "x", renamed(fmt.Sprintf("chk-%d/_metadata", id))),
			"not a name":                                uploaded("i", "x", renamed("shared/x")),
			"never promised":                            known("old", 1),
			"a number nobody has":                       known("old", 4711),
		} {
			err := w.ack(id, h)
			if err == nil {
				t.Fatalf("%s: accepted, want it refused", name)
			}
			if r := detail[*ckptdv1.Refused](err); r.GetReason() != unknown {
				t.Errorf("%s: %v, want reason %v", name, err, unknown)
			}
		}
		wantCode(t, w.ack(id, known("old", 0)), connect.CodeInvalidArgument)
		wantCode(t, w.ack(id, &ckptdv1.SnapshotHandle{Name: "nothing"}), connect.CodeInvalidArgument, "no source")
		stale := *w
		stale.epoch++
		wantRefused(t, stale.ack(id, inlineState(id)...), ckptdv1.Refused_REASON_STALE_EPOCH)
		stale.epoch, stale.attempt = w.epoch, w.attempt+1
		wantRefused(t, stale.ack(id, inlineState(id)...), ckptdv1.Refused_REASON_STALE_ATTEMPT)
		wantRefused(t, w.ack(id+1, inlineState(id)...), ckptdv1.Refused_REASON_NOT_OPEN)
		foreign := *w
		foreign.subtasks = []*ckptdv1.Subtask{{OperatorId: "count", Index: 1}}
		wantCode(t, foreign.ack(id, inlineState(id)...), connect.CodeInvalidArgument, "count[1]")
	})
	w.mustAck(id, uploaded("", "mine", mine))
	if got := expect[complete](w).Complete.GetCheckpointId(); got > id {
		t.Fatalf("complete %d", got)
	}
}

// TestEpochOfAFileIsPartOfItsName: a file of an earlier epoch cannot be acknowledged in this epoch.
func TestEpochOfAFileIsPartOfItsName(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	w := oneWorker(t, d, "j", nil)
	before := w.put(shared, w.open(), "abc")
	d.kill()
	d = startDaemon(t, root, "")
	d.attach(t, "j", onePlan(), nil)
	w2 := d.register(t, "j", w.nonce, w.attempt, w.subtasks...)
	w2.report(ckptdv1.ReportRequest_KIND_RUNNING, nil)
	id := w2.open()
	wantRefused(t, w2.ack(id, uploaded("i", "x", before)), ckptdv1.Refused_REASON_UNKNOWN_HANDLE)
	w2.mustAck(id, inlineState(id)...)
	expect[complete](w2)
}

func TestRepeatedCalls(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	d.attach(t, "j", twoPlan(), nil)
	w := d.register(t, "j", "w", 0, subtask("source"), subtask("sink"))
	w.begin()
	id := w.open()
	source, sink := *w, *w
	source.subtasks, sink.subtasks = w.subtasks[:1], w.subtasks[1:]
	source.mustAck(id, inlineState(id)...)
	source.mustAck(id, inlineState(id)...) // the answer was lost: the same again is no mistake
	wantRefused(t, w.ack(id, inlineState(id)...), ckptdv1.Refused_REASON_UNKNOWN_HANDLE)
	sink.mustAck(id)
	expect[complete](w)
	sink.mustAck(id) // even after the checkpoint is complete
	first, again := d.cancel(t, "j"), d.cancel(t, "j")
	if first.GetStatus() != ckptdv1.JobStatus_JOB_STATUS_CANCELED || again.GetStatus() != first.GetStatus() || len(again.GetRetained()) != 1 {
		t.Errorf("the first call answers %v, its repetition %v; want the same", first, again)
	}
	w.ended()
	d.waitReleased(t)
	if third := d.cancel(t, "j"); third.GetStatus() != first.GetStatus() || len(third.GetRetained()) != 1 {
		t.Errorf("after the release: %v, want the same answer", third)
	}
	if e := atRest(t, root, "j"); len(e.Requests) != 1 {
		t.Errorf("%d requests in the journal, want 1", len(e.Requests))
	}
}

func TestLateBeginSnapshotPromisesNothing(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	w := oneWorker(t, d, "j", nil)
	first := w.checkpoint(func(id uint64) []*ckptdv1.SnapshotHandle {
		return []*ckptdv1.SnapshotHandle{uploaded("i", "a", w.put(shared, id, "abc"))}
	})
	_, err := w.ask(first, "i", "a", "abc")
	wantRefused(t, err, ckptdv1.Refused_REASON_NOT_OPEN)
	_, err = w.ask(first+1, "i", "a", "abc")
	wantRefused(t, err, ckptdv1.Refused_REASON_NOT_OPEN)
	w.checkpoint(inlineState) // nobody needs the file any more
	eventually(t, "the file's end", func() bool { return len(contents(t, root.Store, "j/shared/")) == 0 })
}

// TestKnownFilesAreLent: a shared file that a backend has sent before is known, also to a new owner. An exclusive file
// is never known.
func TestKnownFilesAreLent(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	w := oneWorker(t, d, "j", nil)
	w.checkpoint(func(id uint64) []*ckptdv1.SnapshotHandle {
		return []*ckptdv1.SnapshotHandle{uploaded("i", "a", w.put(shared, id, "abc")), uploaded("i", "m", w.put(exclusive, id, "own"))}
	})
	again := func(w *worker) {
		t.Helper()
		w.checkpoint(func(id uint64) []*ckptdv1.SnapshotHandle {
			if n, err := w.ask(id, "i", "m", "own"); n != 0 || err != nil {
				t.Errorf("exclusive file known as %d: %v; want it not known", n, err)
			}
			n, err := w.ask(id, "i", "a", "abc")
			if n == 0 || err != nil {
				t.Fatalf("shared file known as %d: %v; want it known", n, err)
			}
			return []*ckptdv1.SnapshotHandle{known("", n)} // no name: as the file's
		})
	}
	again(w)
	d.kill()
	d = startDaemon(t, root, "")
	d.attach(t, "j", onePlan(), nil)
	w2 := d.register(t, "j", w.nonce, w.attempt, w.subtasks...)
	w2.report(ckptdv1.ReportRequest_KIND_RUNNING, nil)
	again(w2)
	if _, err := d.engineService().NewAttempt(t.Context(), &ckptdv1.NewAttemptRequest{JobId: "j", Attempt: w2.attempt}); err != nil {
		t.Fatal(err)
	}
	w2.begin()
	res, err := d.engineService().Assignment(t.Context(), &ckptdv1.AssignmentRequest{JobId: "j", Attempt: w2.attempt, Subtasks: w2.subtasks})
	if err != nil {
		t.Fatal(err)
	}
	if h := res.GetStates()[0].GetHandles(); len(h) != 1 || h[0].GetName() != "a" || h[0].GetInstanceNonce() != "i" || h[0].GetScope() != shared {
		t.Errorf("restores %v", h)
	}
	d.cancel(t, "j")
	w2.ended()
	d.waitReleased(t)
	if e := atRest(t, root, "j"); e.Retained[0].StateBytes != 3 || e.Retained[0].NewBytes != 0 {
		t.Errorf("%d bytes of state, %d new", e.Retained[0].StateBytes, e.Retained[0].NewBytes)
	}
}

func TestInlineCap(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	d.attach(t, "j", twoPlan(), nil)
	w := d.register(t, "j", "w", 0, subtask("source"), subtask("sink"))
	w.begin()
	id := w.open()
	source, sink := *w, *w
	source.subtasks, sink.subtasks = w.subtasks[:1], w.subtasks[1:]
	big := strings.Repeat("x", 600<<10)
	unchanged(t, root.Store, func() {
		wantRefused(t, source.ack(id, inline("a", big), inline("b", big)), ckptdv1.Refused_REASON_INLINE_CAP)
		source.mustAck(id, inline("a", big))
		err := sink.ack(id, inline("b", big))
		wantRefused(t, err, ckptdv1.Refused_REASON_INLINE_CAP)
		if left := detail[*ckptdv1.Refused](err).GetInlineLeft(); left != 1<<20-600<<10 {
			t.Errorf("left %d", left)
		}
	})
	sink.mustAck(id, uploaded("", "b", sink.put(exclusive, id, big)))
	expect[complete](w)
}

// TestInlineCapBySDK: above the cap the SDK sends files instead, and the state can be restored.
func TestInlineCapBySDK(t *testing.T) {
	d := startDaemon(t, newRoot(), "")
	w := oneWorker(t, d, "j", nil)
	c, err := client.New([]string{d.http.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	job, err := c.AttachJob(t.Context(), client.JobSpec{ID: "j", Plan: sdkPlan(onePlan())})
	if err != nil {
		t.Fatal(err)
	}
	var pieces []client.Piece
	for i := range 100 {
		pieces = append(pieces, client.Piece{Name: fmt.Sprint(i), Inline: []byte(strings.Repeat(fmt.Sprint(i%10), 19<<10))})
	}
	id, mine := w.open(), client.Subtask{Operator: "count"}
	if err := job.Snapshot(t.Context(), client.Snapshot{
		Attempt: w.attempt, Epoch: w.epoch, Checkpoint: id, Subtasks: []client.SubtaskSnapshot{{Subtask: mine, Pieces: pieces}},
	}); err != nil {
		t.Fatal(err)
	}
	expect[complete](w)
	if _, err := job.NewAttempt(t.Context(), w.attempt, "to restore"); err != nil {
		t.Fatal(err)
	}
	s := w.begin()
	states, err := job.Assignment(t.Context(), s.GetAttempt(), []client.Subtask{mine})
	if err != nil {
		t.Fatal(err)
	}
	for i, h := range states[0].Handles {
		if b, err := job.ReadAll(t.Context(), h); err != nil || string(b) != string(pieces[i].Inline) {
			t.Fatalf("piece %d: %d bytes, %v", i, len(b), err)
		}
	}
}

// TestAssignmentInPages: many handles come in pages, each handle once, in order.
func TestAssignmentInPages(t *testing.T) {
	d := startDaemon(t, newRoot(), "")
	d.attach(t, "j", twoPlan(), nil)
	w := d.register(t, "j", "w", 0, subtask("source"), subtask("sink"))
	w.begin()
	const many = 30_000
	id := w.open()
	req := &ckptdv1.AcknowledgeRequest{JobId: "j", Epoch: w.epoch, Attempt: w.attempt, CheckpointId: id}
	for _, s := range w.subtasks {
		st := &ckptdv1.SubtaskSnapshot{Subtask: s}
		for i := range many {
			st.Handles = append(st.Handles, inline(fmt.Sprintf("%s-%05d-%s", s.GetOperatorId(), i, strings.Repeat("n", 40)), "x"))
		}
		req.Snapshots = append(req.Snapshots, st)
	}
	if _, err := d.engineService().Acknowledge(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	expect[complete](w)
	res, err := d.engineService().NewAttempt(t.Context(), &ckptdv1.NewAttemptRequest{JobId: "j", Attempt: w.attempt, Reason: "to restore"})
	if err != nil {
		t.Fatal(err)
	}
	expect[start](w)
	for _, asked := range [][]*ckptdv1.Subtask{w.subtasks, w.subtasks[:1], w.subtasks[1:]} {
		got, pages, token := map[string][]string{}, 0, ""
		for {
			page, err := d.engineService().Assignment(t.Context(), &ckptdv1.AssignmentRequest{JobId: "j", Attempt: res.GetAttempt(), Subtasks: asked, PageToken: token})
			if err != nil {
				t.Fatal(err)
			}
			pages++
			for _, s := range page.GetStates() {
				for _, h := range s.GetHandles() {
					got[s.GetSubtask().GetOperatorId()] = append(got[s.GetSubtask().GetOperatorId()], h.GetName())
				}
			}
			if token = page.GetNextPageToken(); token == "" {
				break
			}
		}
		if len(got) != len(asked) || pages < 2 {
			t.Errorf("%d subtasks in %d pages", len(got), pages)
		}
		for op, names := range got {
			if len(names) != many {
				t.Fatalf("%s: %d handles, want %d", op, len(names), many)
			}
			for i, name := range names {
				if !strings.HasPrefix(name, fmt.Sprintf("%s-%05d-", op, i)) {
					t.Fatalf("%s: handle %d is %s", op, i, name)
				}
			}
		}
	}
	_, err = d.engineService().Assignment(t.Context(), &ckptdv1.AssignmentRequest{JobId: "j", Attempt: res.GetAttempt() - 1, Subtasks: w.subtasks})
	wantRefused(t, err, ckptdv1.Refused_REASON_STALE_ATTEMPT)
	_, err = d.engineService().Assignment(t.Context(), &ckptdv1.AssignmentRequest{JobId: "j", Attempt: res.GetAttempt(), Subtasks: w.subtasks, PageToken: "x"})
	wantCode(t, err, connect.CodeInvalidArgument, "page token")
}

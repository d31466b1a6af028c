package service_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/layout/journal"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service"
	"github.com/ckptd/ckptd/service/shell"
)

func TestRedirects(t *testing.T) {
	root := newRoot()
	a, b := startDaemon(t, root, ""), startDaemon(t, root, "")
	w := oneWorker(t, a, "j", nil)
	id := w.checkpoint(inlineState)
	owner := func(err error) string {
		n := detail[*ckptdv1.NotOwner](err)
		if connect.CodeOf(err) != connect.CodeFailedPrecondition || n == nil {
			t.Errorf("%v, want an error that names the owner", err)
		}
		return strings.Join(n.GetOwnerUrls(), " ")
	}
	_, err := b.engineService().AttachJob(t.Context(), &ckptdv1.AttachJobRequest{JobId: "j", Plan: onePlan()})
	if got := owner(err); got != a.http.URL {
		t.Errorf("attach: sent to %q, want %q", got, a.http.URL)
	}
	_, err = b.jobService().TriggerCheckpoint(t.Context(), &ckptdv1.TriggerCheckpointRequest{JobId: "j"})
	if got := owner(err); got != a.http.URL {
		t.Errorf("trigger: sent to %q, want %q", got, a.http.URL)
	}
	_, err = b.jobService().GetStatus(t.Context(), &ckptdv1.GetStatusRequest{JobId: "j"})
	if got := owner(err); got != a.http.URL {
		t.Errorf("status: sent to %q, want %q", got, a.http.URL)
	}
	_, err = b.engineService().Report(t.Context(), &ckptdv1.ReportRequest{JobId: "j", Nonce: w.nonce})
	owner(err)
	// Any daemon answers calls that only read.
	res, err := b.jobService().ListCheckpoints(t.Context(), &ckptdv1.ListCheckpointsRequest{JobId: "j"})
	if err != nil || len(res.GetCheckpoints()) != 1 || res.GetCheckpoints()[0].GetCheckpointId() != id {
		t.Errorf("list of checkpoints: %v, %v; want the retained checkpoint", res, err)
	}
	if _, err = b.jobService().CancelJob(t.Context(), &ckptdv1.CancelJobRequest{JobId: "j"}); owner(err) != a.http.URL {
		t.Errorf("cancel: %v, want the caller sent to %s", err, a.http.URL)
	}
	w.checkpoint(inlineState)
}

// elsewhere is the answer of a daemon that sends every caller to another daemon.
func elsewhere(url string) error {
	err := connect.NewError(connect.CodeFailedPrecondition, errors.New("elsewhere"))
	if d, derr := connect.NewErrorDetail(&ckptdv1.NotOwner{OwnerUrls: []string{url}, Epoch: 1}); derr == nil {
		err.AddDetail(d)
	}
	return err
}

// TestThreeHops: a client does not follow two daemons that send it to each other for ever.
func TestThreeHops(t *testing.T) {
	var calls atomic.Int64
	var urls [2]string
	for i := range urls {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			calls.Add(1)
			if err := connect.NewErrorWriter().Write(w, r, elsewhere(urls[1-i])); err != nil {
				t.Error(err)
			}
		}))
		defer s.Close()
		urls[i] = s.URL
	}
	var rounds atomic.Int64
	c, err := client.New(urls[:1], client.WithPatience(1), client.WithOnRetry(func(error, time.Duration) { rounds.Add(1) }))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.AttachJob(t.Context(), client.JobSpec{ID: "j", Plan: sdkPlan(onePlan())}); !errors.Is(err, client.ErrNotOwner) {
		t.Errorf("attach: %v, want ErrNotOwner", err)
	}
	if n, most := calls.Load(), 4*(rounds.Load()+1); n > most {
		t.Errorf("%d calls in %d rounds, want at most %d", n, rounds.Load()+1, most)
	}
}

// TestShutdownReleases: another daemon attaches at once, without a probe, and at most one of the two completes the
// checkpoint in progress.
func TestShutdownReleases(t *testing.T) {
	root := newRoot()
	a, b := startDaemon(t, root, ""), startDaemon(t, root, "")
	w := oneWorker(t, a, "j", nil)
	last := w.checkpoint(inlineState)
	open := w.open()
	if err := a.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect[reregister](w)
	if e := head(t, root, "j"); !e.Owner.IsZero() || e.Kind != journal.KindRelease {
		t.Fatalf("after the shutdown the journal's head is %v, want a release", e.Kind)
	}
	if err := w.ack(open, inlineState(open)...); err == nil {
		t.Error("acknowledged after the release, want a refusal")
	}
	_, err := a.engineService().AttachJob(t.Context(), &ckptdv1.AttachJobRequest{JobId: "j", Plan: onePlan()})
	wantCode(t, err, connect.CodeUnavailable, "shutting down")
	if res := b.attach(t, "j", onePlan(), nil); res.GetEpoch() != 2 || res.GetAttempt() != 1 {
		t.Errorf("the other daemon attached with %v, want epoch 2 and attempt 1", res)
	}
	again := b.register(t, "j", w.nonce, 1, w.subtasks...)
	again.report(ckptdv1.ReportRequest_KIND_RUNNING, nil)
	if c := expect[complete](again).Complete; c.GetCheckpointId() != last || c.GetEpoch() != 2 {
		t.Errorf("Complete is repeated as %v, want checkpoint %d in epoch 2", c, last)
	}
	if id := again.checkpoint(inlineState); id <= open {
		t.Errorf("the next checkpoint is %d, want one above %d, which was open", id, open)
	}
}

// TestKilledAfterTheCancel: the owner dies right after the entry of the cancel. The next daemon that starts, at any
// URL, sweeps the job and releases it.
func TestKilledAfterTheCancel(t *testing.T) {
	t.Parallel()
	root := newRoot()
	opened, faults := faulty(root, nil)
	reached := make(chan struct{})
	a := startDaemonWith(t, opened, "", service.Options{Steps: func(step string) {
		if step == shell.StepEnd {
			faults.Freeze() // nothing that this process does from here on reaches the store
			close(reached)
		}
	}})
	w := oneWorker(t, a, "j", nil)
	w.checkpoint(func(id uint64) []*ckptdv1.SnapshotHandle {
		return []*ckptdv1.SnapshotHandle{uploaded("i", "a", w.put(shared, id, "abc"))}
	})
	w.put(shared, w.open(), "an orphan")
	done := make(chan error, 1)
	go func() {
		_, err := a.jobService().CancelJob(t.Context(), &ckptdv1.CancelJobRequest{JobId: "j"})
		done <- err
	}()
	<-reached
	a.kill()
	if err := <-done; err == nil {
		t.Error("the cancel was answered as a success, want an error: the owner died before it checked the entry")
	}
	if e := head(t, root, "j"); !e.Status.Terminal() || e.Owner.IsZero() {
		t.Fatalf("status %v, owner %v; want the job ended and still owned", e.Status, e.Owner)
	}
	b := startDaemon(t, root, "")
	b.waitReleased(t)
	if e := atRest(t, root, "j"); len(e.Retained) != 1 || !e.Owner.IsZero() {
		t.Errorf("retained %v, owner %v; want one checkpoint and no owner", e.Retained, e.Owner)
	}
}

// TestAttachesRace: when many daemons attach a job at the same time, one of them owns it.
func TestAttachesRace(t *testing.T) {
	root := newRoot()
	var daemons []*daemon
	for range 4 {
		daemons = append(daemons, startDaemon(t, root, ""))
	}
	for job := range 5 {
		id := fmt.Sprint("j", job)
		var owners atomic.Int64
		var g errgroup.Group
		for _, d := range daemons {
			g.Go(func() error {
				res, err := d.engineService().AttachJob(t.Context(), &ckptdv1.AttachJobRequest{JobId: id, Plan: onePlan(), Config: defaultConfig(0)})
				if err == nil {
					owners.Add(1)
					if res.GetEpoch() != 1 {
						return fmt.Errorf("epoch %d, want 1", res.GetEpoch())
					}
					return nil
				}
				if detail[*ckptdv1.NotOwner](err) == nil {
					return err
				}
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
		if owners.Load() != 1 {
			t.Errorf("%s has %d owners, want 1", id, owners.Load())
		}
	}
}

// TestTakenFromAFrozenOwner: an owner that does not answer loses the job. When it runs again, it changes nothing.
func TestTakenFromAFrozenOwner(t *testing.T) {
	root := newRoot()
	opened, faults := faulty(root, nil)
	a := startDaemon(t, opened, "")
	w := oneWorker(t, a, "j", nil)
	w.checkpoint(inlineState)
	open := w.open()
	a.http.Listener.Close() // b's probe fails
	faults.Freeze()
	b := startDaemon(t, root, "")
	if res := b.attach(t, "j", onePlan(), nil); res.GetEpoch() != 2 {
		t.Fatalf("epoch %d, want 2", res.GetEpoch())
	}
	fresh := b.register(t, "j", "fresh", 0, w.subtasks...)
	fresh.begin()
	fresh.checkpoint(inlineState)
	faults.Thaw()
	before := head(t, root, "j").Slot
	// The old owner takes the acknowledgement and writes a _metadata that no journal entry will name. Its commit entry
	// fails, and so it learns that it does not own the job any more.
	w.mustAck(open, inlineState(open)...)
	expect[reregister](w)
	if after := head(t, root, "j").Slot; after != before {
		t.Errorf("the journal's head is slot %d, want %d as before", after, before)
	}
	fresh.checkpoint(inlineState)
	b.cancel(t, "j")
	fresh.ended()
	b.waitReleased(t)
	atRest(t, root, "j")
}

// TestPutStateAtAnotherDaemon: any daemon takes files. A daemon that does not own the job decides by the journal.
func TestPutStateAtAnotherDaemon(t *testing.T) {
	root := newRoot()
	a, b := startDaemon(t, root, ""), startDaemon(t, root, "")
	w := oneWorker(t, a, "j", nil)
	id := w.open()
	f, err := w.putAt(b, shared, id, "abc")
	if err != nil {
		t.Fatal(err)
	}
	w.mustAck(id, uploaded("i", "a", f))
	expect[complete](w)
	if s := head(t, root, "j"); s.Retained[0].StateBytes != 3 {
		t.Errorf("retained are %+v, want 3 bytes of state", s.Retained)
	}
	unchanged(t, root.Store, func() {
		stale := *w
		stale.epoch++
		_, err := stale.putAt(b, shared, id, "abc")
		wantRefused(t, err, ckptdv1.Refused_REASON_STALE_EPOCH)
		_, err = w.putAt(b, shared, 1_000, "abc")
		wantRefused(t, err, ckptdv1.Refused_REASON_NOT_OPEN)
		_, err = w.putAt(a, shared, 1_000, "abc")
		wantRefused(t, err, ckptdv1.Refused_REASON_NOT_OPEN)
	})
	// These are more checkpoints than were reserved when b first read the journal.
	for range 20 {
		w.checkpoint(func(id uint64) []*ckptdv1.SnapshotHandle {
			f, err := w.putAt(b, shared, id, "abc")
			if err != nil {
				t.Fatal(err)
			}
			return []*ckptdv1.SnapshotHandle{uploaded("i", fmt.Sprint(id), f)}
		})
	}
	a.cancel(t, "j")
	w.ended()
	a.waitReleased(t)
	atRest(t, root, "j")
	_, err = w.putAt(a, shared, id, "abc")
	wantRefused(t, err, ckptdv1.Refused_REASON_JOB_TERMINAL)
}

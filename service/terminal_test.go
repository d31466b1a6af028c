package service_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/mem"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service"
	"github.com/ckptd/ckptd/service/shell"
)

// TestAttachWhileAnEndedJobIsClearedUp: an attach of a job that has ended is refused, and the owner still sweeps and
// releases the job.
func TestAttachWhileAnEndedJobIsClearedUp(t *testing.T) {
	root := newRoot()
	begun := &createdStore{Store: root.Store, files: make(chan struct{}, 10)}
	d := startDaemon(t, storage.Opened{Store: begun, Facts: root.Facts, Close: root.Close}, "")
	w := oneWorker(t, d, "j", nil)
	w.checkpoint(func(id uint64) []*ckptdv1.SnapshotHandle {
		return []*ckptdv1.SnapshotHandle{uploaded("i", "a", w.put(shared, id, "abc"))}
	})
	<-begun.files
	// The owner does not begin its last sweep before this upload has ended.
	stream, err := d.state().PutState(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&ckptdv1.PutStateRequest{Part: &ckptdv1.PutStateRequest_Header{Header: &ckptdv1.PutStateHeader{
		JobId: "j", Epoch: w.epoch, Attempt: w.attempt, CheckpointId: w.open(), Scope: shared,
	}}}); err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&ckptdv1.PutStateRequest{Part: &ckptdv1.PutStateRequest_Chunk{Chunk: []byte("an orphan")}}); err != nil {
		t.Fatal(err)
	}
	<-begun.files
	d.cancel(t, "j")
	_, err = d.engineService().AttachJob(t.Context(), &ckptdv1.AttachJobRequest{JobId: "j", Plan: onePlan()})
	wantRefused(t, err, ckptdv1.Refused_REASON_JOB_TERMINAL)
	wantCode(t, err, connect.CodeFailedPrecondition, "begin a new job id")
	if _, err := stream.CloseAndReceive(); err != nil {
		t.Log("the late upload:", err)
	}
	d.waitReleased(t)
	if e := atRest(t, root, "j"); !e.Owner.IsZero() {
		t.Errorf("the job's owner is %v, want it released", e.Owner)
	}
}

// TestUploadForNoCheckpoint: a file that was uploaded for a checkpoint that is never triggered is deleted with the job.
// The owner takes no such file, but another daemon does not know which checkpoints were triggered.
func TestUploadForNoCheckpoint(t *testing.T) {
	root := newRoot()
	d, other := startDaemon(t, root, ""), startDaemon(t, root, "")
	w := oneWorker(t, d, "j", nil)
	if _, err := w.putAt(other, shared, w.checkpoint(inlineState)+5, "abc"); err != nil {
		t.Fatal("put at another daemon:", err)
	}
	d.cancel(t, "j")
	d.waitReleased(t)
	atRest(t, root, "j")
}

// TestUploadElsewhereAfterTheEnd: a job ends and is released while a daemon that does not own it still writes one of
// its files. That daemon deletes the file and refuses the next one at once.
func TestUploadElsewhereAfterTheEnd(t *testing.T) {
	root := newRoot()
	begun := &createdStore{Store: root.Store, files: make(chan struct{}, 10)}
	a, b := startDaemon(t, root, ""), startDaemon(t, storage.Opened{Store: begun, Facts: root.Facts, Close: root.Close}, "")
	w := oneWorker(t, a, "j", nil)
	w.checkpoint(func(id uint64) []*ckptdv1.SnapshotHandle {
		return []*ckptdv1.SnapshotHandle{uploaded("i", "a", w.put(shared, id, "abc"))}
	})
	id := w.open()
	send := func() *connect.ClientStreamForClientSimple[ckptdv1.PutStateRequest, ckptdv1.PutStateResponse] {
		stream, err := b.state().PutState(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(&ckptdv1.PutStateRequest{Part: &ckptdv1.PutStateRequest_Header{Header: &ckptdv1.PutStateHeader{
			JobId: "j", Epoch: w.epoch, Attempt: w.attempt, CheckpointId: id, Scope: shared,
		}}}); err != nil && !errors.Is(err, io.EOF) { // refused already: CloseAndReceive says why
			t.Fatal(err)
		}
		return stream
	}
	early, late := send(), send()
	<-begun.files
	<-begun.files
	if res, err := early.CloseAndReceive(); err != nil || res.GetFile().GetKey() == "" {
		t.Errorf("before the job's end: %v, %v; want the file stored", res, err)
	}
	a.cancel(t, "j")
	a.waitReleased(t)
	_, err := late.CloseAndReceive()
	wantRefused(t, err, ckptdv1.Refused_REASON_JOB_TERMINAL)
	_, err = send().CloseAndReceive()
	wantRefused(t, err, ckptdv1.Refused_REASON_JOB_TERMINAL)
	atRest(t, root, "j")
}

// A file whose commit has an unknown outcome is deleted as well, since the last sweep may not have seen it.
func TestUnknownUploadElsewhereAfterTheEnd(t *testing.T) {
	root := newRoot()
	faults, _ := faulty(root, func(m mem.Mutation) mem.Outcome {
		if strings.Contains(m.Key, "/shared/") && m.Op != mem.OpDelete {
			return mem.DoneButError()
		}
		return mem.Done()
	})
	begun := &createdStore{Store: faults.Store, files: make(chan struct{}, 10)}
	a, b := startDaemon(t, root, ""), startDaemon(t, storage.Opened{Store: begun, Facts: root.Facts, Close: root.Close}, "")
	w := oneWorker(t, a, "j", nil)
	id := w.open()
	stream, err := b.state().PutState(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&ckptdv1.PutStateRequest{Part: &ckptdv1.PutStateRequest_Header{Header: &ckptdv1.PutStateHeader{
		JobId: "j", Epoch: w.epoch, Attempt: w.attempt, CheckpointId: id, Scope: shared,
	}}}); err != nil {
		t.Fatal(err)
	}
	<-begun.files
	a.cancel(t, "j")
	a.waitReleased(t)
	_, err = stream.CloseAndReceive()
	wantRefused(t, err, ckptdv1.Refused_REASON_JOB_TERMINAL)
	atRest(t, root, "j")
}

// createdStore signals each shared file that is begun.
type createdStore struct {
	storage.Store
	files chan struct{}
}

// Create implements storage.Store.
func (s *createdStore) Create(ctx context.Context, key string, opts storage.CreateOptions) (storage.Writer, error) {
	w, err := s.Store.Create(ctx, key, opts)
	if strings.Contains(key, "/shared/") {
		s.files <- struct{}{}
	}
	return w, err
}

// unreadable is a store on which reads of journal entries fail for a while.
type unreadable struct {
	storage.Store
	now    atomic.Bool
	failed atomic.Int64
}

func (u *unreadable) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if u.now.Load() && strings.HasPrefix(key, layout.JournalPrefix("j")) {
		u.failed.Add(1)
		return nil, fmt.Errorf("credentials have expired: %w", fs.ErrPermission)
	}
	return u.Store.Open(ctx, key, offset, length)
}

// diedAtTheEnd makes a job "j" whose owner died right after the entry that ends the job, before its last sweep. It
// returns the root itself, and a root to start the next daemon on.
func diedAtTheEnd(t *testing.T) (under, root storage.Opened) {
	t.Helper()
	ended := make(chan struct{})
	under = newRoot()
	root, life := faulty(under, func(mem.Mutation) mem.Outcome { return mem.Done() })
	d := startDaemonWith(t, root, "", service.Options{Steps: func(step string) {
		if step == shell.StepEnd {
			life.Freeze()
			close(ended)
		}
	}})
	w := oneWorker(t, d, "j", func(c *ckptdv1.JobConfig) { c.Retention = ckptdv1.Retention_RETENTION_DELETE_ON_CANCELLATION })
	w.checkpoint(inlineState)
	w.put(shared, w.open(), "of no use")
	var canceling sync.WaitGroup
	canceling.Go(func() {
		_, _ = d.jobService().CancelJob(t.Context(), &ckptdv1.CancelJobRequest{JobId: "j"}) // nobody answers
	})
	<-ended
	d.kill()
	canceling.Wait()
	return under, root
}

// TestStartLooksAgain: the daemon that ended a job dies before its last sweep, and the next daemon cannot read the
// journal when it starts. It reads the journal again later, sweeps, and releases the job. A shutdown does not wait for
// journals that cannot be read.
func TestStartLooksAgain(t *testing.T) {
	t.Parallel()
	under, root := diedAtTheEnd(t)
	away := &unreadable{Store: under.Store}
	away.now.Store(true)
	root.Store = away
	stopped := startDaemon(t, root, "")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := stopped.Shutdown(ctx); err != nil {
		t.Errorf("shutdown: %v, want no error", err)
	}
	startDaemon(t, root, "")
	if away.failed.Load() == 0 || head(t, under, "j").Owner.IsZero() || len(contents(t, under.Store, "j/shared/")) == 0 {
		t.Error("no read of the journal failed, or the job was cleared up; want a job that is to be read again")
	}
	away.now.Store(false)
	eventually(t, "the job is released", func() bool { return head(t, under, "j").Owner.IsZero() })
	atRest(t, under, "j")
}

// TestFinishBehindAnAttach: a caller attaches the ended job before the new daemon finishes it by itself. The caller is
// refused, and the daemon still finishes the job.
func TestFinishBehindAnAttach(t *testing.T) {
	t.Parallel()
	under, root := diedAtTheEnd(t)
	away := &unreadable{Store: under.Store}
	away.now.Store(true)
	root.Store = away
	d := startDaemon(t, root, "")
	var attaching sync.WaitGroup
	attaching.Go(func() {
		_, err := d.engineService().AttachJob(t.Context(), &ckptdv1.AttachJobRequest{JobId: "j", Plan: onePlan()})
		wantRefused(t, err, ckptdv1.Refused_REASON_JOB_TERMINAL)
	})
	before := away.failed.Load()
	eventually(t, "the attach waits long for its next try", func() bool { return away.failed.Load() >= before+8 })
	away.now.Store(false)
	eventually(t, "the job is released", func() bool { return head(t, under, "j").Owner.IsZero() })
	attaching.Wait()
	atRest(t, under, "j")
}

// TestEndedJobSaysHow: whoever attaches a job that has ended hears how it ended, also after its owner has let it go.
func TestEndedJobSaysHow(t *testing.T) {
	d := startDaemon(t, newRoot(), "")
	d.attach(t, "j", onePlan(), nil)
	d.cancel(t, "j")
	for _, when := range []string{"at once", "when it is released"} {
		_, err := d.engineService().AttachJob(t.Context(), &ckptdv1.AttachJobRequest{JobId: "j", Plan: onePlan()})
		wantRefused(t, err, ckptdv1.Refused_REASON_JOB_TERMINAL)
		if got := detail[*ckptdv1.Refused](err).GetStatus(); got != ckptdv1.JobStatus_JOB_STATUS_CANCELED {
			t.Errorf("%s: the refusal has status %v, want CANCELED", when, got)
		}
		d.waitReleased(t)
	}
}

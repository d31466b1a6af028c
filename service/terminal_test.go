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

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/mem"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service"
)

// TestAttachWhileAnEndedJobIsClearedUp: who comes late to a job that has ended is refused, and the owner still sweeps it and lets it go.
func TestAttachWhileAnEndedJobIsClearedUp(t *testing.T) {
	root := newRoot()
	begun := &createdStore{Store: root.Store, files: make(chan struct{}, 10)}
	d := startDaemon(t, storage.Opened{Store: begun, Facts: root.Facts, Close: root.Close}, "")
	w := oneWorker(t, d, "j", nil)
	w.checkpoint(func(id uint64) []*ckptdv1.SnapshotHandle {
		return []*ckptdv1.SnapshotHandle{uploaded("i", "a", w.put(shared, id, "abc"))}
	})
	<-begun.files
	// An upload that has not ended keeps the owner from its last sweep.
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
		t.Errorf("not let go: owner %v", e.Owner)
	}
}

// TestUploadForNoCheckpoint: what a worker uploads for a checkpoint that is never triggered goes with the job. The owner takes no such
// file; another daemon cannot know.
func TestUploadForNoCheckpoint(t *testing.T) {
	root := newRoot()
	d, other := startDaemon(t, root, ""), startDaemon(t, root, "")
	w := oneWorker(t, d, "j", nil)
	if _, err := w.putAt(other, shared, w.checkpoint(small)+5, "abc"); err != nil {
		t.Fatal("put at another daemon:", err)
	}
	d.cancel(t, "j")
	d.waitReleased(t)
	atRest(t, root, "j")
}

// TestUploadElsewhereAfterTheEnd: a job ends, and is let go, while one of its files is still on its way through a daemon that does not
// own it: that one takes the file back, and refuses the next at once.
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
		t.Errorf("before the end: %v, %v", res, err)
	}
	a.cancel(t, "j")
	a.waitReleased(t)
	_, err := late.CloseAndReceive()
	wantRefused(t, err, ckptdv1.Refused_REASON_JOB_TERMINAL)
	_, err = send().CloseAndReceive()
	wantRefused(t, err, ckptdv1.Refused_REASON_JOB_TERMINAL)
	atRest(t, root, "j")
}

// A file of which nobody knows whether it was made is taken back as well: the last sweep may not have seen it.
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

// createdStore tells of each shared file that is begun.
type createdStore struct {
	storage.Store
	files chan struct{}
}

// Create is storage.Store's.
func (s *createdStore) Create(ctx context.Context, key string, opts storage.CreateOptions) (storage.Writer, error) {
	w, err := s.Store.Create(ctx, key, opts)
	if strings.Contains(key, "/shared/") {
		s.files <- struct{}{}
	}
	return w, err
}

// unreadable is a store that for a while does not give the journals' entries.
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

// diedAtTheEnd leaves a job "j" whose owner died right after the entry that ends it, before it cleared up: the root under it all, and one to
// start the next daemon on.
func diedAtTheEnd(t *testing.T) (under, root storage.Opened) {
	t.Helper()
	ended := make(chan struct{})
	under = newRoot()
	root, life := faulty(under, func(mem.Mutation) mem.Outcome { return mem.Done() })
	d := startDaemonWith(t, root, "", service.Options{Steps: func(step string) {
		if step == service.StepEnd {
			life.Freeze()
			close(ended)
		}
	}})
	w := oneWorker(t, d, "j", func(c *client.JobConfig) { c.Retention = ckptdv1.Retention_RETENTION_DELETE_ON_CANCELLATION })
	w.checkpoint(small)
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

// TestStartLooksAgain: the daemon that ended a job dies before it has cleared up, and the next one cannot read the journal when it starts.
// It looks again, clears up, and lets the job go; and being told to stop it does not wait for what it cannot read.
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
		t.Errorf("shut down: %v", err)
	}
	startDaemon(t, root, "")
	if away.failed.Load() == 0 || head(t, under, "j").Owner.IsZero() || len(contents(t, under.Store, "j/shared/")) == 0 {
		t.Error("there was nothing to look at again")
	}
	away.now.Store(false)
	eventually(t, "the job is let go", func() bool { return head(t, under, "j").Owner.IsZero() })
	atRest(t, under, "j")
}

// TestFinishBehindAnAttach: somebody asks for the ended job before the new daemon does so itself, and is refused; the daemon finishes the
// job all the same.
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
	eventually(t, "the job is let go", func() bool { return head(t, under, "j").Owner.IsZero() })
	attaching.Wait()
	atRest(t, under, "j")
}

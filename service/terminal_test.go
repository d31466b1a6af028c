package service_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
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
	_, err = d.engine().AttachJob(t.Context(), &ckptdv1.AttachJobRequest{JobId: "j", Plan: onePlan()})
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

// TestUploadForNoCheckpoint: what a worker uploads for a checkpoint that is never triggered goes with the job.
func TestUploadForNoCheckpoint(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	w := oneWorker(t, d, "j", nil)
	w.put(shared, w.checkpoint(small)+5, "abc")
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

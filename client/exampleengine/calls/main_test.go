package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage/mem"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
	"github.com/ckptd/ckptd/service/stream"
)

// script is a daemon that takes one checkpoint in each of the engine's lives and then ends it.
type script struct {
	ckptdv1connect.UnimplementedEngineServiceHandler
	attempt uint64
	kept    []*ckptdv1.StateHandle
	running chan uint64
	acked   chan *ckptdv1.SnapshotHandle
	last    *ckptdv1.RegisterResponse
}

func (s *script) AuthorizePut(context.Context, stream.Upload) error { return nil }

func (s *script) AuthorizeGet(context.Context, string, string) error { return nil }

func (s *script) Stored(stream.Upload, *ckptdv1.FileHandle) {}

func (s *script) AttachJob(context.Context, *ckptdv1.AttachJobRequest) (*ckptdv1.AttachJobResponse, error) {
	return &ckptdv1.AttachJobResponse{Epoch: 1, InlineThreshold: 20 << 10, InlineCap: 1 << 20}, nil
}

func (s *script) Register(ctx context.Context, _ *ckptdv1.RegisterRequest, st *connect.ServerStream[ckptdv1.RegisterResponse]) error {
	s.attempt++
	id := s.attempt
	if err := st.Send(&ckptdv1.RegisterResponse{Command: &ckptdv1.RegisterResponse_Start{Start: &ckptdv1.Start{Attempt: id, Epoch: 1, RestoreCheckpointId: id - 1}}}); err != nil {
		return err
	}
	select {
	case <-s.running:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := st.Send(&ckptdv1.RegisterResponse{Command: &ckptdv1.RegisterResponse_Trigger{Trigger: &ckptdv1.Trigger{Attempt: id, Epoch: 1, CheckpointId: id}}}); err != nil {
		return err
	}
	var h *ckptdv1.SnapshotHandle
	select {
	case h = <-s.acked:
	case <-ctx.Done():
		return ctx.Err()
	}
	s.kept = []*ckptdv1.StateHandle{{Name: h.GetName(), InstanceNonce: h.GetInstanceNonce(), Scope: ckptdv1.Scope_SCOPE_SHARED, Location: &ckptdv1.StateHandle_File{File: h.GetUploaded()}}}
	if err := st.Send(&ckptdv1.RegisterResponse{Command: &ckptdv1.RegisterResponse_Complete{Complete: &ckptdv1.Complete{Attempt: id, Epoch: 1, CheckpointId: id}}}); err != nil {
		return err
	}
	return st.Send(s.last)
}

func (s *script) Report(ctx context.Context, r *ckptdv1.ReportRequest) (*ckptdv1.ReportResponse, error) {
	if r.GetKind() != ckptdv1.ReportRequest_KIND_RUNNING {
		return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("report %v: want running only", r.GetKind()))
	}
	return &ckptdv1.ReportResponse{}, hand(ctx, s.running, r.GetAttempt())
}

func (s *script) Assignment(_ context.Context, r *ckptdv1.AssignmentRequest) (*ckptdv1.AssignmentResponse, error) {
	return &ckptdv1.AssignmentResponse{States: []*ckptdv1.SubtaskState{{Subtask: r.GetSubtasks()[0], Handles: s.kept}}}, nil
}

func (s *script) BeginSnapshot(_ context.Context, r *ckptdv1.BeginSnapshotRequest) (*ckptdv1.BeginSnapshotResponse, error) {
	return &ckptdv1.BeginSnapshotResponse{Known: make([]uint32, len(r.GetFiles()))}, nil
}

func (s *script) Acknowledge(ctx context.Context, r *ckptdv1.AcknowledgeRequest) (*ckptdv1.AcknowledgeResponse, error) {
	return &ckptdv1.AcknowledgeResponse{}, hand(ctx, s.acked, r.GetSnapshots()[0].GetHandles()[0])
}

// hand hands v to the registration's script. Nobody takes what the script does not wait for, so the call may end first.
func hand[T any](ctx context.Context, to chan<- T, v T) error {
	select {
	case to <- v:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Two lives: the second begins with what the first had snapshotted.
func TestLives(t *testing.T) {
	s := &script{running: make(chan uint64, 1), acked: make(chan *ckptdv1.SnapshotHandle, 1)}
	state, err := stream.New(mem.New(), layout.NewNonce(), s, nil)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(state.Handler())
	mux.Handle(ckptdv1connect.NewEngineServiceHandler(s))
	srv := httptest.NewServer(mux)
	defer srv.Close()
	life := func(last *ckptdv1.RegisterResponse) []string {
		s.last = last
		var out bytes.Buffer
		if err := run(t.Context(), []string{srv.URL}, "counter", time.Second, &out); err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
		return strings.Split(strings.TrimSpace(out.String()), "\n")
	}
	first := life(&ckptdv1.RegisterResponse{Command: &ckptdv1.RegisterResponse_Replaced{Replaced: &ckptdv1.Replaced{}}})
	second := life(&ckptdv1.RegisterResponse{Command: &ckptdv1.RegisterResponse_Cancel{Cancel: &ckptdv1.Cancel{Status: ckptdv1.JobStatus_JOB_STATUS_CANCELED}}})
	if len(first) != 4 || first[0] != "attempt 1 restored checkpoint 0: 0" || first[3] != "another process counts now" {
		t.Errorf("first life:\n%s", strings.Join(first, "\n"))
	}
	kept, _ := strings.CutPrefix(first[1], "checkpoint 1 has ")
	if len(second) != 4 || second[0] != "attempt 2 restored checkpoint 1: "+kept || second[2] != "checkpoint 2 is complete" {
		t.Errorf("second life:\n%s", strings.Join(second, "\n"))
	}
}

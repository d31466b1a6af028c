package service_test

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/layout/storage/mem"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
)

func TestRepeatedTriggerTakesOneCheckpoint(t *testing.T) {
	d := startDaemon(t, mem.Open(), "")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	heard := make(chan client.Command)
	go runEngine(ctx, t, []string{d.http.URL}, "one", heard)
	waitComplete(ctx, t, heard, 1, 1)
	go func() {
		for {
			select {
			case <-heard:
			case <-ctx.Done():
				return
			}
		}
	}()
	people := ckptdv1connect.NewJobServiceClient(http.DefaultClient, d.http.URL)
	ids := make([]uint64, 8)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			res, err := people.TriggerCheckpoint(ctx, &ckptdv1.TriggerCheckpointRequest{JobId: "one", RequestId: "this"})
			if err != nil {
				t.Error(err)
			}
			ids[i] = res.GetCheckpoint().GetCheckpointId()
		})
	}
	wg.Wait()
	again, err := people.TriggerCheckpoint(ctx, &ckptdv1.TriggerCheckpointRequest{JobId: "one", RequestId: "this"})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		if id != again.GetCheckpoint().GetCheckpointId() || id == 0 {
			t.Errorf("checkpoints %v and %d for one request, want one checkpoint", ids, again.GetCheckpoint().GetCheckpointId())
		}
	}
	other, err := people.TriggerCheckpoint(ctx, &ckptdv1.TriggerCheckpointRequest{JobId: "one", RequestId: "other"})
	if err != nil || other.GetCheckpoint().GetCheckpointId() <= ids[0] {
		t.Errorf("another request: %v, %v; want a newer checkpoint", other, err)
	}
}

func TestAttachThatWouldBeginTheJobIsNotRefusedForAnother(t *testing.T) {
	d := startDaemon(t, mem.Open(), "")
	engines := ckptdv1connect.NewEngineServiceClient(http.DefaultClient, d.http.URL)
	for i := range 20 {
		id := "job-" + string(rune('a'+i))
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { // may be refused: it does not say what to begin
				_, _ = engines.AttachJob(t.Context(), &ckptdv1.AttachJobRequest{JobId: id})
			})
		}
		wg.Go(func() {
			if _, err := engines.AttachJob(t.Context(), &ckptdv1.AttachJobRequest{JobId: id, Plan: onePlan()}); err != nil {
				t.Errorf("attach of %s: %v, want no error", id, err)
			}
		})
		wg.Wait()
	}
}

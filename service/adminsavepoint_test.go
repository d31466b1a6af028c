package service_test

import (
	"errors"
	"testing"

	"github.com/ckptd/ckptd/client"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service"
)

// admin makes the calls for people to a daemon.
func (d *daemon) admin(t *testing.T) *client.Admin {
	t.Helper()
	c, err := client.New([]string{d.http.URL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c.Admin()
}

// finishes plays a worker that stops with a savepoint: it takes it, commits it, and reports that it has finished.
func (w *worker) finishes(drains bool) {
	w.t.Helper()
	trigger := expect[trigger](w).Trigger
	if !trigger.GetStops() || trigger.GetDrains() != drains {
		w.t.Errorf("the trigger %v, want one that stops, and drains: %t", trigger, drains)
	}
	w.epoch = trigger.GetEpoch()
	w.mustAck(trigger.GetCheckpointId(), inline("n", "1"))
	if c := expect[complete](w).Complete; c.GetCheckpointId() != trigger.GetCheckpointId() || !c.GetEnds() {
		w.t.Errorf("complete %v, want savepoint %d to end the job", c, trigger.GetCheckpointId())
	}
	w.report(ckptdv1.ReportRequest_KIND_FINISHED, nil)
}

// TestAdminSavepoints: a program takes savepoints with the SDK, waits for them, lists them, and stops a job.
func TestAdminSavepoints(t *testing.T) {
	for name, stop := range map[string]client.SavepointStop{"SP-17": client.NoStop, "SP-10": client.StopDrain} {
		t.Run(name, func(t *testing.T) {
			root, far := newRoot(), newRoot()
			d := startDaemonWith(t, root, "", service.Options{Savepoints: farSavepoints(far)})
			a := d.admin(t)
			w := oneWorker(t, d, "a", nil)
			begun, err := a.Savepoint(t.Context(), "a", client.SavepointWish{Request: "mine"})
			if err != nil || begun.Outcome != client.SavepointStarted || begun.Subtasks != 1 {
				t.Fatalf("%+v, %v, want it begun", begun, err)
			}
			w.mustAck(w.triggered(), inline("n", "1"))
			ended, err := a.AwaitSavepoint(t.Context(), "a", begun)
			if err != nil || ended.Outcome != client.SavepointDone || ended.EndedAt.IsZero() || ended.MetadataBytes == 0 {
				t.Errorf("%+v, %v, want it done", ended, err)
			}
			go w.finishes(stop == client.StopDrain)
			stopped, err := a.Stop(t.Context(), "a", client.SavepointWish{Stop: stop})
			if err != nil || stopped.Outcome != client.SavepointDone || stopped.Stop == client.NoStop || stopped.Path == "" {
				t.Errorf("stop: %+v, %v", stopped, err)
			}
			list, err := a.Savepoints(t.Context(), "a")
			if err != nil || len(list) != 2 || list[0] != ended || list[1].Path != stopped.Path {
				t.Errorf("list: %+v, %v", list, err)
			}
		})
	}
}

// TestAdminStopFails: SP-18: the savepoint fails: the error says so, the job runs on, and nothing is left.
func TestAdminStopFails(t *testing.T) {
	t.Run("SP-18", func(t *testing.T) {
		root, far := newRoot(), newRoot()
		d := startDaemonWith(t, root, "", service.Options{Savepoints: farSavepoints(far)})
		w := oneWorker(t, d, "a", func(c *ckptdv1.JobConfig) { c.TolerableFailedCheckpoints = 10 })
		attempt := w.attempt
		go func() {
			id := w.triggered()
			_, _ = d.engineService().Decline(t.Context(), &ckptdv1.DeclineRequest{JobId: "a", Epoch: w.epoch, Attempt: attempt, CheckpointId: id, RequestId: "d", Subtasks: w.subtasks, Cause: "no room"})
		}()
		s, err := d.admin(t).Stop(t.Context(), "a", client.SavepointWish{})
		if !errors.Is(err, client.ErrNoSavepoint) || s.Outcome != client.SavepointCleaned {
			t.Errorf("%+v, %v, want ErrNoSavepoint", s, err)
		}
		if e := head(t, root, "a"); e.Status.Terminal() || e.Owner.IsZero() {
			t.Errorf("the job: %+v, want it to run on", e)
		}
		if left := contents(t, far.Store, ""); len(left) != 1 {
			t.Errorf("%d objects are left, want the tombstone", len(left))
		}
	})
}

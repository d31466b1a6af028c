package service_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/ckptd/ckptd/layout/verify"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// TestAClockYearsOff lets three daemons own a job one after the other. The clock of the second one is decades behind, as it
// is in a bubble of synctest. Each one restores the newest checkpoint by its number, deletes only what is older by its
// number, and the store stays whole.
func TestAClockYearsOff(t *testing.T) {
	root := newRoot()
	var newest uint64
	life := func(t *testing.T, addr string, attempt uint64) {
		d := startDaemon(t, root, addr)
		defer d.kill()
		d.attach(t, "j", onePlan(), nil)
		w := d.register(t, "j", "w", 0, subtask("count"))
		if s := w.begin(); s.GetRestoreCheckpointId() != newest || s.GetAttempt() != attempt {
			t.Errorf("attempt %d restores checkpoint %d, want attempt %d and checkpoint %d", s.GetAttempt(), s.GetRestoreCheckpointId(), attempt, newest)
		}
		for range 3 {
			id := w.checkpoint(func(id uint64) []*ckptdv1.SnapshotHandle {
				return []*ckptdv1.SnapshotHandle{uploaded("i", "m", w.put(exclusive, id, "some state"))}
			})
			if id <= newest {
				t.Errorf("checkpoint %d came after %d", id, newest)
			}
			newest = id
		}
		list, err := d.jobService().ListCheckpoints(t.Context(), &ckptdv1.ListCheckpointsRequest{JobId: "j"})
		if err != nil || len(list.GetCheckpoints()) != 1 || list.GetCheckpoints()[0].GetCheckpointId() != newest {
			t.Errorf("retained: %v, %v; want checkpoint %d alone", list, err, newest)
		}
		w.leave()
		if err := d.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}
	life(t, "", 1)
	synctest.Test(t, func(t *testing.T) {
		if time.Now().Year() > 2001 {
			t.Fatal("the clock of a bubble is not behind: set another one")
		}
		life(t, inMemory, 2)
	})
	life(t, "", 3)
	report, err := verify.Run(t.Context(), root.Store, verify.Options{ReadData: true})
	if err != nil || report.GetVerdict() != ckptdv1.VerifyVerdict_VERIFY_VERDICT_WHOLE {
		t.Errorf("verify: %v, %v", report, err)
	}
}

package service_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ckptd/ckptd/layout/storage/mem"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// TestDurationHasTheCommit takes a checkpoint whose journal entry takes its time. Status and metric say the time from the
// trigger to the end of the commit; the entry, which was written before that, says less.
func TestDurationHasTheCommit(t *testing.T) {
	t.Parallel()
	const slow = 50 * time.Millisecond
	var hold atomic.Bool
	root, _ := faulty(newRoot(), func(m mem.Mutation) mem.Outcome {
		if hold.Load() && strings.Contains(m.Key, "/_journal/") {
			time.Sleep(slow)
		}
		return mem.Done()
	})
	d := startDaemon(t, root, "")
	w := oneWorker(t, d, "j", nil)
	hold.Store(true)
	id := w.checkpoint(inlineState)
	hold.Store(false)
	stored, _ := head(t, root, "j").Checkpoint(id)
	before := time.Duration(stored.DurationMillis) * time.Millisecond
	for _, e := range d.status(t, "j").GetEvents() {
		if e.GetKind() != ckptdv1.JobEventKind_JOB_EVENT_KIND_COMPLETED {
			continue
		}
		if got := e.GetCheckpoint().GetDuration().AsDuration(); e.GetCheckpointId() != id || got < before+slow-time.Millisecond {
			t.Errorf("the event of checkpoint %d says %v, want at least %v more than the %v until its last acknowledgement", e.GetCheckpointId(), got, slow, before)
		}
		if got := d.scrape(t)["ckptd_checkpoint_duration_seconds_sum"]; got < slow.Seconds() {
			t.Errorf("the metric says %v s, want at least %v", got, slow)
		}
		return
	}
	t.Errorf("no event says that checkpoint %d is complete", id)
}

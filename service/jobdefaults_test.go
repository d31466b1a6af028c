package service_test

import (
	"testing"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service"
)

// TestJobDefaults: a new job takes the daemon's defaults for the keys that it leaves out. A daemon that starts again
// with other defaults changes no job that exists, and takes the workers of such a job as before.
func TestJobDefaults(t *testing.T) {
	root := newRoot()
	before := service.Options{JobDefaults: &ckptdv1.JobConfig{NumRetained: 4, Retention: ckptdv1.Retention_RETENTION_RETAIN_ON_CANCELLATION}}
	d := startDaemonWith(t, root, "", before)
	asked := &ckptdv1.JobConfig{TolerableFailedCheckpoints: 7}
	check := func(d *daemon, id string, c *ckptdv1.JobConfig, retained uint32) {
		t.Helper()
		res, err := d.attaches(t, id, onePlan(), c)
		if err != nil {
			t.Fatalf("attach %s: %v, want no error", id, err)
		}
		if got := res.GetConfig(); got.GetNumRetained() != retained || got.GetTolerableFailedCheckpoints() != c.GetTolerableFailedCheckpoints() ||
			got.GetRetention() != ckptdv1.Retention_RETENTION_RETAIN_ON_CANCELLATION {
			t.Errorf("job %s has %v, want %d retained, %d tolerable, and retention on cancellation", id, got, retained, c.GetTolerableFailedCheckpoints())
		}
	}
	check(d, "asks", asked, 4)
	check(d, "asks-nothing", nil, 4)
	d.register(t, "asks", "w", 0, subtask("count")).begin()
	check(d, "asks", asked, 4) // a worker that comes again
	d.kill()
	after := service.Options{JobDefaults: &ckptdv1.JobConfig{NumRetained: 9, Retention: ckptdv1.Retention_RETENTION_RETAIN_ON_CANCELLATION}}
	d = startDaemonWith(t, root, "", after)
	check(d, "asks", asked, 4)
	check(d, "new", asked, 9)
}

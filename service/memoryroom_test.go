package service_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service"
)

// TestAbortedCheckpointsLeaveTheMemory: what checkpoints have sent that came to nothing goes soon, not with an hourly sweep. Else a memory
// that is full once stays full, and no checkpoint of any job completes.
func TestAbortedCheckpointsLeaveTheMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 1 << 20
		m, memory := memoryOf(limit)
		d := startDaemonWith(t, newRoot(), inMemory, service.Options{Memory: m})
		w := oneWorker(t, d, "j", func(c *ckptdv1.JobConfig) { inJobManager(c); c.TolerableFailedCheckpoints = 100 })
		time.Sleep(time.Minute) // the first sweep is over
		for full := false; !full; {
			id := w.open()
			full = w.putSized(id, limit/4) != nil
			if err := w.decline(id, "IO_EXCEPTION"); err != nil {
				t.Fatal(err)
			}
			expect[abort](w)
		}
		time.Sleep(10 * time.Second)
		if used, _ := memory.Usage(); used > limit/4 {
			t.Errorf("%d of %d bytes are taken, and nothing needs them", used, limit)
		}
		w.checkpoint(w.fileOf(strings.Repeat("x", limit/2)))
	})
}

// TestEndedJobsLeaveRoomInMemory: what is left of ended jobs takes an eighth of the memory at most. The job that ended last is still
// refused, and still has its history; the first ones are forgotten.
func TestEndedJobsLeaveRoomInMemory(t *testing.T) {
	const limit = 192 << 10
	d, memory := memoryDaemon(t, newRoot(), limit)
	const jobs = 40
	id := func(i int) string { return fmt.Sprintf("j%d", i) }
	for i := range jobs {
		w := oneWorker(t, d, id(i), inJobManager)
		w.checkpoint(inlineState)
		d.cancel(t, id(i))
		d.waitReleased(t)
		if used, _ := memory.Usage(); used > limit/8 {
			t.Fatalf("%d bytes of %d are taken after %d jobs have ended", used, limit, i+1)
		}
	}
	if _, err := d.engineService().AttachJob(t.Context(), &ckptdv1.AttachJobRequest{JobId: id(jobs - 1), Plan: onePlan()}); err == nil {
		t.Error("the job that ended last began anew")
	}
	keys := objects(t, memory)
	has := func(job, folder string) bool {
		return slices.ContainsFunc(keys, func(k string) bool { return strings.HasPrefix(k, job+"/"+folder) })
	}
	if last := id(jobs - 1); !has(last, "_journal") || !has(last, "_history") || has(id(0), "") {
		t.Errorf("left are %q", keys)
	}
}

package shell

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/ckptd/ckptd/layout/journalio"
	"github.com/ckptd/ckptd/layout/storage/mem"
)

// A sweep that is due waits while the daemon takes jobs back, but not for ever. The last sweep of an ended job does not wait.
func TestSweepsYield(t *testing.T) {
	now := time.Unix(1000, 0)
	always := func() bool { return true }
	var s sweeps
	s.yield(now)
	if !s.next().IsZero() {
		t.Errorf("a sweep that nobody planned is due at %v", s.next())
	}
	s.attached(now)
	if s.yield(now); s.next() != now.Add(firstSweep) {
		t.Errorf("a sweep that is not due yet was put off to %v", s.next())
	}
	for n := range yields {
		now = now.Add(firstSweep)
		if s.yield(now); s.begin(now, always, always) {
			t.Fatalf("the sweep began after it was put off %d times, want %d times", n, yields)
		}
	}
	now = now.Add(firstSweep)
	if s.yield(now); !s.begin(now, always, always) {
		t.Errorf("a sweep that was put off %d times waits on, want that it begins", yields)
	}
	s.ended(now, false)
	s.jobEnded(now)
	if s.yield(now); !s.begin(now, always, always) {
		t.Error("the last sweep was put off")
	}
}

// The daemon counts the jobs that it is taking back until each has its answer.
func TestJobsThatAreTakenBackAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := mem.Open()
		first := environment(t, root)
		attached(t, first).Release()
		synctest.Wait()
		env := environment(t, root)
		for _, id := range []string{"j", "no-such-job"} {
			j := New(env, id)
			var during int64
			j.TakeBack(false, false, journalio.GlanceAt(t.Context(), root.Store, root.Facts, id))
			j.do(func() { during = env.taking.Load() })
			j.Begin(func() {})
			synctest.Wait()
			if now := env.taking.Load(); during != 1 || now != 0 {
				t.Errorf("%s: %d jobs are being taken back, %d in the end; want 1 and 0", id, during, now)
			}
		}
	})
}

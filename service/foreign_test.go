package service

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ckptd/ckptd/layout/journal"
)

// Who asks while a read is under way is not answered by it: it may have begun before what the caller wants to know of. All who ask
// meanwhile share the next one.
func TestHeadsAreReadAfterTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h headReads
		var wg sync.WaitGroup
		var reads uint64
		ask := func(at time.Duration, want uint64) {
			wg.Go(func() {
				time.Sleep(at)
				head, err := h.after("job", func() (*journal.Entry, error) {
					reads++
					n := reads
					time.Sleep(10 * time.Second)
					return &journal.Entry{Slot: n}, nil
				})
				if err != nil || head.Slot != want {
					t.Errorf("asked after %v: read %v, %v; want read %d", at, head, err, want)
				}
			})
		}
		ask(0, 1)
		ask(time.Second, 2)
		ask(2*time.Second, 2)
		ask(9*time.Second, 2)
		ask(11*time.Second, 3)
		ask(15*time.Second, 3)
		ask(40*time.Second, 4)
		wg.Wait()
		if reads != 4 || len(h.lines) != 0 {
			t.Errorf("%d reads, %d lines are kept", reads, len(h.lines))
		}
	})
}

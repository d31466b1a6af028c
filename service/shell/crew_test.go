package shell

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// A crew runs every function, never one behind another that waits, keeps few goroutines, and ends with its context.
func TestCrew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // fails if a goroutine is left
		ctx, cancel := context.WithCancel(t.Context())
		var c crew
		var ran atomic.Int64
		round := func(n int) {
			var all, together sync.WaitGroup
			together.Add(n)
			for range n {
				all.Add(1)
				c.run(ctx, func() {
					defer all.Done()
					together.Done()
					together.Wait() // for all others: none may wait behind this one
					ran.Add(1)
				})
			}
			all.Wait()
			synctest.Wait()
		}
		round(3)
		if len(c.idle) != 3 {
			t.Errorf("%d goroutines wait after 3 functions, want 3", len(c.idle))
		}
		round(2)
		if len(c.idle) != 3 {
			t.Errorf("%d goroutines wait after 2 more functions, want the same 3", len(c.idle))
		}
		round(2 * maxIdle)
		if len(c.idle) != maxIdle {
			t.Errorf("%d goroutines wait after many functions, want %d", len(c.idle), maxIdle)
		}
		cancel()
		synctest.Wait()
		if len(c.idle) != 0 {
			t.Errorf("%d goroutines wait after the end of their context, want none", len(c.idle))
		}
		round(2) // trims go on after a job's release
		if want := int64(3 + 2 + 2*maxIdle + 2); ran.Load() != want {
			t.Errorf("%d functions ran, want %d", ran.Load(), want)
		}
	})
}

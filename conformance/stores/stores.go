// Package stores is the test suite that every storage driver passes, ckptd's own and other people's.
//
// It owns the practical meaning of the contract in package storage: one subtest for each sentence, with the same
// name. It must not know any driver. A driver's test is:
//
//	func TestStore(t *testing.T) {
//		base := t.TempDir()
//		stores.Run(t, stores.Harness{
//			Open: func(t *testing.T, root string) storage.Opened {
//				opened, err := mydriver.Open(t.Context(), filepath.Join(base, root))
//				if err != nil {
//					t.Fatal(err)
//				}
//				return opened
//			},
//		})
//	}
package stores

import (
	"fmt"
	"testing"

	"go.uber.org/goleak"

	"github.com/ckptd/ckptd/layout/storage"
)

// Harness is what the suite needs of a driver.
type Harness struct {
	// Open returns a store over the root with this name (one path element). The root is new and empty at the first
	// call. Further calls with the same name open the same root, as other processes would.
	Open func(t *testing.T, root string) storage.Opened
	// Faulty, if not nil, returns a store over the root. After arm is called, the step-th step (from 0) of the next
	// mutation fails; a step is a system call, a request, or a way to end. happened reports afterwards whether there
	// was such a step. The suite counts step up until there is none.
	Faulty func(t *testing.T, root string, step int) (opened storage.Opened, arm func(), happened func() bool)
	// Races is the number of rounds of the races; 0 means 20.
	Races int
}

// A check is one sentence of the contract.
type check struct {
	name string
	run  func(t *testing.T, r *root)
}

// A root is an empty root for one check.
type root struct {
	storage.Store
	facts storage.Facts
	races int
	// again opens the same root as another process would.
	again func() storage.Store
	// other opens another root.
	other func() storage.Opened
}

// Run runs the suite: one subtest for each sentence, none in parallel.
func Run(t *testing.T, h Harness) {
	if h.Races == 0 {
		h.Races = 20
	}
	n := 0
	newRoot := func() string {
		n++
		return fmt.Sprintf("root-%03d", n)
	}
	var checks []check
	for _, list := range [][]check{creates(), publishes(), reads(), lists(), deletes(), manys(), copies()} {
		checks = append(checks, list...)
	}
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) { runOne(t, h, newRoot(), c) })
	}
	if h.Faulty == nil {
		return
	}
	for _, m := range mutations() {
		t.Run("every mutation ends as done, not done or unknown, and says which/"+m.name, func(t *testing.T) {
			outcomes(t, h, m, newRoot)
		})
	}
}

func runOne(t *testing.T, h Harness, name string, c check) {
	before := goleak.IgnoreCurrent()
	var closers []func() error
	openAt := func(name string) storage.Opened {
		opened := h.Open(t, name)
		closers = append(closers, opened.Close)
		return opened
	}
	open := func() storage.Opened { return openAt(name) }
	opened := open()
	r := &root{
		Store: opened.Store,
		facts: opened.Facts,
		races: h.Races,
		again: func() storage.Store { return open().Store },
		other: func() storage.Opened { return openAt(name + "-other") },
	}
	defer func() {
		for _, closeOne := range closers {
			if err := closeOne(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
		if err := goleak.Find(before); err != nil { // Find waits a little for goroutines that are about to end
			t.Error(err)
		}
	}()
	c.run(t, r)
}

// Package stores is the suite that every storage driver passes, ckptd's own and a user's.
//
// It owns what the sentences of package storage mean in practice: one subtest for each, of the same name. It must not know any
// driver. A driver's test is:
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
	// Open returns a store over the root of that name (one path element), which is new and empty at the first call. Further
	// calls with the name open the same root, as other processes would.
	Open func(t *testing.T, root string) storage.Opened
	// Faulty, if not nil, returns a store over the root in which, once armed, the step-th step of the next mutation (from 0: a
	// system call, a request, a way to end) goes wrong. struck tells afterwards whether there was such a step; the suite
	// counts up until there is none.
	Faulty func(t *testing.T, root string, step int) (opened storage.Opened, arm func(), struck func() bool)
	// Races is the number of rounds of the races; 0 means 20.
	Races int
}

// A check is one sentence of the contract.
type check struct {
	name string
	run  func(t *testing.T, r *root)
}

// A root is what a check works on: an empty root of its own.
type root struct {
	storage.Store
	facts storage.Facts
	races int
	// again opens the same root as another process would.
	again func() storage.Store
}

// Run runs the suite, one subtest per sentence, none in parallel.
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
	for _, list := range [][]check{creates(), publishes(), reads(), lists(), deletes(), manys()} {
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
	open := func() storage.Opened {
		opened := h.Open(t, name)
		closers = append(closers, opened.Close)
		return opened
	}
	opened := open()
	r := &root{
		Store: opened.Store,
		facts: opened.Facts,
		races: h.Races,
		again: func() storage.Store { return open().Store },
	}
	defer func() {
		for _, closeOne := range closers {
			if err := closeOne(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
		if err := goleak.Find(before); err != nil { // it waits a little for goroutines that are about to end
			t.Error(err)
		}
	}()
	c.run(t, r)
}

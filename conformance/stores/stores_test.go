package stores_test

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/ckptd/ckptd/conformance/stores"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/mem"
)

// answering is a store that returns other results of Delete than its driver did; bend changes them.
type answering struct {
	storage.Store
	bend func(errs []error) []error
}

func (a answering) Delete(ctx context.Context, keys []string) []error {
	errs := a.Store.Delete(ctx, keys)
	if errs == nil {
		errs = make([]error, len(keys))
	}
	return a.bend(errs)
}

// runBent runs the suite over a store whose results of Delete are changed by bend.
func runBent(t *testing.T, bend func([]error) []error) {
	roots := map[string]*mem.Store{}
	open := func(name string, decide func(mem.Mutation) mem.Outcome) storage.Opened {
		if roots[name] == nil {
			roots[name] = mem.New()
		}
		opened := roots[name].Opened()
		faults := mem.NewFaults(roots[name], nil)
		faults.SetDecide(decide)
		opened.Store = answering{faults, bend}
		return opened
	}
	stores.Run(t, stores.Harness{
		Races: 2,
		Open:  func(_ *testing.T, name string) storage.Opened { return open(name, nil) },
		Faulty: func(_ *testing.T, name string, step int) (storage.Opened, func(), func() bool) {
			armed, happened := false, false
			opened := open(name, func(mem.Mutation) mem.Outcome {
				if !armed || step > 0 {
					return mem.Done()
				}
				happened = true
				return mem.Failed()
			})
			return opened, func() { armed = true }, func() bool { return happened }
		},
	})
}

// A driver may always return one result per key.
func TestResultPerKey(t *testing.T) { runBent(t, func(errs []error) []error { return errs }) }

// bentVariable makes TestBent run the suite over a driver that breaks the contract. The suite must fail, so it runs
// in a process of its own.
const bentVariable = "CKPTD_TEST_BENT"

var bent = map[string]func([]error) []error{
	"too few": func(errs []error) []error { return errs[:max(0, len(errs)-1)] },
	"too many": func(errs []error) []error {
		return append(errs, nil)
	},
}

// A driver that returns too few or too many results fails the suite with a clear message, and the suite continues.
func TestBent(t *testing.T) {
	if bend := bent[os.Getenv(bentVariable)]; bend != nil {
		runBent(t, bend)
		return
	}
	for name := range bent {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestBent$/^(FS-25|delete|keys|every)", "-test.v")
			cmd.Env = append(os.Environ(), bentVariable+"="+name)
			raw, err := cmd.CombinedOutput()
			out := string(raw)
			if err == nil || strings.Contains(out, "panic") {
				t.Errorf("the suite ended with %v, want a failure without a panic\n%s", err, out)
			}
			for _, want := range []string{
				"--- FAIL: TestBent/delete:_one_result_per_key,_in_order",
				"--- FAIL: TestBent/keys:_illegal_ones_are_refused",
				"--- FAIL: TestBent/every_operation_at_once",
				"--- FAIL: TestBent/every_mutation_ends_as_done,_not_done_or_unknown,_and_says_which/FS-26_delete",
				"want one per key, in their order, or a nil slice when all were deleted",
			} {
				if !strings.Contains(out, want) {
					t.Errorf("the suite's output is\n%s\nwant %q in it", out, want)
				}
			}
		})
	}
}

package mem_test

import (
	"testing"

	"github.com/ckptd/ckptd/conformance/stores"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/mem"
)

// roots keeps stores by name, as the suite wants them.
type roots map[string]*mem.Store

func (r roots) open(name string) *mem.Store {
	if r[name] == nil {
		r[name] = mem.New()
	}
	return r[name]
}

func TestStore(t *testing.T) {
	r := roots{}
	stores.Run(t, stores.Harness{
		Open: func(t *testing.T, name string) storage.Opened { return r.open(name).Opened() },
	})
}

// The decorators change nothing unless a test asks for it, and each outcome is reported as what it is.
func TestWrapped(t *testing.T) {
	r := roots{}
	wrapped := func(s storage.Store) storage.Opened {
		return storage.Opened{
			Store: mem.NewTranscript(s, func(string, ...any) {}),
			Facts: storage.Facts{Kind: "mem", Location: "mem:"},
			Close: func() error { return nil },
		}
	}
	outcomes := []mem.Outcome{mem.Failed(), mem.DoneButError(), mem.Later(1), mem.Later(3)}
	stores.Run(t, stores.Harness{
		Open: func(t *testing.T, name string) storage.Opened { return wrapped(mem.NewFaults(r.open(name), nil)) },
		Faulty: func(t *testing.T, name string, step int) (storage.Opened, func(), func() bool) {
			faults := mem.NewFaults(r.open(name), nil)
			injected := false
			arm := func() {
				faults.SetDecide(func(mem.Mutation) mem.Outcome {
					if step >= len(outcomes) {
						return mem.Done()
					}
					injected = true
					return outcomes[step]
				})
			}
			return wrapped(faults), arm, func() bool { return injected }
		},
	})
}

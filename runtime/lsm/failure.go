package lsm

import (
	"errors"
	"fmt"
	"sync"
)

// failure keeps the first error that the tree met in the background; the backend fails with it from then on. It is also the tree's
// logger: what is fatal to the tree is fatal to the backend, not to the process.
type failure struct {
	once sync.Once
	// done is closed once err is set.
	done chan struct{}
	err  error
}

func newFailure() *failure { return &failure{done: make(chan struct{})} }

func (f *failure) set(err error) {
	f.once.Do(func() {
		f.err = err
		close(f.done)
	})
}

// get is cheap enough for every call.
func (f *failure) get() error {
	select {
	case <-f.done:
		return f.err
	default:
		return nil
	}
}

// Infof implements pebble.Logger; the tree's chatter is dropped.
func (f *failure) Infof(string, ...any) {}

// Errorf implements pebble.Logger. What matters of it comes back as an error too.
func (f *failure) Errorf(string, ...any) {}

// Fatalf implements pebble.Logger.
func (f *failure) Fatalf(format string, args ...any) {
	f.set(errors.New("tree: " + fmt.Sprintf(format, args...)))
}

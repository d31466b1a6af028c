package lsm

import (
	"errors"
	"fmt"
	"sync"
)

// failure keeps the first error that the tree met in the background; from then on the backend fails with it. It is
// also the tree's logger: an error that is fatal for the tree ends the backend, not the process.
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

// Infof implements pebble.Logger; it drops the message.
func (f *failure) Infof(string, ...any) {}

// Errorf implements pebble.Logger. It drops the message, because important errors are also returned.
func (f *failure) Errorf(string, ...any) {}

// Fatalf implements pebble.Logger.
func (f *failure) Fatalf(format string, args ...any) {
	f.set(errors.New("tree: " + fmt.Sprintf(format, args...)))
}

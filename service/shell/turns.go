package shell

import (
	"sync"
)

// turns is an unbounded queue of what a job's goroutine is to do. There is a goroutine only while there is something to do: ten
// thousand idle jobs would hold 40 MB of stacks. put never waits: the goroutine puts functions into its own queue, so a bounded
// one could deadlock. The length stays small, since each function belongs to a running request or a store operation.
type turns struct {
	mu      sync.Mutex
	queue   []func()
	serve   func() // begins the goroutine; nil: not yet
	serving bool
	closed  bool
}

// begin lets serve take what is put. serve must begin a goroutine that calls take until it returns nothing.
func (t *turns) begin(serve func()) {
	t.mu.Lock()
	t.serve = serve
	t.mu.Unlock()
	t.wake()
}

// put appends f and reports whether somebody will still take it.
func (t *turns) put(f func()) bool {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return false
	}
	t.queue = append(t.queue, f)
	t.mu.Unlock()
	t.wake()
	return true
}

// wake begins the goroutine if there is something to do and nobody does it.
func (t *turns) wake() {
	t.mu.Lock()
	begin := t.serve != nil && !t.serving && !t.closed && len(t.queue) > 0
	if begin {
		t.serving = true
	}
	t.mu.Unlock()
	if begin {
		t.serve()
	}
}

// take returns all functions, and keeps the slice of those that are done for others. If there are none, the goroutine has to end: the
// next put begins another.
func (t *turns) take(done []func()) []func() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(done)
	if len(t.queue) == 0 {
		t.queue, t.serving = nil, false
		return nil
	}
	taken := t.queue
	t.queue = done[:0]
	return taken
}

// close refuses what comes later.
func (t *turns) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed, t.queue = true, nil
}

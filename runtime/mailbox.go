package runtime

import (
	"sync"
	"sync/atomic"
)

// letter is a command to one task.
type letter struct {
	// Exactly one is set: the checkpoint to trigger (with its epoch), to commit, or that was aborted.
	trigger, complete, abort uint64
	epoch                    uint64
	// stops: sources hold after the barrier of the checkpoint to trigger. ends: the task has finished once the checkpoint is committed.
	stops, ends bool
	// drains: the task does its end-of-data work before the barrier of the checkpoint to trigger.
	drains bool
}

// mailbox holds the commands to a task until its goroutine handles them. It is unbounded, because the worker must
// never wait for a task that waits for its output.
type mailbox struct {
	// full is cheap to read in the loop over records.
	full atomic.Bool
	wake chan struct{}

	mu      sync.Mutex
	letters []letter
}

func newMailbox() *mailbox { return &mailbox{wake: make(chan struct{}, 1)} }

func (m *mailbox) put(l letter) {
	m.mu.Lock()
	m.letters = append(m.letters, l)
	m.full.Store(true)
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

func (m *mailbox) take() []letter {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.letters
	m.letters = nil
	m.full.Store(false)
	return l
}

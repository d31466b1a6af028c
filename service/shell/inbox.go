package shell

import (
	"sync"
)

// inbox is an unbounded queue with one reader. put never waits: a worker that does not read its commands must not hold up its job.
type inbox[T any] struct {
	mu     sync.Mutex
	items  []T
	closed bool
	wake   chan struct{}
}

func newInbox[T any]() *inbox[T] { return &inbox[T]{wake: make(chan struct{}, 1)} }

// put appends v and reports whether the queue still has a reader.
func (q *inbox[T]) put(v T) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.items = append(q.items, v)
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return true
}

// take removes and returns all items. ready signals when there may be some.
func (q *inbox[T]) take() (items []T, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	items, q.items = q.items, nil
	return items, q.closed
}

// ready receives when the queue may have items, or was closed.
func (q *inbox[T]) ready() <-chan struct{} { return q.wake }

// close ends the queue. Items that are in it can still be taken.
func (q *inbox[T]) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

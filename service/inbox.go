package service

import "sync"

// inbox is an unbounded queue with one reader. What is put in never waits: the job's goroutine puts into the same queues it
// is fed from, so a bound would be a deadlock. Its length is bounded by what is under way: requests, replies of the store.
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

// take removes all items; ready signals when there may be some.
func (q *inbox[T]) take() (items []T, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	items, q.items = q.items, nil
	return items, q.closed
}

func (q *inbox[T]) ready() <-chan struct{} { return q.wake }

// close ends the queue; what is in it can still be taken.
func (q *inbox[T]) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

package engine

import "sync"

// queue holds the calls that the engine has not come to. It is unbounded, so that reading commands never waits.
type queue struct {
	mu     sync.Mutex
	more   *sync.Cond
	calls  []call
	closed bool
}

func newQueue() *queue {
	q := &queue{}
	q.more = sync.NewCond(&q.mu)
	return q
}

func (q *queue) put(c call) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.calls = append(q.calls, c)
	q.more.Signal()
}

// close ends take, once the queue is empty.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.more.Signal()
}

// take waits for the next call; false: the queue is closed and empty.
func (q *queue) take() (call, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.calls) == 0 && !q.closed {
		q.more.Wait()
	}
	if len(q.calls) == 0 {
		return call{}, false
	}
	c := q.calls[0]
	q.calls = q.calls[1:]
	return c, true
}

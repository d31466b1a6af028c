package shell

import (
	"context"
	"slices"
	"sync"
)

// maxIdle is how many goroutines of a crew wait for work. About as many requests of commits and deletes run at a time.
const maxIdle = 48

// crew runs functions in goroutines that it uses again. The stack of a new goroutine grows, and is copied, several times in each
// storage operation: that took 7 % of the CPU time of a start with many jobs. The zero value is ready for use.
type crew struct {
	mu   sync.Mutex
	idle []chan func() // of goroutines that wait; the last one began to wait last, and its stack is warm
}

// run calls f in another goroutine. Goroutines that wait for work end with ctx.
func (c *crew) run(ctx context.Context, f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if last := len(c.idle) - 1; last >= 0 {
		c.idle[last] <- f // has room for one
		c.idle = c.idle[:last]
		return
	}
	go c.work(ctx, f)
}

// work calls f and what comes after it.
func (c *crew) work(ctx context.Context, f func()) {
	next := make(chan func(), 1)
	for {
		f()
		if !c.wait(next) {
			return
		}
		select {
		case f = <-next:
		case <-ctx.Done():
			if c.leave(next) {
				return
			}
			f = <-next // it came at the same time
		}
	}
}

// wait adds a goroutine to those that wait; it reports false if there are enough.
func (c *crew) wait(next chan func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.idle) == maxIdle {
		return false
	}
	c.idle = append(c.idle, next)
	return true
}

// leave removes a goroutine from those that wait; it reports false if the goroutine has been given a function.
func (c *crew) leave(next chan func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.Index(c.idle, next)
	if i < 0 {
		return false
	}
	c.idle = slices.Delete(c.idle, i, i+1)
	return true
}

package shell

import (
	"github.com/ckptd/ckptd/service/api"
	"github.com/ckptd/ckptd/service/coordinator"
	"github.com/ckptd/ckptd/service/owner"
)

// callers are the calls that wait for one of the machines, by the caller's number.
type callers struct {
	last     uint64
	waiters  map[uint64]func(*owner.Op)
	requests map[uint64]func(coordinator.Answer)
	// savepoints are what begins the savepoints that wait for their turn.
	savepoints map[uint64]func()
}

func newCallers() callers {
	return callers{waiters: map[uint64]func(*owner.Op){}, requests: map[uint64]func(coordinator.Answer){}, savepoints: map[uint64]func(){}}
}

// wait registers f for the one Tell that answers a caller, and returns the caller's number.
func (c *callers) wait(f func(*owner.Op)) uint64 {
	c.last++
	c.waiters[c.last] = f
	return c.last
}

// answer passes a Tell to the caller that waits for it.
func (c *callers) answer(op *owner.Op) {
	if f := c.waiters[op.Caller]; f != nil {
		delete(c.waiters, op.Caller)
		f(op)
	}
}

// answerAll tells all waiting callers of the owner machine that the job was released.
func (c *callers) answerAll(op *owner.Op) {
	waiters := c.waiters
	c.waiters = map[uint64]func(*owner.Op){}
	for _, f := range waiters {
		f(op)
	}
}

// request registers f for the coordinator's answer, and returns the caller's number.
func (c *callers) request(f func(coordinator.Answer)) uint64 {
	c.last++
	c.requests[c.last] = f
	return c.last
}

// inTurn registers a savepoint that waits for its turn, and returns the caller's number. Either begin or refuse is called.
func (c *callers) inTurn(begin func(), refuse func(coordinator.Answer)) uint64 {
	n := c.request(func(a coordinator.Answer) {
		delete(c.savepoints, a.Caller)
		refuse(a)
	})
	c.savepoints[n] = begin
	return n
}

// answerRequest passes the coordinator's answer to the caller that waits for it.
func (c *callers) answerRequest(a coordinator.Answer) {
	if f := c.requests[a.Caller]; f != nil {
		delete(c.requests, a.Caller)
		f(a)
	}
}

// refuseRequests answers the callers that still wait for a checkpoint when the job is over.
func (c *callers) refuseRequests() {
	requests := c.requests
	c.requests = map[uint64]func(coordinator.Answer){}
	for n, f := range requests {
		f(coordinator.Answer{Caller: n, Reason: coordinator.ReasonSuspend, Cause: api.ErrNotAttached.Error()})
	}
}

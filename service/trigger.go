package service

import (
	"context"
	"fmt"
	"slices"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/layout/catalog"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/coordinator"
)

// triggersKept is how many requests for a checkpoint an owner remembers.
const triggersKept = 32

// triggerCall is a request for a checkpoint. A call that is repeated under the same request id joins it, or gets the same checkpoint; one
// that failed is forgotten, so that it can be repeated.
type triggerCall struct {
	request string
	waiting []func(*ckptdv1.TriggerCheckpointResponse, error)
	// res is the answer, once there is one.
	res *ckptdv1.TriggerCheckpointResponse
}

// TriggerCheckpoint takes a checkpoint now.
func (p jobService) TriggerCheckpoint(ctx context.Context, req *ckptdv1.TriggerCheckpointRequest) (*ckptdv1.TriggerCheckpointResponse, error) {
	j, err := p.s.job(req.GetJobId())
	if err != nil {
		return nil, p.elsewhere(ctx, req.GetJobId(), err)
	}
	res, err := ask(ctx, j, func(reply func(*ckptdv1.TriggerCheckpointResponse, error)) {
		if j.coord == nil {
			reply(nil, notAttached(j.id))
			return
		}
		j.trigger(req.GetRequestId(), reply)
	})
	if isNotAttached(err) { // it is being attached just now, or let go; or somebody tried to attach what there is not
		if now := p.elsewhere(ctx, j.id, err); connect.CodeOf(now) == connect.CodeNotFound {
			err = now
		}
	}
	return res, err
}

// trigger asks the coordinator for a checkpoint, unless this very request was made before.
func (j *job) trigger(request string, reply func(*ckptdv1.TriggerCheckpointResponse, error)) {
	for _, c := range j.triggers {
		switch {
		case request == "" || c.request != request:
		case c.res != nil:
			reply(c.res, nil)
			return
		default:
			c.waiting = append(c.waiting, reply)
			return
		}
	}
	c := &triggerCall{request: request, waiting: []func(*ckptdv1.TriggerCheckpointResponse, error){reply}}
	if j.triggers = append(j.triggers, c); len(j.triggers) > triggersKept {
		j.triggers = append([]*triggerCall(nil), j.triggers[1:]...)
	}
	j.nextCaller++
	j.requests[j.nextCaller] = func(a coordinator.Answer) { j.triggered(c, a) }
	j.coordinate(coordinator.Request{Caller: j.nextCaller})
}

// triggered answers all who wait for a request.
func (j *job) triggered(c *triggerCall, a coordinator.Answer) {
	var err error
	if a.Reason != "" {
		err = connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf("job %s: no checkpoint: %s: %s", j.id, a.Reason, a.Cause))
		j.triggers = slices.DeleteFunc(j.triggers, func(x *triggerCall) bool { return x == c })
	} else {
		c.res = &ckptdv1.TriggerCheckpointResponse{Checkpoint: &ckptdv1.CheckpointSummary{CheckpointId: a.Checkpoint}}
		if k, ok := j.m.Head().Checkpoint(a.Checkpoint); ok {
			c.res.Checkpoint = catalog.Checkpoint(j.id, &k)
		}
	}
	for _, reply := range c.waiting {
		reply(c.res, err)
	}
	c.waiting = nil
}

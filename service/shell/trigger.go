package shell

import (
	"context"
	"fmt"
	"slices"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/layout/catalog"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/api"
	"github.com/ckptd/ckptd/service/coordinator"
)

// triggersKept is how many calls of TriggerCheckpoint an owner remembers.
const triggersKept = 32

// triggerCall is a call of TriggerCheckpoint. A repeated call with the same request id joins the first one, or gets the
// same checkpoint. A call that failed is forgotten, so that its repetition triggers anew.
type triggerCall struct {
	request string
	waiting []func(*ckptdv1.TriggerCheckpointResponse, error) // replies of the callers that wait
	// res is the answer; nil: there is none yet.
	res *ckptdv1.TriggerCheckpointResponse
}

// Trigger triggers a checkpoint and returns when it has completed.
func (j *Job) Trigger(ctx context.Context, req *ckptdv1.TriggerCheckpointRequest) (*ckptdv1.TriggerCheckpointResponse, error) {
	return ask(ctx, j, func(reply func(*ckptdv1.TriggerCheckpointResponse, error)) {
		if j.coord == nil {
			reply(nil, api.NotAttached(j.id))
			return
		}
		kind, err := api.KindIn(req.GetKind())
		if err != nil {
			reply(nil, api.Invalidf("trigger of job %s: %w", j.id, err))
			return
		}
		j.trigger(req.GetRequestId(), kind, reply)
	})
}

// trigger asks the coordinator for a checkpoint, unless a call with this request id is remembered.
func (j *Job) trigger(request string, kind coordinator.Kind, reply func(*ckptdv1.TriggerCheckpointResponse, error)) {
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
	caller := j.request(func(a coordinator.Answer) { j.triggered(c, a) })
	j.coordinate(coordinator.Request{Caller: caller, Kind: kind})
}

// noCheckpoint is the error for a person who asked for a checkpoint or savepoint in vain.
func noCheckpoint(job, what string, a coordinator.Answer) error {
	return connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf("job %s: no %s: %s: %s", job, what, a.Reason, a.Cause))
}

// triggered answers all callers that wait for a call's checkpoint.
func (j *Job) triggered(c *triggerCall, a coordinator.Answer) {
	var err error
	if a.Reason != "" {
		err = noCheckpoint(j.id, "checkpoint", a)
		j.triggers = slices.DeleteFunc(j.triggers, func(x *triggerCall) bool { return x == c })
	} else {
		c.res = &ckptdv1.TriggerCheckpointResponse{Checkpoint: &ckptdv1.CheckpointSummary{CheckpointId: a.Checkpoint}}
		if k, ok := j.told().Checkpoint(a.Checkpoint); ok {
			c.res.Checkpoint = catalog.Checkpoint(j.id, &k)
		}
	}
	for _, reply := range c.waiting {
		reply(c.res, err)
	}
	c.waiting = nil
}

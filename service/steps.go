package service

import (
	"time"

	"github.com/ckptd/ckptd/service/coordinator"
	"github.com/ckptd/ckptd/service/owner"
)

// input is an event of one of a job's two machines. Exactly one field is set.
type input struct {
	owner       *owner.Event
	coordinator coordinator.Event
}

// feed gives the owner machine an event.
func (j *job) feed(ev owner.Event) { j.step(input{owner: &ev}) }

// coordinate gives the coordinator an event. Without an attach there is no coordinator, and the event is dropped.
func (j *job) coordinate(e coordinator.Event) {
	if j.coord != nil {
		j.step(input{coordinator: e})
	}
}

// step queues an event and handles everything that is queued, in order. What a machine wants often makes further events, of
// either machine: they are handled after it, never in the middle of it.
//
// Once the job is over, the owner machine takes no event any more. The coordinator still takes what is queued, because it
// answers the callers that wait for a checkpoint.
func (j *job) step(in input) {
	j.queue = append(j.queue, in)
	if j.stepping {
		return
	}
	j.stepping = true
	for len(j.queue) > 0 {
		in := j.queue[0]
		j.queue = j.queue[1:]
		switch {
		case in.coordinator != nil:
			for _, d := range j.coord.Step(time.Now(), in.coordinator) {
				j.decide(d)
			}
		case j.over == nil:
			j.stepOwner(in.owner)
		}
	}
	j.stepping = false
	if j.over != nil && j.coord != nil {
		j.refuseRequests()
	}
	j.showVitals()
}

// stepOwner steps the owner machine and carries out what it wants, in order: what is for the storage is only begun.
func (j *job) stepOwner(ev *owner.Event) {
	ops := j.m.Step(j.cfg, ev, nil)
	j.publishRights()
	for i := range ops {
		if op := &ops[i]; op.Kind.IsTell() {
			j.tell(op)
		} else {
			j.start(op)
		}
	}
}

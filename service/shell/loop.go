package shell

import (
	"time"

	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/service/coordinator"
	"github.com/ckptd/ckptd/service/owner"
)

// loop steps a job's two machines, one event after the other.
type loop struct {
	m        owner.Machine
	cfg      *owner.Config
	coord    *coordinator.Machine // nil: not attached
	hand     hand
	queue    []input        // events for both machines; empty unless stepping
	stepping bool           // step is on the stack
	over     bool           // the job's goroutine ends, and the owner machine takes no event any more
	left     *journal.Entry // the head when ownership ended; nil: this daemon owns the job, or never did
}

// hand carries out what the machines want. Its methods may feed the loop: the events are handled afterwards.
type hand interface {
	// stepped is called after each step of the owner machine, before tell and start.
	stepped()
	// tell passes a message of the owner machine on.
	tell(op *owner.Op)
	// start begins a storage operation of the owner machine.
	start(op *owner.Op)
	// decide carries out a decision of the coordinator.
	decide(d coordinator.Decision)
	// settled is called when no event is left.
	settled()
}

// input is an event of one of a job's two machines. Exactly one field is set.
type input struct {
	owner       *owner.Event
	coordinator coordinator.Event
}

// feed gives the owner machine an event.
func (l *loop) feed(ev owner.Event) { l.step(input{owner: &ev}) }

// coordinate gives the coordinator an event. Without an attach there is no coordinator, and the event is dropped.
func (l *loop) coordinate(e coordinator.Event) {
	if l.coord != nil {
		l.step(input{coordinator: e})
	}
}

// step queues an event and handles everything that is queued, in order. To carry out what a machine wants often makes
// further events for either machine. They are handled afterwards, never in between.
//
// Once the job is over, the owner machine takes no event any more. The coordinator still takes what is queued, because
// it answers the callers that wait for a checkpoint.
func (l *loop) step(in input) {
	l.queue = append(l.queue, in)
	if l.stepping {
		return
	}
	l.stepping = true
	for len(l.queue) > 0 {
		in := l.queue[0]
		l.queue = l.queue[1:]
		switch {
		case in.coordinator != nil:
			for _, d := range l.coord.Step(time.Now(), in.coordinator) {
				l.hand.decide(d)
			}
		case !l.over:
			l.stepOwner(in.owner)
		}
	}
	l.stepping = false
	l.hand.settled()
}

// stepOwner steps the owner machine and carries out what it wants, in order. An operation on the store is only begun
// here; its result returns as an event.
func (l *loop) stepOwner(ev *owner.Event) {
	ops := l.m.Step(l.cfg, ev, nil)
	l.left = nil
	for i := range ops {
		if ops[i].Kind == owner.TellFenced || ops[i].Kind == owner.TellReleased {
			l.left = ops[i].Head
		}
	}
	l.hand.stepped()
	for i := range ops {
		if op := &ops[i]; op.Kind.IsTell() {
			l.hand.tell(op)
		} else {
			l.hand.start(op)
		}
	}
}

// told is the entry that the machines' messages speak of: the journal's head, or the last one that this daemon owned. A Step can
// report an entry and end ownership at once, so a handler of a message must not rely on Head.
func (l *loop) told() *journal.Entry {
	if head := l.m.Head(); head != nil {
		return head
	}
	return l.left
}

// epoch returns the epoch of the journal's head; 0: this daemon does not own the job.
func (l *loop) epoch() uint64 {
	if head := l.m.Head(); head != nil {
		return head.Epoch
	}
	return 0
}

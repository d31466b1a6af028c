package service

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// eventsKept is how many events of a job its owner remembers for people.
const eventsKept = 256

// eventLog is what a job's owner tells people of its life: a ring, not safe for concurrent use.
type eventLog struct {
	next   uint64
	events []*ckptdv1.JobEvent
}

func (l *eventLog) add(now time.Time, e *ckptdv1.JobEvent) {
	l.next++
	e.Sequence = l.next
	e.Time = timestamppb.New(now)
	l.events = append(l.events, e)
	if len(l.events) > 2*eventsKept {
		l.events = append([]*ckptdv1.JobEvent(nil), l.events[len(l.events)-eventsKept:]...)
	}
}

func (l *eventLog) after(seq uint64) []*ckptdv1.JobEvent {
	i := len(l.events)
	for i > 0 && l.events[i-1].Sequence > seq && len(l.events)-i < eventsKept {
		i--
	}
	return append([]*ckptdv1.JobEvent(nil), l.events[i:]...)
}

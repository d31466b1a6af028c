package shell

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// eventsKept is how many events of a job its owner keeps for the status.
const eventsKept = 256

// eventLog keeps the last events of a job for the status. It is not safe for concurrent use.
type eventLog struct {
	next   uint64
	events []*ckptdv1.JobEvent
}

// add gives an event its sequence number and time, and keeps it.
func (l *eventLog) add(now time.Time, e *ckptdv1.JobEvent) {
	l.next++
	e.Sequence = l.next
	e.Time = timestamppb.New(now)
	l.events = append(l.events, e)
	if len(l.events) > 2*eventsKept {
		l.events = append([]*ckptdv1.JobEvent(nil), l.events[len(l.events)-eventsKept:]...)
	}
}

// after returns the kept events whose sequence number is greater than seq.
func (l *eventLog) after(seq uint64) []*ckptdv1.JobEvent {
	i := len(l.events)
	for i > 0 && l.events[i-1].Sequence > seq && len(l.events)-i < eventsKept {
		i--
	}
	return append([]*ckptdv1.JobEvent(nil), l.events[i:]...)
}

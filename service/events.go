package service

import (
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ckptd/ckptd/layout/journal"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// eventsKept is how many events of a job its owner remembers for people.
const eventsKept = 256

// eventWord is a kind of event in the log's words: "worker-lost".
func eventWord(k ckptdv1.JobEventKind) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(k.String(), "JOB_EVENT_KIND_")), "_", "-")
}

// endKind is the event of a job that ends with a status.
func endKind(s journal.Status) ckptdv1.JobEventKind {
	switch s {
	case journal.StatusCanceled:
		return ckptdv1.JobEventKind_JOB_EVENT_KIND_CANCELED
	case journal.StatusFailed:
		return ckptdv1.JobEventKind_JOB_EVENT_KIND_FAILED
	}
	return ckptdv1.JobEventKind_JOB_EVENT_KIND_FINISHED
}

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

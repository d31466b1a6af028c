package shell

import (
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// How many events of a job its owner keeps for the status, and how many bytes of them: whichever is reached first. The newest
// event always stays.
const (
	eventsKept     = 256
	eventBytesKept = 8 << 10
)

// eventLog keeps the last events of a job for the status, in their encoded form: a thousand busy jobs have 256,000 events, and as
// messages each would take ten times the memory. It is not safe for concurrent use.
type eventLog struct {
	next    uint64
	count   int
	encoded []byte // each with its length before it, the oldest first
}

// add gives an event its sequence number and time, and keeps it.
func (l *eventLog) add(now time.Time, e *ckptdv1.JobEvent) {
	l.next++
	e.Sequence = l.next
	e.Time = timestamppb.New(now)
	e.Text = strings.ToValidUTF8(e.Text, "�")
	b, err := proto.Marshal(e)
	if err != nil {
		return // never: all texts are UTF-8
	}
	size := protowire.SizeBytes(len(b))
	if l.count >= eventsKept || len(l.encoded)+size > eventBytesKept {
		l.drop(size)
	}
	l.encoded = protowire.AppendBytes(l.encoded, b)
	l.count++
}

// drop makes room for an event of so many bytes. It drops an eighth more than needed, so that it runs once for many events.
func (l *eventLog) drop(room int) {
	rest := l.encoded
	for l.count > eventsKept*7/8 || l.count > 0 && len(rest)+room > eventBytesKept*7/8 {
		_, n := protowire.ConsumeBytes(rest)
		rest = rest[n:]
		l.count--
	}
	l.encoded = append(make([]byte, 0, eventBytesKept), rest...)
}

// after returns the kept events whose sequence number is greater than seq.
func (l *eventLog) after(seq uint64) []*ckptdv1.JobEvent {
	var out []*ckptdv1.JobEvent
	for rest := l.encoded; len(rest) > 0; {
		b, n := protowire.ConsumeBytes(rest)
		rest = rest[n:]
		e := &ckptdv1.JobEvent{}
		if err := proto.Unmarshal(b, e); err == nil && e.Sequence > seq {
			out = append(out, e)
		}
	}
	return out
}

package shell

import (
	"strings"
	"testing"
	"time"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// The log keeps the newest events, in order and without a gap, within its bounds of number and bytes.
func TestEventsKept(t *testing.T) {
	for _, c := range []struct {
		name         string
		text         string
		least, bytes int
	}{
		{"short ones", "epoch 1", eventsKept / 2, eventBytesKept},
		{"long ones", strings.Repeat("a cause ", 100), eventBytesKept / 900 * 3 / 4, eventBytesKept},
		{"the newest stays, however long it is", strings.Repeat("x", 3*eventBytesKept), 1, 4 * eventBytesKept},
		{"no UTF-8", "name \xff", eventsKept / 2, eventBytesKept},
	} {
		t.Run(c.name, func(t *testing.T) {
			var l eventLog
			const all = 1000
			for i := range all {
				l.add(time.UnixMilli(int64(i)), &ckptdv1.JobEvent{Kind: ckptdv1.JobEventKind_JOB_EVENT_KIND_TRIGGERED, CheckpointId: uint64(i + 1), Text: c.text})
				if len(l.encoded) > c.bytes || l.count > eventsKept {
					t.Fatalf("after %d events the log has %d with %d bytes, want at most %d with %d", i+1, l.count, len(l.encoded), eventsKept, c.bytes)
				}
			}
			got := l.after(0)
			if len(got) < c.least {
				t.Errorf("%d events kept, want at least %d", len(got), c.least)
			}
			for i, e := range got {
				want := uint64(all - len(got) + i + 1)
				if e.GetSequence() != want || e.GetCheckpointId() != want || e.GetTime().AsTime() != time.UnixMilli(int64(want-1)).UTC() {
					t.Fatalf("event %d of those kept is %v, want number %d", i, e, want)
				}
			}
			if last := got[len(got)-1].GetText(); last != strings.ToValidUTF8(c.text, "�") {
				t.Errorf("the text is %.40q, want %.40q", last, c.text)
			}
			if newer := l.after(all - 1); len(newer) != 1 || newer[0].GetSequence() != all {
				t.Errorf("after %d there are %v, want the last one", all-1, newer)
			}
		})
	}
}

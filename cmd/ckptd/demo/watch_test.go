package demo

import (
	"testing"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// What the tasks of an attempt say that was given up is not why the job failed.
func TestCauseOfAFailure(t *testing.T) {
	d := &Demo{say: newNarrator(t.Output())}
	for _, e := range []*ckptdv1.JobEvent{
		{Kind: "attempt", Attempt: 1}, {Kind: "task-failed", Attempt: 1, Text: "poison"},
		{Kind: "attempt", Attempt: 2}, {Kind: "task-failed", Attempt: 1, Text: "channel lost"},
	} {
		d.tell(&ckptdv1.JobState{}, e)
	}
	if d.Watch.cause != "poison" {
		t.Errorf("cause %q", d.Watch.cause)
	}
}

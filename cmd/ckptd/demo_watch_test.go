package main

import (
	"testing"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// What the tasks of an attempt say that was given up is not why the job failed, nor is what others say after the first.
func TestCauseOfAFailure(t *testing.T) {
	d := &demo{say: newNarrator(t.Output())}
	for _, e := range []*ckptdv1.JobEvent{
		{Kind: "attempt", Attempt: 1}, {Kind: "task-failed", Attempt: 1, Text: "poison"},
		{Kind: "attempt", Attempt: 2}, {Kind: "task-failed", Attempt: 1, Text: "channel lost"},
		{Kind: "task-failed", Attempt: 2, Text: "poison again"}, {Kind: "task-failed", Attempt: 2, Text: "channel lost"},
	} {
		d.tell(&ckptdv1.JobState{}, e)
	}
	if d.watch.cause != "poison again" {
		t.Errorf("cause %q, want that of the first failure of the last attempt", d.watch.cause)
	}
}

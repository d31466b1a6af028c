package main

import (
	"testing"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// What the tasks of an attempt say that was given up is not why the job failed, nor is what others say after the first.
func TestCauseOfAFailure(t *testing.T) {
	d := &demo{say: newNarrator(t.Output())}
	for _, e := range []*ckptdv1.JobEvent{
		{Kind: ckptdv1.JobEventKind_JOB_EVENT_KIND_ATTEMPT, Attempt: 1}, {Kind: ckptdv1.JobEventKind_JOB_EVENT_KIND_TASK_FAILED, Attempt: 1, Text: "poison"},
		{Kind: ckptdv1.JobEventKind_JOB_EVENT_KIND_ATTEMPT, Attempt: 2}, {Kind: ckptdv1.JobEventKind_JOB_EVENT_KIND_TASK_FAILED, Attempt: 1, Text: "channel lost"},
		{Kind: ckptdv1.JobEventKind_JOB_EVENT_KIND_TASK_FAILED, Attempt: 2, Text: "poison again"}, {Kind: ckptdv1.JobEventKind_JOB_EVENT_KIND_TASK_FAILED, Attempt: 2, Text: "channel lost"},
	} {
		d.tell(&ckptdv1.JobState{}, e)
	}
	if d.watch.cause != "poison again" {
		t.Errorf("cause %q, want that of the first failure of the last attempt", d.watch.cause)
	}
}

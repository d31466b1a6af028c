package demo

import (
	"strings"
	"testing"

	"github.com/ckptd/ckptd/cmd/ckptd/launch"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// What the tasks of an attempt say that was given up is not why the job failed, nor is what others say after the first.
func TestCauseOfAFailure(t *testing.T) {
	d := &Demo{say: launch.NewNarrator(t.Output())}
	for _, e := range []*ckptdv1.JobEvent{
		{Kind: ckptdv1.JobEventKind_JOB_EVENT_KIND_ATTEMPT, Attempt: 1}, {Kind: ckptdv1.JobEventKind_JOB_EVENT_KIND_TASK_FAILED, Attempt: 1, Text: "poison"},
		{Kind: ckptdv1.JobEventKind_JOB_EVENT_KIND_ATTEMPT, Attempt: 2}, {Kind: ckptdv1.JobEventKind_JOB_EVENT_KIND_TASK_FAILED, Attempt: 1, Text: "channel lost"},
		{Kind: ckptdv1.JobEventKind_JOB_EVENT_KIND_TASK_FAILED, Attempt: 2, Text: "poison again"}, {Kind: ckptdv1.JobEventKind_JOB_EVENT_KIND_TASK_FAILED, Attempt: 2, Text: "channel lost"},
	} {
		d.tell(&ckptdv1.JobState{}, e)
	}
	if d.Watch.cause != "poison again" {
		t.Errorf("cause %q, want that of the first failure of the last attempt", d.Watch.cause)
	}
}

// A person may kill the daemon, too: who watches must see why the numbers of checkpoints jump.
func TestNextOwnerIsSaid(t *testing.T) {
	for _, c := range []struct {
		name   string
		epoch  uint64
		strike *strike
		want   bool
	}{
		{"the first owner is not said", 1, nil, false},
		{"the next owner is said", 2, nil, true},
		{"after a kill of the demo's own it is said with the recovery", 2, &strike{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var said strings.Builder
			d := &Demo{say: launch.NewNarrator(&said), strike: c.strike}
			d.tell(&ckptdv1.JobState{Summary: &ckptdv1.JobSummary{Epoch: c.epoch}}, &ckptdv1.JobEvent{Kind: ckptdv1.JobEventKind_JOB_EVENT_KIND_ATTACHED})
			if got := strings.Contains(said.String(), "epoch 2"); got != c.want {
				t.Errorf("said %q; want the epoch in it: %t", said.String(), c.want)
			}
		})
	}
}

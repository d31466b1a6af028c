package owner

import (
	"fmt"
	"testing"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
)

// finished is a report of a worker of running: worker n runs subtask n-1.
func finished(worker uint32, attempt uint64) Event {
	return Event{Kind: EventFinished, Worker: worker, Subtasks: subtasks(Subtask(worker - 1)), Attempt: attempt,
		Ended: journal.EndedAt(5, "all subtasks have finished")}
}

var endedFinished = fmt.Sprintf("ended status=%d", journal.StatusFinished)

// TestJobFinishesWithItsLastSubtask: the job ends as FINISHED, and retains no checkpoint.
func TestJobFinishesWithItsLastSubtask(t *testing.T) {
	d := running(t, 2)
	d.do(Event{Kind: EventTrigger})
	d.ack(1, 0, []incremental.File{1})
	d.ack(1, 1, nil)
	d.do(finished(1, 1))
	d.want("finished worker=1 attempt=1")
	d.do(finished(1, 1))
	d.want()
	d.do(Event{Kind: EventTrigger})
	d.want("trigger epoch=1 attempt=1 id=2")
	d.do(finished(2, 1))
	d.want("finished worker=2 attempt=1", fmt.Sprintf("abort epoch=1 attempt=1 id=2 reason=%d", ReasonStopping), endedFinished)
	head := d.m.Head()
	if head.Status != journal.StatusFinished || head.Ended.Why != "all subtasks have finished" || len(head.Retained) != 0 {
		t.Errorf("the head has status %d, why %q, %d retained; want FINISHED, its reason, and no checkpoint", head.Status, head.Ended.Why, len(head.Retained))
	}
}

// TestFinishedProcessMayLeave: the attempt goes on without a process whose subtasks have finished, also if a fresh
// process registers for them.
func TestFinishedProcessMayLeave(t *testing.T) {
	for name, leave := range map[string]func(d *desk){
		"it leaves": func(d *desk) { d.do(Event{Kind: EventWorkerGone, Worker: 1}); d.want() },
		"a fresh process takes its place": func(d *desk) {
			d.do(Event{Kind: EventWorkerGone, Worker: 1})
			d.do(register(3, 0, 0))
			d.want("replaced worker=1")
		},
		"it registers again and knows no attempt": func(d *desk) {
			d.do(Event{Kind: EventWorkerGone, Worker: 1})
			d.do(register(1, 0, 0))
			d.want()
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := running(t, 2)
			d.do(finished(1, 1))
			leave(d)
			if !d.m.Live() {
				t.Error("the attempt is over, want it to go on")
			}
			d.do(finished(2, 1))
			d.want("finished worker=2 attempt=1", endedFinished)
		})
	}
}

// TestNextAttemptBeginsAllAgain: what finished in an attempt that failed does not count in the next one.
func TestNextAttemptBeginsAllAgain(t *testing.T) {
	d := running(t, 2)
	d.do(finished(1, 1))
	d.do(Event{Kind: EventFailover, Attempt: 1, Reason: ReasonFailover})
	d.do(finished(2, 1))
	d.want()
	d.do(Event{Kind: EventNewAttempt, Attempt: 1})
	d.want("attempt epoch=1 attempt=2", "start worker=1 epoch=1 attempt=2", "start worker=2 epoch=1 attempt=2")
	d.do(finished(1, 1))
	d.want()
	d.do(finished(2, 2))
	d.want("finished worker=2 attempt=2")
	d.do(finished(1, 2))
	d.want("finished worker=1 attempt=2", endedFinished)
}

// TestStartIsRepeatedToWhatHasNotFinished: a process that missed its Start begins again all that it runs.
func TestStartIsRepeatedToWhatHasNotFinished(t *testing.T) {
	d := newDesk(t)
	d.do(Event{Kind: EventAttach, Create: twoTasks(2)})
	d.do(register(1, 0, 0, 1))
	d.do(finished(1, 1))
	d.want()
	d.do(register(1, 0, 0, 1))
	d.want("start worker=1 epoch=1 attempt=1")
	d.do(Event{Kind: EventFinished, Worker: 1, Subtasks: subtasks(1), Attempt: 1})
	d.want()
	d.do(finished(1, 1))
	d.want("finished worker=1 attempt=1", endedFinished)
}

// TestNewOwnerHearsOfFinished: the workers repeat their reports to a new owner, which ends the job.
func TestNewOwnerHearsOfFinished(t *testing.T) {
	d := taken(t)
	d.do(register(1, 1, 0))
	d.do(finished(1, 1))
	d.want("finished worker=1 attempt=1")
	d.do(register(2, 1, 1))
	d.do(finished(2, 1))
	d.want("finished worker=2 attempt=1", endedFinished)
}

// TestWhoEndsTheJobFirst: a cancel that came first counts, and an owner that lets the job go does not end it.
func TestWhoEndsTheJobFirst(t *testing.T) {
	t.Run("a cancel", func(t *testing.T) {
		d := running(t, 1)
		d.holds(OpJournal)
		d.do(Event{Kind: EventEnd, Status: journal.StatusCanceled})
		d.do(finished(1, 1))
		d.want("finished worker=1 attempt=1")
		d.release()
		if got := d.m.Head().Status; got != journal.StatusCanceled {
			t.Errorf("status %d, want CANCELED", got)
		}
	})
	t.Run("a stop", func(t *testing.T) {
		d := running(t, 1)
		d.holds(OpJournal)
		d.do(Event{Kind: EventStop})
		d.do(finished(1, 1))
		d.want("finished worker=1 attempt=1")
		d.release()
		if e := d.slots[uint64(len(d.slots))]; e == nil || e.Status != journal.StatusRunning {
			t.Errorf("the newest entry is %+v, want the job running", e)
		}
	})
}

package owner

import (
	"fmt"
	"testing"

	"github.com/ckptd/ckptd/layout/journal"
)

// secondAttempt is a job of two subtasks whose second attempt runs: worker 1 has subtask 0, worker 2 has subtask 1.
func secondAttempt(t *testing.T) *desk {
	t.Helper()
	d := running(t, 2)
	d.do(Event{Kind: EventNewAttempt, Attempt: 1})
	d.do(isRunning(1, 2, 0))
	d.do(isRunning(2, 2, 1))
	if !d.m.AllRunning() || d.m.Head().Attempt != 2 {
		t.Fatal("the second attempt does not run")
	}
	return d
}

func isRunning(worker uint32, attempt uint64, tasks ...Subtask) Event {
	return Event{Kind: EventRunning, Worker: worker, Subtasks: subtasks(tasks...), Attempt: attempt}
}

// notRunning checks that a trigger is refused because not all subtasks run.
func (d *desk) notRunning() {
	d.t.Helper()
	if d.m.AllRunning() {
		d.t.Error("AllRunning says that all subtasks run")
	}
	d.do(Event{Kind: EventTrigger, Caller: 7})
	d.want(fmt.Sprintf("trigger refused caller=7 reason=%d", ReasonNotRunning))
}

func TestANewOwnerAdoptsOnlyTheAttemptOfTheJournal(t *testing.T) {
	adopted := []string{"attempt epoch=2 attempt=2 adopted", fmt.Sprintf("abort epoch=2 attempt=2 id=1 last=16 reason=%d repeated", ReasonNotOwner)}
	next := []string{"attempt epoch=2 attempt=3", "start worker=1 epoch=2 attempt=3", "start worker=2 epoch=2 attempt=3"}
	for name, test := range map[string]struct {
		attempts [2]uint64
		want     []string
	}{
		"all come back with it":         {[2]uint64{2, 2}, adopted},
		"one comes with a lower one":    {[2]uint64{2, 1}, next},
		"the first comes with a lower":  {[2]uint64{1, 2}, next},
		"all come with a lower one":     {[2]uint64{1, 1}, next},
		"one process is fresh":          {[2]uint64{2, 0}, next},
		"the first process is fresh":    {[2]uint64{0, 2}, next},
		"one is fresh, one comes lower": {[2]uint64{1, 0}, next},
	} {
		t.Run(name, func(t *testing.T) {
			d := secondAttempt(t)
			d.takeOver(2)
			d.do(register(1, test.attempts[0], 0))
			d.want()
			if d.m.Live() {
				t.Error("an attempt is live, want none: one subtask has no worker")
			}
			d.do(register(2, test.attempts[1], 1))
			d.want(test.want...)
		})
	}
}

func TestOfTwoProcessesOfOneSubtaskOneIsReplaced(t *testing.T) {
	unchanged := func(t *testing.T, d *desk, other Event) {
		t.Helper()
		before := fmt.Sprint(d.m.Registrations())
		d.do(other)
		d.want(fmt.Sprintf("replaced worker=%d", other.Worker))
		if after := fmt.Sprint(d.m.Registrations()); !d.m.Live() || after != before {
			t.Errorf("the attempt is live: %v; registrations %s, want %s", d.m.Live(), after, before)
		}
	}
	t.Run("a second process of the live attempt", func(t *testing.T) {
		unchanged(t, secondAttempt(t), register(9, 2, 0))
	})
	t.Run("a process of a lower attempt beside one that lives", func(t *testing.T) {
		unchanged(t, secondAttempt(t), register(9, 1, 0))
	})
	t.Run("a process of a lower attempt beside one whose stream broke", func(t *testing.T) {
		d := secondAttempt(t)
		d.do(Event{Kind: EventWorkerGone, Worker: 1})
		unchanged(t, d, register(9, 1, 0))
		d.do(register(1, 2, 0))
		d.want()
		d.do(isRunning(1, 2, 0))
		if !d.m.AllRunning() {
			t.Error("the process that came back is not registered, want it registered again")
		}
	})
	t.Run("a process of a lower attempt at an owner that has adopted", func(t *testing.T) {
		d := secondAttempt(t)
		d.takeOver(2)
		d.do(register(1, 2, 0))
		d.do(register(2, 2, 1))
		unchanged(t, d, register(9, 1, 1))
		d.do(Event{Kind: EventWorkerGone, Worker: 2})
		unchanged(t, d, register(9, 1, 1))
	})
	t.Run("a process that would take subtasks of two", func(t *testing.T) {
		unchanged(t, secondAttempt(t), register(9, 2, 0, 1))
	})
	t.Run("a fresh process takes the subtasks of two", func(t *testing.T) {
		d := secondAttempt(t)
		d.do(register(9, 0, 0, 1))
		d.want("replaced worker=1", "replaced worker=2")
		d.do(Event{Kind: EventNewAttempt, Attempt: 2})
		d.want("attempt epoch=1 attempt=3", "start worker=9 epoch=1 attempt=3")
	})
	t.Run("the same process with other subtasks ends the attempt", func(t *testing.T) {
		d := secondAttempt(t)
		d.do(register(1, 0, 0, 1))
		d.want("replaced worker=2")
		if d.m.Live() {
			t.Error("the attempt is live, want it failed: its subtasks have moved")
		}
	})
	t.Run("the higher of two attempts, at an owner that has not adopted", func(t *testing.T) {
		d := secondAttempt(t)
		d.takeOver(2)
		d.do(register(1, 2, 0))
		d.do(register(9, 1, 0))
		d.want("replaced worker=9")
		d.do(register(2, 1, 1))
		d.do(register(8, 2, 1))
		d.want("replaced worker=8")
	})
}

// TestOnlyWhatRunsCounts: in every attempt the owner triggers nothing before all subtasks report that they run.
func TestOnlyWhatRunsCounts(t *testing.T) {
	t.Run("a report of an older attempt says nothing", func(t *testing.T) {
		d := running(t, 2)
		d.do(Event{Kind: EventNewAttempt, Attempt: 1})
		d.wantUnchanged(isRunning(1, 1, 0))
		d.wantUnchanged(isRunning(2, 1, 1))
		d.notRunning()
	})
	t.Run("a report of a later attempt says nothing", func(t *testing.T) {
		d := running(t, 2)
		d.do(Event{Kind: EventNewAttempt, Attempt: 1})
		d.wantUnchanged(isRunning(1, 3, 0))
		d.wantUnchanged(isRunning(2, 3, 1))
		d.notRunning()
	})
	t.Run("a report counts for subtasks of the worker only", func(t *testing.T) {
		d := running(t, 2)
		d.do(Event{Kind: EventNewAttempt, Attempt: 1})
		d.do(isRunning(1, 2, 0, 1))
		d.want()
		d.notRunning()
		d.do(isRunning(2, 2, 1))
		d.want("all running attempt=2")
	})
	t.Run("a worker that runs one of its two subtasks does not run the other", func(t *testing.T) {
		d := newDesk(t)
		d.do(Event{Kind: EventAttach, Create: twoTasks(2)})
		d.do(register(1, 0, 0, 1))
		d.do(isRunning(1, 1, 0))
		d.want()
		d.notRunning()
		d.do(isRunning(1, 1, 1))
		d.want("all running attempt=1")
	})
	t.Run("a report of a process that is not registered says nothing", func(t *testing.T) {
		d := running(t, 2)
		d.do(Event{Kind: EventNewAttempt, Attempt: 1})
		d.do(isRunning(1, 2, 0))
		d.wantUnchanged(isRunning(9, 2, 1))
		d.notRunning()
	})
	t.Run("a worker that is gone runs nothing", func(t *testing.T) {
		d := secondAttempt(t)
		d.do(Event{Kind: EventWorkerGone, Worker: 2})
		if got := d.m.Missing(); got != subtasks(1) {
			t.Errorf("missing %v, want subtask 1", got)
		}
		d.notRunning()
		d.wantUnchanged(isRunning(2, 2, 1)) // a late report
		d.notRunning()
		d.do(register(2, 2, 1))
		d.notRunning()
		d.do(isRunning(2, 2, 1))
		if !d.m.AllRunning() {
			t.Error("not all run, want all: the worker came back and runs")
		}
	})
	t.Run("a worker that is gone before the last one runs", func(t *testing.T) {
		d := running(t, 2)
		d.do(Event{Kind: EventNewAttempt, Attempt: 1})
		d.do(isRunning(1, 2, 0))
		d.do(Event{Kind: EventWorkerGone, Worker: 1})
		d.do(isRunning(2, 2, 1))
		d.want()
		d.notRunning()
	})
	t.Run("what ran in the attempt before does not run in the next", func(t *testing.T) {
		d := secondAttempt(t)
		d.do(Event{Kind: EventNewAttempt, Attempt: 2})
		d.notRunning()
		d.do(isRunning(1, 3, 0))
		d.notRunning()
	})
	t.Run("all running is told once an attempt", func(t *testing.T) {
		d := secondAttempt(t)
		d.do(isRunning(1, 2, 0))
		d.want()
		d.do(Event{Kind: EventNewAttempt, Attempt: 2})
		d.do(isRunning(1, 3, 0))
		d.do(isRunning(2, 3, 1))
		d.want("all running attempt=3")
	})
}

func TestAFailoverIsOfOneAttempt(t *testing.T) {
	t.Run("a late one changes nothing", func(t *testing.T) {
		d := secondAttempt(t)
		d.do(Event{Kind: EventTrigger})
		d.wantUnchanged(Event{Kind: EventFailover, Attempt: 1, Reason: ReasonFailover})
		d.wantUnchanged(Event{Kind: EventFailover, Attempt: 3, Reason: ReasonFailover})
		if !d.m.AllRunning() {
			t.Error("the attempt does not run any more, want it running")
		}
		d.ack(1, 0, nil)
		d.ack(1, 1, nil)
		d.want("acked caller=9 id=1", "unresolved epoch=1 attempt=2 id=1", "complete epoch=1 attempt=2 id=1")
	})
	t.Run("its own ends it", func(t *testing.T) {
		d := secondAttempt(t)
		d.do(Event{Kind: EventTrigger})
		d.do(Event{Kind: EventFailover, Attempt: 2, Reason: ReasonFailover})
		d.want(fmt.Sprintf("abort epoch=1 attempt=2 id=1 reason=%d", ReasonFailover))
		d.notRunning()
	})
	t.Run("at a new owner it keeps the attempt from being adopted", func(t *testing.T) {
		d := secondAttempt(t)
		d.takeOver(2)
		d.do(Event{Kind: EventFailover, Attempt: 2})
		d.do(register(1, 2, 0))
		d.do(register(2, 2, 1))
		d.want()
		if d.m.Live() || d.m.Head().Attempt != 2 {
			t.Error("an attempt was adopted or begun, want neither before somebody asks")
		}
		d.do(Event{Kind: EventNewAttempt, Attempt: 2})
		d.want("attempt epoch=2 attempt=3", "start worker=1 epoch=2 attempt=3", "start worker=2 epoch=2 attempt=3")
	})
}

// TestTheNextAttemptForgetsWhoIsGone: a process may be gone when the next attempt begins. The owner does not wait
// for that process and tells it nothing.
func TestTheNextAttemptForgetsWhoIsGone(t *testing.T) {
	gone := func(t *testing.T) *desk {
		d := secondAttempt(t)
		d.do(Event{Kind: EventWorkerGone, Worker: 1})
		d.do(Event{Kind: EventNewAttempt, Attempt: 2})
		d.want()
		if n := len(d.m.Registrations()); n != 1 || d.m.Missing() != subtasks(0) {
			t.Errorf("%d registrations, missing %v; want one, and subtask 0 missing", n, d.m.Missing())
		}
		return d
	}
	t.Run("another process takes its place", func(t *testing.T) {
		d := gone(t)
		d.do(register(3, 0, 0))
		d.want("attempt epoch=1 attempt=3", "start worker=2 epoch=1 attempt=3", "start worker=3 epoch=1 attempt=3")
	})
	t.Run("it comes back", func(t *testing.T) {
		d := gone(t)
		d.do(register(1, 2, 0))
		d.want("attempt epoch=1 attempt=3", "start worker=1 epoch=1 attempt=3", "start worker=2 epoch=1 attempt=3")
	})
}

// TestTheEndForgetsTheWorkers: the owner tells the workers Cancel and forgets them.
func TestTheEndForgetsTheWorkers(t *testing.T) {
	d := secondAttempt(t)
	d.do(Event{Kind: EventWorkerGone, Worker: 2}) // the worker may come back, and is told Cancel then
	d.do(Event{Kind: EventEnd, Status: journal.StatusFailed})
	if got := d.m.Registrations(); len(got) != 0 {
		t.Errorf("registrations %v after the end, want none", got)
	}
	if got := d.m.Missing(); got != subtasks(0, 1) {
		t.Errorf("missing %v after the end, want both subtasks", got)
	}
	if d.m.Live() || d.m.AllRunning() {
		t.Error("the attempt is live after the end")
	}
	d.wantUnchanged(isRunning(1, 2, 0))
	d.wantUnchanged(Event{Kind: EventWorkerGone, Worker: 1})
	d.wantUnchanged(register(1, 2, 0), fmt.Sprintf("ended worker=1 status=%d", journal.StatusFailed))
}

// TestARegistrationOfTheSameProcess: a process registers again, after its stream broke or with other subtasks.
func TestARegistrationOfTheSameProcess(t *testing.T) {
	t.Run("with the plan of the journal it is taken", func(t *testing.T) {
		d := running(t, 2)
		ev := register(1, 1, 0)
		ev.Plan = twoTasks(2).Plan
		d.do(ev)
		d.want()
		d.do(isRunning(1, 1, 0))
		if !d.m.AllRunning() {
			t.Error("not all run")
		}
	})
	t.Run("told again to start, it counts when it runs", func(t *testing.T) {
		d := running(t, 2)
		d.do(register(2, 0, 1))
		d.want("start worker=2 epoch=1 attempt=1")
		d.notRunning()
		d.do(isRunning(2, 1, 1))
		if !d.m.AllRunning() {
			t.Error("not all run")
		}
	})
	t.Run("before the attempt is started it is told nothing", func(t *testing.T) {
		d := secondAttempt(t)
		d.do(Event{Kind: EventWorkerGone, Worker: 2})
		d.do(Event{Kind: EventNewAttempt, Attempt: 2})
		d.do(register(1, 2, 0))
		d.want()
		d.do(register(1, 1, 0))
		d.want()
		d.do(register(2, 2, 1))
		d.want("attempt epoch=1 attempt=3", "start worker=1 epoch=1 attempt=3", "start worker=2 epoch=1 attempt=3")
	})
	t.Run("with fewer subtasks it ends the attempt, and is not replaced", func(t *testing.T) {
		d := newDesk(t)
		d.do(Event{Kind: EventAttach, Create: twoTasks(3)})
		d.do(register(1, 0, 0, 1))
		d.do(register(2, 0, 2))
		d.do(register(1, 1, 0))
		d.want()
		if d.m.Live() || d.m.Missing() != subtasks(1) {
			t.Errorf("live %v, missing %v; want an attempt that has ended, and subtask 1 missing", d.m.Live(), d.m.Missing())
		}
	})
	t.Run("with another subtask it leaves the one before", func(t *testing.T) {
		d := newDesk(t)
		d.do(Event{Kind: EventAttach, Create: twoTasks(3)})
		d.do(register(1, 0, 0))
		d.do(register(1, 0, 1))
		d.want()
		if got := d.m.Missing(); got != subtasks(0, 2) {
			t.Errorf("missing %v, want 0 and 2", got)
		}
	})
}

// TestRegistrationsAreInOrder: the order is that of the workers' numbers, not of their registrations.
func TestRegistrationsAreInOrder(t *testing.T) {
	d := newDesk(t)
	d.do(Event{Kind: EventAttach, Create: twoTasks(3)})
	d.do(register(5, 0, 0))
	d.do(register(3, 0, 1))
	d.do(register(4, 0, 2))
	d.want("attempt epoch=1 attempt=1", "start worker=3 epoch=1 attempt=1", "start worker=4 epoch=1 attempt=1", "start worker=5 epoch=1 attempt=1")
}

// TestOnlyAProcessThatIsThereKeepsItsSubtasks: a process that is gone keeps its subtasks while
// its attempt is live, and no longer.
func TestOnlyAProcessThatIsThereKeepsItsSubtasks(t *testing.T) {
	t.Run("gone, and its attempt has failed", func(t *testing.T) {
		d := secondAttempt(t)
		d.do(Event{Kind: EventWorkerGone, Worker: 1})
		d.do(Event{Kind: EventFailover, Attempt: 2})
		d.do(register(9, 1, 0))
		d.want("replaced worker=1")
		d.do(Event{Kind: EventNewAttempt, Attempt: 2})
		d.want("attempt epoch=1 attempt=3", "start worker=2 epoch=1 attempt=3", "start worker=9 epoch=1 attempt=3")
	})
	t.Run("a process that leaves a new owner before all came is forgotten", func(t *testing.T) {
		d := secondAttempt(t)
		d.takeOver(2)
		d.do(register(1, 2, 0))
		d.do(Event{Kind: EventWorkerGone, Worker: 1})
		if got := d.m.Registrations(); len(got) != 0 {
			t.Errorf("registrations %v, want none", got)
		}
		d.do(register(2, 2, 1))
		d.want()
		d.do(register(1, 2, 0))
		d.want("attempt epoch=2 attempt=2 adopted", fmt.Sprintf("abort epoch=2 attempt=2 id=1 last=16 reason=%d repeated", ReasonNotOwner))
	})
	t.Run("the higher of two older attempts, at a new owner", func(t *testing.T) {
		d := secondAttempt(t)
		d.takeOver(2)
		d.do(register(9, 1, 0))
		d.do(register(1, 2, 0))
		d.want("replaced worker=9")
		d.do(register(2, 2, 1))
		d.want("attempt epoch=2 attempt=3", "start worker=1 epoch=2 attempt=3", "start worker=2 epoch=2 attempt=3")
	})
	t.Run("a fresh process that replaces one at a new owner begins the next attempt", func(t *testing.T) {
		d := secondAttempt(t)
		d.takeOver(2)
		d.do(register(1, 2, 0))
		d.do(register(3, 0, 0))
		d.want("replaced worker=1")
		d.do(register(2, 2, 1))
		d.want("attempt epoch=2 attempt=3", "start worker=2 epoch=2 attempt=3", "start worker=3 epoch=2 attempt=3")
	})
	t.Run("a fresh process keeps its subtasks against an older attempt", func(t *testing.T) {
		d := secondAttempt(t)
		d.takeOver(2)
		d.do(register(3, 0, 0))
		d.do(register(1, 2, 0))
		d.want("replaced worker=1")
		d.do(register(4, 0, 0))
		d.want("replaced worker=3")
	})
}

package owner

import (
	"fmt"
	"slices"
	"testing"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/retention"
)

// taken is the job of running, with a checkpoint of two subtasks complete, taken over by another process.
func taken(t *testing.T) *desk {
	t.Helper()
	d := running(t, 2)
	d.do(Event{Kind: EventTrigger})
	d.ack(1, 0, []incremental.File{1})
	d.ack(1, 1, nil)
	d.do(Event{Kind: EventTrigger})
	d.m = Machine{}
	d.cfg = DefaultConfig(journal.Process{2}, nil, testPolicy)
	d.do(Event{Kind: EventAttach})
	d.want("attached epoch=2 attempt=1")
	return d
}

func register(worker uint32, attempt uint64, tasks ...Subtask) Event {
	return Event{Kind: EventRegister, Worker: worker, Subtasks: subtasks(tasks...), Attempt: attempt}
}

// TestAdopt: every subtask registers as running the journal's attempt. The new owner starts no worker. It repeats the
// messages that its predecessor may not have sent.
func TestAdopt(t *testing.T) {
	d := taken(t)
	d.do(register(1, 1, 0))
	d.want()
	d.do(Event{Kind: EventRunning, Worker: 1, Subtasks: subtasks(0), Attempt: 1})
	d.do(register(2, 1, 1))
	d.want("attempt epoch=2 attempt=1 adopted", "complete epoch=2 attempt=1 id=1 repeated",
		fmt.Sprintf("abort epoch=2 attempt=1 id=2 last=17 reason=%d repeated", ReasonNotOwner))
	d.do(Event{Kind: EventRunning, Worker: 2, Subtasks: subtasks(1), Attempt: 1})
	d.want("all running attempt=1")
	d.do(Event{Kind: EventTrigger})
	d.want("trigger epoch=2 attempt=1 id=18")
}

// TestAdoptedLate: while the adoption waits, workers report that they run. They need not report again after it.
func TestAdoptedLate(t *testing.T) {
	d, ops := loading(t)
	d.answer = func(op Op) *Result {
		if op.Kind == OpJournal {
			return hold
		}
		return nil
	}
	d.do(Event{Kind: EventResult, Result: *d.carryOut(ops[0])})
	d.do(Event{Kind: EventResult, Result: *d.carryOut(ops[2])})
	d.reply(ops[1], journal.NotFound, nil)
	d.do(register(1, 1, 0))
	d.do(Event{Kind: EventRunning, Worker: 1, Subtasks: subtasks(0), Attempt: 1})
	d.want()
	last := d.m.Head().Newest()
	told := d.release() // what is heard of the journal is that the _metadata is lost
	want := []string{
		fmt.Sprintf("degraded id=%d reason=%d", ops[1].ID, ReasonDegraded), "attempt epoch=2 attempt=1 adopted",
		fmt.Sprintf("complete epoch=2 attempt=1 id=%d repeated", last),
		fmt.Sprintf("abort epoch=2 attempt=1 id=%d last=%d reason=%d repeated", last+1, d.m.first-1, ReasonNotOwner),
		"all running attempt=1",
	}
	if !slices.Equal(told, want) {
		t.Errorf("told\n  %q\nwant\n  %q", told, want)
	}
	d.do(Event{Kind: EventTrigger})
	if len(d.m.Pending()) != 1 {
		t.Errorf("told %q, want that a checkpoint begins", d.told)
	}
}

// TestNothingIsRepeatedOfAnEarlierAttempt: the owner repeats no Complete of the checkpoint that the attempt has
// restored.
func TestNothingIsRepeatedOfAnEarlierAttempt(t *testing.T) {
	d := running(t, 1)
	d.checkpoint(1)
	d.do(Event{Kind: EventNewAttempt, Attempt: 1})
	d.m = Machine{}
	d.cfg = DefaultConfig(journal.Process{2}, nil, testPolicy)
	d.do(Event{Kind: EventAttach})
	d.do(register(1, 2, 0))
	d.want("attempt epoch=2 attempt=2 id=1 adopted", fmt.Sprintf("abort epoch=2 attempt=2 id=2 last=17 reason=%d repeated", ReasonNotOwner))
}

// TestRaiseNotRepeat: a new owner that meets a fresh process begins the next attempt; it never repeats a Start.
func TestRaiseNotRepeat(t *testing.T) {
	d := taken(t)
	d.do(register(1, 1, 0))
	d.do(register(3, 0, 1))
	d.want("attempt epoch=2 attempt=2 id=1", "start worker=1 epoch=2 attempt=2 id=1", "start worker=3 epoch=2 attempt=2 id=1")
}

func TestRegistrationsExpired(t *testing.T) {
	d := taken(t)
	d.do(register(1, 1, 0))
	d.do(Event{Kind: EventRegistrationsExpired})
	d.want()
	if got := d.m.Head().Attempt; got != 2 {
		t.Errorf("attempt %d, want 2: the registrations of attempt 1 have expired", got)
	}
	d.do(register(2, 1, 1))
	d.want("attempt epoch=2 attempt=2 id=1", "start worker=1 epoch=2 attempt=2 id=1", "start worker=2 epoch=2 attempt=2 id=1")
	d.do(Event{Kind: EventRegistrationsExpired})
	d.want()
}

// TestTwoProcessesOfOneSubtask: one of the two processes is told Replaced, and ends.
func TestTwoProcessesOfOneSubtask(t *testing.T) {
	t.Run("a fresh process takes over, in a new attempt", func(t *testing.T) {
		d := running(t, 2)
		d.do(register(3, 0, 0))
		d.want("replaced worker=1")
		if d.m.Live() {
			t.Error("the attempt is live, want it failed: a process was replaced")
		}
		d.do(Event{Kind: EventTrigger, Caller: 1})
		d.want(fmt.Sprintf("trigger refused caller=1 reason=%d", ReasonNotRunning))
		d.do(Event{Kind: EventNewAttempt, Attempt: 1})
		d.want("attempt epoch=1 attempt=2", "start worker=2 epoch=1 attempt=2", "start worker=3 epoch=1 attempt=2")
	})
	t.Run("a process of a lower attempt ends", func(t *testing.T) {
		d := running(t, 2)
		d.do(Event{Kind: EventNewAttempt, Attempt: 1})
		d.do(register(9, 1, 0))
		d.want("replaced worker=9")
		if !d.m.Live() {
			t.Error("the attempt is not live, want it live: its own processes stay")
		}
	})
	t.Run("a thawed process beside its replacement, at a new owner", func(t *testing.T) {
		d := taken(t)
		d.do(register(3, 0, 0))
		d.do(register(1, 1, 0))
		d.want("replaced worker=1")
		d.do(register(2, 1, 1))
		d.want("attempt epoch=2 attempt=2 id=1", "start worker=2 epoch=2 attempt=2 id=1", "start worker=3 epoch=2 attempt=2 id=1")
	})
	t.Run("a replacement beside its thawed predecessor, at a new owner", func(t *testing.T) {
		d := taken(t)
		d.do(register(1, 1, 0))
		d.do(register(3, 0, 0))
		d.want("replaced worker=1")
	})
}

// TestStartIsSaidAgainToTheSameProcess: the owner repeats Start to a process whose stream broke before Start arrived.
func TestStartIsSaidAgainToTheSameProcess(t *testing.T) {
	d := running(t, 2)
	d.do(Event{Kind: EventWorkerGone, Worker: 2})
	d.do(register(2, 0, 1))
	d.want("start worker=2 epoch=1 attempt=1")
	d.do(Event{Kind: EventWorkerGone, Worker: 2})
	d.do(register(2, 1, 1))
	d.want()
	if d.m.AllRunning() {
		t.Error("all run, want not all: worker 2 has not repeated its report")
	}
	d.do(Event{Kind: EventRunning, Worker: 2, Subtasks: subtasks(1), Attempt: 1})
	if !d.m.AllRunning() {
		t.Error("not all run, want all: both workers have reported")
	}
}

// TestWhatAProcessMissedIsSaidAgain: the owner repeats the messages that were lost while a process's stream was broken.
func TestWhatAProcessMissedIsSaidAgain(t *testing.T) {
	d := running(t, 2)
	back := func() {
		d.do(register(2, 1, 1))
		again := d.told
		d.do(Event{Kind: EventRunning, Worker: 2, Subtasks: subtasks(1), Attempt: 1})
		d.told = again
	}
	d.do(Event{Kind: EventTrigger})
	back()
	d.want("trigger worker=2 epoch=1 attempt=1 id=1 repeated")
	d.do(Event{Kind: EventAbort, ID: 1, Reason: ReasonExpired})
	back()
	d.want(fmt.Sprintf("abort worker=2 epoch=1 attempt=1 id=1 reason=%d repeated", ReasonOther))
	d.do(Event{Kind: EventTrigger})
	d.ack(2, 0, nil)
	d.ack(2, 1, nil)
	for range 2 {
		d.do(Event{Kind: EventTrigger})
		d.do(Event{Kind: EventAbort, ID: d.m.Pending()[0].ID, Reason: ReasonExpired})
	}
	d.do(Event{Kind: EventTrigger})
	d.ack(5, 0, nil)
	back()
	d.want("complete worker=2 epoch=1 attempt=1 id=2 repeated",
		fmt.Sprintf("abort worker=2 epoch=1 attempt=1 id=3 last=4 reason=%d repeated", ReasonOther), "trigger worker=2 epoch=1 attempt=1 id=5 repeated")
	d.ack(5, 1, nil)
	if _, ok := d.m.Head().Checkpoint(5); !ok {
		t.Error("checkpoint 5 is not complete, want it complete: all subtasks have acknowledged")
	}
}

// TestWorkerOfALaterAttemptRaisesDoubt: an owner that does not know its successor, and has nothing to append, reads the
// head again when a worker reports a later attempt.
func TestWorkerOfALaterAttemptRaisesDoubt(t *testing.T) {
	d := newDesk(t)
	d.do(Event{Kind: EventAttach, Create: twoTasks(2)})
	d.do(register(1, 0, 0))
	d.do(register(1, 7, 0))
	d.want("reregister worker=1")
	if d.m.Phase() != PhaseOwning {
		t.Fatal("the owner has given the job up, want it kept: the head names this owner")
	}
	stale := d.m
	d.m, d.cfg = Machine{}, DefaultConfig(journal.Process{2}, nil, testPolicy)
	d.do(Event{Kind: EventAttach})
	d.do(register(1, 0, 0))
	d.want()
	d.m, d.cfg = stale, DefaultConfig(journal.Process{1}, nil, testPolicy)
	d.do(register(1, 2, 0))
	d.want("reregister worker=1", "fenced")
}

func TestRegistrationsRefused(t *testing.T) {
	d := running(t, 2)
	other := journal.NewPlan([]journal.Operator{{ID: "other", Parallelism: 2}})
	ev := register(7, 0, 0)
	ev.Plan = other
	d.do(ev)
	d.want("plan refused worker=7")
	d.do(register(7, 0, 2))
	d.want("plan refused worker=7")
	d.do(register(7, 0, 0, 2))
	d.want("plan refused worker=7")
	d.do(register(7, 0))
	d.want("plan refused worker=7")
	d.do(register(7, 5, 0))
	d.want("reregister worker=7")
	if len(d.m.Registrations()) != 2 || !d.m.Live() {
		t.Errorf("registrations %+v, live %v; want both as before", d.m.Registrations(), d.m.Live())
	}
}

func TestFailover(t *testing.T) {
	d := running(t, 2)
	d.do(Event{Kind: EventTrigger})
	d.do(Event{Kind: EventWorkerGone, Worker: 1})
	d.do(Event{Kind: EventFailover, Attempt: 1, Reason: ReasonFailover})
	d.want(fmt.Sprintf("abort epoch=1 attempt=1 id=1 reason=%d", ReasonFailover))
	d.do(register(1, 1, 0))
	d.want()
	if d.m.Live() {
		t.Error("the failed attempt is live again, want it failed")
	}
	d.do(Event{Kind: EventWorkerGone, Worker: 1})
	d.do(Event{Kind: EventNewAttempt, Attempt: 1})
	d.want()
	if got := d.m.Missing(); got != subtasks(0) {
		t.Errorf("missing %v, want subtask 0", got)
	}
	d.do(Event{Kind: EventFailover, Attempt: 1})
	d.want()
	d.do(register(3, 0, 0))
	d.want("attempt epoch=1 attempt=2", "start worker=2 epoch=1 attempt=2", "start worker=3 epoch=1 attempt=2")
}

func TestNewAttemptRequests(t *testing.T) {
	d := running(t, 1)
	r := journal.RequestOf("once")
	d.do(Event{Kind: EventNewAttempt, Attempt: 1, Caller: 1, Request: r})
	d.want("attempted caller=1 attempt=2", "attempt epoch=1 attempt=2", "start worker=1 epoch=1 attempt=2")
	d.do(Event{Kind: EventNewAttempt, Attempt: 1, Caller: 2})
	d.want("attempted caller=2 attempt=2")
	d.do(Event{Kind: EventNewAttempt, Attempt: 2, Caller: 2, Request: r})
	d.want("attempted caller=2 attempt=2")
	if d.m.Head().Attempt != 2 {
		t.Error("a repeated request began another attempt")
	}
	d.do(Event{Kind: EventEnd, Status: journal.StatusFailed})
	d.do(Event{Kind: EventNewAttempt, Attempt: 2, Caller: 2})
	d.want(fmt.Sprintf("attempted caller=2 attempt=2 reason=%d", ReasonTerminal))
}

// TestNewPlan: the plan changes with the entry that raises the attempt, and with no other. Workers that registered for
// the old plan are refused.
func TestNewPlan(t *testing.T) {
	d := running(t, 1)
	plan := journal.NewPlan([]journal.Operator{{ID: "op", Parallelism: 3, MaxParallelism: 128}})
	config := configOf(5, retention.Nothing)
	d.do(Event{Kind: EventWorkerGone, Worker: 1})
	d.holds(OpJournal)
	d.do(Event{Kind: EventAttach, Caller: 4, Plan: plan, Config: config})
	d.want("change attempt=1")
	d.do(register(1, 1, 0)) // the worker comes back before the entry is won
	d.wantReleased("plan refused worker=1", "attached caller=4 epoch=1 attempt=2")
	if head := d.m.Head(); head.Plan.Hash() != plan.Hash() || head.Config.Hash != config.Hash || head.Attempt != 2 {
		t.Errorf("head %+v, want attempt 2 with the new plan and configuration", head)
	}
	d.do(register(4, 0, 0, 1))
	d.want()
	d.do(register(5, 0, 2))
	d.want("attempt epoch=1 attempt=2", "start worker=4 epoch=1 attempt=2", "start worker=5 epoch=1 attempt=2")
}

// TestCopiesAreApart: n := m is a copy. A step of one does not change the other.
func TestCopiesAreApart(t *testing.T) {
	d := running(t, 2)
	d.do(Event{Kind: EventTrigger})
	before := d.m
	key := string(before.appendKey(nil))
	d.ack(1, 0, []incremental.File{1})
	d.do(register(3, 0, 0))
	d.do(Event{Kind: EventAbort, ID: 1})
	if string(before.appendKey(nil)) != key {
		t.Error("a step of a copy changed the original")
	}
}

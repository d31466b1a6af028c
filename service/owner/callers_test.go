package owner

import (
	"fmt"
	"testing"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/retention"
)

// attaching is a desk whose attach has begun: the first list of the journal is under way.
func attaching(t *testing.T, d *desk, ev Event) *desk {
	t.Helper()
	d.answer = func(op Op) *Result {
		if op.Kind == OpJournal && op.Journal.Kind == journal.OpList {
			return hold
		}
		return nil
	}
	d.do(ev)
	d.want()
	return d
}

// TestEachCallerGetsTheAnswerThatFitsIt: several callers wait for one attach and want different things.
func TestEachCallerGetsTheAnswerThatFitsIt(t *testing.T) {
	three := func(d *desk) {
		d.do(Event{Kind: EventAttach, Caller: 5, Create: twoTasks(1)})
		d.do(Event{Kind: EventFinish, Caller: 6})
		d.want()
	}
	over := func(owned bool) func(*desk) {
		return func(d *desk) {
			d.seize(func(e *journal.Entry) {
				e.Status = journal.StatusFailed
				if !owned {
					e.Owner = journal.Nonce{}
				}
			})
		}
	}
	refused := func(caller int, why Reason) string {
		if why == ReasonTerminal {
			return fmt.Sprintf("attach refused caller=%d status=%d reason=%d", caller, journal.StatusFailed, why)
		}
		return fmt.Sprintf("attach refused caller=%d reason=%d", caller, why)
	}
	for name, test := range map[string]struct {
		journal func(*desk) // nil: there is no job
		want    []string
	}{
		"no job":          {nil, []string{refused(4, ReasonNoJob), refused(6, ReasonNoJob), "attached epoch=1", "attached caller=5 epoch=1"}},
		"a job that runs": {func(*desk) {}, []string{refused(6, ReasonNotTerminal), "attached epoch=2 attempt=1", "attached caller=4 epoch=2 attempt=1", "attached caller=5 epoch=2 attempt=1"}},
		"a job that ended": {over(true), []string{refused(4, ReasonTerminal), refused(5, ReasonTerminal), "attached epoch=2 attempt=1",
			"attached caller=6 epoch=2 attempt=1"}},
		"a job that ended and was released": {over(false), []string{refused(4, ReasonTerminal), refused(5, ReasonTerminal), refused(6, ReasonReleased)}},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			if test.journal != nil {
				d = running(t, 1)
				test.journal(d)
				d.m, d.cfg = Machine{}, DefaultConfig(journal.Process{2}, nil, testPolicy)
			}
			attaching(t, d, Event{Kind: EventAttach, Caller: 4})
			three(d)
			if told := d.release(); fmt.Sprint(told) != fmt.Sprint(test.want) {
				t.Errorf("told\n  %q\nwant\n  %q", told, test.want)
			}
		})
	}
	t.Run("another owner answers", func(t *testing.T) {
		d := running(t, 1)
		d.m, d.cfg = Machine{}, DefaultConfig(journal.Process{2}, nil, testPolicy)
		d.holds(OpAsk)
		d.do(Event{Kind: EventAttach, Caller: 4})
		three(d)
		d.reply(d.takeHeld()[0], journal.Done, func(r *Result) { r.Answered = true })
		d.want("redirect caller=4 epoch=1http://a", "redirect caller=5 epoch=1http://a", "redirect caller=6 epoch=1http://a")
		d.wantForgotten()
	})
	t.Run("a stop", func(t *testing.T) {
		d := attaching(t, newDesk(t), Event{Kind: EventAttach, Caller: 4})
		three(d)
		d.do(Event{Kind: EventStop})
		d.want(refused(4, ReasonStopping), refused(5, ReasonStopping), refused(6, ReasonStopping), "released")
	})
	t.Run("the entry of the attach is lost to an owner that answers", func(t *testing.T) {
		d := newDesk(t)
		d.holds(OpJournal)
		d.do(Event{Kind: EventAttach, Caller: 5, Create: twoTasks(1)})
		op := publishing(t, d.takeHeld())
		d.slots[1] = func() *journal.Entry {
			e := (&story{}).first()
			e.Kind, e.Owner = journal.KindAttach, journal.Nonce{Process: journal.Process{3}, Count: 1}
			var a journal.Append
			return a.Begin(&d.cfg.Journal, nil, e, e.Owner, journal.RoleAttach).Entry
		}()
		d.do(Event{Kind: EventAttach, Caller: 4})
		d.holds(OpAsk)
		d.reply(op, journal.Exists, nil)
		d.reply(d.one(OpAsk), journal.Done, func(r *Result) { r.Answered = true })
		d.want("redirect caller=5 epoch=1", "redirect caller=4 epoch=1")
	})
}

// TestAnotherPlanOrConfigurationComesWithTheNextAttempt, unless a worker is registered, or a checkpoint holds state in
// its way. Callers wait until that is known.
func TestAnotherPlanOrConfigurationComesWithTheNextAttempt(t *testing.T) {
	config := configOf(7, retention.Nothing)
	renamed := journal.NewPlan([]journal.Operator{{ID: "op", UID: "other", Parallelism: 1, MaxParallelism: 128, Triggered: true}})
	rescaled := journal.NewPlan([]journal.Operator{{ID: "op", Parallelism: 2, MaxParallelism: 128, Triggered: true}})
	refused := func(caller int, why Reason) string {
		return fmt.Sprintf("change refused caller=%d reason=%d", caller, why)
	}
	found := func(t *testing.T) *desk {
		d := running(t, 1)
		d.checkpoint(1)
		d.takeOver(2)
		d.do(Event{Kind: EventAttach, Caller: 4, Plan: renamed, Config: config})
		d.want()
		return d
	}
	t.Run("a worker is registered, and runs or does not yet", func(t *testing.T) {
		running(t, 1).wantUnchanged(Event{Kind: EventAttach, Caller: 4, Config: config}, refused(4, ReasonRegistered))
		d := newDesk(t)
		d.do(Event{Kind: EventAttach, Create: twoTasks(2)})
		d.do(register(1, 0, 0))
		d.wantUnchanged(Event{Kind: EventAttach, Caller: 4, Plan: renamed}, refused(4, ReasonRegistered))
	})
	t.Run("what is in effect is answered at once", func(t *testing.T) {
		running(t, 1).wantUnchanged(Event{Kind: EventAttach, Caller: 4, Plan: twoTasks(1).Plan, Config: twoTasks(1).Config}, "attached caller=4 epoch=1 attempt=1")
		d := running(t, 1)
		d.cfg.Same = func(a, b *journal.Config) bool { return true }
		d.wantUnchanged(Event{Kind: EventAttach, Caller: 4, Config: config}, "attached caller=4 epoch=1 attempt=1")
	})
	t.Run("the workers that may run come back", func(t *testing.T) {
		d := found(t)
		d.do(register(1, 1, 0))
		d.want(refused(4, ReasonRegistered), "attempt epoch=2 attempt=1 adopted", "complete epoch=2 attempt=1 id=1 repeated",
			fmt.Sprintf("abort epoch=2 attempt=1 id=2 last=17 reason=%d repeated", ReasonNotOwner))
	})
	t.Run("the time of the workers is over", func(t *testing.T) {
		d := found(t)
		d.do(Event{Kind: EventAttach, Caller: 5, Config: config})
		d.want()
		d.do(Event{Kind: EventRegistrationsExpired})
		d.want("change attempt=1", "attached caller=4 epoch=2 attempt=2", "attached caller=5 epoch=2 attempt=2")
		if e := d.head(); e.Plan.Hash() != renamed.Hash() || e.Config.Hash != config.Hash || e.Restore != 1 {
			t.Errorf("head %+v, want the other plan and configuration, and checkpoint 1 restored", e)
		}
	})
	t.Run("callers that want different things come one after the other", func(t *testing.T) {
		d := found(t)
		d.do(Event{Kind: EventAttach, Caller: 5, Config: configOf(8, retention.Nothing)})
		d.do(Event{Kind: EventRegistrationsExpired})
		d.want("change attempt=1", "attached caller=4 epoch=2 attempt=2", "change attempt=2", "attached caller=5 epoch=2 attempt=3")
	})
	t.Run("a checkpoint holds state of the operators", func(t *testing.T) {
		d := running(t, 1)
		d.do(Event{Kind: EventTrigger})
		d.do(Event{Kind: EventWorkerGone, Worker: 1})
		d.wantUnchanged(Event{Kind: EventAttach, Caller: 4, Plan: rescaled}, refused(4, ReasonState))
		d.ack(1, 0, []incremental.File{1})
		d.wantUnchanged(Event{Kind: EventAttach, Caller: 4, Plan: rescaled}, refused(4, ReasonState))
		d.do(Event{Kind: EventAttach, Caller: 4, Plan: renamed})
		d.want("change attempt=1", "plan refused worker=1", "attached caller=4 epoch=1 attempt=2")
	})
	t.Run("no checkpoint does", func(t *testing.T) {
		d := running(t, 1)
		d.do(Event{Kind: EventWorkerGone, Worker: 1})
		d.do(Event{Kind: EventAttach, Caller: 4, Plan: rescaled})
		d.want("change attempt=1", "plan refused worker=1", "attached caller=4 epoch=1 attempt=2")
	})
	t.Run("the end comes first", func(t *testing.T) {
		d := appending(t)
		d.do(Event{Kind: EventWorkerGone, Worker: 1})
		d.do(Event{Kind: EventAttach, Caller: 4, Config: config})
		d.want("change attempt=1")
		d.do(Event{Kind: EventEnd, Status: journal.StatusFailed})
		d.want(fmt.Sprintf("attach refused caller=4 reason=%d", ReasonStopping))
		d.wantReleased("complete epoch=1 attempt=1 id=1", "ended status=3")
	})
	t.Run("another owner comes first: all callers are answered by TellFenced", func(t *testing.T) {
		d := appending(t)
		d.do(Event{Kind: EventWorkerGone, Worker: 1})
		d.do(Event{Kind: EventAttach, Caller: 4, Config: config})
		d.fence()
		d.wantReleased("fenced")
		d.wantForgotten()
	})
}

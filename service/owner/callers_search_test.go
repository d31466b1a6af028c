package owner

import (
	"fmt"

	"github.com/ckptd/ckptd/layout/journal"
)

// asker is a caller that asks a daemon to own the job, once in a story.
type asker struct {
	// finish: it wants only a job that has ended. create: it would create the job. other: it wants another plan.
	finish, create, other bool
}

// asking is where a caller is.
type asking struct {
	state askState
	at    int8 // the daemon that it waits at
}

type askState uint8

const (
	askNot askState = iota
	askWaits
	askAnswered
)

// firstAsker is the number that the shell would give to the first caller.
const firstAsker = 21

// otherPlan has the same subtasks as plan. No state is in its way.
func (s *story) otherPlan() *journal.Plan {
	return journal.NewPlan([]journal.Operator{{ID: "op", UID: "other", Parallelism: s.subtasks(), MaxParallelism: 4, Triggered: true}})
}

func (s *story) creation(plan *journal.Plan) *Creation {
	e := s.first()
	return &Creation{Plan: plan, Config: e.Config, About: e.About}
}

// event is the call of a caller.
func (s *story) event(i int) Event {
	a := s.callers[i]
	ev := Event{Kind: EventAttach, Caller: uint64(firstAsker + i)}
	plan := s.plan()
	if a.other {
		plan = s.otherPlan()
		ev.Plan = plan
	}
	if a.create {
		ev.Create = s.creation(plan)
	}
	if a.finish {
		ev.Kind = EventFinish
	}
	return ev
}

// ask lets each caller call each daemon, in every phase.
func (r *runner) ask(w *world, visit func(*world, move)) {
	for k := range r.s.callers {
		if w.asks[k].state != askNot {
			continue
		}
		for i, d := range w.d {
			if d == nil || !d.alive {
				continue
			}
			n := *w
			n.asks[k] = asking{askWaits, int8(i)}
			r.run(&n, i, r.s.event(k))
			visit(&n, move{what: "caller asks", who: i, a: uint64(firstAsker + k)})
		}
	}
}

// dismissed answers every caller that waits at a daemon that has released or lost the job, or has died.
func (w *world) dismissed(who int) {
	for k, a := range w.asks {
		if a.state == askWaits && a.at == int8(who) {
			w.asks[k].state = askAnswered
		}
	}
}

// answered checks the answer to a caller: each caller gets one, and it fits what the caller wants.
func (r *runner) answered(w *world, who int, d *daemon, op *Op) {
	k := int(op.Caller) - firstAsker
	if k < 0 || k >= len(r.s.callers) {
		return
	}
	if a := w.asks[k]; a.state != askWaits || a.at != int8(who) {
		w.fail(fmt.Sprintf("I19: caller %d is answered, and does not wait", op.Caller))
		return
	}
	w.asks[k].state = askAnswered
	a, m := r.s.callers[k], &d.m
	switch wrong := ""; op.Kind {
	case TellAttached:
		if m.phase != PhaseOwning || m.head.Status.Terminal() != a.finish || a.other && m.head.Plan.Hash() != r.s.otherPlan().Hash() {
			wrong = "attached to something that it does not want"
		}
		w.unfit(op, wrong)
	case TellAttachRefused:
		switch {
		case op.Reason == ReasonNoJob && a.create, op.Reason == ReasonTerminal && a.finish, op.Reason == ReasonNotTerminal && !a.finish:
			wrong = fmt.Sprintf("refused for a reason that fits another caller: %d", op.Reason)
		}
		w.unfit(op, wrong)
	case TellChangeRefused:
		if op.Reason != ReasonRegistered || m.registered().IsEmpty() || m.head.Plan.Hash() == r.s.otherPlan().Hash() {
			wrong = "refused another plan, and nothing is in its way"
		}
		w.unfit(op, wrong)
	}
}

func (w *world) unfit(op *Op, wrong string) {
	if wrong != "" {
		w.fail(fmt.Sprintf("I19: caller %d is %s", op.Caller, wrong))
	}
}

// changed checks that another plan comes only while no worker is registered, and no worker of the attempt that this
// owner found can come back.
func (r *runner) changed(w *world, who int, d *daemon) {
	if !d.m.registered().IsEmpty() {
		w.fail("I20: the plan changes while a worker is registered")
	}
	was := &w.d[who].m
	if was.attempt != attemptFound || r.ev.Kind == EventRegistrationsExpired || r.ev.Kind == EventFailover {
		return
	}
	for _, x := range w.procs {
		if x.alive && x.attempt > 0 && x.attempt == d.m.head.Attempt {
			w.fail("I20: the plan changes while a worker of the attempt may run")
		}
	}
}

// waiting checks that each caller that waits has something to wait for.
func (w *world) waiting() {
	for k, a := range w.asks {
		if a.state != askWaits {
			continue
		}
		m := &w.d[a.at].m
		adopting := m.phase == PhaseOwning && m.head.Attempt > 0 && m.attempt == attemptFound
		switch {
		case m.phase == PhaseIdle:
			w.fail(fmt.Sprintf("I19: caller %d is forgotten", firstAsker+k))
		case m.phase == PhaseOwning && !adopting && m.attempt != attemptWished && m.doing != journal.KindAttempt:
			w.fail(fmt.Sprintf("I19: caller %d waits for nothing", firstAsker+k))
		}
	}
}

// waitsAt is the daemon of a caller that waits and is not served by the true owner; -1: there is none.
func (w *world) waitsAt(owner int) int {
	for _, a := range w.asks {
		if a.state == askWaits && int(a.at) != owner && w.d[a.at].m.phase == PhaseOwning {
			return int(a.at)
		}
	}
	return -1
}

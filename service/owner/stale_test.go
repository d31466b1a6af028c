package owner

import (
	"bytes"
	"fmt"
	mathbits "math/bits"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
)

// stale is a message that must change nothing: it belongs to another epoch, attempt, checkpoint or life, or breaks a
// rule.
type stale struct {
	what string
	ev   Event
}

// stale sends every stale message to an owner. The machine must not change, and must emit nothing for the store or the
// workers.
func (r *runner) throw(w *world, i int, visit func(*world, move)) {
	d := w.d[i]
	before := d.m.appendKey(nil)
	cfg := r.s.configs[i][d.process]
	var key []byte
	for _, x := range r.s.messages(w, i) {
		m := d.m
		what := ""
		for _, op := range m.Step(cfg, &x.ev, nil) {
			if !answers(&op) {
				what = fmt.Sprintf("%s: it asks for operation %d", x.what, op.Kind)
			}
		}
		if key = m.appendKey(key[:0]); !bytes.Equal(before, key) {
			what = x.what + ": it changes the machine"
		}
		if what != "" {
			n := *w
			n.fail("stale: " + what)
			visit(&n, move{what: x.what, who: i})
		}
	}
}

// answers tells whether an operation only answers the sender of the message: with a reason, or as a repetition.
func answers(op *Op) bool {
	switch op.Kind {
	case TellAcked:
		return op.Reason != ReasonNone || op.Subtasks.IsEmpty()
	case TellBegun, TellTriggerRefused, TellSwept:
		return op.Reason != ReasonNone
	case TellAttempted, TellEnded:
		return op.Caller != 0 || op.Worker != 0
	case TellPlanRefused:
		return true
	}
	return false
}

// messages are the messages that are stale in a state.
func (s *story) messages(w *world, i int) (out []stale) {
	m := &w.d[i].m
	say := func(what string, ev Event) { out = append(out, stale{what, ev}) }
	s.snapshots(m, w, say)
	s.reports(m, say)
	for _, kind := range []OpKind{OpJournal, OpAsk, OpReadMeta, OpCreateMeta, OpDeleteMetas, OpDeleteFiles, OpAbortUnfinished, OpSweep} {
		res := Result{Kind: kind, Life: m.life - 1, ID: 1, Result: journal.Result{Outcome: journal.Done}}
		if len(m.pending) > 0 {
			res.ID = m.pending[0].ID
		}
		res.Slots, res.IDs, res.Files = []uint64{1}, []uint64{1}, m.index.Condemned
		say(fmt.Sprintf("a result of operation %d of an earlier life", kind), Event{Kind: EventResult, Result: res})
	}
	if m.head.Status.Terminal() {
		say("a trigger after the end", Event{Kind: EventTrigger, Caller: 1})
		say("a worker after the end", Event{Kind: EventRegister, Worker: 99, Subtasks: subtasks(0), Attempt: m.head.Attempt})
		say("an attempt after the end", Event{Kind: EventNewAttempt, Attempt: m.head.Attempt, Caller: 1})
		say("another end", Event{Kind: EventEnd, Status: journal.StatusFailed, Caller: 1})
	}
	return out
}

// snapshots are stale BeginSnapshots and Acknowledgements, and aborts of checkpoints that are not pending.
func (s *story) snapshots(m *Machine, w *world, say func(string, Event)) {
	epoch, attempt := m.head.Epoch, m.head.Attempt
	known := m.index.Known.Or(m.index.Condemned)
	one := subtasks(0)
	ack := func(what string, epoch, attempt, id uint64, tasks Subtasks, files incremental.Files, uploads ...Found) {
		say("an acknowledgement "+what, Event{Kind: EventAck, Caller: 1, Epoch: epoch, Attempt: attempt, ID: id, Subtasks: tasks,
			Files: files, Uploads: uploads})
	}
	begin := func(what string, epoch, attempt, id uint64) {
		say("a BeginSnapshot "+what, Event{Kind: EventBegin, Caller: 1, Epoch: epoch, Attempt: attempt, ID: id, Files: known})
	}
	for _, p := range m.pending {
		if p.State == PendingUnresolved {
			say("an abort of an unresolved checkpoint", Event{Kind: EventAbort, ID: p.ID})
		}
		if p.State != PendingOpen {
			begin("of a checkpoint that is not open", epoch, attempt, p.ID)
			continue
		}
		for _, e := range []uint64{epoch - 1, epoch + 1} {
			ack("of another epoch", e, attempt, p.ID, one, incremental.Files{})
			begin("of another epoch", e, attempt, p.ID)
		}
		for _, a := range []uint64{attempt - 1, attempt + 1} {
			ack("of another attempt", epoch, a, p.ID, one, incremental.Files{})
			begin("of another attempt", epoch, a, p.ID)
		}
		ack("of no subtask", epoch, attempt, p.ID, Subtasks{}, incremental.Files{})
		ack("of a subtask that the plan lacks", epoch, attempt, p.ID, subtasks(Subtask(s.subtasks())), incremental.Files{})
		if other := known.Minus(m.promisedTo(p.ID)); !other.IsEmpty() {
			for f := range other.All() {
				ack("that names a file not promised to it", epoch, attempt, p.ID, one.Minus(p.Acked), incremental.FilesOf(f))
			}
		}
		for _, f := range []Found{{60, epoch - 1, p.ID}, {60, epoch + 1, p.ID}, {60, epoch, p.ID - 1}, {60, epoch, p.ID + 1}} {
			ack("that brings a file made for another", epoch, attempt, p.ID, one.Minus(p.Acked), incremental.Files{}, f)
		}
	}
	for ids := w.used | 1<<m.next; ids != 0; ids &= ids - 1 {
		id := uint64(mathbits.TrailingZeros64(ids))
		if i, _ := m.find(id); i < 0 {
			ack("of a checkpoint that is not open", epoch, attempt, id, one, incremental.Files{})
			begin("of a checkpoint that is not open", epoch, attempt, id)
			say("an abort of a checkpoint that is not pending", Event{Kind: EventAbort, ID: id})
		}
	}
}

// reports are messages of workers and callers about an attempt that does not run, and messages that no worker of this
// job may send.
func (s *story) reports(m *Machine, say func(string, Event)) {
	attempt := m.head.Attempt
	all := incremental.Range[Subtask](s.subtasks())
	for _, kind := range []EventKind{EventRunning, EventFinished} {
		for _, reg := range m.workers {
			say("a report of an older attempt", Event{Kind: kind, Worker: reg.Worker, Subtasks: all, Attempt: attempt - 1})
			say("a report of a later attempt", Event{Kind: kind, Worker: reg.Worker, Subtasks: all, Attempt: attempt + 1})
			if reg.Gone || reg.Attempt != attempt {
				say("a report of a process that does not run the attempt", Event{Kind: kind, Worker: reg.Worker, Subtasks: all, Attempt: attempt})
			}
			if m.attempt == attemptFailed {
				say("the finish of an attempt that has failed", Event{Kind: EventFinished, Worker: reg.Worker, Subtasks: all, Attempt: attempt})
			}
		}
		say("a report of nobody", Event{Kind: kind, Worker: 99, Subtasks: all, Attempt: attempt})
	}
	say("the loss of nobody", Event{Kind: EventWorkerGone, Worker: 99})
	say("a failover of an older attempt", Event{Kind: EventFailover, Attempt: attempt - 1, Reason: ReasonFailover})
	say("a failover of a later attempt", Event{Kind: EventFailover, Attempt: attempt + 1, Reason: ReasonFailover})
	say("a wish for an attempt that began already", Event{Kind: EventNewAttempt, Attempt: attempt - 1, Caller: 1})
	say("a wish for an attempt after the next", Event{Kind: EventNewAttempt, Attempt: attempt + 1, Caller: 1})
	if !m.head.Status.Terminal() && !m.stop {
		other := journal.NewPlan([]journal.Operator{{ID: "other", Parallelism: 1, MaxParallelism: 4}})
		say("a worker of another plan", Event{Kind: EventRegister, Worker: 99, Subtasks: all, Attempt: attempt, Plan: other})
		say("a worker without subtasks", Event{Kind: EventRegister, Worker: 99, Attempt: attempt})
		beyond := incremental.Range[Subtask](s.subtasks() + 1)
		say("a worker with a subtask that the plan lacks", Event{Kind: EventRegister, Worker: 99, Subtasks: beyond, Attempt: attempt})
	}
}

package owner

import (
	"fmt"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
)

// third is the daemon of another job that pins the newest checkpoint of this one. It appends as journal.RoleThird.
type third struct {
	begun  bool
	reader journal.ReadHead
	app    journal.Append
	count  uint32
	done   bool
}

func (t *third) key(b []byte) []byte {
	b = append(b, bits(t.begun, t.done), byte(t.count))
	return t.app.AppendKey(t.reader.AppendKey(b))
}

func (t *third) fly(w *world, op journal.Op) {
	if op.Kind != journal.OpNone {
		w.issue(flight{who: 2, kind: OpJournal, jk: op.Kind, id: op.Slot, entry: op.Entry})
	}
}

func (t *third) begin(w *world) { t.fly(w, t.reader.Begin(0)) }

func (t *third) nonce() journal.Nonce {
	t.count++
	return journal.Nonce{Process: journal.Process{7}, Count: t.count}
}

// pin is the pin of this lend. It stays the same over retries.
var pin = journal.Nonce{Process: journal.Process{7}, Count: 100}

func (t *third) step(s *story, w *world, res journal.Result) {
	if t.reader.Busy() {
		op, how := t.reader.Step(&s.lender, res)
		t.fly(w, op)
		if how == journal.ReadDone {
			t.lend(s, w, t.reader.Head())
			t.reader = journal.ReadHead{}
		}
		return
	}
	op, verdict, head, _ := t.app.Step(&s.lender, res, func(e *journal.Entry) bool {
		for _, l := range e.Lent {
			if l.Pin == pin {
				return true
			}
		}
		return false
	})
	t.fly(w, op)
	switch verdict {
	case journal.Open:
	case journal.Won:
		t.done = true
		found := false
		for _, l := range head.Lent {
			_, kept := head.Checkpoint(l.Checkpoint)
			found = found || l.Pin == pin && kept
		}
		if !found {
			w.fail("I9: a pin was won that is not there")
		}
	default:
		t.lend(s, w, head)
	}
}

// lend pins the newest checkpoint, if there is one. It checks this precondition on each head anew.
func (t *third) lend(s *story, w *world, head *journal.Entry) {
	id := head.Newest()
	if id == 0 {
		t.done = true
		return
	}
	e := *head
	e.Kind = journal.KindLend
	e.Lent = with(e.Lent, journal.Lent{Pin: pin, Checkpoint: id, Holder: "other", HolderEpoch: 1})
	t.fly(w, t.app.Begin(&s.lender, head, e, t.nonce(), journal.RoleThird))
}

// lend is one atomic step of another job's daemon: it pins the newest checkpoint, or returns its pin. The entry is won,
// or its outcome is unknown and it lands later. The rest of the other job is not modelled here.
func (r *runner) lend(w *world, visit func(*world, move)) {
	head := w.head()
	e := *head
	switch id := restorable(head); {
	case len(head.Lent) == 0 && w.left.lends > 0 && id != 0:
		e.Kind = journal.KindLend
		e.Lent = []journal.Lent{{Pin: pin, Checkpoint: id, Holder: "other", HolderEpoch: 1}}
		if r.s.tool {
			e.Lent[0].Expires = w.now + day/2
		}
	case len(head.Lent) > 0 && w.left.returns > 0:
		e.Kind, e.Lent = journal.KindReturn, nil
	default:
		return
	}
	n := *w
	if e.Kind == journal.KindLend {
		n.left.lends--
	} else {
		n.left.returns--
	}
	var a journal.Append
	made := a.Begin(&r.s.lender, head, e, journal.Nonce{Process: journal.Process{8}, Count: uint32(head.Slot)}, journal.RoleThird).Entry
	late := n
	if r.s.publish(&n, made) == journal.Done {
		visit(&n, move{what: "lend or return", who: -1, b: uint64(e.Kind)})
	}
	if late.lose() {
		late.late = insert(late.late, flight{who: -1, kind: OpJournal, jk: journal.OpPublish, id: made.Slot, entry: made})
		visit(&late, move{what: "lend or return, lands later", who: -1, b: uint64(e.Kind)})
	}
}

// workerNumber is the number that the shell would give to a process of a worker.
func workerNumber(slot int, process uint8) uint32 { return uint32(slot%2)*8 + uint32(process) + 1 }

// proc is the process with that number of the shell; -1: it is gone.
func (w *world) proc(number uint32) int {
	for i, x := range w.procs {
		if x.alive && workerNumber(i, x.process) == number {
			return i
		}
	}
	return -1
}

// work visits the actions of worker processes: register with an owner, report that they run, and break. It also visits
// the decisions of the coordinator when a process breaks.
func (r *runner) work(w *world, visit func(*world, move)) {
	for slot, x := range w.procs {
		for i, d := range w.d {
			if d != nil && d.alive && d.m.phase == PhaseOwning && x.alive {
				r.talk(w, i, slot, visit)
			}
		}
		if w.left.kills > 0 && slot < 2 {
			r.kill(w, slot, visit)
		}
		if w.left.breaks > 0 && x.alive && x.at >= 0 {
			n := *w
			n.left.breaks--
			r.leave(&n, slot)
			visit(&n, move{what: "stream breaks", who: int(x.at), a: uint64(slot)})
		}
	}
	for i, d := range w.d {
		if d == nil || !d.alive || d.m.phase != PhaseOwning {
			continue
		}
		if w.left.failovers > 0 && d.m.Live() {
			n := *w
			n.left.failovers--
			r.run(&n, i, Event{Kind: EventFailover, Attempt: d.m.head.Attempt, Reason: ReasonFailover})
			visit(&n, move{what: "failover", who: i})
			n = *w // an engine that schedules by itself asks for the next attempt without a failover
			n.left.failovers--
			r.run(&n, i, r.nextAttempt(d.m.head.Attempt))
			visit(&n, move{what: "next attempt, no failure", who: i})
		}
		if d.m.attempt == attemptWished || d.m.head.Attempt > 3 {
			continue
		}
		if d.broken() {
			n := *w
			r.run(&n, i, r.nextAttempt(d.m.head.Attempt))
			visit(&n, move{what: "next attempt", who: i})
		}
		if r.s.expires && d.m.attempt == attemptFound && d.m.head.Attempt > 0 {
			n := *w
			r.run(&n, i, Event{Kind: EventRegistrationsExpired})
			visit(&n, move{what: "registrations expire", who: i})
		}
	}
}

// nextAttempt is the request for the next attempt, after one has failed. A repeated request is the same request.
func (r *runner) nextAttempt(attempt uint64) Event {
	return Event{Kind: EventNewAttempt, Attempt: attempt, Caller: 7, Request: journal.Request{byte(attempt)}}
}

// broken tells whether somebody has to ask for the next attempt.
func (d *daemon) broken() bool {
	for _, reg := range d.m.workers {
		if reg.Gone {
			return true
		}
	}
	return d.m.attempt == attemptFailed
}

// talk lets a process register with a daemon, or report that it runs.
func (r *runner) talk(w *world, i, slot int, visit func(*world, move)) {
	x, d := w.procs[slot], w.d[i]
	number := workerNumber(slot, x.process)
	subtasks := incremental.SetOf(Subtask(slot % 2))
	if x.at < 0 {
		n := *w
		n.procs[slot].at = int8(i)
		r.run(&n, i, Event{Kind: EventRegister, Worker: number, Subtasks: subtasks, Attempt: x.attempt})
		visit(&n, move{what: "register", who: i, a: uint64(slot), b: x.attempt})
	} else if _, reg := d.m.worker(number); x.at == int8(i) && reg.Worker != 0 && x.attempt == d.m.head.Attempt && reg.Running.IsEmpty() {
		n := *w
		r.run(&n, i, Event{Kind: EventRunning, Worker: number, Subtasks: subtasks, Attempt: x.attempt})
		visit(&n, move{what: "running", who: i, a: uint64(slot)})
	}
	r.finishes(w, i, slot, visit)
}

// finishes lets a process report that its subtask has finished. The process repeats the report to a daemon that does not
// know it, at no cost.
func (r *runner) finishes(w *world, i, slot int, visit func(*world, move)) {
	x, m := w.procs[slot], &w.d[i].m
	subtask, attempt := slot%2, uint64(1)<<x.attempt
	before := w.finished[subtask]&attempt != 0
	if x.at != int8(i) || x.attempt == 0 || m.finished.Has(Subtask(subtask)) || !before && !r.mayFinish(w, m) {
		return
	}
	_, reg := m.worker(workerNumber(slot, x.process))
	if r.driving && (!m.goesOn() || reg.Gone || reg.Attempt != m.head.Attempt || x.attempt != m.head.Attempt) {
		return // the report would change nothing, and the fair schedule would repeat it for ever
	}
	n := *w
	if !before {
		n.left.finishes -= min(n.left.finishes, 1)
		n.finished[subtask] |= attempt
	}
	r.run(&n, i, Event{Kind: EventFinished, Worker: workerNumber(slot, x.process), Subtasks: incremental.SetOf(Subtask(subtask)), Attempt: x.attempt})
	visit(&n, move{what: "finishes", who: i, a: uint64(slot), b: x.attempt})
}

// mayFinish tells whether one more subtask may finish. While a world is driven to rest, the others follow the first one.
func (r *runner) mayFinish(w *world, m *Machine) bool {
	return w.left.finishes > 0 || r.driving && !m.finished.IsEmpty()
}

// leave ends the stream between a process and its daemon.
func (r *runner) leave(n *world, slot int) {
	x := n.procs[slot]
	n.procs[slot].at = -1
	r.run(n, int(x.at), Event{Kind: EventWorkerGone, Worker: workerNumber(slot, x.process)})
}

// kill ends a process and starts another one. In stories with zombies the old process was only suspended: it comes back
// and does not know that it was replaced.
func (r *runner) kill(w *world, slot int, visit func(*world, move)) {
	x := w.procs[slot]
	n := *w
	n.left.kills--
	n.procs[slot] = workerState{alive: true, process: x.process + 1, at: -1}
	if r.s.zombies && !w.procs[slot+2].alive {
		n.procs[slot+2] = workerState{alive: true, process: x.process, attempt: x.attempt, at: -1}
	}
	if x.at >= 0 {
		r.run(&n, int(x.at), Event{Kind: EventWorkerGone, Worker: workerNumber(slot, x.process)})
	}
	visit(&n, move{what: "kill worker", who: -1, a: uint64(slot), b: 1})
}

// heardStart lets a process begin an attempt, if its stream to that daemon is still open.
func (r *runner) heardStart(w *world, who int, op *Op) {
	if !r.s.workers {
		if r.jobs != nil { // the one worker runs at once
			r.events = append(r.events, Event{Kind: EventRunning, Worker: op.Worker, Subtasks: subtasks(0), Attempt: op.Attempt})
		}
		return
	}
	if e := w.begins(op.Attempt); e != nil && e.Restore != op.ID {
		w.fail(fmt.Sprintf("I16: a Start of attempt %d restores checkpoint %d, its entry says %d", op.Attempt, op.ID, e.Restore))
	}
	i := w.proc(op.Worker)
	if i < 0 {
		return
	}
	x := w.procs[i]
	if x.at != int8(who) || x.attempt == op.Attempt {
		return
	}
	if x.attempt > op.Attempt {
		w.fail(fmt.Sprintf("a process of attempt %d is told to start attempt %d", x.attempt, op.Attempt))
	}
	w.procs[i].attempt = op.Attempt
	w.started = with(w.started, startRecord{op.Attempt, uint8(i % 2), x.process})
}

package owner

import (
	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
)

// third is another job's daemon that pins the newest checkpoint of this one: the third branch of append.
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

// pin is this lend's; it stays the same over retries.
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

// lend pins the newest checkpoint, if there is one: the precondition is checked on each head anew.
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

// workerNumber is what the shell would call a process of a slot.
func workerNumber(slot int, process uint8) uint32 { return uint32(slot)*8 + uint32(process) + 1 }

// work is what worker processes do: register with an owner, say that they run, break; and what is decided when one breaks.
func (r *runner) work(w *world, visit func(*world, move)) {
	for slot, x := range w.workers {
		subtasks := incremental.SetOf(incremental.File(slot))
		for i, d := range w.d {
			if d == nil || !d.alive || d.m.phase != PhaseOwning || !x.alive {
				continue
			}
			number := workerNumber(slot, x.process)
			if x.at < 0 {
				n := *w
				n.workers[slot].at = int8(i)
				r.run(&n, i, Event{Kind: EventRegister, Worker: number, Subtasks: subtasks, Attempt: x.attempt})
				visit(&n, move{what: "register", who: i, a: uint64(slot), b: x.attempt})
			} else if _, reg := d.m.worker(number); x.at == int8(i) && reg.Worker != 0 && x.attempt == d.m.head.Attempt && reg.Running.IsEmpty() {
				n := *w
				r.run(&n, i, Event{Kind: EventRunning, Worker: number, Subtasks: subtasks, Attempt: x.attempt})
				visit(&n, move{what: "running", who: i, a: uint64(slot)})
			}
		}
		if w.kills > 0 {
			n := *w
			n.kills--
			n.workers[slot] = workerState{alive: true, process: x.process + 1, at: -1}
			if x.at >= 0 {
				r.run(&n, int(x.at), Event{Kind: EventWorkerGone, Worker: workerNumber(slot, x.process)})
			}
			visit(&n, move{what: "kill worker", who: -1, a: uint64(slot), b: 1})
		}
	}
	for i, d := range w.d {
		if d == nil || !d.alive || d.m.phase != PhaseOwning || d.m.raise || d.m.head.Attempt > 3 {
			continue
		}
		gone := d.m.broken
		for _, reg := range d.m.workers {
			gone = gone || reg.Gone
		}
		if gone {
			n := *w
			r.run(&n, i, Event{Kind: EventNewAttempt, Attempt: d.m.head.Attempt})
			visit(&n, move{what: "next attempt", who: i})
		}
	}
}

// heardStart: a process begins an attempt, if it still listens to who says so.
func (r *runner) heardStart(w *world, who int, op *Op) {
	slot, process := int(op.Worker-1)/8, uint8(op.Worker-1)%8
	if !r.s.workers {
		return
	}
	x := w.workers[slot]
	if !x.alive || x.process != process || x.at != int8(who) || x.attempt == op.Attempt {
		return
	}
	w.workers[slot].attempt = op.Attempt
	w.started = with(w.started, startRecord{op.Attempt, uint8(slot), process})
}

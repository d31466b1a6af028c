package owner

import (
	"hash/maphash"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
)

// world is everything outside the machines, and the machines: one state of the search. It is a value like they are: slices are
// replaced, never edited; daemons are shared by pointer and replaced.
type world struct {
	slots  []slotObject
	metas  []metaObject
	files  uint64
	flight []flight // under way, in canonical order
	late   []flight // said to be unknown, or of a dead process: may land at any time, or never

	d       [2]*daemon
	third   *third
	workers [2]workerState

	crashes, lost, kills, faults, ends, stops uint8

	// What the checker remembers. past is every entry that was the head.
	past        []*journal.Entry
	pastSum     uint64 // of all of them
	created     uint64 // files ever
	doomed      uint64 // files whose delete was ever issued
	dead        uint64 // files that nothing reached, promised or could still acknowledge, once
	doomedMetas uint64 // checkpoints whose _metadata's delete was
	afterList   uint64 // files that came after the last list of a terminal job's sweep (in stories with an end)
	afterMetas  uint64 // checkpoints whose _metadata did
	used        uint64 // checkpoint ids triggered
	aborted     uint64 // checkpoint ids told to be aborted
	acked       [32]byte
	epochs      [32]uint8 // of each checkpoint id
	started     []startRecord
	bad         string
}

type slotObject struct {
	slot  uint64
	entry *journal.Entry
	trim  bool // its delete was issued
}

type metaObject struct {
	id    uint64
	nonce journal.Nonce
	files uint64
}

// flight is an operation that was issued.
type flight struct {
	who    int8 // 0 and 1 daemons, 2 the third party
	kind   OpKind
	jk     journal.OpKind
	life   uint32
	id     uint64 // slot or checkpoint
	nonce  journal.Nonce
	entry  *journal.Entry
	files  uint64
	landed bool
	// outcome of what has landed, and what a list showed then.
	outcome           journal.Outcome
	shown, shownMetas uint64
}

// daemon is one of the two, over its lives. Immutable once sealed.
type daemon struct {
	alive                              bool
	process                            uint8
	attaches, triggers, aborts, sweeps uint8
	triggered                          uint64 // ids of this epoch
	m                                  Machine
	sum                                uint64
}

type workerState struct {
	alive   bool
	process uint8
	attempt uint64
	at      int8 // the daemon it is registered with, or -1
}

type startRecord struct {
	attempt uint64
	subtask uint8
	process uint8
}

var seed = maphash.MakeSeed()

func (d *daemon) sealed() *daemon { return d.seal(new([]byte)) }

func (d *daemon) seal(buf *[]byte) *daemon {
	b := append((*buf)[:0], bits(d.alive), d.process, d.attaches, d.triggers, d.aborts, d.sweeps)
	b = uints(b, d.triggered)
	*buf = d.m.appendKey(b)
	d.sum = maphash.Bytes(seed, *buf)
	return d
}

// key appends all that the world is.
func (w *world) key(b []byte) []byte {
	b = uints(b, uint64(len(w.slots)))
	for _, s := range w.slots {
		b = s.entry.AppendKey(uints(append(b, bits(s.trim)), s.slot))
	}
	b = uints(b, uint64(len(w.metas)))
	for _, m := range w.metas {
		b = nonce(uints(b, m.id, m.files), m.nonce)
	}
	b = uints(b, w.files, w.created, w.doomed, w.dead, w.doomedMetas, w.used, w.aborted, w.afterList, w.afterMetas)
	for _, flights := range [2][]flight{w.flight, w.late} {
		b = uints(b, uint64(len(flights)))
		for i := range flights {
			f := &flights[i]
			b = append(b, byte(f.who), byte(f.kind), byte(f.jk), bits(f.landed), byte(f.outcome))
			b = uints(b, uint64(f.life), f.id, f.files, f.shown, f.shownMetas)
			b = f.entry.AppendKey(nonce(b, f.nonce))
		}
	}
	for _, d := range w.d {
		if d != nil {
			b = uints(b, d.sum)
		}
	}
	if w.third != nil {
		b = w.third.key(b)
	}
	for _, x := range w.workers {
		b = append(b, bits(x.alive), x.process, byte(x.attempt), byte(x.at))
	}
	b = append(b, w.crashes, w.lost, w.kills, w.faults, w.ends, w.stops)
	b = append(b, w.acked[:]...)
	b = append(b, w.epochs[:]...)
	for _, r := range w.started {
		b = append(b, byte(r.attempt), r.subtask, r.process)
	}
	return uints(b, w.pastSum)
}

func (w *world) head() *journal.Entry { return w.past[len(w.past)-1] }

func (w *world) slot(slot uint64) int {
	for i, s := range w.slots {
		if s.slot == slot {
			return i
		}
	}
	return -1
}

func (w *world) meta(id uint64) int {
	for i, m := range w.metas {
		if m.id == id {
			return i
		}
	}
	return -1
}

func (w *world) fail(what string) {
	if w.bad == "" {
		w.bad = what
	}
}

// issue adds a flight in canonical order.
func (w *world) issue(f flight) { w.flight = insert(w.flight, f) }

func insert(in []flight, f flight) []flight {
	i := 0
	for i < len(in) && less(&in[i], &f) {
		i++
	}
	return with(with(in[:i], f), in[i:]...)
}

func less(a, b *flight) bool {
	switch {
	case a.who != b.who:
		return a.who < b.who
	case a.kind != b.kind:
		return a.kind < b.kind
	case a.id != b.id:
		return a.id < b.id
	}
	return a.nonce.Count < b.nonce.Count
}

func removed[T any](in []T, i int) []T {
	out := make([]T, 0, len(in)-1)
	return append(append(out, in[:i]...), in[i+1:]...)
}

// publish lands a Publish.
func (s *story) publish(w *world, e *journal.Entry) journal.Outcome {
	if w.slot(e.Slot) >= 0 {
		return journal.Exists
	}
	i := 0
	for i < len(w.slots) && w.slots[i].slot < e.Slot {
		i++
	}
	w.slots = with(with(w.slots[:i], slotObject{slot: e.Slot, entry: e}), w.slots[i:]...)
	if i == len(w.slots)-1 {
		s.becameHead(w, e)
	}
	return journal.Done
}

// create lands a Create of a _metadata, IfAbsent.
func (s *story) create(w *world, f *flight) journal.Outcome {
	if w.meta(f.id) >= 0 {
		return journal.Exists
	}
	if s.ends > 0 {
		w.afterMetas |= 1 << f.id
	}
	i := 0
	for i < len(w.metas) && w.metas[i].id < f.id {
		i++
	}
	w.metas = with(with(w.metas[:i], metaObject{f.id, f.nonce, f.files}), w.metas[i:]...)
	return journal.Done
}

func (w *world) remove(files, metas uint64) {
	w.files &^= files
	w.metas = without(w.metas, func(m metaObject) bool { return metas&(1<<m.id) != 0 })
}

// runner executes steps; each goroutine of the search has one.
type runner struct {
	s       *story
	ops     []Op
	events  []Event
	refused bool
	buf     []byte
	d       daemon
}

// run feeds an event to a daemon and does what follows at once.
func (r *runner) run(w *world, i int, ev Event) {
	d := &r.d
	*d = *w.d[i]
	r.refused = false
	r.events = append(r.events[:0], ev)
	cfg := r.s.configs[i][d.process]
	for n := 0; n < len(r.events); n++ {
		r.ops = d.m.Step(cfg, &r.events[n], r.ops[:0])
		if e := &r.events[n]; e.Kind == EventResult && e.Result.Kind == OpSweep {
			r.atRest(w, d, &e.Result)
		}
		for k := range r.ops {
			r.op(w, i, d, &r.ops[k])
		}
		if n == len(r.events)-1 && !r.s.workers && d.m.phase == PhaseOwning && len(d.m.workers) == 0 && !d.m.head.Status.Terminal() {
			all := incremental.Range(1)
			r.events = append(r.events, Event{Kind: EventRegister, Worker: 1, Subtasks: all, Attempt: d.m.head.Attempt},
				Event{Kind: EventRunning, Worker: 1, Subtasks: all, Attempt: d.m.head.Attempt})
		}
	}
	if !r.refused || w.bad != "" {
		kept := *d
		w.d[i] = kept.seal(&r.buf)
	}
}

// op begins an operation; what commutes with everything else is done at once.
func (r *runner) op(w *world, who int, d *daemon, op *Op) {
	f := flight{who: int8(who), kind: op.Kind, life: op.Life, id: op.ID, nonce: op.Nonce}
	again := func(res Result) { r.events = append(r.events, Event{Kind: EventResult, Result: res}) }
	switch op.Kind {
	case OpJournal:
		if op.Wait == journal.WaitJitter {
			if d.attaches == 0 { // it does not try again
				d.m = Machine{life: d.m.life, count: d.m.count}
				return
			}
			d.attaches--
		}
		f.jk, f.id, f.entry = op.Journal.Kind, op.Journal.Slot, op.Journal.Entry
		w.issue(f)
	case OpAsk:
		if !r.s.truthful {
			again(op.Result(journal.Done))
			return
		}
		w.issue(f)
	case OpReadMeta, OpSweep:
		w.issue(f)
	case OpCreateMeta:
		f.files = bitsOf(op.Files)
		w.issue(f)
	case OpTrim:
		slots := with(w.slots)
		for k := range slots {
			for _, id := range op.IDs {
				slots[k].trim = slots[k].trim || slots[k].slot == id
			}
		}
		w.slots = slots
	case OpDeleteMetas, OpDeleteFiles:
		r.delete(w, d, op, f)
	case OpAbortUnfinished:
		again(op.Result(journal.Done))
	default:
		r.tell(w, who, d, op)
	}
}

func (r *runner) delete(w *world, d *daemon, op *Op, f flight) {
	f.files = bitsOf(op.Files)
	for _, id := range op.IDs {
		f.shownMetas |= 1 << id
	}
	w.doomed |= f.files
	w.doomedMetas |= f.shownMetas
	if d.m.phase != PhaseOwning {
		w.fail("I8: a delete by a process that is no owner")
	}
	if r.s.full.deletes {
		w.issue(f)
		return
	}
	w.remove(f.files, f.shownMetas)
	r.events = append(r.events, Event{Kind: EventResult, Result: op.Result(journal.Done)})
}

// forgotten drops the flights of a daemon that forgot or died: what changes something may still land.
func (w *world) forgotten(who int) {
	var keep []flight
	for _, f := range w.flight {
		switch {
		case f.who != int8(who):
			keep = append(keep, f)
		case f.landed:
		case f.jk == journal.OpPublish, f.kind == OpCreateMeta, f.kind == OpDeleteFiles, f.kind == OpDeleteMetas:
			f.who, f.life = -1, 0
			w.late = insert(w.late, f)
		}
	}
	w.flight = keep
	for i := range w.workers {
		if w.workers[i].at == int8(who) {
			w.workers[i].at = -1
		}
	}
}

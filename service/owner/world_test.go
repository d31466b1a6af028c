package owner

import (
	"fmt"
	"hash/maphash"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
)

// world is one state of the search: the machines and everything around them. It is a value like the machines: slices
// are replaced and never edited; daemons are shared by pointer and replaced.
type world struct {
	slots  []slotObject
	metas  []metaObject
	files  uint64
	flight []flight // under way, in canonical order
	saves  []saveObject
	copies uint64   // savepoints whose folder has files
	late   []flight // with outcome unknown, or of a dead process: each may land at any time, or never

	d     [2]*daemon
	third *third
	// procs are the worker processes: first the two current workers, then for each the replaced one that still runs.
	procs [4]workerState

	asks [3]asking // the callers of the story

	left budget
	// now is the store's time.
	now uint64

	// spoiled are the checkpoints whose _metadata the story has damaged.
	spoiled uint64
	// target is, while a world is driven to rest, the least id whose completion counts as progress; 0 before that
	// trigger.
	target uint64

	// The memory of the checker. past holds every entry that was the head.
	past        []*journal.Entry
	pastSum     uint64 // a hash of past
	created     uint64 // files ever created
	doomed      uint64 // files whose delete was issued
	dead        uint64 // files that were once unreachable, unpromised, and too late for an acknowledgement
	doomedMetas uint64 // checkpoints the delete of whose _metadata was issued
	afterList   uint64 // files that no list showed that an owner judged after the job's end (in stories with an end)
	afterMetas  uint64 // checkpoints whose _metadata no such list showed
	used        uint64 // checkpoint ids triggered
	aborted     uint64 // checkpoint ids for which workers were told Abort
	acked       [32]byte
	epochs      [32]uint8 // of each checkpoint id
	attempts    [32]uint8 // in which each checkpoint id was triggered
	started     []startRecord
	finished    [2]uint64 // by subtask: the attempts in which it has finished, as a set of bits
	bad         string
}

type slotObject struct {
	slot  uint64
	entry *journal.Entry
	trim  bool // the slot's delete was issued
}

type metaObject struct {
	id    uint64
	nonce journal.Nonce
	files uint64
	// foreign are files in the folders of other jobs, by job.
	foreign [maxJobs]uint64
}

// budget counts the events that may still happen in a story.
type budget struct {
	crashes, lost, kills, faults, ends, stops          uint8
	lends, returns, refusals, failures, failovers      uint8
	breaks, finishes                                   uint8
	removes, undeletes, purges, days, saves, disposals uint8
}

func (l budget) key(b []byte) []byte {
	return append(b, l.crashes, l.lost, l.kills, l.faults, l.ends, l.stops, l.lends, l.returns, l.refusals, l.failures, l.failovers, l.breaks, l.finishes,
		l.removes, l.undeletes, l.purges, l.days, l.saves, l.disposals)
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
	// outcome of an operation that has landed; for a list also the objects that it showed.
	outcome           journal.Outcome
	shown, shownMetas uint64
	// first is true if the first page of a list is answered already, ended if the job was terminal when the list began.
	first, ended bool
	// job is the other job of an OpAbroad.
	job int8
	// imported: the _metadata of an import, which names foreign files.
	imported bool
	foreign  [maxJobs]uint64
}

// daemon is one of the two daemons, over all its lives. Immutable once sealed.
type daemon struct {
	alive                              bool
	process                            uint8
	attaches, triggers, aborts, sweeps uint8
	begins                             uint8
	triggered                          uint64 // ids of this epoch
	// swept is true if this owner has judged a whole list that began after the job's end.
	swept bool
	m     Machine
	sum   uint64
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
	b := append((*buf)[:0], bits(d.alive, d.swept), d.process, d.attaches, d.triggers, d.aborts, d.sweeps, d.begins)
	b = uints(b, d.triggered)
	*buf = d.m.appendKey(b)
	d.sum = maphash.Bytes(seed, *buf)
	return d
}

// key appends every field of the world.
func (w *world) key(b []byte) []byte {
	b = uints(b, uint64(len(w.slots)))
	for _, s := range w.slots {
		b = s.entry.AppendKey(uints(append(b, bits(s.trim)), s.slot))
	}
	b = uints(b, uint64(len(w.metas)))
	for _, m := range w.metas {
		b = nonce(uints(uints(b, m.id, m.files), m.foreign[:]...), m.nonce)
	}
	b = uints(b, w.copies, uint64(len(w.saves)))
	for _, s := range w.saves {
		b = nonce(uints(b, s.id), s.nonce)
	}
	b = uints(b, w.spoiled, w.target, w.files, w.created, w.doomed, w.dead, w.doomedMetas, w.used, w.aborted, w.afterList, w.afterMetas)
	for _, flights := range [2][]flight{w.flight, w.late} {
		b = uints(b, uint64(len(flights)))
		for i := range flights {
			f := &flights[i]
			b = append(b, byte(f.who), byte(f.kind), byte(f.jk), bits(f.landed, f.first, f.ended, f.imported), byte(f.outcome), byte(f.job))
			b = uints(uints(b, uint64(f.life), f.id, f.files, f.shown, f.shownMetas), f.foreign[:]...)
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
	for _, x := range w.procs {
		b = append(b, bits(x.alive), x.process, byte(x.attempt), byte(x.at))
	}
	for _, a := range w.asks {
		b = append(b, byte(a.state), byte(a.at))
	}
	b = w.left.key(b)
	b = append(b, w.acked[:]...)
	b = append(append(b, w.epochs[:]...), w.attempts[:]...)
	for _, r := range w.started {
		b = append(b, byte(r.attempt), r.subtask, r.process)
	}
	return uints(b, w.pastSum, w.finished[0], w.finished[1], w.now)
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
	w.metas = with(with(w.metas[:i], metaObject{f.id, f.nonce, f.files, f.foreign}), w.metas[i:]...)
	return journal.Done
}

func (w *world) remove(files, metas uint64) {
	w.files &^= files
	w.metas = without(w.metas, func(m metaObject) bool { return metas&(1<<m.id) != 0 })
}

// runner executes steps; each goroutine of the search has one.
type runner struct {
	s      *story
	ops    []Op
	events []Event
	// ev is the event that the machine takes now.
	ev      *Event
	refused bool
	// jobs are all jobs of the world, if there are several. touched are those that the step under way has changed beside
	// its own.
	jobs    *jobs
	touched [maxJobs]*world
	// driving is true when faults have ended. Budgets count no more.
	driving bool
	buf     []byte
	d       daemon
}

// run feeds an event to a daemon and carries out everything that follows at once.
func (r *runner) run(w *world, i int, ev Event) {
	d := &r.d
	*d = *w.d[i]
	r.refused = false
	r.events = append(r.events[:0], ev)
	cfg := r.s.configs[i][d.process]
	for n := 0; n < len(r.events); n++ {
		e := r.events[n]
		r.ev = &e
		r.ops = d.m.Step(cfg, &e, r.ops[:0])
		if e.Kind == EventResult && e.Result.Kind == OpSweep {
			r.atRest(w, d, &e.Result)
		}
		for k := range r.ops {
			r.op(w, i, d, &r.ops[k])
		}
		if n == len(r.events)-1 && !r.s.workers && d.m.phase == PhaseOwning && len(d.m.workers) == 0 && !d.m.stop && !d.m.head.Status.Terminal() {
			all := incremental.Range[Subtask](1)
			r.events = append(r.events, Event{Kind: EventRegister, Worker: 1, Subtasks: all, Attempt: d.m.head.Attempt},
				Event{Kind: EventRunning, Worker: 1, Subtasks: all, Attempt: d.m.head.Attempt})
		}
	}
	if r.refused && w.bad == "" {
		if string(d.m.appendKey(nil)) != string(w.d[i].m.appendKey(nil)) {
			w.fail(fmt.Sprintf("refused, yet changed: event %d", ev.Kind))
		}
		return
	}
	kept := *d
	w.d[i] = kept.seal(&r.buf)
}

// op begins an operation. An operation that commutes with everything else is carried out at once.
func (r *runner) op(w *world, who int, d *daemon, op *Op) {
	f := flight{who: int8(who), kind: op.Kind, life: op.Life, id: op.ID, nonce: op.Nonce}
	again := func(res Result) { r.events = append(r.events, Event{Kind: EventResult, Result: res}) }
	switch op.Kind {
	case OpJournal:
		if op.Wait == journal.WaitJitter && !r.driving {
			if d.attaches == 0 { // the daemon has no attach left, so it does not try again
				d.m = Machine{life: d.m.life, count: d.m.count}
				w.dismissed(who)
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
		f.files, f.foreign = bitsOf(op.Files), foreignBits(op.Files)
		if op.Source != nil {
			r.createImport(w, op, f)
			return
		}
		w.issue(f)
	case OpAbroad:
		r.abroad(w, d, op, f)
	case OpReadSource:
		again(r.readSource(op))
	case OpSave, OpReadSaved, OpTombstone, OpClean:
		r.onFolder(w, d, op, f)
	case OpTime:
		res := op.Result(journal.Done)
		res.Time = w.now
		again(res)
	case OpTrim:
		for _, id := range op.IDs {
			if id+r.s.keep >= w.head().Slot {
				w.fail(fmt.Sprintf("I3: slot %d is trimmed, the head is %d", id, w.head().Slot))
			}
		}
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
		r.abortUnfinished(w, d, op)
		again(op.Result(journal.Done))
	default:
		r.tell(w, who, d, op)
	}
}

func (r *runner) delete(w *world, d *daemon, op *Op, f flight) {
	f.files = bitsOf(op.Files)
	if foreignBits(op.Files) != ([maxJobs]uint64{}) {
		w.fail("I18: a delete of a file in another job's folder")
	}
	for _, id := range op.IDs {
		f.shownMetas |= 1 << id
	}
	w.doomed |= f.files
	w.doomedMetas |= f.shownMetas
	if d.m.phase != PhaseOwning {
		w.fail("I8: a delete by a process that is no owner")
	}
	if d.m.head != nil {
		for _, c := range d.m.head.Retained {
			if w.spoiled&(1<<c.ID) != 0 {
				w.fail(fmt.Sprintf("I12: a delete is issued, though the _metadata of %d cannot be read", c.ID))
			}
		}
	}
	if op.Kind == OpDeleteFiles {
		w.orphaned(d.m.head.Epoch, f.files)
	}
	if r.s.full.deletes || r.s.failures > 0 {
		w.issue(f)
		return
	}
	w.remove(f.files, f.shownMetas)
	r.events = append(r.events, Event{Kind: EventResult, Result: op.Result(journal.Done)})
}

// orphaned checks that a _metadata is deleted before the files that it names: no _metadata of a checkpoint that this
// owner has dropped may name a file that is being deleted. The owner is excused for a _metadata that it cannot know:
// one that its predecessor left, or one that a late duplicate of a write has created again. A later sweep finds both.
func (w *world) orphaned(epoch, files uint64) {
	for _, m := range w.metas {
		if m.files&files != 0 && (w.spoiled|w.doomedMetas)&(1<<m.id) == 0 && w.droppedIn(m.id) == epoch {
			w.fail(fmt.Sprintf("files %b are deleted before the _metadata of %d, which names them", files&m.files, m.id))
		}
	}
}

// droppedIn is the epoch of the entry that dropped a checkpoint; 0: no entry did.
func (w *world) droppedIn(id uint64) uint64 {
	kept := false
	for _, e := range w.past {
		_, has := e.Checkpoint(id)
		if kept && !has {
			return e.Epoch
		}
		kept = has
	}
	return 0
}

// abortUnfinished aborts the unfinished writes that an owner takes for dead. It must not abort a write that can still
// count: a slot above the head, or a _metadata that this owner or a later one may still need.
func (r *runner) abortUnfinished(w *world, d *daemon, op *Op) {
	head := w.head()
	dead := func(f *flight) bool {
		switch {
		case f.kind == OpJournal && f.jk == journal.OpPublish:
			return f.id <= op.Slot
		case f.kind == OpCreateMeta:
			return op.DeadTarget(op.Epoch, f.id)
		}
		return false
	}
	if op.Slot > head.Slot {
		w.fail(fmt.Sprintf("a write of slot %d is given up, above the head %d", op.Slot, head.Slot))
	}
	for id := range uint64(32) {
		if w.used&(1<<id) != 0 && uint64(w.epochs[id]) > d.m.head.Epoch && (op.DeadTarget(op.Epoch, id) || op.DeadTarget(uint64(w.epochs[id]), id)) {
			w.fail(fmt.Sprintf("writes of checkpoint %d are given up, which a later owner began", id))
		}
	}
	for _, p := range d.m.pending {
		if op.DeadTarget(d.m.head.Epoch, p.ID) {
			w.fail(fmt.Sprintf("writes of checkpoint %d are given up, which is pending", p.ID))
		}
	}
	if !d.m.head.Status.Terminal() && op.DeadTarget(d.m.head.Epoch, d.m.next) {
		w.fail(fmt.Sprintf("writes of checkpoint %d are given up, which is still to come", d.m.next))
	}
	w.late = without(w.late, func(f flight) bool { return dead(&f) })
}

// forgotten drops the flights of a daemon that has forgotten its state or died. Those that change something may still
// land.
func (w *world) forgotten(who int) {
	var keep []flight
	for _, f := range w.flight {
		switch {
		case f.who != int8(who):
			keep = append(keep, f)
		case f.landed:
		case f.jk == journal.OpPublish, f.kind == OpCreateMeta, f.kind == OpSave, f.kind == OpTombstone, f.kind == OpDeleteFiles, f.kind == OpDeleteMetas:
			f.who, f.life = -1, 0
			w.late = insert(w.late, f)
		}
	}
	w.flight = keep
	w.dismissed(who)
	for i := range w.procs {
		if w.procs[i].at == int8(who) {
			w.procs[i].at = -1
		}
	}
}

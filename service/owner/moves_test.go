package owner

import (
	"fmt"
	mathbits "math/bits"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
)

// move describes one step of the world.
type move struct {
	what string
	// job is the job whose step this is, if there are several.
	job  string
	who  int
	f    flight
	a, b uint64
}

func (m move) String() string {
	s := m.job + m.what
	if m.who >= 0 {
		s = fmt.Sprintf("D%d %s", m.who, s)
	}
	names := map[OpKind]string{OpAsk: "ask", OpReadMeta: "read _metadata of", OpCreateMeta: "create _metadata of", OpSweep: "list files",
		OpDeleteFiles: "delete files", OpDeleteMetas: "delete _metadata",
		OpSave: "save", OpReadSaved: "read what was saved of", OpTombstone: "tombstone"}
	journals := map[journal.OpKind]string{journal.OpList: "list", journal.OpGet: "get", journal.OpPublish: "publish"}
	switch {
	case m.f.kind == OpJournal, m.f.kind == OpAbroad:
		s += fmt.Sprintf(": %s %d", journals[m.f.jk], m.f.id)
		if e := m.f.entry; e != nil {
			s += fmt.Sprintf(" (kind %d epoch %d attempt %d reserved %d retained %v nonce %v)", e.Kind, e.Epoch, e.Attempt, e.Reserved, ids(e), e.Nonce)
		}
	case m.f.kind != OpNone:
		s += fmt.Sprintf(": %s %d files %b", names[m.f.kind], m.f.id, m.f.files)
	case m.a|m.b != 0:
		s += fmt.Sprintf(" %d (%b)", m.a, m.b)
	}
	return s
}

func ids(e *journal.Entry) (out []uint64) {
	for _, c := range e.Retained {
		out = append(out, c.ID)
	}
	return out
}

// expand visits every world that one step leads to, in an order that depends on w alone. The visited world is reused,
// so the visitor must copy it.
func (r *runner) expand(w *world, visit func(*world, move)) {
	for i := range w.flight {
		if i > 0 && w.flight[i] == w.flight[i-1] {
			continue
		}
		r.fly(w, i, visit)
	}
	r.land(w, visit)
	r.upload(w, visit)
	for i, d := range w.d {
		if d == nil || !d.alive {
			continue
		}
		r.crash(w, i, visit)
		if d.m.phase == PhaseIdle && d.attaches > 0 {
			attach := func(what string, ev Event) {
				n, nd := *w, *d
				nd.attaches--
				n.d[i] = &nd
				r.run(&n, i, ev)
				visit(&n, move{what: what, who: i})
			}
			if !r.s.ended {
				r.attaches(w, func(create *Creation) { attach("attach", Event{Kind: EventAttach, Create: create}) })
			}
			if r.s.janitor {
				attach("janitor", Event{Kind: EventJanitor, TakeOver: true})
			}
			if r.s.ends > 0 || r.s.ended && w.head().DueAt(w.now) {
				attach("finish", Event{Kind: EventFinish, Due: w.head().DueAt(w.now)})
			}
		}
		if d.m.phase == PhaseOwning {
			r.own(w, i, visit)
			if r.s.stale {
				r.throw(w, i, visit)
			}
		}
	}
	r.lend(w, visit)
	if w.left.days > 0 {
		n := *w
		n.left.days--
		n.now += day
		visit(&n, move{what: "a day passes", who: -1})
	}
	if w.third != nil && !w.third.begun {
		n := *w
		n.third = &third{begun: true}
		n.third.begin(&n)
		visit(&n, move{what: "lend", who: -1})
	}
	if r.s.workers {
		r.work(w, visit)
	}
	r.ask(w, visit)
}

// fly takes the next step of an operation that is under way.
func (r *runner) fly(w *world, i int, visit func(*world, move)) {
	r.touched = [maxJobs]*world{}
	f := w.flight[i]
	n := *w
	n.flight = removed(w.flight, i)
	mutation := f.jk == journal.OpPublish || f.kind == OpCreateMeta || f.kind == OpSave || f.kind == OpTombstone
	switch {
	case f.landed && f.kind == OpSweep:
		r.page(&n, f, visit)
	case f.landed:
		lost := n
		r.reply(&n, &f, visit, "reply")
		if lost.lose() {
			f.outcome = journal.Unknown
			r.reply(&lost, &f, visit, "reply lost")
		}
	case f.kind == OpSweep:
		r.fails(n, f, 0, 0, visit)
		f.landed, f.shown, f.ended = true, w.files, w.head().Status.Terminal()
		for _, m := range w.metas {
			f.shownMetas |= 1 << m.id
		}
		n.issue(f)
		visit(&n, move{what: "land", who: int(f.who), f: f})
	case f.kind == OpDeleteFiles || f.kind == OpDeleteMetas:
		r.deletes(n, f, visit)
	case !mutation:
		r.fails(n, f, 0, 0, visit)
		r.stale(n, f, visit)
		r.reply(&n, &f, visit, "done")
	default:
		r.mutate(w, i, visit)
	}
	r.touched = [maxJobs]*world{}
}

// fails answers that an operation failed. For a delete it says which files or _metadata are gone all the same.
func (r *runner) fails(n world, f flight, files, metas uint64, visit func(*world, move)) {
	if n.left.failures == 0 || f.kind == OpAsk {
		return
	}
	n.left.failures--
	f.outcome, f.landed, f.files, f.shownMetas = journal.Unknown, true, files, metas
	r.reply(&n, &f, visit, "fails")
}

// page hands a list to the owner that asked for it: whole or in two pages. The list may fail between them.
func (r *runner) page(n *world, f flight, visit func(*world, move)) {
	if !r.s.pages || f.first {
		failed := *n
		r.reply(n, &f, visit, "reply")
		if f.first {
			r.fails(failed, f, 0, 0, visit)
		}
		return
	}
	rest := f
	f.shown &= -f.shown // all files but one wait for the second page
	rest.first, rest.shown, rest.shownMetas = true, rest.shown&^f.shown, 0
	n.issue(rest)
	r.reply(n, &f, visit, "first page")
}

// deletes lets a delete succeed, fail, or succeed for a part. The owner may or may not learn which part.
func (r *runner) deletes(n world, f flight, visit func(*world, move)) {
	r.fails(n, f, 0, 0, visit)
	files, metas := f.files&-f.files, f.shownMetas&-f.shownMetas
	some := n
	some.remove(files, metas)
	r.fails(some, f, 0, 0, visit)
	if files != f.files || metas != f.shownMetas {
		r.fails(some, f, files, metas, visit)
	}
	n.remove(f.files, f.shownMetas)
	f.outcome = journal.Done
	r.reply(&n, &f, visit, "done")
}

// stale answers a list of slots without the newest one that the asking owner knows of. The owner must list again.
func (r *runner) stale(n world, f flight, visit func(*world, move)) {
	if f.kind != OpJournal || f.jk != journal.OpList || f.who > 1 || n.left.failures == 0 {
		return
	}
	m := &n.d[f.who].m
	switch {
	case m.app.Busy():
		f.shown = m.app.Next().Slot
	case m.phase == PhaseOwning:
		f.shown = m.head.Slot
	default:
		return
	}
	n.left.failures--
	r.reply(&n, &f, visit, "stale")
}

// mutate lets a mutation be done; be done with its reply lost; fail now and land later; or be not done, for good.
func (r *runner) mutate(w *world, i int, visit func(*world, move)) {
	base := *w
	f := w.flight[i]
	base.flight = removed(w.flight, i)
	n := base
	f.outcome = r.mutation(&n, &f)
	if r.s.full.split {
		f.landed = true
		n.issue(f)
		visit(&n, move{what: "land", who: int(f.who), f: f})
	} else {
		lost := n
		r.reply(&n, &f, visit, "done")
		if lost.lose() {
			g := f
			g.outcome = journal.Unknown
			r.reply(&lost, &g, visit, "done, reply lost")
		}
	}
	n, r.touched = base, [maxJobs]*world{}
	if n.lose() {
		g := w.flight[i]
		g.who, g.life = -1, 0
		n.late = insert(n.late, g)
		g = f
		g.outcome = journal.Unknown
		r.reply(&n, &g, visit, "error now, lands later")
	}
	if n = base; n.left.refusals > 0 {
		n.left.refusals--
		f.outcome = journal.NotDone
		r.reply(&n, &f, visit, "not done")
	}
}

func (r *runner) mutation(n *world, f *flight) journal.Outcome {
	switch f.kind {
	case OpCreateMeta:
		return r.s.create(n, f)
	case OpSave, OpTombstone:
		return n.createSaved(f)
	case OpAbroad:
		return r.publishAbroad(f)
	}
	return r.s.publish(n, f.entry)
}

func (w *world) lose() bool {
	if w.left.lost == 0 || w.left.faults == 0 {
		return false
	}
	w.left.lost--
	w.left.faults--
	return true
}

// reply hands a result to the daemon or third party that asked.
func (r *runner) reply(n *world, f *flight, visit func(*world, move), what string) {
	res := r.result(n, f, what == "fails")
	if f.kind == OpSweep && res.Outcome == journal.Done && f.ended && n.trueOwner() == int(f.who) {
		// What a page shows that the owner judges is not excused any more.
		n.afterList, n.afterMetas = n.afterList&^f.shown, n.afterMetas&^f.shownMetas
		d := *n.d[f.who]
		d.swept = d.swept || !res.More
		n.d[f.who] = d.seal(&r.buf)
	}
	if f.who == 2 {
		t := *n.third
		n.third = &t
		t.step(r.s, n, res.Result)
	} else {
		r.run(n, int(f.who), Event{Kind: EventResult, Result: res})
	}
	visit(n, move{what: what, who: int(f.who), f: *f})
}

// result is the result that an operation gets in this world.
func (r *runner) result(n *world, f *flight, failed bool) Result {
	res := Result{Kind: f.kind, Life: f.life, ID: f.id, Result: journal.Result{Outcome: f.outcome}}
	if failed {
		res.Outcome, res.Files = journal.Unknown, setOf(f.files)
		if f.kind == OpDeleteMetas {
			res.IDs = ones(f.shownMetas)
		}
		return res
	}
	switch {
	case f.jk == journal.OpList:
		res.ID, res.Outcome = 0, journal.Done
		for _, s := range r.at(n, f).slots {
			if f.shown == 0 || s.slot < f.shown {
				res.Slots = append(res.Slots, s.slot)
			}
		}
	case f.jk == journal.OpGet:
		res.ID, res.Outcome = 0, journal.NotFound
		if at := r.at(n, f); at.slot(f.id) >= 0 {
			res.Outcome, res.Entry = journal.Done, at.slots[at.slot(f.id)].entry
		}
	case f.kind == OpAsk:
		for _, d := range n.d {
			res.Answered = res.Answered || d != nil && d.alive && d.m.Owns(f.nonce)
		}
	case f.kind == OpReadMeta:
		res.Outcome = journal.NotFound
		if i := n.meta(f.id); i >= 0 {
			res.Outcome, res.Nonce, res.Files = journal.Done, n.metas[i].nonce, setOf(n.metas[i].files)
			if r.s.claims {
				res.ForeignFiles = foreignSets(n.metas[i].foreign)
			}
			if r.s.spoiled == unreadable && n.spoiled&(1<<f.id) != 0 {
				res.Outcome, res.Nonce, res.Files = journal.Corrupt, journal.Nonce{}, incremental.Files{}
			}
		}
	case f.kind == OpReadSaved:
		n.readSaved(f.id, &res)
	case f.kind == OpCreateMeta && f.imported && r.s.elsewhere && f.outcome == journal.Done:
		res.Files = setOf(f.files)
	case f.kind == OpCreateMeta && f.imported && r.s.claims && f.outcome == journal.Done:
		res.ForeignFiles = foreignSets(f.foreign)
	case f.kind == OpSweep:
		res.Outcome, res.More, res.IDs = journal.Done, r.s.pages && !f.first, ones(f.shownMetas)
		for file := range incremental.File(64) {
			if f.shown&(1<<file) != 0 {
				id := uint64(file) / uint64(r.s.files)
				res.Found = append(res.Found, Found{file, uint64(n.epochs[id]), id})
			}
		}
	}
	return res
}

// ones are the numbers of the bits that are set.
func ones(v uint64) (out []uint64) {
	for ; v != 0; v &= v - 1 {
		out = append(out, uint64(mathbits.TrailingZeros64(v)))
	}
	return out
}

// land lets mutations of unknown outcome happen. It lets trims happen only when an operation under way could notice.
func (r *runner) land(w *world, visit func(*world, move)) {
	for i := range w.late {
		f := w.late[i]
		n := *w
		n.late = removed(w.late, i)
		if f.kind == OpDeleteFiles || f.kind == OpDeleteMetas {
			n.remove(f.files, f.shownMetas)
		} else if r.mutation(&n, &f) != journal.Done {
			continue // the write may still land when the object is gone
		}
		visit(&n, move{what: "lands late", who: -1, f: f})
		r.touched = [maxJobs]*world{}
	}
	for i, s := range w.slots {
		if !s.trim || !r.s.full.trims && !w.noticed(s.slot) {
			continue
		}
		n := *w
		n.slots = removed(w.slots, i)
		visit(&n, move{what: "trim", who: -1, a: s.slot})
	}
}

// noticed tells whether an operation under way would see that a slot is gone.
func (w *world) noticed(slot uint64) bool {
	for _, fs := range [2][]flight{w.flight, w.late} {
		for i := range fs {
			if f := &fs[i]; f.kind == OpJournal && f.id == slot && !f.landed && f.jk != journal.OpList {
				return true
			}
		}
	}
	return false
}

// upload creates a file that only a list can see.
func (r *runner) upload(w *world, visit func(*world, move)) {
	seen := r.s.full.uploads || r.s.janitor
	for i := range w.flight {
		seen = seen || w.flight[i].kind == OpSweep && !w.flight[i].landed
	}
	if !seen {
		return
	}
	for id := range uint64(32) {
		if w.used&(1<<id) == 0 {
			continue
		}
		for i := range r.s.files {
			if f := r.s.file(id, i); w.created&f == 0 {
				n := *w
				n.files, n.created = n.files|f, n.created|f
				if r.s.ends > 0 {
					n.afterList |= f
				}
				visit(&n, move{what: "upload", who: -1, a: id, b: f})
			}
		}
	}
}

func (r *runner) crash(w *world, i int, visit func(*world, move)) {
	d := w.d[i]
	if w.left.crashes == 0 || w.left.faults == 0 || d.m.phase == PhaseIdle && !w.flies(i) {
		return
	}
	n := *w
	n.left.crashes--
	n.left.faults--
	n.forgotten(i)
	n.d[i] = (&daemon{alive: d.attaches > 0 && int(d.process)+1 < len(r.s.configs[i]), process: d.process + 1, attaches: d.attaches,
		triggers: d.triggers, aborts: d.aborts, sweeps: d.sweeps, begins: d.begins}).sealed()
	visit(&n, move{what: "crash", who: i})
}

func (w *world) flies(who int) bool {
	for i := range w.flight {
		if w.flight[i].who == int8(who) {
			return true
		}
	}
	return false
}

// listed is the collection of all objects that are there.
func (r *runner) listed(w *world) Event {
	ev := Event{Kind: EventCollect}
	for file := range incremental.File(64) {
		if w.files&(1<<file) != 0 {
			id := uint64(file) / uint64(r.s.files)
			ev.Uploads = append(ev.Uploads, Found{file, uint64(w.epochs[id]), id})
		}
	}
	for _, m := range w.metas {
		ev.IDs = append(ev.IDs, m.id)
	}
	return ev
}

// own visits the events that can happen to an owner.
func (r *runner) own(w *world, i int, visit func(*world, move)) {
	d := w.d[i]
	spend := func(ev Event, budget func(*daemon), m move) {
		n, nd := *w, *d
		budget(&nd)
		n.d[i] = &nd
		switch ev.Kind {
		case EventEnd:
			n.left.ends--
		case EventStop:
			n.left.stops--
		case EventEdit:
			n.left.edit(ev.Edit.Kind)
		case EventSavepoint:
			n.left.saves--
		case EventDisposed:
			n.left.disposals--
		}
		r.run(&n, i, ev)
		if !r.refused || n.bad != "" {
			m.who = i
			visit(&n, m)
		}
	}
	crowded := r.s.concurrent > 0 && len(d.m.pending) >= r.s.concurrent
	if d.triggers > 0 && d.m.Live() && !d.m.trigger.wanted && !crowded {
		spend(Event{Kind: EventTrigger, Caller: 1}, func(d *daemon) { d.triggers-- }, move{what: "trigger"})
	}
	if w.left.ends > 0 && !d.m.head.Status.Terminal() && d.m.ending == (ending{}) {
		spend(Event{Kind: EventEnd, Status: journal.StatusCanceled}, func(d *daemon) {}, move{what: "cancel"})
	}
	r.command(w, d, spend)
	r.savepoints(w, d, spend)
	if w.left.stops > 0 && !d.m.stop {
		spend(Event{Kind: EventStop, Suspend: r.s.suspends}, func(d *daemon) {}, move{what: "stop"})
	}
	if r.s.janitor && d.sweeps > 0 && !d.m.head.Status.Terminal() {
		spend(r.listed(w), func(d *daemon) { d.sweeps-- }, move{what: "collect"})
	} else if d.sweeps > 0 && d.m.sweep.stage == sweepIdle {
		spend(Event{Kind: EventSweep}, func(d *daemon) { d.sweeps-- }, move{what: "sweep"})
	}
	for _, p := range d.m.pending {
		if d.aborts > 0 && p.State != PendingUnresolved {
			spend(Event{Kind: EventAbort, ID: p.ID}, func(d *daemon) { d.aborts-- }, move{what: "abort", a: p.ID})
		}
	}
	for id := range uint64(32) {
		if d.triggered&(1<<id) != 0 {
			r.snapshot(w, i, id, spend)
		}
	}
}

// snapshot visits the calls of workers about a checkpoint, in time or late: BeginSnapshot of a known file, and
// acknowledgements that bring a new file or name a promised one.
func (r *runner) snapshot(w *world, i int, id uint64, spend func(Event, func(*daemon), move)) {
	m := &w.d[i].m
	ev := Event{ID: id, Epoch: m.head.Epoch, Attempt: m.head.Attempt, Caller: 1}
	none := func(*daemon) {}
	bound := min(r.s.begins, 1)
	promised := m.promisedTo(id)
	known := m.index.Known.Or(m.foreignFiles("")).Minus(promised)
	for f := range known.All() {
		if (uint64(f) < r.s.number(id, 0) || f >= abroadFiles) && w.d[i].begins > 0 {
			ev.Kind, ev.Files = EventBegin, incremental.FilesOf(f)
			spend(ev, func(d *daemon) { d.begins -= bound }, move{what: "begin", a: id, b: uint64(f)})
		}
	}
	if _, p := m.find(id); p.State != PendingOpen {
		return
	}
	ev.Kind = EventAck
	for subtask := range r.s.subtasks() {
		ev.Subtasks = subtasks(Subtask(subtask))
		if r.s.workers && !w.runs(i, int(subtask), m.head.Attempt) {
			continue
		}
		r.pieces(w, id, promised, 0, 0, incremental.Files{}, func(uploads uint64, reused incremental.Files) {
			n := *w
			n.files, n.created = n.files|uploads&^n.created, n.created|uploads
			ev.Uploads, ev.Files = nil, reused
			for f := range incremental.File(64) {
				if uploads&(1<<f) != 0 {
					ev.Uploads = append(ev.Uploads, Found{f, m.head.Epoch, id})
				}
			}
			was := *w
			*w = n
			spend(ev, none, move{what: "ack", a: id, b: uploads | bitsOf(reused)})
			*w = was
		})
	}
}

// runs tells whether a process that runs the attempt is registered with a daemon for a subtask.
func (w *world) runs(daemon, subtask int, attempt uint64) bool {
	for i := subtask; i < len(w.procs); i += 2 {
		if x := w.procs[i]; x.alive && x.at == int8(daemon) && x.attempt == attempt {
			return true
		}
	}
	return false
}

// pieces gives every way to bring the files of a checkpoint: each file is new, or is a promised file with the same
// contents.
func (r *runner) pieces(w *world, id uint64, promised incremental.Files, i int, uploads uint64, reused incremental.Files,
	give func(uploads uint64, reused incremental.Files)) {
	if i == r.s.files {
		give(uploads, reused)
		return
	}
	f := r.s.file(id, i)
	r.pieces(w, id, promised, i+1, uploads|f, reused, give) // uploaded now or before; a sweep may have deleted it
	for g := range promised.All() {
		if (uint64(g) < r.s.number(id, 0) || g >= abroadFiles) && uint64(g)%abroadFiles%uint64(r.s.files) == uint64(i) {
			r.pieces(w, id, promised, i+1, uploads, reused.Or(incremental.FilesOf(g)), give)
		}
	}
}

package owner

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strings"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
)

// driven bounds the number of steps from any state to rest.
const driven = 400

// progress checks I17: after the last fault the job reaches rest, with a newer checkpoint complete and every subtask
// running. A job that has ended reaches its release.
//
// One fair schedule drives the world. Operations under way go on in order. Lost workers and daemons are started again.
// Workers register and report. Somebody asks for the next attempt after a failed one. One schedule that arrives
// proves that the goal can be reached. Most schedules soon reach the same worlds, so the worlds known to arrive are
// kept.
//
// The result says why the goal was not reached, with the last steps. It is empty if the goal was reached.
func (r *runner) progress(from *world) string {
	r.driving = true
	defer func() { r.driving = false }()
	w := r.healed(from)
	var path []uint64
	var steps []string
	for range driven {
		r.buf = w.key(r.buf[:0])
		h := maphash.Bytes(seed, r.buf)
		if r.s.rests.has(h) {
			break
		}
		path = append(path, h)
		next, what := r.fair(w)
		if next == nil {
			if what == "" && slices.ContainsFunc(w.asks[:], func(a asking) bool { return a.state == askWaits }) {
				what = "a caller waits for ever"
			}
			if what != "" {
				return fmt.Sprintf("I17: %s\n%s", what, strings.Join(steps[max(0, len(steps)-25):], "\n"))
			}
			break
		}
		r.s.check(next)
		steps = append(steps, "    then "+what)
		if next.bad != "" {
			return fmt.Sprintf("I17: on the way to rest: %s\n%s", next.bad, strings.Join(steps, "\n"))
		}
		if len(steps) == driven {
			return fmt.Sprintf("I17: no rest after %d steps\n%s", driven, strings.Join(steps[driven-25:], "\n"))
		}
		w = next
	}
	for _, h := range path {
		r.s.rests.add(h)
	}
	return ""
}

// healed is the world after the last fault: only the bounds of the story itself remain.
func (r *runner) healed(from *world) *world {
	w := *from
	w.left, w.target = budget{faults: 255}, 0
	for i, d := range w.d {
		if d != nil {
			nd := *d
			nd.attaches, nd.triggers, nd.aborts, nd.sweeps = 0, 0, 0, 0
			w.d[i] = nd.seal(&r.buf)
		}
	}
	return &w
}

// fair is the next step of the fair schedule. nil without words: the world is at rest and the goal is reached. nil with
// words: the world is stuck.
func (r *runner) fair(w *world) (next *world, what string) {
	first := func(n *world, m move) {
		if next == nil {
			kept := *n
			next, what = &kept, m.String()
		}
	}
	if len(w.late) > 0 {
		n := *w
		f := w.late[0]
		n.late = removed(w.late, 0)
		if f.kind == OpDeleteFiles || f.kind == OpDeleteMetas {
			n.remove(f.files, f.shownMetas)
		} else {
			r.mutation(&n, &f)
		}
		return &n, "what was late lands"
	}
	if len(w.flight) > 0 {
		r.fly(w, 0, first)
		return next, what
	}
	if w.third != nil && !w.third.begun {
		n := *w
		n.third = &third{begun: true}
		n.third.begin(&n)
		return &n, "lend"
	}
	owner := w.trueOwner()
	if i := w.waitsAt(owner); i >= 0 {
		return r.disturb(w, i)
	}
	if owner < 0 {
		return r.takeOver(w)
	}
	if r.s.workers {
		r.staff(w, owner, first)
		if next != nil {
			return next, what
		}
	}
	return r.serve(w, owner)
}

// trueOwner is the daemon that owns the newest epoch, or is about to attach; -1: none.
func (w *world) trueOwner() int {
	for i, d := range w.d {
		if d != nil && d.alive && d.m.phase == PhaseOwning && d.m.head.Epoch == w.head().Epoch {
			return i
		}
	}
	return -1
}

// takeOver starts a dead daemon and lets a daemon attach: to serve the workers, or to sweep and release a job that has
// ended.
func (r *runner) takeOver(w *world) (*world, string) {
	head := w.head()
	if head.Status.Terminal() && head.Owner.IsZero() && !head.DueAt(w.now) {
		return r.settles(w)
	}
	kind := EventAttach
	if head.Status.Terminal() {
		kind = EventFinish
	}
	for i, d := range w.d {
		if d == nil {
			continue
		}
		n := *w
		if !d.alive {
			n.d[i] = (&daemon{alive: true, process: d.process}).sealed()
			return &n, fmt.Sprintf("D%d starts again", i)
		}
		if d.m.phase == PhaseIdle {
			r.run(&n, i, Event{Kind: kind, Create: r.s.creation(r.s.plan()), Due: true})
			return &n, fmt.Sprintf("D%d attaches", i)
		}
		if d.m.phase == PhaseOwning { // this owner was fenced and does not know it
			return r.disturb(w, i)
		}
	}
	return nil, "no daemon can attach"
}

// disturb lets an owner that was fenced notice it: the owner appends an entry and loses.
func (r *runner) disturb(w *world, i int) (*world, string) {
	m := &w.d[i].m
	n := *w
	switch {
	case m.stop:
		return nil, fmt.Sprintf("D%d was fenced while it stops, and nothing tells it", i)
	case m.head.Status.Terminal():
		r.run(&n, i, Event{Kind: EventSweep, Caller: 1})
	case w.d[i].broken(), m.Live() && !m.allRun():
		r.run(&n, i, r.nextAttempt(m.head.Attempt))
	case m.Live():
		r.run(&n, i, Event{Kind: EventTrigger, Caller: 1})
	default:
		r.run(&n, i, Event{Kind: EventRegistrationsExpired})
	}
	return &n, fmt.Sprintf("D%d finds out that it was fenced", i)
}

func (m *Machine) allRun() bool { return m.planned().In(m.ran()) }

// staff brings the workers back: each process registers with the true owner and reports that it runs.
func (r *runner) staff(w *world, owner int, visit func(*world, move)) {
	if w.head().Status.Terminal() {
		return
	}
	for slot, x := range w.procs {
		if x.alive && x.at >= 0 && x.at != int8(owner) { // that daemon does not own the job: the worker looks for another one
			n := *w
			r.leave(&n, slot)
			visit(&n, move{what: "worker leaves", who: int(x.at), a: uint64(slot)})
			return
		}
	}
	for slot, x := range w.procs {
		if !x.alive && slot < 2 {
			n := *w
			n.procs[slot] = workerState{alive: true, process: n.lastProcess(slot) + 1, at: -1}
			visit(&n, move{what: "worker starts again", who: -1, a: uint64(slot)})
			return
		}
	}
	for slot, x := range w.procs {
		before := w
		if x.alive {
			told := false
			r.talk(before, owner, slot, func(n *world, m move) { told = true; visit(n, m) })
			if told {
				return
			}
		}
	}
}

// lastProcess is the number of a worker's newest process.
func (w *world) lastProcess(slot int) (last uint8) {
	for i := slot; i < len(w.procs); i += 2 {
		last = max(last, w.procs[i].process)
	}
	return last
}

// serve lets the true owner carry out requests while the world is at rest.
func (r *runner) serve(w *world, i int) (*world, string) {
	d := w.d[i]
	m := &d.m
	n := *w
	switch why, _ := m.unread(); {
	case m.head.Status.Terminal() && why == ReasonDegraded: // nothing may be deleted, so the job is not released either
		return nil, ""
	case m.head.Status.Terminal():
		r.run(&n, i, Event{Kind: EventSweep, Caller: 1})
		return &n, fmt.Sprintf("D%d sweep", i)
	case m.stop || m.ending != (ending{}):
		return nil, fmt.Sprintf("D%d neither stops nor ends the job", i)
	case m.head.Status == journal.StatusStopping && m.Live() && m.allRun():
		return r.finishesStop(w, i)
	case d.broken():
		r.run(&n, i, r.nextAttempt(m.head.Attempt))
		return &n, fmt.Sprintf("D%d next attempt", i)
	case m.attempt == attemptFound && m.head.Attempt > 0:
		r.run(&n, i, Event{Kind: EventRegistrationsExpired})
		return &n, fmt.Sprintf("D%d registrations expire", i)
	case !m.Live() || !m.allRun():
		return nil, fmt.Sprintf("D%d: not all subtasks run, and nobody is told to start", i)
	case w.target != 0 && restorable(w.head()) >= w.target && len(m.pending) == 0:
		return nil, ""
	case len(m.pending) > 0 && m.pending[0].State == PendingOpen:
		r.complete(&n, i)
		return &n, fmt.Sprintf("D%d ack %d", i, m.pending[0].ID)
	case len(m.pending) > 0:
		return nil, fmt.Sprintf("D%d: checkpoint %d is stuck", i, m.pending[0].ID)
	case w.target != 0 && m.next > w.target+2: // a foreign _metadata may cost one checkpoint
		return nil, fmt.Sprintf("D%d: checkpoint %d did not complete", i, w.target)
	}
	if n.target == 0 {
		n.target = m.next
	}
	r.run(&n, i, Event{Kind: EventTrigger, Caller: 1})
	return &n, fmt.Sprintf("D%d trigger", i)
}

// complete acknowledges one subtask of the oldest open checkpoint, with new files.
func (r *runner) complete(n *world, i int) {
	m := &n.d[i].m
	p := m.pending[0]
	ev := Event{Kind: EventAck, Caller: 1, ID: p.ID, Epoch: m.head.Epoch, Attempt: m.head.Attempt}
	for subtask := range m.planned().Minus(p.Acked).All() {
		ev.Subtasks = subtasks(subtask)
		break
	}
	for k := range r.s.files {
		f := r.s.file(p.ID, k)
		n.files, n.created = n.files|f&^n.created, n.created|f
		ev.Uploads = append(ev.Uploads, Found{incremental.File(r.s.number(p.ID, k)), m.head.Epoch, p.ID})
	}
	r.run(n, i, ev)
}

package owner

import (
	"fmt"
	"hash/maphash"
	mathbits "math/bits"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
)

// reachable is the files that a head names, if all its _metadata are there.
func (w *world) reachable(head *journal.Entry) (files uint64, missing string) {
	for _, c := range head.Retained {
		if c.State == journal.StateHidden && !head.IsLent(c.ID) {
			continue
		}
		i := w.meta(c.ID)
		if i < 0 || w.metas[i].nonce != c.Nonce {
			return 0, fmt.Sprintf("I1: the _metadata of %d is not there", c.ID)
		}
		files |= w.metas[i].files
	}
	return files, ""
}

// check is called after every step.
func (s *story) check(w *world) {
	head := w.head()
	reach, missing := w.reachable(head)
	if missing != "" {
		w.fail(missing)
		return
	}
	if reach&^w.files != 0 {
		w.fail(fmt.Sprintf("I1: files %b are reachable and not there", reach&^w.files))
	}
	for _, c := range head.Retained {
		if w.doomedMetas&(1<<c.ID) != 0 {
			w.fail(fmt.Sprintf("I6: the _metadata of %d is reachable, and its delete was issued", c.ID))
		}
	}
	needed := reach
	var believers int
	for _, d := range w.d {
		if d == nil || !d.alive || d.m.phase != PhaseOwning {
			continue
		}
		for _, p := range d.m.promises {
			if i, _ := d.m.find(p.id); i < 0 {
				w.fail(fmt.Sprintf("I4: a promise to %d, which is not pending", p.id))
			}
		}
		if d.m.head.Epoch != head.Epoch {
			continue // fenced, and does not know yet: nothing it promises can complete
		}
		believers++
		promised := bitsOf(d.m.promised())
		needed |= promised
		s.bury(w, &d.m, reach|promised)
	}
	if needed&w.dead != 0 {
		w.fail(fmt.Sprintf("I6: files %b were dead, and are reachable or promised again", needed&w.dead))
	}
	if believers > 1 {
		w.fail("I5: two owners of one epoch")
	}
	if needed&w.doomed != 0 {
		w.fail(fmt.Sprintf("I6: files %b are reachable or promised, and their delete was issued", needed&w.doomed))
	}
}

// bury marks files that are dead by the owner's state: not needed, and of an older epoch, or made for a checkpoint below the floor
// and never acknowledged. (A file acknowledged in this epoch may be promised again until it is condemned.)
func (s *story) bury(w *world, m *Machine, needed uint64) {
	if why, _ := m.blind(); why != ReasonNone || s.files == 0 || m.head != w.head() {
		return
	}
	known, floor := bitsOf(m.index.Known), m.floor()
	for files := w.created &^ needed &^ w.dead; files != 0; files &= files - 1 {
		f := uint64(mathbits.TrailingZeros64(files))
		id := f / uint64(s.files)
		epoch := uint64(w.epochs[id])
		if epoch < m.head.Epoch || epoch == m.head.Epoch && id < floor && known&(1<<f) == 0 {
			w.dead |= 1 << f
		}
	}
}

// becameHead checks an entry against the one before it.
func (s *story) becameHead(w *world, e *journal.Entry) {
	was := w.head()
	w.past = with(w.past, e)
	w.pastSum = maphash.Bytes(seed, e.AppendKey(uints(nil, w.pastSum)))
	switch {
	case e.Slot != was.Slot+1:
		w.fail(fmt.Sprintf("I3: slot %d after %d", e.Slot, was.Slot))
	case !e.InRing(was.Nonce):
		w.fail(fmt.Sprintf("I3: the ring of slot %d lacks its predecessor", e.Slot))
	case e.Kind == journal.KindAttach && e.Epoch != was.Epoch+1, e.Kind != journal.KindAttach && e.Epoch != was.Epoch:
		w.fail(fmt.Sprintf("I5: epoch %d after %d by an entry of kind %d", e.Epoch, was.Epoch, e.Kind))
	case e.Reserved < was.Reserved:
		w.fail(fmt.Sprintf("I10: reserved goes down to %d", e.Reserved))
	case was.Status.Terminal() && e.Status != was.Status:
		w.fail("a terminal status changed")
	case e.Newest() < was.Newest() && !e.Status.Terminal():
		w.fail("I11: the newest checkpoint was dropped")
	case e.Kind != journal.KindAttempt && (e.Attempt != was.Attempt || e.Plan.Hash() != was.Plan.Hash()):
		w.fail("attempt or plan changed by an entry that begins no attempt")
	}
	if e.Kind == journal.KindAttach && s.truthful {
		for _, d := range w.d {
			if d != nil && d.alive && d.m.Owns(was.Owner) && d.m.phase == PhaseOwning {
				w.fail("a living owner, which would have answered, was deposed")
			}
		}
	}
	for _, c := range e.Retained {
		if _, had := was.Checkpoint(c.ID); !had {
			s.completed(w, was, e, c)
		}
	}
	for _, l := range was.Lent {
		if _, ok := e.Checkpoint(l.Checkpoint); !ok || !e.IsLent(l.Checkpoint) {
			w.fail("I9: a lent checkpoint was dropped")
		}
	}
}

// completed checks a checkpoint that an entry retains for the first time.
func (s *story) completed(w *world, was, e *journal.Entry, c journal.Checkpoint) {
	all := byte(1<<e.Plan.Subtasks() - 1)
	switch {
	case c.ID > was.Reserved:
		w.fail(fmt.Sprintf("I10: checkpoint %d completed above %d", c.ID, was.Reserved))
	case w.aborted&(1<<c.ID) != 0:
		w.fail(fmt.Sprintf("I13: checkpoint %d completed after it was told to be aborted", c.ID))
	case w.acked[c.ID]&all != all:
		w.fail(fmt.Sprintf("I14: checkpoint %d completed with acknowledgements of %b", c.ID, w.acked[c.ID]))
	}
	for i, a := range w.started {
		for _, b := range w.started[i+1:] {
			if a.attempt == e.Attempt && a.attempt == b.attempt && a.subtask == b.subtask && a.process != b.process {
				w.fail(fmt.Sprintf("I15: checkpoint %d of attempt %d, in which subtask %d was started twice", c.ID, e.Attempt, a.subtask))
			}
		}
	}
}

// tell checks what is told, and lets workers hear it.
func (r *runner) tell(w *world, who int, d *daemon, op *Op) {
	switch op.Kind {
	case TellTrigger:
		if op.Repeated {
			if d.triggered&(1<<op.ID) == 0 || w.aborted&(1<<op.ID) != 0 || w.committed(op.ID) != nil {
				w.fail(fmt.Sprintf("Trigger(%d) is repeated, but the checkpoint is not open", op.ID))
			}
			return
		}
		if op.ID >= 32 {
			w.fail("the model has no room for more checkpoint ids")
			return
		}
		if w.used&(1<<op.ID) != 0 {
			w.fail(fmt.Sprintf("I7: checkpoint id %d is used twice", op.ID))
		}
		w.used |= 1 << op.ID
		w.epochs[op.ID] = uint8(op.Epoch)
		d.triggered |= 1 << op.ID
	case TellComplete:
		if e := w.committed(op.ID); e == nil || e.Attempt != op.Attempt || !op.Repeated && e.Epoch != op.Epoch {
			w.fail(fmt.Sprintf("I2: Complete(%d) of attempt %d, which is not in history", op.ID, op.Attempt))
		}
	case TellAbort:
		for id := op.ID; id <= op.Last && id < 64; id++ {
			w.aborted |= 1 << id
			if w.committed(id) != nil {
				w.fail(fmt.Sprintf("I13: checkpoint %d is complete and told to be aborted", id))
			}
		}
	case TellAcked:
		if op.Reason != ReasonNone || op.Subtasks.IsEmpty() {
			r.refused = true
			return
		}
		w.acked[op.ID] |= byte(bitsOf(op.Subtasks))
	case TellBegun, TellTriggerRefused, TellSwept:
		r.refused = r.refused || op.Reason != ReasonNone
	case TellReleased:
		if e := w.head(); e.Status.Terminal() && e.Owner.IsZero() && e.Kind == journal.KindRelease && r.s.truthful {
			r.released(w)
		}
		d.triggered = 0
		w.forgotten(who)
	case TellFenced:
		d.triggered = 0
		w.forgotten(who)
	case TellStart:
		r.heardStart(w, who, op)
	case TellReplaced, TellPlanRefused:
		i := int(op.Worker-1) / 8
		if w.workers[i].process == uint8(op.Worker-1)%8 {
			w.workers[i].alive, w.workers[i].at = false, -1
		}
	}
}

// released: a job that is over and let go has nothing left but what it retains, as far as a list could see it.
func (r *runner) released(w *world) {
	reach, _ := w.reachable(w.head())
	for _, m := range w.metas {
		if _, kept := w.head().Checkpoint(m.id); !kept && w.afterMetas&(1<<m.id) == 0 {
			w.fail(fmt.Sprintf("I4: released with the _metadata of %d", m.id))
		}
	}
	if left := w.files &^ reach &^ w.afterList; left != 0 {
		w.fail(fmt.Sprintf("I4: released with files %b", left))
	}
}

// committed is the entry that completed a checkpoint, if there is one.
func (w *world) committed(id uint64) *journal.Entry {
	for _, e := range w.past {
		if _, ok := e.Checkpoint(id); ok && (e.Kind == journal.KindCommit || e.Slot == 1) {
			return e
		}
	}
	return nil
}

// atRest: with nothing pending, a list that was judged leaves nothing that it showed and nothing needs.
func (r *runner) atRest(w *world, d *daemon, page *Result) {
	m := &d.m
	if m.phase != PhaseOwning || m.head != w.head() || len(m.pending)+len(m.strays) > 0 || page.Life != m.life {
		return
	}
	reach, missing := w.reachable(w.head())
	if missing != "" {
		return
	}
	left := incremental.Set{}
	for _, f := range page.Found {
		if (reach|w.doomed)&(1<<f.File) == 0 && !m.index.Condemned.Has(f.File) {
			left = left.Or(incremental.SetOf(f.File))
		}
	}
	if !left.IsEmpty() {
		w.fail(fmt.Sprintf("I4: a sweep with nothing pending left files %b", bitsOf(left)))
	}
	for _, id := range page.IDs {
		if _, ok := w.head().Checkpoint(id); !ok && w.doomedMetas&(1<<id) == 0 && w.meta(id) >= 0 && len(m.metas)+len(m.deletingMetas) == 0 {
			w.fail(fmt.Sprintf("I4: a sweep with nothing pending left the _metadata of %d", id))
		}
	}
}

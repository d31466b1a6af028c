package owner

import (
	"fmt"
	"hash/maphash"
	"maps"
	mathbits "math/bits"
	"slices"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/retention"
)

// reachable is the files that a head names, if all its _metadata are there.
func (w *world) reachable(head *journal.Entry) (files uint64, missing string) {
	for _, c := range head.Retained {
		if c.State == journal.StateHidden && !head.IsLent(c.ID) {
			continue
		}
		i := w.meta(c.ID)
		switch {
		case w.spoiled&(1<<c.ID) != 0:
			if i >= 0 { // the _metadata is unreadable, but the files that it names have to stay
				files |= w.metas[i].files
			}
		case i < 0 || w.metas[i].nonce != c.Nonce:
			return 0, fmt.Sprintf("I1: the _metadata of %d is not there", c.ID)
		default:
			files |= w.metas[i].files
		}
	}
	return files, ""
}

// named is the files of every checkpoint in a head. A hidden checkpoint that nobody borrows counts, too: its files stay
// until an entry drops it.
func (w *world) named(head *journal.Entry) (files uint64) {
	for _, c := range head.Retained {
		if i := w.meta(c.ID); i >= 0 {
			files |= w.metas[i].files
		}
	}
	return files
}

// check is called after every step.
func (s *story) check(w *world) {
	w.waiting()
	head := w.head()
	reach, missing := w.reachable(head)
	if missing != "" {
		w.fail(missing)
		return
	}
	s.wholeSaves(w, head)
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
			continue // fenced without knowing it: no checkpoint that it promises files to can complete
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

// bury marks the files that are dead by the owner's state. They are not needed, and were written in an older epoch, or
// for a checkpoint below the floor and never acknowledged. (The owner may promise a file again that was acknowledged in
// this epoch, until the file is condemned.)
func (s *story) bury(w *world, m *Machine, needed uint64) {
	if why, _ := m.unread(); why != ReasonNone || s.files == 0 || m.head != w.head() {
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
	case was.Slot > 0 && !e.InRing(was.Nonce):
		w.fail(fmt.Sprintf("I3: the ring of slot %d lacks its predecessor", e.Slot))
	case e.Kind == journal.KindAttach && e.Epoch != was.Epoch+1, e.Kind != journal.KindAttach && e.Epoch != was.Epoch:
		w.fail(fmt.Sprintf("I5: epoch %d after %d by an entry of kind %d", e.Epoch, was.Epoch, e.Kind))
	case e.Kind != journal.KindAttach && e.Kind != journal.KindRelease && e.Kind != journal.KindRemove && e.Owner != was.Owner:
		w.fail(fmt.Sprintf("I5: the owner changed by an entry of kind %d", e.Kind))
	case e.Reserved < was.Reserved:
		w.fail(fmt.Sprintf("I10: reserved goes down to %d", e.Reserved))
	case e.Kind == journal.KindRemove:
		s.tombstone(w, was, e)
	case e.Status == journal.StatusRunning && restorable(e) < restorable(was):
		w.fail("I11: the newest checkpoint of a running job is lost")
	case was.Status.Terminal() && e.Status != was.Status:
		w.fail("a terminal status changed")
	case e.Status != was.Status && e.Kind != journal.KindEnd && stops(was, e) == 0:
		w.fail(fmt.Sprintf("the status changed by an entry of kind %d", e.Kind))
	}
	if e.Status == journal.StatusFinished && was.Status != e.Status {
		for subtask, attempts := range w.finished {
			if attempts&(1<<e.Attempt) == 0 && uint32(subtask) < s.subtasks() {
				w.fail(fmt.Sprintf("I21: the job is FINISHED, and subtask %d has not finished in attempt %d", subtask, e.Attempt))
			}
		}
	}
	s.savepointed(w, was, e)
	s.attempted(w, was, e)
	s.retained(w, was, e)
	s.requested(w, was, e)
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
}

// attempted checks the attempt in an entry. Only an entry that begins an attempt changes it. The attempt restores the
// newest complete checkpoint that is kept and is no savepoint.
func (s *story) attempted(w *world, was, e *journal.Entry) {
	if e.Suspended && !was.Suspended && (e.Kind != journal.KindRelease || !e.Owner.IsZero() || e.Status.Terminal()) {
		w.fail("S6: suspended, and not by the release of a job that can go on")
	}
	if e.Kind != journal.KindAttempt {
		if e.Attempt != was.Attempt || e.Restore != was.Restore || was.Slot > 0 && e.Plan.Hash() != was.Plan.Hash() {
			w.fail(fmt.Sprintf("I16: attempt, restore or plan changed by an entry of kind %d", e.Kind))
		}
		return
	}
	if e.Suspended {
		w.fail("S6: an attempt has begun, and the job still says that it is suspended")
	}
	if was.Importing() {
		w.fail("an attempt begins before the import is done")
	}
	if e.Attempt != was.Attempt+1 {
		w.fail(fmt.Sprintf("I16: attempt %d after %d", e.Attempt, was.Attempt))
	}
	newest := restorable(was)
	if was.Status == journal.StatusStopping {
		newest = w.stopper()
	}
	if e.Restore != newest {
		w.fail(fmt.Sprintf("I16: attempt %d restores checkpoint %d, the newest complete one is %d", e.Attempt, e.Restore, newest))
	}
}

// restorable is the newest checkpoint that a job may restore; 0: none. It is computed here on purpose, and not by the
// code under test.
func restorable(e *journal.Entry) (newest uint64) {
	for _, c := range e.Retained {
		if c.Type == journal.TypeCheckpoint && c.State == journal.StateKept && c.ID > newest {
			newest = c.ID
		}
	}
	return newest
}

// retained checks the retained checkpoints of an entry: they follow from those of the entry before by the job's policy.
func (s *story) retained(w *world, was, e *journal.Entry) {
	if e.Kind == journal.KindDiscard || e.Kind == journal.KindUndelete || e.Kind == journal.KindReturn {
		s.edited(w, was, e)
		return
	}
	want := map[uint64]journal.CheckpointState{}
	lent := func(id uint64) bool {
		for _, l := range was.Lent {
			if l.Checkpoint == id {
				return true
			}
		}
		return false
	}
	ids := []uint64{}
	for _, c := range was.Retained {
		want[c.ID] = c.State
		if c.State == journal.StateKept {
			ids = append(ids, c.ID)
		}
	}
	if id := stops(was, e); id != 0 {
		want[id] = journal.StateKept
	}
	drop := func(id uint64) {
		delete(want, id)
		if lent(id) {
			want[id] = journal.StateHidden
		}
	}
	switch e.Kind {
	case journal.KindImport:
		added := e.Retained[len(e.Retained)-1]
		if want[added.ID] = journal.StateKept; !added.Imported || !was.Importing() || e.Import.State != journal.ImportDone {
			w.fail("an import that is none")
		}
	case journal.KindCommit:
		for _, c := range was.Retained { // the job has a checkpoint of its own now
			if !s.claims && c.Imported && c.State == journal.StateKept {
				ids = slices.DeleteFunc(ids, func(id uint64) bool { return id == c.ID })
				drop(c.ID)
			}
		}
		added := e.Retained[len(e.Retained)-1].ID
		if _, had := was.Checkpoint(added); had {
			w.fail("I11: a commit adds no checkpoint")
		}
		ids, want[added] = append(ids, added), journal.StateKept
		for len(ids) > max(1, int(s.numRetained)) {
			drop(ids[0])
			ids = ids[1:]
		}
	case journal.KindEnd:
		if s.trash && (s.retains != retention.OnCancellation || e.Status == journal.StatusFinished) {
			for _, id := range ids {
				want[id] = journal.StateTrashed
			}
		} else if s.retains != retention.OnCancellation || e.Status == journal.StatusFinished {
			for _, id := range ids {
				drop(id)
			}
		}
	}
	if e.Kind == journal.KindCommit || e.Kind == journal.KindEnd {
		for id, state := range want { // hidden, and no longer lent
			if state == journal.StateHidden && !lent(id) {
				delete(want, id)
			}
		}
	}
	got := map[uint64]journal.CheckpointState{}
	for _, c := range e.Retained {
		got[c.ID] = c.State
		if old, had := was.Checkpoint(c.ID); had && (old.Nonce != c.Nonce || old.Size != c.Size || old.CRC != c.CRC) {
			w.fail(fmt.Sprintf("I2: what the journal says of checkpoint %d changed", c.ID))
		}
	}
	if !maps.Equal(got, want) {
		w.fail(fmt.Sprintf("I11: an entry of kind %d retains %v, want %v", e.Kind, got, want))
	}
	s.pinned(w, was, e)
}

// pinned checks that no pin is lost, that what is lent stays, and that one job claims a checkpoint.
func (s *story) pinned(w *world, was, e *journal.Entry) {
	for i, l := range e.Lent {
		if l.Mode == journal.Claim && slices.ContainsFunc(e.Lent[:i], func(n journal.Lent) bool { return n.Mode == l.Mode && n.Checkpoint == l.Checkpoint }) {
			w.fail(fmt.Sprintf("two jobs claim checkpoint %d", l.Checkpoint))
		}
	}
	for _, l := range was.Lent {
		_, kept := e.Checkpoint(l.Checkpoint)
		if e.Kind == journal.KindLend && slices.ContainsFunc(e.Lent, func(n journal.Lent) bool {
			return n.Holder == l.Holder && n.Checkpoint == l.Checkpoint && n.HolderEpoch > l.HolderEpoch
		}) {
			continue // a newer owner of the holder has lent again
		}
		if e.Kind != journal.KindReturn && (!kept || !slices.Contains(e.Lent, l)) {
			w.fail(fmt.Sprintf("I9: checkpoint %d is lent, and dropped or without its pin", l.Checkpoint))
		}
	}
}

// requested checks that no request is carried out twice.
func (s *story) requested(w *world, was, e *journal.Entry) {
	for i, r := range e.Requests {
		if slices.Contains(e.Requests[:i], r) {
			w.fail(fmt.Sprintf("request %x is carried out twice", r))
		}
	}
	for _, r := range was.Requests {
		if !slices.Contains(e.Requests, r) {
			w.fail(fmt.Sprintf("request %x is forgotten", r))
		}
	}
}

// completed checks a checkpoint that an entry retains for the first time.
func (s *story) completed(w *world, was, e *journal.Entry, c journal.Checkpoint) {
	all := byte(1<<e.Plan.Subtasks() - 1)
	if e.Kind == journal.KindImport {
		if c.ID > was.Reserved || c.ID <= e.Import.Checkpoint {
			w.fail(fmt.Sprintf("I10: import %d of checkpoint %d, %d reserved", c.ID, e.Import.Checkpoint, was.Reserved))
		}
		return
	}
	switch {
	case c.ID > was.Reserved:
		w.fail(fmt.Sprintf("I10: checkpoint %d completed above %d", c.ID, was.Reserved))
	case w.aborted&(1<<c.ID) != 0:
		w.fail(fmt.Sprintf("I13: checkpoint %d completed after it was told to be aborted", c.ID))
	case uint64(w.attempts[c.ID]) != e.Attempt:
		w.fail(fmt.Sprintf("I2: checkpoint %d of attempt %d completed in attempt %d", c.ID, w.attempts[c.ID], e.Attempt))
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

// tell checks a message of the machine, and passes it to the workers.
func (r *runner) tell(w *world, who int, d *daemon, op *Op) {
	switch op.Kind {
	case TellTrigger:
		if w.loading(who, d.m.head) {
			w.fail(fmt.Sprintf("Trigger(%d) while the _metadata of a retained checkpoint is being read", op.ID))
		}
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
		w.epochs[op.ID], w.attempts[op.ID] = uint8(op.Epoch), uint8(op.Attempt)
		d.triggered |= 1 << op.ID
	case TellComplete:
		if e := w.committed(op.ID); e == nil || e.Attempt != op.Attempt || !op.Repeated && e.Epoch != op.Epoch {
			w.fail(fmt.Sprintf("I2: Complete(%d) of attempt %d, which is not in history", op.ID, op.Attempt))
		}
	case TellAbort:
		r.aborted(w, op)
	case TellSaved:
		w.toldSaved(op)
	case TellSavepoint:
		r.refused = r.refused || r.ev.Kind == EventSavepoint && op.Reason != ReasonNone
	case TellImportFailed:
		r.importFailed(w, d, op)
	case TellAcked:
		r.acknowledged(w, d, op)
	case TellBegun:
		r.refused = r.refused || r.ev.Kind == EventBegin && op.Reason != ReasonNone
	case TellTriggerRefused:
		r.refused = r.refused || r.ev.Kind == EventTrigger && op.Reason != ReasonNone
	case TellEdited:
		r.refused = r.refused || r.ev.Kind == EventEdit && op.Reason != ReasonNone
	case TellSwept:
		r.refused = r.refused || r.ev.Kind == EventSweep && op.Reason != ReasonNone
	case TellReleased:
		if e := w.head(); e.Status.Terminal() && e.Owner.IsZero() && e.Kind == journal.KindRelease && r.s.truthful {
			r.released(w, who, d)
		}
		d.triggered, d.swept = 0, false
		w.forgotten(who)
	case TellFenced:
		d.triggered, d.swept = 0, false
		w.forgotten(who)
	case TellAttached, TellRedirect, TellAttachRefused, TellChangeRefused:
		r.answered(w, who, d, op)
	case TellChange:
		r.changed(w, who, d)
	case TellAttempt:
		r.began(w, who, op)
	case TellStart:
		r.heardStart(w, who, op)
	case TellReplaced, TellPlanRefused:
		r.replaced(w, who, d, op)
	}
}

// loading tells whether a daemon still reads the _metadata of a checkpoint that its head retains.
func (w *world) loading(who int, head *journal.Entry) bool {
	for i := range w.flight {
		if f := &w.flight[i]; f.who == int8(who) && f.kind == OpReadMeta {
			if _, kept := head.Checkpoint(f.id); kept {
				return true
			}
		}
	}
	return false
}

func (r *runner) aborted(w *world, op *Op) {
	for id := op.ID; id <= op.Last && id < 64; id++ {
		w.aborted |= 1 << id
		if w.committed(id) != nil {
			w.fail(fmt.Sprintf("I13: checkpoint %d is complete and told to be aborted", id))
		}
	}
	if res := &r.ev.Result; op.Reason == ReasonMetadata && r.ev.Kind == EventResult {
		foreign := (res.Kind == OpReadMeta || res.Kind == OpReadSaved) && res.Outcome == journal.Done
		if refused := (res.Kind == OpCreateMeta || res.Kind == OpSave) && res.Outcome == journal.NotDone; !foreign && !refused {
			w.fail(fmt.Sprintf("I13: checkpoint %d is aborted, and nobody knows that its _metadata was not written", op.ID))
		}
	}
}

// acknowledged checks that an accepted acknowledgement belongs to this epoch, this attempt and an open checkpoint.
func (r *runner) acknowledged(w *world, d *daemon, op *Op) {
	if op.Reason != ReasonNone || op.Subtasks.IsEmpty() {
		r.refused = r.refused || r.ev.Kind == EventAck
		return
	}
	ev := r.ev
	if ev.Epoch != d.m.head.Epoch || ev.Attempt != d.m.head.Attempt || d.triggered&(1<<ev.ID) == 0 {
		w.fail(fmt.Sprintf("an acknowledgement of checkpoint %d, epoch %d, attempt %d is accepted in epoch %d, attempt %d",
			ev.ID, ev.Epoch, ev.Attempt, d.m.head.Epoch, d.m.head.Attempt))
	}
	w.acked[op.ID] |= byte(bitsOf(op.Subtasks))
}

// began checks that an attempt restores what its entry says, and that it is adopted only if every subtask runs it.
func (r *runner) began(w *world, who int, op *Op) {
	if e := w.begins(op.Attempt); e != nil && e.Restore != op.ID {
		w.fail(fmt.Sprintf("I16: attempt %d is told to restore checkpoint %d, its entry says %d", op.Attempt, op.ID, e.Restore))
	}
	if !op.Adopted || !r.s.workers {
		return
	}
	for slot := range 2 {
		runs := false
		for i := slot; i < len(w.procs); i += 2 {
			x := w.procs[i]
			runs = runs || x.alive && x.at == int8(who) && x.attempt == op.Attempt
		}
		if !runs {
			w.fail(fmt.Sprintf("I14: attempt %d is adopted, and subtask %d has not registered as running it", op.Attempt, slot))
		}
	}
}

// begins is the entry that began an attempt. For an attempt that ran before the story, it is the story's first entry.
func (w *world) begins(attempt uint64) *journal.Entry {
	for _, e := range w.past {
		if e.Attempt == attempt {
			return e
		}
	}
	return nil
}

// replaced ends a process, and checks that a live process of the running attempt gives way to a fresh one only.
func (r *runner) replaced(w *world, who int, d *daemon, op *Op) {
	i := w.proc(op.Worker)
	if i < 0 {
		return
	}
	// An attempt that was given up has no live process, so the first process that registers takes the subtask.
	if by := r.ev; op.Kind == TellReplaced && w.d[who].m.Live() && by.Kind == EventRegister && by.Worker != op.Worker && by.Attempt != 0 &&
		w.procs[i].attempt == d.m.head.Attempt && by.Attempt < d.m.head.Attempt {
		w.fail(fmt.Sprintf("a process of attempt %d replaces a live one of attempt %d", by.Attempt, w.procs[i].attempt))
	}
	if w.procs[i].at == int8(who) { // else the process does not receive it
		w.procs[i].alive, w.procs[i].at = false, -1
	}
}

// released checks a job that has ended and was released: a sweep went through after its end, no operation of its owner
// is under way, and only the objects that the job retains are left. Objects that appeared after that sweep's list are
// excused, because nobody could see them. They come from a process of an earlier epoch or from an upload at another
// daemon; because of them the job is swept once more 24 hours after its end.
func (r *runner) released(w *world, who int, d *daemon) {
	reach, _ := w.reachable(w.head())
	if !d.swept {
		w.fail("I4: released without a sweep after the end")
	}
	for i := range w.flight {
		if f := &w.flight[i]; f.who == int8(who) && (f.kind == OpCreateMeta || f.kind == OpDeleteFiles || f.kind == OpDeleteMetas) {
			w.fail("I4: released while a write or a delete of its own is under way")
		}
	}
	for _, m := range w.metas {
		if _, kept := w.head().Checkpoint(m.id); !kept && w.afterMetas&(1<<m.id) == 0 {
			w.fail(fmt.Sprintf("I4: released with the _metadata of %d", m.id))
		}
	}
	r.releasedPins(w)
	w.savepointsLeft()
	if left := w.files &^ reach &^ w.afterList; left != 0 {
		w.fail(fmt.Sprintf("I4: released with files %b", left))
	}
}

// committed is the entry that completed a checkpoint, if there is one.
func (w *world) committed(id uint64) *journal.Entry {
	for _, e := range w.past {
		if _, ok := e.Checkpoint(id); ok && (e.Kind == journal.KindCommit || e.Kind == journal.KindSavepoint || e.Slot == 1) {
			return e
		}
	}
	return nil
}

// atRest checks a judged list while no checkpoint is pending: the owner has condemned every object of the list that
// nothing needs.
func (r *runner) atRest(w *world, d *daemon, page *Result) {
	m := &d.m
	if m.phase != PhaseOwning || m.head != w.head() || len(m.pending)+len(m.unansweredMetas) > 0 || m.imp.id != 0 || page.Life != m.life {
		return
	}
	reach := w.named(w.head())
	left := incremental.Files{}
	for _, f := range page.Found {
		if (reach|^w.files)&(1<<f.File) == 0 && !m.index.Condemned.Has(f.File) {
			left = left.Or(incremental.FilesOf(f.File))
		}
	}
	if !left.IsEmpty() {
		w.fail(fmt.Sprintf("I4: a sweep with nothing pending left files %b", bitsOf(left)))
	}
	for _, id := range page.IDs {
		if _, ok := w.head().Checkpoint(id); !ok && id < m.next && w.meta(id) >= 0 && !slices.Contains(m.metas, id) {
			w.fail(fmt.Sprintf("I4: a sweep with nothing pending left the _metadata of %d", id))
		}
	}
}

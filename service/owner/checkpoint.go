package owner

import (
	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
)

// wantTrigger takes the wish for a checkpoint. The wish waits while another entry is being appended.
func (s *step) wantTrigger(ev *Event) {
	if s.trigger.wanted {
		s.emit(Op{Kind: TellTriggerRefused, Caller: ev.Caller, Reason: ReasonBusy})
		return
	}
	s.trigger = triggerWish{true, ev.Caller}
	if why := s.mayTrigger(); why != ReasonNone {
		s.refuseTrigger(why)
	}
}

func (s *step) refuseTrigger(why Reason) {
	if s.trigger.wanted {
		s.emit(Op{Kind: TellTriggerRefused, Caller: s.trigger.caller, Reason: why})
	}
	s.trigger = triggerWish{}
}

// mayTrigger says why no checkpoint may begin, apart from an append under way.
func (s *step) mayTrigger() Reason {
	switch {
	case s.head.Status.Terminal():
		return ReasonTerminal
	case s.stop, s.ending.status != journal.StatusNone:
		return ReasonStopping
	case !s.allRunning():
		return ReasonNotRunning
	case s.full():
		return ReasonFull
	}
	if why, _ := s.unread(); why == ReasonLoading && !s.cfg.off.loading {
		return why
	}
	return ReasonNone
}

// full tells whether the journal entry has no room for one more checkpoint. A trigger is then refused: if the
// checkpoint did not fit into the entry, it could not be committed.
func (s *step) full() bool {
	special := 0
	for _, c := range s.head.Retained {
		if c.State != journal.StateKept || c.Type != journal.TypeCheckpoint || c.Keep {
			special++
		}
	}
	ordinary := len(s.head.Retained) - special + len(s.pending) + 1
	return special+min(ordinary, max(1, int(s.policy().NumRetained))) > s.cfg.MaxRetained
}

// settleTrigger begins the checkpoint that is wished for. If no reserved id is left, it reserves more ids first.
func (s *step) settleTrigger() {
	if !s.trigger.wanted || !s.free() {
		return
	}
	if why := s.mayTrigger(); why != ReasonNone {
		s.refuseTrigger(why)
		return
	}
	if s.next > s.head.Reserved && !s.cfg.off.reserved {
		e := *s.head
		e.Kind = journal.KindReserve
		e.Reserved += s.cfg.Reserve
		s.append(e, 0)
		return
	}
	p := Pending{ID: s.next}
	s.next++
	s.pending = with(s.pending, p)
	s.emit(Op{Kind: TellTrigger, ID: p.ID, Attempt: s.head.Attempt, Epoch: s.head.Epoch, Caller: s.trigger.caller})
	s.trigger = triggerWish{}
}

// open finds a checkpoint that a call may still add to, or says why it may not.
func (s *step) open(ev *Event) (int, Pending, Reason) {
	i, p := s.find(ev.ID)
	switch {
	case ev.Epoch != s.head.Epoch && !s.cfg.off.stale:
		return i, p, ReasonEpoch
	case ev.Attempt != s.head.Attempt && !s.cfg.off.stale:
		return i, p, ReasonAttempt
	case i < 0 || p.State != PendingOpen:
		return i, p, ReasonNotOpen
	}
	return i, p, ReasonNone
}

// begin answers BeginSnapshot. The owner promises to keep the files that it knows until the checkpoint ends.
func (s *step) begin(ev *Event) {
	_, _, why := s.open(ev)
	if why == ReasonNotOpen && s.cfg.off.guard {
		why = ReasonNone
	}
	if why != ReasonNone {
		s.emit(Op{Kind: TellBegun, Caller: ev.Caller, ID: ev.ID, Reason: why})
		return
	}
	known := s.index.Promisable(ev.Files).Minus(s.leaving())
	s.promise(ev.ID, known)
	s.emit(Op{Kind: TellBegun, Caller: ev.Caller, ID: ev.ID, Files: known})
}

// leaving returns the files that only hidden checkpoints without a pin name. The owner keeps these files until an entry
// drops those checkpoints, and promises them to nobody.
func (s *step) leaving() incremental.Set {
	var leave, stay incremental.Set
	for _, h := range s.held {
		if c, ok := s.head.Checkpoint(h.id); ok && c.State == journal.StateHidden && !s.head.IsLent(h.id) {
			leave = leave.Or(h.files)
		} else {
			stay = stay.Or(h.files)
		}
	}
	return leave.Minus(stay)
}

// ack takes an acknowledgement. After the last one the owner writes the checkpoint's _metadata.
func (s *step) ack(ev *Event) {
	answer := Op{Kind: TellAcked, Caller: ev.Caller, ID: ev.ID}
	if s.repeated(ev) {
		s.emit(answer)
		return
	}
	i, p, why := s.open(ev)
	if why == ReasonNone {
		why = s.mayAck(ev, p)
	}
	if answer.Reason = why; why != ReasonNone {
		s.emit(answer)
		return
	}
	var uploads incremental.Builder
	for _, u := range ev.Uploads {
		uploads.Add(u.File)
	}
	brought := uploads.Set()
	s.index.Known = s.index.Known.Or(brought)
	s.promise(p.ID, brought)
	p.Named = p.Named.Or(brought).Or(ev.Files)
	p.Acked = p.Acked.Or(ev.Subtasks)
	answer.Subtasks = ev.Subtasks
	s.emit(answer)
	if s.all().In(p.Acked) {
		p.State = PendingWriting
		p.Meta = journal.Checkpoint{ID: p.ID, Nonce: s.nonce()}
		s.emit(Op{Kind: OpCreateMeta, ID: p.ID, Nonce: p.Meta.Nonce, Files: p.Named, Epoch: s.head.Epoch, Attempt: s.head.Attempt})
		if s.cfg.off.metadata {
			p.State = PendingReady
		}
	}
	s.pending = replaced(s.pending, i, p)
}

// repeated tells whether the owner has accepted the same acknowledgement before. Its answer was lost.
func (s *step) repeated(ev *Event) bool {
	if ev.Epoch != s.head.Epoch || ev.Attempt != s.head.Attempt || ev.Subtasks.IsEmpty() {
		return false
	}
	if i, p := s.find(ev.ID); i >= 0 {
		return ev.Subtasks.In(p.Acked)
	}
	_, complete := s.head.Checkpoint(ev.ID)
	return complete && ev.ID >= s.first && ev.ID > s.head.Restore && ev.Subtasks.In(s.all())
}

// mayAck says why an acknowledgement of an open checkpoint is refused.
func (s *step) mayAck(ev *Event, p Pending) Reason {
	if ev.Subtasks.IsEmpty() || !ev.Subtasks.In(s.planned()) || !ev.Subtasks.And(p.Acked).IsEmpty() {
		return ReasonSubtasks
	}
	if !ev.Files.In(s.promisedTo(p.ID)) {
		return ReasonNotPromised
	}
	for _, u := range ev.Uploads {
		if u.Epoch != s.head.Epoch || u.Checkpoint != p.ID {
			return ReasonNotNamed
		}
	}
	return ReasonNone
}

// metaCreated takes the outcome of writing a _metadata.
func (s *step) metaCreated(r *Result) {
	i, p := s.find(r.ID)
	if i < 0 || p.State != PendingWriting {
		s.unansweredMetaCreated(r)
		return
	}
	outcome := r.Outcome
	switch {
	case outcome == journal.Unknown && s.cfg.off.unknown:
		outcome = journal.NotDone
	case outcome == journal.Exists && s.cfg.off.exists:
		outcome = journal.Done
	}
	switch outcome {
	case journal.Done:
		s.durable(i, p, r)
	case journal.Exists: // perhaps our own first try made it and the reply was lost; its nonce tells
		s.emit(Op{Kind: OpReadMeta, ID: p.ID, Nonce: p.Meta.Nonce})
	case journal.NotDone: // disk full
		s.pending = replaced(s.pending, i, Pending{ID: p.ID})
		s.abort(p.ID, ReasonMetadata)
	default:
		s.createAgain(p)
	}
}

func (s *step) createAgain(p Pending) {
	s.emit(Op{Kind: OpCreateMeta, ID: p.ID, Nonce: p.Meta.Nonce, Files: p.Named, Epoch: s.head.Epoch, Attempt: s.head.Attempt, Wait: journal.WaitBackoff})
}

// metaChecked takes the contents of a _metadata that existed before it was written. The nonce tells whether an earlier
// try of this owner made it.
func (s *step) metaChecked(r *Result) {
	i, p := s.find(r.ID)
	switch {
	case i < 0 || p.State != PendingWriting:
		s.unansweredMetaCreated(r)
	case r.Outcome == journal.Done && r.Nonce == p.Meta.Nonce:
		s.durable(i, p, r)
	case r.Outcome == journal.Done:
		s.pending = replaced(s.pending, i, Pending{ID: p.ID})
		s.abort(p.ID, ReasonMetadata)
	default: // absent, damaged, or the read failed: write the same bytes again
		s.createAgain(p)
	}
}

func (s *step) durable(i int, p Pending, r *Result) {
	meta := r.Meta
	meta.ID, meta.Nonce, meta.Type, meta.State = p.ID, p.Meta.Nonce, journal.TypeCheckpoint, journal.StateKept
	p.State, p.Meta = PendingReady, meta
	s.pending = replaced(s.pending, i, p)
}

// unansweredMetaCreated takes the outcome of a _metadata whose checkpoint was aborted meanwhile. If the _metadata may
// exist, it is condemned.
func (s *step) unansweredMetaCreated(r *Result) {
	was := len(s.unansweredMetas)
	s.unansweredMetas = without(s.unansweredMetas, func(id uint64) bool { return id == r.ID })
	if was != len(s.unansweredMetas) && r.Outcome != journal.NotDone {
		s.condemnMetas([]uint64{r.ID})
	}
}

// committed acts on a checkpoint that is complete. The workers are told first. Then the owner aborts the older pending
// checkpoints and condemns what nothing needs any more.
func (s *step) committed(id uint64) {
	i, p := s.find(id)
	s.held = with(s.held, held{id: id, files: p.Named})
	s.pending = without(s.pending, func(q Pending) bool { return q.ID == id })
	s.endPromise(id)
	s.emit(Op{Kind: TellComplete, ID: id, Attempt: s.head.Attempt, Epoch: s.head.Epoch})
	for _, q := range s.pending[:min(i, len(s.pending))] {
		s.abort(q.ID, ReasonSubsumed)
	}
	s.condemn(s.dropHeld())
}

// dropHeld removes the held checkpoints that left the head, and returns their ids. A hidden checkpoint whose last pin
// was returned stays until an entry drops it, because its files must not be deleted before its _metadata.
func (s *step) dropHeld() (gone []uint64) {
	var keep []held
	for _, h := range s.held {
		if c, ok := s.head.Checkpoint(h.id); ok && !(s.cfg.off.hidden && c.State == journal.StateHidden) {
			keep = append(keep, h)
		} else {
			gone = append(gone, h.id)
		}
	}
	was, _ := s.unread()
	s.held = keep
	s.reachable()
	if now, _ := s.unread(); was == ReasonDegraded && now == ReasonNone {
		s.emit(Op{Kind: TellDegraded})
	}
	return gone
}

// abort aborts a pending checkpoint, unless its entry is being published. Its files stay in the index until the next
// completion.
func (s *step) abort(id uint64, why Reason) {
	if !s.drop(id) {
		return
	}
	s.emit(Op{Kind: TellAbort, ID: id, Last: id, Latest: s.head.Newest(), Attempt: s.head.Attempt, Epoch: s.head.Epoch, Reason: why})
}

func (s *step) abortAll(why Reason) {
	for _, p := range s.pending {
		s.abort(p.ID, why)
	}
	s.refuseTrigger(why)
}

// drop forgets a pending checkpoint that is not unresolved. It answers whether there was one.
func (s *step) drop(id uint64) bool {
	i, p := s.find(id)
	if i < 0 || p.State == PendingUnresolved {
		return false
	}
	s.pending = without(s.pending, func(q Pending) bool { return q.ID == id })
	s.endPromise(id)
	switch p.State {
	case PendingWriting:
		if !s.cfg.off.unansweredMetas {
			s.unansweredMetas = with(s.unansweredMetas, id)
		}
	case PendingReady:
		s.condemnMetas([]uint64{id})
	}
	return true
}

// find is the pending checkpoint of that id, or -1.
func (m *Machine) find(id uint64) (int, Pending) {
	for i, p := range m.pending {
		if p.ID == id {
			return i, p
		}
	}
	return -1, Pending{}
}

func (s *step) promise(id uint64, files incremental.Set) {
	if files.IsEmpty() {
		return
	}
	for i, p := range s.promises {
		if p.id == id {
			p.files = p.files.Or(files)
			s.promises = replaced(s.promises, i, p)
			return
		}
	}
	s.promises = with(s.promises, promise{id, files})
}

func (s *step) endPromise(id uint64) {
	s.promises = without(s.promises, func(p promise) bool { return p.id == id })
}

func (m *Machine) promisedTo(id uint64) incremental.Set {
	for _, p := range m.promises {
		if p.id == id {
			return p.files
		}
	}
	return incremental.Set{}
}

// promised is all files that are promised to a pending checkpoint.
func (m *Machine) promised() (all incremental.Set) {
	for _, p := range m.promises {
		all = all.Or(p.files)
	}
	return all
}

// floor is a checkpoint id: no checkpoint below it can be acknowledged any more. Uploads are accepted for every
// reserved id. No checkpoint of an ended job can be acknowledged, so its floor lies above all reserved ids.
func (m *Machine) floor() uint64 {
	switch {
	case len(m.pending) > 0:
		return m.pending[0].ID
	case m.head.Status.Terminal():
		return max(m.next, m.head.Reserved+1)
	}
	return m.next
}

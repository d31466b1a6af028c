package owner

import (
	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
)

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

// begin answers BeginSnapshot. The owner promises to keep the files that it knows until the checkpoint ends. Of a full checkpoint it
// knows none, so everything is sent anew.
func (s *step) begin(ev *Event) {
	_, p, why := s.open(ev)
	if why == ReasonNotOpen && s.cfg.off.guard {
		why = ReasonNone
	}
	if why != ReasonNone {
		s.emit(Op{Kind: TellBegun, Caller: ev.Caller, ID: ev.ID, Reason: why})
		return
	}
	known := s.index.Promisable(ev.Files).Minus(s.leaving())
	if p.Kind == CheckpointFull {
		known = incremental.Files{}
	}
	if s.cfg.off.condemns {
		known = known.Or(ev.Files.And(s.foreignFiles("")))
	}
	s.promise(ev.ID, known)
	s.emit(Op{Kind: TellBegun, Caller: ev.Caller, ID: ev.ID, Files: known})
}

// leaving returns the files that only hidden checkpoints without a pin name. The owner keeps these files until an entry
// drops those checkpoints, and promises them to nobody.
func (s *step) leaving() incremental.Files {
	var leave, stay incremental.Files
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
	var uploads incremental.Builder[incremental.File]
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
	switch {
	case !s.all().In(p.Acked):
	case p.Savepoint() && !p.stops():
		p = s.save(p)
	default:
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
	if saved, ok := s.head.Savepoint(ev.ID); ok {
		complete = saved.Outcome == journal.SavepointDone
	}
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

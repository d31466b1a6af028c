package owner

import (
	"slices"

	"github.com/ckptd/ckptd/layout/journal"
)

// Edit is a person's command about checkpoints of a job, or about the whole job. It is carried out by one entry, or not at all.
// Immutable.
type Edit struct {
	Kind EditKind
	// IDs of the checkpoints.
	IDs []uint64
	// Tags are added by EditTag, and taken away by EditUntag.
	Tags []string
	// Now: EditRemove: the checkpoints do not go into the trash, and leave it if they lie there.
	Now bool
	// Lent: EditRemove: also checkpoints that other jobs have borrowed. Without the trash they are hidden until the last pin is
	// returned.
	Lent bool
}

// EditKind is what an Edit does.
type EditKind uint8

// The kinds of Edit.
const (
	EditNone EditKind = iota
	// EditRemove puts kept checkpoints into the trash, or drops them if the trash keeps nothing.
	EditRemove
	// EditUndelete brings checkpoints back from the trash. They are kept from then on, whatever the policy says.
	EditUndelete
	// EditTag and EditUntag change the tags of checkpoints.
	EditTag
	EditUntag
	// EditPurge removes an ended job with all that it retains. What other jobs have borrowed stays until they have returned it. Then
	// a tombstone remains.
	EditPurge
)

// edit is an Edit that waits for its entry, and who waits for it.
type edit struct {
	Edit
	caller  uint64
	request journal.Request
}

// wantEdit takes a person's command.
func (s *step) wantEdit(ev *Event) {
	if s.stop && !s.head.Status.Terminal() {
		s.emit(Op{Kind: TellEdited, Caller: ev.Caller, Reason: ReasonStopping})
		return
	}
	s.edits = with(s.edits, edit{*ev.Edit, ev.Caller, ev.Request})
}

// editNow appends the entry of the first command that waits. It answers those that need none. It answers whether it has begun an
// append.
func (s *step) editNow() bool {
	for len(s.edits) > 0 {
		w := s.edits[0]
		if s.head.Seen(w.request) {
			s.editDone(Op{})
			continue
		}
		if s.trashes(&w.Edit) && !s.knowsTime() {
			return false
		}
		next, id, why := s.edited(&w.Edit)
		if why != ReasonNone {
			s.editDone(Op{ID: id, Reason: why})
			continue
		}
		next.Requests = remember(next.Requests, w.request)
		s.editing = true
		s.append(next, 0)
		return true
	}
	return false
}

// editDone answers the first command.
func (s *step) editDone(answer Op) {
	answer.Kind, answer.Caller = TellEdited, s.edits[0].caller
	s.edits = s.edits[1:]
	s.emit(answer)
}

// editWon acts on the entry of the first command.
func (s *step) editWon() {
	if !s.editing {
		return
	}
	s.editing = false
	if s.edits[0].Kind == EditPurge { // only a sweep that begins now sees all that is left
		s.sweep.done, s.sweep.terminal = false, false
	}
	s.editDone(Op{})
}

// trashes tells whether the command puts checkpoints into the trash.
func (s *step) trashes(e *Edit) bool { return e.Kind == EditRemove && !e.Now && s.window() > 0 }

// edited is the entry that carries a command out. If it cannot be carried out, edited says why, and which checkpoint is in the
// way.
func (s *step) edited(e *Edit) (next journal.Entry, id uint64, why Reason) {
	next = *s.head
	if e.Kind == EditPurge {
		return s.purged(next)
	}
	if id, why := e.refused(s.head, s.cfg.off); why != ReasonNone {
		return next, id, why
	}
	named := func(c *journal.Checkpoint) bool { return slices.Contains(e.IDs, c.ID) }
	switch e.Kind {
	case EditRemove:
		next.Kind = journal.KindDiscard
		window := s.window()
		if e.Now {
			window = 0
		}
		next.Retained = s.discard(next.Retained, named, window, next.IsLent)
	case EditUndelete:
		next.Kind = journal.KindUndelete
		next.Retained = edits(next.Retained, named, func(c *journal.Checkpoint) {
			c.State, c.Keep, c.TrashedAt, c.TrashUntil = journal.StateKept, true, 0, 0
		})
	default:
		next.Kind = journal.KindTag
		next.Retained = edits(next.Retained, named, func(c *journal.Checkpoint) { c.Tags = retagged(c.Tags, e) })
	}
	if next.Fits() != nil { // only tags can make an entry too large here
		return next, 0, ReasonTags
	}
	return next, 0, ReasonNone
}

// Refused says why a command cannot be carried out on a job with this head, and which checkpoint is in the way; 0: none is.
func (e *Edit) Refused(head *journal.Entry) (id uint64, why Reason) {
	if e.Kind == EditPurge {
		return 0, unpurgeable(head)
	}
	return e.refused(head, off{})
}

func (e *Edit) refused(head *journal.Entry, rules off) (uint64, Reason) {
	for _, id := range e.IDs {
		c, ok := head.Checkpoint(id)
		if !ok || c.State == journal.StateHidden {
			return id, ReasonNoCheckpoint
		}
		if why := e.misfit(head, &c, rules); why != ReasonNone {
			return id, why
		}
	}
	return 0, ReasonNone
}

// misfit says why a command cannot be carried out on a checkpoint.
func (e *Edit) misfit(head *journal.Entry, c *journal.Checkpoint, rules off) Reason {
	trashed := c.State == journal.StateTrashed
	switch {
	case e.Kind == EditUndelete && !trashed:
		return ReasonNotTrashed
	case e.Kind != EditRemove:
		return ReasonNone
	case trashed && !e.Now:
		return ReasonTrashed
	case !head.Status.Terminal() && c.ID == head.Newest() && !rules.newestGoes:
		return ReasonNewest
	case head.IsLent(c.ID) && !e.Lent:
		return ReasonLent
	}
	return ReasonNone
}

// unpurgeable says why a job cannot be purged.
func unpurgeable(head *journal.Entry) Reason {
	switch {
	case !head.Status.Terminal():
		return ReasonNotTerminal
	case head.Status == journal.StatusRemoved:
		return ReasonNoJob
	}
	return ReasonNone
}

// purged is the entry after which nothing of the job is retained but what other jobs have borrowed.
func (s *step) purged(next journal.Entry) (journal.Entry, uint64, Reason) {
	if why := unpurgeable(&next); why != ReasonNone {
		return next, 0, why
	}
	next.Kind, next.PurgeWanted = journal.KindDiscard, true
	lent := next.IsLent
	if s.cfg.off.purge {
		lent = func(uint64) bool { return false }
	}
	next.Retained = s.discard(next.Retained, func(*journal.Checkpoint) bool { return true }, 0, lent)
	return next, 0, ReasonNone
}

// edits is a copy of the checkpoints in which some are changed.
func edits(retained []journal.Checkpoint, which func(*journal.Checkpoint) bool, change func(*journal.Checkpoint)) []journal.Checkpoint {
	out := with(retained)
	for i := range out {
		if which(&out[i]) {
			change(&out[i])
		}
	}
	return out
}

// retagged is the tags after a command, in ascending order.
func retagged(tags []string, e *Edit) []string {
	out := without(tags, func(t string) bool { return slices.Contains(e.Tags, t) })
	if e.Kind == EditTag {
		out = append(out, e.Tags...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

package owner

import (
	"slices"

	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/retention"
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

// window is how long a checkpoint stays in the trash.
func (s *step) window() uint64 { return s.policy().Trash }

// edited is the entry that carries a command out. If it cannot be carried out, edited says why, and which checkpoint is in the
// way.
func (s *step) edited(e *Edit) (next journal.Entry, id uint64, why Reason) {
	next = *s.head
	if e.Kind == EditPurge {
		return s.purged(next)
	}
	for _, id := range e.IDs {
		c, ok := s.head.Checkpoint(id)
		if !ok || c.State == journal.StateHidden {
			return next, id, ReasonNoCheckpoint
		}
		if why := s.misfit(e, &c); why != ReasonNone {
			return next, id, why
		}
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

// misfit says why a command cannot be carried out on a checkpoint.
func (s *step) misfit(e *Edit, c *journal.Checkpoint) Reason {
	trashed := c.State == journal.StateTrashed
	switch {
	case e.Kind == EditUndelete && !trashed:
		return ReasonNotTrashed
	case e.Kind != EditRemove:
		return ReasonNone
	case trashed && !e.Now:
		return ReasonTrashed
	case !s.head.Status.Terminal() && c.ID == s.head.Newest() && !s.cfg.off.newestGoes:
		return ReasonNewest
	case s.head.IsLent(c.ID) && !e.Lent:
		return ReasonLent
	}
	return ReasonNone
}

// purged is the entry after which nothing of the job is retained but what other jobs have borrowed.
func (s *step) purged(next journal.Entry) (journal.Entry, uint64, Reason) {
	switch {
	case !next.Status.Terminal():
		return next, 0, ReasonNotTerminal
	case next.Status == journal.StatusRemoved:
		return next, 0, ReasonNoJob
	}
	next.Kind, next.PurgeWanted = journal.KindDiscard, true
	lent := next.IsLent
	if s.cfg.off.purge {
		lent = func(uint64) bool { return false }
	}
	next.Retained = s.discard(next.Retained, func(*journal.Checkpoint) bool { return true }, 0, lent)
	return next, 0, ReasonNone
}

// discard takes checkpoints out of use: into the trash, if the window is not 0, or out of the state. What other jobs have borrowed
// is hidden then. If the trash is full, its oldest checkpoints leave it.
func (s *step) discard(retained []journal.Checkpoint, which func(*journal.Checkpoint) bool, window uint64, lent func(uint64) bool) []journal.Checkpoint {
	var out []journal.Checkpoint
	for _, c := range retained {
		switch {
		case !which(&c):
			out = append(out, c)
		case window > 0:
			out = append(out, s.toTrash(c, window))
		case retention.Removed(retention.Checkpoint{ID: c.ID, Lent: lent(c.ID)}).Action == retention.Hide:
			out = append(out, hidden(c))
		}
	}
	return s.emptier(out, lent)
}

// toTrash is the checkpoint in the trash.
func (s *step) toTrash(c journal.Checkpoint, window uint64) journal.Checkpoint {
	c.State, c.TrashedAt, c.TrashUntil = journal.StateTrashed, s.clock, s.clock+window
	return c
}

// hidden is the checkpoint, hidden.
func hidden(c journal.Checkpoint) journal.Checkpoint {
	c.State, c.TrashedAt, c.TrashUntil = journal.StateHidden, 0, 0
	return c
}

// emptier takes the oldest checkpoints out of a trash that holds more than an entry may.
func (s *step) emptier(retained []journal.Checkpoint, lent func(uint64) bool) []journal.Checkpoint {
	trashed := 0
	for i := range retained {
		if retained[i].State == journal.StateTrashed {
			trashed++
		}
	}
	if trashed <= journal.MaxTrashed {
		return retained
	}
	oldest := oldestTrashed(retained, func(*journal.Checkpoint) bool { return true })
	return s.discard(retained, func(c *journal.Checkpoint) bool { return c.ID == oldest }, 0, lent)
}

// oldestTrashed is the checkpoint that has lain in the trash the longest, of those that may go; 0: none.
func oldestTrashed(retained []journal.Checkpoint, may func(*journal.Checkpoint) bool) uint64 {
	id, at := uint64(0), uint64(0)
	for i := range retained {
		if c := &retained[i]; c.State == journal.StateTrashed && may(c) && (id == 0 || c.TrashedAt < at) {
			id, at = c.ID, c.TrashedAt
		}
	}
	return id
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

package owner

import (
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/retention"
)

// window is how long a checkpoint stays in the trash.
func (s *step) window() uint64 { return s.policy().Trash }

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

package owner

import (
	"slices"

	"github.com/ckptd/ckptd/layout/journal"
)

// needs tells whether a retained or pending checkpoint reaches the files that a pin keeps. The imported one does, also
// while it is hidden and lent. Others do only if the job claims its source: else the owner promises no foreign files.
func (s *step) needs(b journal.Borrowed) bool {
	switch why, _ := s.unread(); {
	case s.cfg.off.returns && s.doing == journal.KindCommit:
		return false
	case slices.ContainsFunc(s.head.Retained, func(c journal.Checkpoint) bool { return c.Imported }):
		return true
	case s.head.Import.Mode != journal.Claim || s.cfg.off.reaches:
		return false
	case why != ReasonNone:
		return true
	}
	needed := s.index.Reachable
	if !s.cfg.off.pending {
		needed = needed.Or(s.promised())
	}
	return !needed.And(s.foreignFiles(b.Job)).IsEmpty()
}

// returning is the errand that returns a pin. From this decision on the lender's files are unknown here: else a checkpoint
// could be promised a file that the return lets go. The owner disposes of what the job has claimed, but only if the job
// has completed a checkpoint of its own: else the claimed one holds the only state.
func (s *step) returning(b journal.Borrowed) errand {
	if !s.cfg.off.condemns {
		s.foreign = without(s.foreign, func(f Foreign) bool { return f.Job == b.Job })
	}
	own := s.head.Import.State == journal.ImportOutlived || s.cfg.off.outlives
	return errand{kind: errandReturn, job: b.Job, pin: b.Pin, dispose: b.Mode == journal.Claim && own && s.head.HasBorrowed(b.Pin)}
}

// claimable says why the checkpoint of an errand cannot be claimed. While its job runs, the checkpoint may be the one that
// the job goes back to.
func (s *step) claimable(e errand, head *journal.Entry) Reason {
	if e.mode == journal.Claim && !head.Status.Terminal() && !s.cfg.off.terminal {
		return ReasonClaimRunning
	}
	return ReasonNone
}

// disposed is the lender's checkpoints after the return of a claim. The claimed one is hidden, so that the lender is due:
// its owner deletes the checkpoint when no other job has a pin on it. What a person wants kept stays.
func (s *step) disposed(lender *journal.Entry, pin journal.Nonce) []journal.Checkpoint {
	i := slices.IndexFunc(lender.Lent, func(l journal.Lent) bool { return l.Pin == pin })
	k := slices.IndexFunc(lender.Retained, func(c journal.Checkpoint) bool { return c.ID == lender.Lent[i].Checkpoint })
	switch {
	case k < 0 || lender.Retained[k].Keep:
		return lender.Retained
	case s.cfg.off.hides:
		return without(lender.Retained, func(c journal.Checkpoint) bool { return c.ID == lender.Lent[i].Checkpoint })
	}
	return replaced(lender.Retained, k, hidden(lender.Retained[k]))
}

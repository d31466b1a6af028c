package owner

import (
	"github.com/ckptd/ckptd/layout/journal"
)

// appended takes a result of an append under way.
func (s *step) appended(r *Result) {
	next, doing, id := s.app.Next(), s.doing, s.doingID
	op, verdict, head, trim := s.app.Step(&s.cfg.Journal, r.Result, func(head *journal.Entry) bool { return s.effect(head, next) })
	s.journal(op)
	if verdict == journal.Open {
		return
	}
	s.doing, s.doingID = journal.KindNone, 0
	if doing == journal.KindAttach {
		s.attachEnded(verdict, head, next.Slot)
		return
	}
	switch verdict {
	case journal.Won:
		s.head = head
		if len(trim) > 0 {
			s.emit(Op{Kind: OpTrim, IDs: trim})
		}
		s.won(doing, id)
	case journal.Lost:
		s.lostSlot(doing, id, head)
	default:
		s.fenced()
	}
}

// effect tells whether the purpose of next is fulfilled in a head of our epoch.
func (s *step) effect(head, next *journal.Entry) bool {
	switch s.doing {
	case journal.KindAttach:
		return head.Owner == s.me
	case journal.KindCommit, journal.KindImport:
		mine, _ := next.Checkpoint(s.doingID)
		c, ok := head.Checkpoint(s.doingID)
		return ok && c.Nonce == mine.Nonce
	case journal.KindSavepoint:
		mine, stays := next.Savepoint(s.doingID)
		now, ok := head.Savepoint(s.doingID)
		return ok == stays && now.Outcome == mine.Outcome && now.Nonce == mine.Nonce
	case journal.KindReserve:
		return head.Reserved >= next.Reserved
	case journal.KindAttempt:
		return head.Attempt >= next.Attempt
	case journal.KindEnd:
		return head.Status == next.Status
	case journal.KindRelease, journal.KindRemove:
		return head.Owner.IsZero()
	case journal.KindDiscard, journal.KindUndelete, journal.KindTag:
		return s.editing && head.Seen(s.edits[0].request)
	}
	return false
}

// won acts on an entry that counts. The owner announces and condemns nothing before this.
func (s *step) won(doing journal.Kind, id uint64) {
	switch doing {
	case journal.KindCommit:
		s.committed(id)
	case journal.KindImport:
		s.imported()
	case journal.KindReturn, journal.KindDiscard, journal.KindUndelete, journal.KindTag:
		s.editWon()
		s.tidied()
	case journal.KindSavepoint:
		s.savepointWon(id)
	case journal.KindAttempt:
		s.attemptWon()
	case journal.KindEnd:
		s.ended()
	case journal.KindRelease, journal.KindRemove:
		s.released()
	}
}

// lostSlot handles an append that lost its slot to a third party. The wish stays, so the owner tries again on the new
// head.
func (s *step) lostSlot(doing journal.Kind, id uint64, head *journal.Entry) {
	if head != nil && !s.cfg.off.lost {
		s.head = head
	}
	s.editing = false
	i, p := s.find(id)
	if doing != journal.KindCommit && (doing != journal.KindSavepoint || i < 0 || p.State != PendingUnresolved) {
		return
	}
	p.State = PendingReady
	s.pending = replaced(s.pending, i, p)
	if p.Savepoint() && !p.stops() { // it names copies of its own
		return
	}
	// The other entry may have disposed of files that this checkpoint names. Then the checkpoint is aborted.
	if s.cfg.off.lost || !p.Named.In(s.index.Known.Minus(s.index.Condemned).Or(s.foreignFiles(""))) {
		s.abort(id, ReasonOther)
	}
}

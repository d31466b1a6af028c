package owner

import (
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/retention"
)

// metaCreated takes the outcome of writing a _metadata.
func (s *step) metaCreated(r *Result) {
	if s.importWritten(r) {
		return
	}
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
	if s.importChecked(r) {
		return
	}
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
	if p.Savepoint() {
		p.Meta.Type = journal.TypeSavepoint
		p = s.save(p)
	}
	s.pending = replaced(s.pending, i, p)
}

// unansweredMetaCreated takes the outcome of a _metadata whose checkpoint was aborted meanwhile. If the _metadata may
// exist, it is condemned.
func (s *step) unansweredMetaCreated(r *Result) {
	was := len(s.unansweredMetas)
	s.unansweredMetas = without(s.unansweredMetas, func(id uint64) bool { return id == r.ID })
	if was != len(s.unansweredMetas) && r.Outcome != journal.NotDone {
		s.condemnMeta(r.ID)
	}
}

// commitNext publishes the entry of the lowest checkpoint whose _metadata is durable. It answers whether there is one.
func (s *step) commitNext() bool {
	for i, p := range s.pending {
		if p.State != PendingReady || p.Savepoint() && !s.knowsTime() {
			continue
		}
		p.State = PendingUnresolved
		s.pending = replaced(s.pending, i, p)
		if p.Savepoint() {
			s.appendSaved(&p)
			return true
		}
		e := *s.head
		e.Kind = journal.KindCommit
		e.Reserved = max(e.Reserved, p.ID+s.cfg.Reserve)
		if s.cfg.off.reserveMax {
			e.Reserved = p.ID + s.cfg.Reserve
		}
		e.Retained = s.apply(&e, p.Meta, func(all []retention.Checkpoint) []retention.Decision {
			return retention.AfterCompletion(all, s.policy().NumRetained)
		})
		if e.Import.State == journal.ImportDone && e.Import.Mode == journal.Claim {
			e.Import.State = journal.ImportOutlived
		}
		s.append(e, p.ID)
		s.emit(Op{Kind: TellUnresolved, ID: p.ID, Attempt: e.Attempt, Epoch: e.Epoch})
		return true
	}
	return false
}

// committed acts on a checkpoint that is complete. The workers are told first. Then the owner aborts the older pending
// checkpoints and condemns what nothing needs any more.
func (s *step) committed(id uint64) {
	i, p := s.find(id)
	s.held = with(s.held, held{id: id, files: p.Named}) // also foreign files, if the job claims its source
	s.pending = without(s.pending, func(q Pending) bool { return q.ID == id })
	s.endPromise(id)
	s.emit(Op{Kind: TellComplete, ID: id, Attempt: s.head.Attempt, Epoch: s.head.Epoch})
	for _, q := range s.pending[:min(i, len(s.pending))] {
		if !q.Savepoint() {
			s.abort(q.ID, ReasonSubsumed)
		}
	}
	s.condemn(s.dropHeld())
}

package owner

import (
	"slices"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
)

// importing is the progress of the import that the head wants: the job begins from a checkpoint of another job. First
// that checkpoint is lent, then those in whose jobs' folders its files lie. Then the owner writes a _metadata of its own
// that names these files. One entry retains it.
type importing struct {
	stage importStage
	// id of the checkpoint that the import makes. Until the import has ended, id holds the floor.
	id uint64
	// wants are the checkpoints to be lent beside the source. They have no pin.
	wants []journal.Borrowed
	// lender is what the lender of the source has borrowed itself.
	lender []journal.Borrowed
	meta   journal.Checkpoint
	// copied are the job's own files that its durable _metadata names.
	copied incremental.Files
}

type importStage uint8

const (
	importNone importStage = iota
	// importLending: the source is not lent yet, or one of wants is not.
	importLending
	// importReading: the source's _metadata is being read, for the jobs in whose folders its files lie.
	importReading
	// importWriting: the job's own _metadata is being written. importChecking: it existed, and is being read.
	importWriting
	importChecking
	// importReady: the _metadata is durable, and its entry waits until another append has ended.
	importReady
	// importFailed: the source cannot be had. The shell ends the job.
	importFailed
)

// settleImport begins what the import needs next. It answers whether it has begun an append.
func (s *step) settleImport() bool {
	if !s.head.Importing() || s.stop || s.ending.status != journal.StatusNone || s.recheckHead || !s.free() {
		return false
	}
	switch s.imp.stage {
	case importNone:
		s.beginImport()
		s.lendNext()
	case importLending:
		s.lendNext()
	case importReady:
		s.appendImport()
		return true
	}
	return false
}

// lendNext pins the next checkpoint. When all are pinned, it writes the _metadata.
func (s *step) lendNext() {
	if s.errand.kind != errandNone {
		return
	}
	source := s.head.Import
	switch want, more := s.unpinned(); {
	case more && want.Job == source.Job:
		s.goAbroad(errand{kind: errandLend, job: source.Job, checkpoint: source.Checkpoint, nonce: source.Nonce, mode: source.Mode})
	case more: // the files of a third job stay that job's
		s.goAbroad(errand{kind: errandLend, job: want.Job, checkpoint: want.Checkpoint})
	case s.imp.wants == nil:
		s.imp.stage = importReading
		s.emit(Op{Kind: OpReadSource, Source: &s.head.Import})
	default:
		s.imp.stage = importWriting
		s.imp.meta = journal.Checkpoint{ID: s.imp.id, Nonce: s.nonce()}
		s.writeImport(journal.WaitNot)
	}
}

// unpinned is the next checkpoint that has to be pinned before the _metadata is written.
func (s *step) unpinned() (journal.Borrowed, bool) {
	if s.cfg.off.lends || s.elsewhere() {
		return journal.Borrowed{}, false
	}
	all := append([]journal.Borrowed{{Job: s.head.Import.Job, Checkpoint: s.head.Import.Checkpoint}}, s.imp.wants...)
	for _, b := range all {
		if !slices.ContainsFunc(s.pins, func(p journal.Borrowed) bool { return p.Job == b.Job && p.Checkpoint == b.Checkpoint }) {
			return b, true
		}
	}
	return journal.Borrowed{}, false
}

// lent takes a pin that counts. lender is the head in which it does.
func (s *step) lent(pin journal.Borrowed, lender *journal.Entry) {
	s.pins = with(s.pins, pin)
	if s.imp.stage == importLending && pin.Job == s.head.Import.Job {
		s.imp.lender = lender.Borrowed
	}
}

// sourceRead takes the jobs in whose folders the files of the source lie. The source is pinned, so the lender keeps the
// pins that it needs itself.
func (s *step) sourceRead(r *Result) {
	switch {
	case s.imp.stage != importReading:
		return
	case r.Outcome == journal.Unknown:
		s.emit(Op{Kind: OpReadSource, Source: &s.head.Import, Wait: journal.WaitBackoff})
		return
	case r.Outcome != journal.Done || r.Nonce != s.head.Import.Nonce:
		s.importFails(ReasonSourceDamaged)
		return
	}
	wants := []journal.Borrowed{}
	for _, job := range r.Jobs {
		i := slices.IndexFunc(s.imp.lender, func(b journal.Borrowed) bool { return b.Job == job })
		switch {
		case i >= 0:
			wants = append(wants, journal.Borrowed{Job: job, Checkpoint: s.imp.lender[i].Checkpoint})
		case !s.cfg.off.lends:
			s.importFails(ReasonSource)
			return
		}
	}
	s.imp.stage, s.imp.wants = importLending, wants
}

func (s *step) writeImport(wait journal.Wait) {
	s.emit(Op{Kind: OpCreateMeta, ID: s.imp.id, Nonce: s.imp.meta.Nonce, Epoch: s.head.Epoch, Source: &s.head.Import, Wait: wait})
}

// importWritten takes the outcome of writing the import's _metadata. It answers whether it was that one.
func (s *step) importWritten(r *Result) bool {
	if s.imp.stage != importWriting || r.ID != s.imp.id {
		return false
	}
	switch r.Outcome {
	case journal.Done:
		s.importDurable(r)
	case journal.Exists:
		s.imp.stage = importChecking
		s.emit(Op{Kind: OpReadMeta, ID: s.imp.id, Nonce: s.imp.meta.Nonce})
	case journal.NotFound, journal.Corrupt, journal.Newer: // of the source: nothing was written
		s.importFails(ReasonSourceDamaged)
	default: // also if the disk is full: the job waits for room
		s.writeImport(journal.WaitBackoff)
	}
	return true
}

// importChecked takes the contents of a _metadata that existed before the import's was written. It answers whether it
// was that one.
func (s *step) importChecked(r *Result) bool {
	if s.imp.stage != importChecking || r.ID != s.imp.id {
		return false
	}
	switch {
	case r.Outcome == journal.Done && r.Nonce == s.imp.meta.Nonce:
		s.importDurable(r)
	case r.Outcome == journal.Done: // a foreign one; the import takes the next id
		s.beginImport()
	default: // absent, damaged, or the read failed
		s.imp.stage = importWriting
		s.writeImport(journal.WaitBackoff)
	}
	return true
}

func (s *step) importDurable(r *Result) {
	meta := r.Meta
	meta.ID, meta.Nonce, meta.Type, meta.State, meta.Imported = s.imp.id, s.imp.meta.Nonce, journal.TypeCheckpoint, journal.StateKept, true
	s.imp.stage, s.imp.meta = importReady, meta
	s.foreignRead(r.ForeignFiles)
	if !s.cfg.off.copied {
		s.imp.copied = r.Files
	}
}

// appendImport publishes the entry that ends the import.
func (s *step) appendImport() {
	e := *s.head
	e.Kind = journal.KindImport
	e.Retained = with(e.Retained, s.imp.meta)
	e.Borrowed = with(e.Borrowed, s.pins...)
	e.Import.State = journal.ImportDone
	e.Reserved = max(e.Reserved, s.imp.id+s.cfg.Reserve)
	s.append(e, s.imp.id)
}

// imported acts on that entry. Attempts may begin now.
func (s *step) imported() {
	s.copied()
	s.held = with(s.held, held{id: s.imp.id, files: s.foreignFiles("").Or(s.imp.copied)})
	s.reachable()
	s.emit(Op{Kind: TellImported, ID: s.imp.id, Epoch: s.head.Epoch})
	s.imp, s.pins = importing{}, nil
}

// importFails gives the import up for good. The shell ends the job as failed.
func (s *step) importFails(why Reason) {
	s.imp.stage = importFailed
	s.emit(Op{Kind: TellImportFailed, Job: s.head.Import.Job, ID: s.head.Import.Checkpoint, Reason: why})
}

// abandonImport forgets an import whose job ends or is released. Its pins stay in the other journals. The owner of a job
// that ends returns them.
func (s *step) abandonImport() {
	switch s.imp.stage {
	case importWriting, importChecking:
		s.unansweredMetas = with(s.unansweredMetas, s.imp.id)
	case importReady:
		s.condemnMeta(s.imp.id)
	}
	s.imp = importing{}
}

package owner

import (
	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
)

// read takes a result of the reader. The head is read for an attach, or while owning for recheckHead or missingMeta.
func (s *step) read(r *Result) {
	op, how := s.reader.Step(&s.cfg.Journal, r.Result)
	s.journal(op)
	if how == journal.ReadMore {
		return
	}
	head := s.reader.Head()
	s.reader = journal.ReadHead{}
	if s.phase == PhaseOwning {
		s.missingMetaChecked(how, head)
		return
	}
	switch how {
	case journal.ReadDone:
		s.found(head)
	case journal.ReadEmpty:
		if s.refuseSome(func(a attacher) Reason {
			if a.create == nil {
				return ReasonNoJob
			}
			return ReasonNone
		}) {
			s.head = nil
			s.appendAttach()
		}
	case journal.ReadForeign:
		s.refuse(ReasonForeign)
	case journal.ReadNewer:
		s.refuse(ReasonNewer)
	default:
		s.refuse(ReasonCorrupt)
	}
}

// found decides what to do about the head: refuse the attach, ask the owner that the head names, or take over.
func (s *step) found(head *journal.Entry) {
	terminal, owned := head.Status.Terminal(), !head.Owner.IsZero()
	if head.LeastWriter > s.cfg.Journal.Version || !s.canDo(head) {
		s.refuse(ReasonNewer)
		return
	}
	if !s.refuseSome(func(a attacher) Reason { return a.misfit(head.Status) }) {
		return
	}
	switch {
	case terminal && !owned:
		s.refuse(ReasonReleased)
	case owned && head.Owner.Process != s.cfg.Process && !s.cfg.off.ask:
		s.phase, s.head = PhaseAsking, head
		s.emit(Op{Kind: OpAsk, Nonce: head.Owner, URLs: head.URLs})
	default:
		s.head = head
		s.appendAttach()
	}
}

// canDo tells whether this version can do what a head asks of its owner. The journal has fields for imports, savepoints
// that stop a job, copies and removed jobs, but the operations are not there yet. An owner that ignored these fields
// would do damage: it would restore another checkpoint than the savepoint, or delete what a copy still needs.
func (s *step) canDo(head *journal.Entry) bool {
	_, understood := s.cfg.Policy(head.Config)
	switch head.Status {
	case journal.StatusStopping, journal.StatusCopied, journal.StatusRemoved:
		return false
	}
	return understood && head.Import.State != journal.ImportWanted && len(head.Borrowed) == 0 && !head.PurgeWanted
}

// policy interprets the configuration in the journal.
func (s *step) policy() Policy {
	p, _ := s.cfg.Policy(s.head.Config) // canDo refuses the attach if the configuration is not understood
	return p
}

func (s *step) answered(r *Result) {
	if !r.Answered {
		s.appendAttach()
		return
	}
	s.redirected()
}

// appendAttach appends the entry that makes this process the owner.
func (s *step) appendAttach() {
	var e journal.Entry
	if s.head == nil {
		create := s.creation()
		e = journal.Entry{Status: journal.StatusRunning, Plan: create.Plan, Config: create.Config, About: create.About}
	} else {
		e = *s.head
	}
	s.me = s.nonce()
	s.first = e.Reserved + 1
	e.Kind, e.Owner, e.URLs = journal.KindAttach, s.me, s.cfg.URLs
	e.Epoch++
	e.Reserved += s.cfg.Reserve
	s.phase, s.doing = PhaseAttaching, journal.KindAttach
	s.journal(s.app.Begin(&s.cfg.Journal, s.head, e, s.me, journal.RoleAttach))
}

// attachEnded takes the verdict on that entry.
func (s *step) attachEnded(v journal.Verdict, head *journal.Entry, slot uint64) {
	switch v {
	case journal.Won:
		s.own(head)
	case journal.Unreadable:
		s.refuse(ReasonCorrupt)
	default:
		if s.stop {
			s.refuse(ReasonStopping)
			s.emit(Op{Kind: TellReleased})
			return
		}
		// The attach begins again and asks the owner first. Two attaches that rebase on each other would never end.
		s.phase, s.head, s.me = PhaseReading, nil, journal.Nonce{}
		op := s.reader.Begin(slot)
		op.Wait = journal.WaitJitter
		s.journal(op)
	}
}

// own begins to serve the job, and to read the _metadata of the retained checkpoints. The hidden ones count, too: they
// need their files until an entry drops them.
func (s *step) own(head *journal.Entry) {
	s.phase, s.head, s.next = PhaseOwning, head, s.first
	s.emit(Op{Kind: TellAttached, Epoch: s.head.Epoch, Attempt: s.head.Attempt})
	for _, c := range head.Retained {
		s.held = append(s.held, held{id: c.ID, state: heldLoading})
		s.emit(Op{Kind: OpReadMeta, ID: c.ID, Nonce: c.Nonce})
	}
}

// metaRead takes the contents of a _metadata: that of a retained checkpoint, or that of a checkpoint being completed.
func (s *step) metaRead(r *Result) {
	for i, h := range s.held {
		if h.id == r.ID && h.state == heldLoading {
			s.loaded(i, r)
			return
		}
	}
	s.metaChecked(r)
}

func (s *step) loaded(i int, r *Result) {
	h := s.held[i]
	c, _ := s.head.Checkpoint(h.id)
	switch r.Outcome {
	case journal.Done:
		h.state = heldRead
		if r.Nonce != c.Nonce {
			h.state = heldUnreadable
		}
	case journal.NotFound:
		h.state = heldMissing
	case journal.Corrupt, journal.Newer:
		h.state = heldUnreadable
	default: // the read failed; that does not make the _metadata unreadable
		s.emit(Op{Kind: OpReadMeta, ID: h.id, Nonce: c.Nonce, Wait: journal.WaitBackoff})
		return
	}
	h.files = r.Files
	s.setHeld(i, h)
	s.index.Known = s.index.Known.Or(r.Files)
	if !s.cfg.off.atAttach {
		s.index.AtAttach = s.index.AtAttach.Or(r.Files)
	}
	if h.state == heldUnreadable {
		s.emit(Op{Kind: TellDegraded, ID: h.id, Reason: ReasonDegraded})
	}
}

func (s *step) setHeld(i int, h held) {
	s.held = replaced(s.held, i, h)
	s.reachable()
}

// reachable recomputes the files that the held checkpoints name.
func (s *step) reachable() {
	var all incremental.Set
	for _, h := range s.held {
		all = all.Or(h.files)
	}
	s.index.Reachable = all
}

// ask reads the head again if recheckHead is set or a _metadata is missing. It answers whether an append may begin now.
func (s *step) ask() bool {
	if !s.free() {
		return false
	}
	if s.recheckHead {
		s.recheckHead = false
		s.journal(s.reader.Begin(s.head.Slot))
		return false
	}
	for _, h := range s.held {
		if h.state == heldMissing {
			s.missingMeta = h.id
			s.journal(s.reader.Begin(s.head.Slot))
			return false
		}
	}
	return true
}

// missingMetaChecked takes the head that ask has read. If its epoch is another, a new owner has taken the job and may
// have dropped the checkpoint. If its epoch is ours, the missing _metadata is lost.
func (s *step) missingMetaChecked(how journal.Reading, head *journal.Entry) {
	if how != journal.ReadDone || head.Epoch != s.head.Epoch {
		s.fenced()
		return
	}
	s.head = head
	for i, h := range s.held {
		if h.id == s.missingMeta && h.state == heldMissing {
			h.state = heldUnreadable
			s.setHeld(i, h)
			s.emit(Op{Kind: TellDegraded, ID: h.id, Reason: ReasonDegraded})
		}
	}
	s.missingMeta = 0
}

// unread says why nothing may be condemned or swept: the _metadata of the checkpoint id is not read yet, or cannot be
// read, and may name any file.
func (m *Machine) unread() (why Reason, id uint64) {
	for _, h := range m.held {
		switch h.state {
		case heldLoading, heldMissing:
			return ReasonLoading, h.id
		case heldUnreadable:
			why, id = ReasonDegraded, h.id
		}
	}
	return why, id
}

// fenced handles the loss of the job to another owner. This owner announces nothing, deletes nothing and forgets all.
func (s *step) fenced() {
	s.forget()
	s.emit(Op{Kind: TellFenced})
}

// stopped begins to release the job.
func (s *step) stopped() {
	switch s.phase {
	case PhaseIdle:
		s.forget()
		s.emit(Op{Kind: TellReleased})
	case PhaseReading, PhaseAsking:
		s.refuse(ReasonStopping)
		s.emit(Op{Kind: TellReleased})
	default:
		s.stop = true
	}
	if s.phase == PhaseOwning {
		for _, p := range s.pending {
			if p.State != PendingUnresolved {
				s.drop(p.ID)
			}
		}
	}
}

// releaseNow releases the job if a stop is wished for, or if the job has ended and was swept. It answers whether it did
// something.
func (s *step) releaseNow() bool {
	terminal := s.head.Status.Terminal()
	switch {
	case terminal && s.sweep.done && s.clean():
	case terminal && s.stop:
		// The head stays terminal and unreleased. The next daemon that starts attaches to the job and sweeps.
		s.released()
		return true
	case !terminal && s.stop:
	default:
		return false
	}
	e := *s.head
	e.Kind, e.Owner, e.URLs = journal.KindRelease, journal.Nonce{}, nil
	s.append(e, 0)
	return true
}

func (s *step) released() {
	s.forget()
	s.emit(Op{Kind: TellReleased})
}

// replaced is a copy of the slice with another element at i.
func replaced[T any](in []T, i int, v T) []T {
	out := append([]T(nil), in...)
	out[i] = v
	return out
}

// without is a copy of the slice without those that drop names.
func without[T any](in []T, drop func(T) bool) []T {
	var out []T
	for _, v := range in {
		if !drop(v) {
			out = append(out, v)
		}
	}
	return out
}

// with is a copy of the slice with one more element.
func with[T any](in []T, v ...T) []T {
	return append(append(make([]T, 0, len(in)+len(v)), in...), v...)
}

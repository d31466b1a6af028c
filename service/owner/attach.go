package owner

import (
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
		if s.refuseSome(journal.StatusNone, func(a attacher) Reason {
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
	if !s.refuseSome(head.Status, func(a attacher) Reason { return a.misfit(head.Status) }) {
		return
	}
	if terminal && !owned && !head.Due() && s.refuseDone(head) {
		return
	}
	switch {
	case owned && head.Owner.Process != s.cfg.Process && !s.cfg.off.ask:
		s.phase, s.head = PhaseAsking, head
		s.emit(Op{Kind: OpAsk, Nonce: head.Owner, URLs: head.URLs})
	default:
		s.head = head
		s.appendAttach()
	}
}

// refuseDone refuses the callers that find nothing left to do for a job that has ended and was released. A caller that
// has found a leaked pin goes on, and so does a janitor. refuseDone answers whether nobody is left.
func (s *step) refuseDone(head *journal.Entry) bool {
	return !s.refuseSome(journal.StatusNone, func(a attacher) Reason {
		switch {
		case a.create != nil: // the job was removed, and begins anew
			return ReasonNone
		case a.janitor, a.due && (len(head.Lent) > 0 || head.Timed()):
			return ReasonNone
		}
		return ReasonReleased
	})
}

// canDo tells whether this version can do what a head asks of its owner: it has to understand the job's configuration.
func (s *step) canDo(head *journal.Entry) bool {
	_, understood := s.cfg.Policy(head.Config)
	return understood
}

func (s *step) answered(r *Result) {
	if r.Answered {
		s.redirected()
		return
	}
	if s.silent = true; s.refuseSilent() {
		s.appendAttach()
	}
}

// refuseSilent refuses the callers that do not take a job over from an owner that is silent. It answers whether one is left.
func (s *step) refuseSilent() bool {
	head := s.head
	return s.refuseSome(head.Status, func(a attacher) Reason { return a.silent(head) })
}

// appendAttach appends the entry that makes this process the owner.
func (s *step) appendAttach() {
	var e journal.Entry
	if create := s.creation(); s.head == nil || s.head.Status == journal.StatusRemoved && create != nil {
		// The ids of the job lie above that of the checkpoint that it begins from.
		e = journal.Entry{Status: journal.StatusRunning, Plan: create.Plan, Config: create.Config, About: create.About,
			Import: create.Import, Reserved: max(create.Import.Checkpoint, create.Life), Epoch: max(create.Above, create.Life), Attempt: create.Life}
		if s.head != nil { // a removed job begins anew: no epoch and no id is used twice
			e.Epoch, e.Reserved = max(e.Epoch, s.head.Epoch), max(e.Reserved, s.head.Reserved)
		}
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

// attachEnded takes the verdict on the entry of appendAttach.
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
		if s.overtaken(head) {
			return
		}
		// The attach begins again and asks the owner first. Two attaches that rebase on each other would never end.
		s.phase, s.head, s.me = PhaseReading, nil, journal.Nonce{}
		op := s.reader.Begin(slot)
		op.Wait = journal.WaitJitter
		s.journal(op)
	}
}

// overtaken handles an attach that lost its slot while its owner was asked and gave no answer. If only other jobs and tools have
// appended meanwhile, the attach is appended to the new head, once, and the owner is not asked again. Asking takes a second. Entries
// that come more often would keep a silent owner's job from every other owner.
func (s *step) overtaken(head *journal.Entry) bool {
	was, silent := s.head, s.silent
	s.silent = false
	if !silent || head == nil || head.Owner != was.Owner || head.Reserved != was.Reserved || head.Attempt != was.Attempt || head.Status != was.Status {
		return false
	}
	s.phase, s.me = PhaseAsking, journal.Nonce{}
	if head.LeastWriter > s.cfg.Journal.Version {
		s.refuse(ReasonNewer)
		return true
	}
	if s.head = head; s.refuseSilent() {
		s.appendAttach()
	}
	return true
}

// own begins to serve the job, and to read the _metadata of the retained checkpoints. The hidden ones count, too: they
// need their files until an entry drops them.
func (s *step) own(head *journal.Entry) {
	s.phase, s.head, s.next, s.silent = PhaseOwning, head, s.first, false
	s.emit(Op{Kind: TellAttached, Epoch: s.head.Epoch, Attempt: s.head.Attempt})
	for _, c := range head.Retained {
		s.held = append(s.held, held{id: c.ID, state: heldLoading})
		s.emit(Op{Kind: OpReadMeta, ID: c.ID, Nonce: c.Nonce})
	}
}

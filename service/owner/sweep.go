package owner

import (
	"github.com/ckptd/ckptd/layout/journal"
)

// sweep is a sweep under way.
type sweep struct {
	stage  sweepStage
	caller uint64
	// terminal is true if the sweep began after the terminal entry, done if such a sweep has gone through.
	terminal, done bool
}

type sweepStage uint8

const (
	sweepIdle sweepStage = iota
	sweepUnfinished
	sweepListing
)

// wantSweep begins a sweep, or says why it cannot.
func (s *step) wantSweep(ev *Event) {
	why, _ := s.unread()
	switch {
	case s.stop:
		why = ReasonStopping
	case s.sweep.stage != sweepIdle:
		why = ReasonBusy
	}
	if why != ReasonNone {
		s.emit(Op{Kind: TellSwept, Caller: ev.Caller, Reason: why})
		return
	}
	s.lookForLeaks()
	s.lookForLate()
	if s.head.CopiedFrom.Unfinished && !s.head.PurgeWanted && !s.cfg.off.unfinished { // no checkpoint names yet what the copy has brought so far
		s.sweep.done = true
		s.emit(Op{Kind: TellSwept, Caller: ev.Caller})
		return
	}
	if s.head.Timed() {
		s.knowsTime()
	}
	s.sweep.stage, s.sweep.caller, s.sweep.terminal = sweepUnfinished, ev.Caller, s.head.Status.Terminal()
	slot := s.head.Slot
	if s.cfg.off.above {
		slot++
	}
	s.emit(Op{Kind: OpAbortUnfinished, Epoch: s.head.Epoch, Floor: s.floor(), Slot: slot})
}

func (s *step) unfinishedAborted() {
	if s.sweep.stage == sweepUnfinished {
		s.sweep.stage = sweepListing
		s.emit(Op{Kind: OpSweep})
	}
}

// swept takes one page of the list. The verdicts follow the state of now, not that of the time when the list began.
func (s *step) swept(r *Result) {
	if s.sweep.stage != sweepListing {
		return
	}
	if r.Outcome != journal.Done {
		s.emit(Op{Kind: OpSweep, Wait: journal.WaitBackoff})
		return
	}
	s.page(r.Found, r.IDs)
	if r.More && !s.cfg.off.page {
		return
	}
	s.sweep.stage = sweepIdle
	s.sweep.done = s.sweep.done || s.sweep.terminal || s.cfg.off.swept
	s.emit(Op{Kind: TellSwept, Caller: s.sweep.caller})
	s.sweep.caller = 0
}

// page condemns what is dead of the files and the _metadata that a list has shown.
func (s *step) page(found []Found, metas []uint64) {
	page := make([]Judgement, 0, len(found)+len(metas))
	promised, view := s.promised(), s.view()
	for _, f := range found {
		page = append(page, Judgement{File: f.File, Verdict: s.judge(view, f, promised, s.cfg.off)})
	}
	for _, id := range metas {
		page = append(page, Judgement{Checkpoint: id, Verdict: s.JudgeMetadata(id)})
	}
	s.carryOut(page)
}

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
	if s.head.CopiedFrom.Unfinished && !s.cfg.off.unfinished { // no checkpoint names yet what the copy has brought so far
		s.sweep.done = true
		s.emit(Op{Kind: TellSwept, Caller: ev.Caller})
		return
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
	page := make([]Judgement, 0, len(r.Found)+len(r.IDs))
	promised := s.promised()
	for _, f := range r.Found {
		page = append(page, Judgement{File: f.File, Verdict: s.judge(f, promised, s.cfg.off)})
	}
	for _, id := range r.IDs {
		page = append(page, Judgement{Checkpoint: id, Verdict: s.JudgeMetadata(id)})
	}
	s.carryOut(page)
	if r.More && !s.cfg.off.page {
		return
	}
	s.sweep.stage = sweepIdle
	s.sweep.done = s.sweep.done || s.sweep.terminal || s.cfg.off.swept
	s.emit(Op{Kind: TellSwept, Caller: s.sweep.caller})
	s.sweep.caller = 0
}

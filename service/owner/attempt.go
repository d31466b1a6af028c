package owner

import (
	"github.com/ckptd/ckptd/layout/journal"
)

// register takes a worker process. If two processes run the same subtasks, register decides which one keeps them.
func (s *step) register(ev *Event) {
	running := s.head.Attempt
	switch {
	case s.head.Status.Terminal():
		s.emit(Op{Kind: TellEnded, Worker: ev.Worker, Status: s.head.Status})
		return
	case s.stop, ev.Attempt > running: // the worker knows a newer entry; its owner may be another daemon
		s.recheckHead = !s.stop
		s.emit(Op{Kind: TellReregister, Worker: ev.Worker})
		return
	case ev.Plan != nil && ev.Plan.Hash() != s.head.Plan.Hash(), ev.Subtasks.IsEmpty(), !ev.Subtasks.In(s.planned()):
		s.emit(Op{Kind: TellPlanRefused, Worker: ev.Worker})
		return
	}
	r := Registration{Worker: ev.Worker, Subtasks: ev.Subtasks, Attempt: ev.Attempt}
	if i, old := s.worker(ev.Worker); i >= 0 && old.Subtasks == ev.Subtasks {
		switch ours := s.Live() && old.Attempt == running; {
		case ours && ev.Attempt < running && s.done(old):
			r.Attempt = running // its subtasks have finished, so there is nothing to start
		case ours && ev.Attempt < running:
			// The process was told to start, but did not hear it. The same owner may repeat Start to the same process.
			r.Attempt = running
			s.finished = s.finished.Minus(r.Subtasks)
			s.tellStart(r.Worker)
		case ours:
			s.catchUp(r.Worker)
		}
		s.workers = replaced(s.workers, i, r)
		return
	}
	for _, w := range s.workers {
		if w.Worker != r.Worker && !w.Subtasks.And(r.Subtasks).IsEmpty() && s.keeps(w, r) {
			s.emit(Op{Kind: TellReplaced, Worker: r.Worker})
			return
		}
	}
	for _, w := range s.workers {
		if w.Worker == r.Worker || !w.Subtasks.And(r.Subtasks).IsEmpty() {
			s.replace(w, r.Worker)
		}
	}
	i := 0
	for i < len(s.workers) && s.workers[i].Worker < r.Worker {
		i++
	}
	s.workers = with(with(s.workers[:i], r), s.workers[i:]...)
}

// catchUp repeats the commands that a process of the attempt may have missed while its stream was broken. If a lost
// Trigger were not repeated, other workers would wait for its barriers until the checkpoint times out.
func (s *step) catchUp(worker uint32) {
	again := Op{Worker: worker, Attempt: s.head.Attempt, Epoch: s.head.Epoch, Latest: s.head.Restorable(), Repeated: true}
	say := func(kind OpKind, id, last uint64) {
		op := again
		op.Kind, op.ID, op.Last = kind, id, last
		switch kind {
		case TellAbort:
			op.Reason = ReasonOther
		case TellTrigger:
			_, p := s.find(id)
			if op.Checkpoint = p.Kind; p.Savepoint() {
				op.Savepoint = &p.Saved
			}
		}
		s.emit(op)
	}
	if again.Latest > s.head.Restore {
		say(TellComplete, again.Latest, 0)
	}
	// It is enough to repeat the newest aborts: a newer barrier ends the wait for an older one.
	from := max(s.first, again.Latest+1)
	if s.next > s.cfg.Reserve {
		from = max(from, s.next-s.cfg.Reserve)
	}
	for _, p := range s.pending {
		if from < p.ID {
			say(TellAbort, from, p.ID-1)
		}
		from = max(from, p.ID+1)
		if p.State == PendingOpen {
			say(TellTrigger, p.ID, 0)
		}
	}
	if from < s.next {
		say(TellAbort, from, s.next-1)
	}
}

// keeps decides whether the registered process w keeps its subtasks against another one. A fresh process always takes
// over: it was started because w is gone. A process that has run an attempt takes over unless w runs the live attempt,
// or w is there with a newer attempt or with none.
func (s *step) keeps(w, other Registration) bool {
	switch {
	case other.Attempt == 0:
		return false
	case s.cfg.off.keeps:
		return false
	case s.Live() && w.Attempt == s.head.Attempt:
		return true
	}
	return !w.Gone && (w.Attempt == 0 || w.Attempt > other.Attempt)
}

func (s *step) replace(w Registration, by uint32) {
	s.workers = without(s.workers, func(r Registration) bool { return r.Worker == w.Worker })
	if s.Live() && w.Attempt == s.head.Attempt && !s.done(w) {
		// The subtasks of w continue only in a new attempt, and somebody has to ask for it.
		s.attempt = attemptFailed
	}
	if w.Worker != by {
		s.emit(Op{Kind: TellReplaced, Worker: w.Worker})
	}
}

func (s *step) workerGone(worker uint32) {
	i, w := s.worker(worker)
	switch {
	case i < 0:
	case s.Live() && w.Attempt == s.head.Attempt: // the process may register again
		w.Gone, w.Running = true, Subtasks{}
		s.workers = replaced(s.workers, i, w)
	default:
		s.workers = without(s.workers, func(r Registration) bool { return r.Worker == worker })
	}
}

func (s *step) running(ev *Event) {
	i, w := s.worker(ev.Worker)
	if i < 0 || w.Gone || ev.Attempt != s.head.Attempt || w.Attempt != ev.Attempt {
		return
	}
	w.Running = w.Running.Or(ev.Subtasks.And(w.Subtasks))
	s.workers = replaced(s.workers, i, w)
	s.tellRunning()
}

func (s *step) tellRunning() {
	if s.attempt == attemptStarted && s.allRunning() {
		s.attempt = attemptRunning
		s.emit(Op{Kind: TellAllRunning, Attempt: s.head.Attempt})
	}
}

// failover ends an attempt that has failed. The next attempt begins when somebody asks for it.
func (s *step) failover(ev *Event) {
	if ev.Attempt != s.head.Attempt || s.attempt == attemptWished {
		return
	}
	s.abortAll(ev.Reason)
	s.attempt = attemptFailed
}

// newAttempt takes the wish for the next attempt.
func (s *step) newAttempt(ev *Event) {
	answer := Op{Kind: TellAttempted, Caller: ev.Caller, Attempt: s.head.Attempt}
	switch {
	case s.head.Status.Terminal():
		answer.Reason = ReasonTerminal
	case s.stop, s.ending.status != journal.StatusNone:
		answer.Reason = ReasonStopping
	case ev.Attempt != s.head.Attempt, s.head.Seen(ev.Request): // done already
	case s.attempt == attemptWished && s.wish.caller != 0 && ev.Caller != 0:
		answer.Reason = ReasonBusy
	default:
		if s.attempt != attemptWished {
			s.wish = wish{}
		}
		if ev.Caller != 0 {
			s.wish.caller, s.wish.request = ev.Caller, ev.Request
		}
		s.attempt = attemptWished
		s.abortAll(ReasonAttemptEnded)
		return
	}
	if ev.Caller != 0 {
		s.emit(answer)
	}
}

// registrationsExpired ends the wait for the workers of the attempt that was found: they did not all come back in time.
func (s *step) registrationsExpired() {
	if s.attempt == attemptFound {
		s.attempt = attemptExpired
	}
}

// settleAttempt adopts the attempt in the journal, or begins the next one. It starts an attempt that was begun as soon
// as every subtask has a worker.
func (s *step) settleAttempt() {
	if !s.free() || s.head.Importing() && !s.cfg.off.gate || s.head.Status.Terminal() || s.ending.status != journal.StatusNone || s.stop {
		return
	}
	switch s.attempt {
	case attemptWished:
		s.appendAttempt()
	case attemptBegun:
		s.start(func(Registration) bool { return true })
	case attemptFound, attemptExpired:
		switch {
		case !s.cannotAdopt():
			s.adopt()
		case s.cfg.off.raise && s.head.Attempt > 0:
			s.attempt = attemptBegun
			s.start(func(w Registration) bool { return w.Attempt != s.head.Attempt })
		default:
			s.appendAttempt()
		}
	}
}

// cannotAdopt tells whether the attempt in the journal cannot go on: there is none, a process of another attempt has
// registered, or not all workers came back in time.
func (s *step) cannotAdopt() bool {
	if s.attempt == attemptExpired {
		return true
	}
	for _, w := range s.workers {
		if s.head.Attempt == 0 || w.Attempt != s.head.Attempt {
			return true
		}
	}
	return false
}

func (s *step) appendAttempt() {
	e := *s.head
	e.Kind, e.Suspended = journal.KindAttempt, e.Suspended && s.cfg.off.suspended
	e.Attempt++
	e.Restore = e.Restorable()
	if s.cfg.off.stopping {
		e.Restore = e.Newest()
	}
	if s.cfg.off.newest && len(e.Retained) > 0 {
		e.Restore = e.Retained[0].ID
	}
	if s.wish.plan != nil {
		e.Plan = s.wish.plan
	}
	if s.wish.config != nil {
		e.Config = s.wish.config
	}
	e.Requests = remember(e.Requests, s.wish.request)
	s.append(e, 0)
}

// attemptWon acts on the entry of an attempt that was won. The attempt starts when every subtask has a worker.
func (s *step) attemptWon() {
	if s.wish.caller != 0 {
		s.emit(Op{Kind: TellAttempted, Caller: s.wish.caller, Attempt: s.head.Attempt})
	}
	if s.wish.plan != nil { // workers that registered for the old plan have to register again with the new one
		for _, w := range s.workers {
			s.emit(Op{Kind: TellPlanRefused, Worker: w.Worker})
		}
		s.workers = nil
	}
	s.workers = without(s.workers, func(w Registration) bool { return w.Gone })
	s.wish = wish{}
	if !s.cfg.off.finished {
		s.finished = Subtasks{}
	}
	s.attempt = attemptBegun
}

// start begins the attempt of the head if every subtask has a worker. It sends Start to the workers that told selects.
func (s *step) start(told func(Registration) bool) {
	if !s.covered() {
		return
	}
	s.attempt = attemptStarted
	workers := with[Registration](nil, s.workers...)
	var start []uint32
	for i, w := range workers {
		if told(w) {
			start = append(start, w.Worker)
		}
		workers[i].Attempt, workers[i].Running = s.head.Attempt, Subtasks{}
	}
	s.workers = workers
	s.emit(Op{Kind: TellAttempt, Attempt: s.head.Attempt, ID: s.head.Restore, Epoch: s.head.Epoch})
	for _, w := range start {
		s.tellStart(w)
	}
}

func (s *step) tellStart(worker uint32) {
	s.emit(Op{Kind: TellStart, Worker: worker, Attempt: s.head.Attempt, Epoch: s.head.Epoch, ID: s.head.Restore})
}

// adopt continues the attempt of the journal if every subtask of its plan has registered as running it. The predecessor
// may have died before it told the workers of its last checkpoints, so Complete and Abort are repeated.
func (s *step) adopt() {
	if s.head.Attempt == 0 || !s.covered() || s.cannotAdopt() {
		return
	}
	s.attempt = attemptStarted
	attempt, epoch, last := s.head.Attempt, s.head.Epoch, s.head.Restorable()
	s.emit(Op{Kind: TellAttempt, Attempt: attempt, ID: s.head.Restore, Epoch: epoch, Adopted: true})
	if last > s.head.Restore {
		s.emit(Op{Kind: TellComplete, ID: last, Attempt: attempt, Epoch: epoch, Repeated: true})
	}
	if last+1 < s.first {
		s.emit(Op{Kind: TellAbort, ID: last + 1, Last: s.first - 1, Latest: last, Attempt: attempt, Epoch: epoch, Reason: ReasonNotOwner, Repeated: true})
	}
	s.tellRunning()
}

package owner

// Step takes an event and appends to ops what the shell has to do.
func (m *Machine) Step(cfg *Config, ev *Event, ops []Op) []Op {
	s := step{m, cfg, ops}
	switch ev.Kind {
	case EventResult:
		if ev.Result.Life == m.life || cfg.off.life {
			s.result(&ev.Result)
		}
	case EventAttach, EventFinish, EventJanitor:
		s.attach(ev)
	case EventStop:
		s.stopped(ev)
	default:
		if m.phase == PhaseOwning {
			s.owning(ev)
		} else {
			s.notOwner(ev)
		}
	}
	if m.phase == PhaseOwning {
		s.settle()
	}
	return s.ops
}

// owning takes an event while the job is owned.
func (s *step) owning(ev *Event) {
	switch ev.Kind {
	case EventRegister:
		s.register(ev)
	case EventWorkerGone:
		s.workerGone(ev.Worker)
	case EventRunning:
		s.running(ev)
	case EventFinished:
		s.subtasksFinished(ev)
	case EventRegistrationsExpired:
		s.registrationsExpired()
	case EventFailover:
		s.failover(ev)
	case EventNewAttempt:
		s.newAttempt(ev)
	case EventTrigger:
		s.wantTrigger(ev)
	case EventBegin:
		s.begin(ev)
	case EventAck:
		s.ack(ev)
	case EventAbort:
		s.abort(ev.ID, ev.Reason)
	case EventEnd:
		s.end(ev)
	case EventSweep:
		s.wantSweep(ev)
	case EventEdit:
		s.wantEdit(ev)
	case EventSavepoint:
		s.wantSavepoint(ev)
	case EventDisposed:
		s.wantDisposed(ev.ID)
	case EventCollect:
		s.page(ev.Uploads, ev.IDs)
	}
}

// notOwner refuses an event for a job that is not owned.
func (s *step) notOwner(ev *Event) {
	answer := Op{Caller: ev.Caller, ID: ev.ID, Reason: ReasonNotOwner}
	switch ev.Kind {
	case EventRegister:
		s.emit(Op{Kind: TellReregister, Worker: ev.Worker})
		return
	case EventNewAttempt:
		answer.Kind = TellAttempted
	case EventTrigger:
		answer.Kind = TellTriggerRefused
	case EventBegin:
		answer.Kind = TellBegun
	case EventAck:
		answer.Kind = TellAcked
	case EventEnd:
		answer.Kind = TellEnded
	case EventSweep:
		answer.Kind = TellSwept
	case EventEdit:
		answer.Kind = TellEdited
	case EventSavepoint:
		answer.Kind = TellSavepoint
	default:
		return
	}
	s.emit(answer)
}

// result takes the answer to an operation of this life.
func (s *step) result(r *Result) {
	switch {
	case r.Kind == OpJournal && s.app.Busy():
		s.appended(r)
	case r.Kind == OpJournal && s.reader.Busy():
		s.read(r)
	case r.Kind == OpAsk && s.phase == PhaseAsking:
		s.answered(r)
	case s.phase != PhaseOwning:
	case r.Kind == OpAbroad:
		s.wentAbroad(r)
	case r.Kind == OpReadSource:
		s.sourceRead(r)
	case r.Kind == OpTime:
		s.timeKnown(r)
	case r.Kind == OpReadMeta:
		if !s.heldRead(r) {
			s.metaChecked(r)
		}
	case r.Kind == OpCreateMeta:
		s.metaCreated(r)
	case r.Kind == OpSave:
		s.saveAnswered(r)
	case r.Kind == OpReadSaved:
		s.savedRead(r)
	case r.Kind == OpTombstone:
		s.tombstoneAnswered(r)
	case r.Kind == OpClean:
		s.folderCleaned(r)
	case r.Kind == OpDeleteMetas:
		s.metasDeleted(r)
	case r.Kind == OpDeleteFiles:
		s.filesDeleted(r)
	case r.Kind == OpAbortUnfinished:
		s.unfinishedAborted()
	case r.Kind == OpSweep:
		s.swept(r)
	}
}

// settle begins everything that can begin now. Only one append runs at a time; the order here decides which wish is
// first.
func (s *step) settle() {
	s.answerAttachers()
	if s.ask() && !s.commitNext() && !s.endNow() && !s.editNow() && !s.tidyNow() && !s.cleanedNow() && !s.disposedNow() && !s.relistNow() && !s.releaseNow() && !s.settleImport() {
		s.clock = 0 // what needs the time has it now, or asks again
		s.settleAttempt()
		s.settleSavepoint()
		s.settleTrigger()
	}
	if s.phase == PhaseOwning {
		s.settlePins()
		s.settleCleaning()
		s.deleteNext()
	}
}

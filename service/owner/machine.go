package owner

import (
	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/retention"
)

// Config is what a machine never changes.
type Config struct {
	Journal journal.Settings
	// Reserve is how many checkpoint ids an entry reserves ahead.
	Reserve uint64
	// MaxRetained bounds the retained checkpoints.
	MaxRetained int
	// Process is this process's nonce.
	Process journal.Process
	// URLs say where this daemon listens.
	URLs []string
	// Policy says what a job's configuration means to its owner. It is a pure function. It answers false for a
	// configuration that this version does not understand.
	Policy func(*journal.Config) (Policy, bool)

	off off
}

// Policy is what a job's configuration means to its owner.
type Policy struct {
	// NumRetained is how many ordinary checkpoints a completion keeps; 0 means 1.
	NumRetained uint32
	// Retention is what the end of the job keeps.
	Retention retention.Policy
}

// DefaultConfig is that of protocol and production.
func DefaultConfig(process journal.Process, urls []string, policy func(*journal.Config) (Policy, bool)) *Config {
	return &Config{Journal: journal.DefaultSettings(), Reserve: 16, MaxRetained: journal.MaxRetained, Process: process, URLs: urls,
		Policy: policy}
}

// Phase is what a machine is doing, roughly.
type Phase uint8

// The phases.
const (
	// PhaseIdle: the job is not owned here.
	PhaseIdle Phase = iota
	// PhaseReading: the head is read, to attach.
	PhaseReading
	// PhaseAsking: the owner that the head names is asked.
	PhaseAsking
	// PhaseAttaching: the entry of the attach is appended.
	PhaseAttaching
	// PhaseOwning: the job is owned; workers are served.
	PhaseOwning
)

// Machine is the owner of one job in one process: attach, attempts, checkpoints, deletes, sweeps. The zero value owns nothing.
// It is a value: n := m makes a copy that goes its own way, because slices are never edited, only replaced.
type Machine struct {
	phase Phase
	// life counts attaches: results of an earlier one are ignored.
	life uint32
	// count of the nonces given out.
	count uint32
	// finish: attach only to a terminal job.
	finish bool
	// stop: give the job up.
	stop   bool
	create *Creation

	reader journal.ReadHead
	app    journal.Append
	// doing is what app is about, doingID the checkpoint of a commit.
	doing   journal.Kind
	doingID uint64
	// head is the newest entry as far as we know; while attaching, the one to append after (nil: into an empty journal).
	head *journal.Entry
	// me is the nonce of this attach.
	me journal.Nonce
	// first is the lowest id that this epoch may trigger, next the next one.
	first, next uint64

	// held is what keeps files reachable: the retained checkpoints of the head, in its order.
	held []held
	// recheckHead: a worker knows of an attempt that this owner has not begun. An owner that was frozen, and has nothing to append, would
	// send it away for ever.
	recheckHead bool
	// missingMeta: the reader finds out why the _metadata of this checkpoint is not there.
	missingMeta uint64
	index       incremental.Index

	workers []Registration
	// attempt is how far the attempt of the head came, wish what comes with the next one.
	attempt attemptState
	wish    wish
	ending  ending
	trigger triggerWish

	pending  []Pending
	promises []promise
	// unansweredMetas are aborted checkpoints whose _metadata may still be on its way.
	unansweredMetas []uint64

	// metas wait to be deleted, before the condemned files; deleting what is under way.
	metas         []uint64
	deletingMetas []uint64
	deleting      incremental.Set
	sweep         sweep
}

// held is one retained checkpoint with the files it names.
type held struct {
	id    uint64
	state heldState
	files incremental.Set
}

type heldState uint8

const (
	heldRead heldState = iota
	// heldLoading: its _metadata is being read.
	heldLoading
	// heldMissing: its _metadata is not there. Did a new owner drop it? A look at the head tells.
	heldMissing
	// heldUnreadable: damage, or something newer: nothing is deleted.
	heldUnreadable
)

// wish is what comes with the next attempt.
type wish struct {
	plan    *journal.Plan
	config  *journal.Config
	caller  uint64
	request journal.Request
}

// ending is a terminal status that is wished for.
type ending struct {
	status  journal.Status
	ended   journal.Ended
	caller  uint64
	request journal.Request
}

// triggerWish is a checkpoint that waits to begin.
type triggerWish struct {
	wanted bool
	caller uint64
}

// promise is the owner's word that files stay while a checkpoint is pending.
type promise struct {
	id    uint64
	files incremental.Set
}

// step is one Step under way.
type step struct {
	*Machine
	cfg *Config
	ops []Op
}

// Step takes an event and appends what has to be done to ops.
func (m *Machine) Step(cfg *Config, ev *Event, ops []Op) []Op {
	s := step{m, cfg, ops}
	switch ev.Kind {
	case EventResult:
		if ev.Result.Life == m.life || cfg.off.life {
			s.result(&ev.Result)
		}
	case EventAttach, EventFinish:
		s.attach(ev)
	case EventStop:
		s.stopped()
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

func (s *step) emit(op Op) {
	op.Life = s.life
	s.ops = append(s.ops, op)
}

func (s *step) journal(op journal.Op) {
	if op.Kind != journal.OpNone {
		s.emit(Op{Kind: OpJournal, Wait: op.Wait, Journal: op})
	}
}

// nonce makes one that was never used.
func (s *step) nonce() journal.Nonce {
	s.count++
	return journal.Nonce{Process: s.cfg.Process, Count: s.count}
}

// forget drops everything but what keeps lives and nonces apart.
func (s *step) forget() { *s.Machine = Machine{life: s.life, count: s.count} }

// owning takes an event while the job is owned.
func (s *step) owning(ev *Event) {
	switch ev.Kind {
	case EventRegister:
		s.register(ev)
	case EventWorkerGone:
		s.workerGone(ev.Worker)
	case EventRunning:
		s.running(ev)
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
	case r.Kind == OpReadMeta:
		s.metaRead(r)
	case r.Kind == OpCreateMeta:
		s.metaCreated(r)
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

// settle begins whatever can begin now. One append at a time: the order of wishes is the order here.
func (s *step) settle() {
	if s.ask() && !s.commitNext() && !s.endNow() && !s.releaseNow() {
		s.settleAttempt()
		s.settleTrigger()
	}
	if s.phase == PhaseOwning {
		s.deleteNext()
	}
}

// free tells whether an append may begin.
func (s *step) free() bool { return !s.app.Busy() && !s.reader.Busy() }

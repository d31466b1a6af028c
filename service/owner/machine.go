package owner

import (
	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/retention"
)

// Config is constant for a machine.
type Config struct {
	Journal journal.Settings
	// Reserve is how many checkpoint ids an entry reserves ahead.
	Reserve uint64
	// MaxRetained bounds the retained checkpoints.
	MaxRetained int
	// MaxSavepoints bounds the savepoints on record.
	MaxSavepoints int
	// DeleteAtOnce is how many files an OpDeleteFiles names, unless it repeats one that failed; 0: all. Between two of them
	// the owner answers others, and condemned _metadata have their turn.
	DeleteAtOnce int
	// Process is this process's nonce.
	Process journal.Process
	// URLs say where this daemon listens.
	URLs []string
	// Policy interprets a job's configuration for its owner. It is a pure function. It answers false for a
	// configuration that this version does not understand.
	Policy func(*journal.Config) (Policy, bool)
	// Same tells whether two configurations that this version understands mean the same. It is a pure function. nil:
	// they mean the same if their bytes are equal.
	Same func(a, b *journal.Config) bool

	off off
}

func (c *Config) same(a, b *journal.Config) bool {
	if c.Same != nil {
		return c.Same(a, b)
	}
	return a.Hash == b.Hash
}

// Policy holds the settings of a job's configuration that its owner acts on.
type Policy struct {
	// NumRetained is how many ordinary checkpoints a completion keeps; 0 means 1.
	NumRetained uint32
	// Retention is what the end of the job keeps.
	Retention retention.Policy
	// Trash is how long a checkpoint stays in the trash (milliseconds); 0: there is no trash.
	Trash uint64
}

// DefaultConfig is the configuration of the protocol, used in production.
func DefaultConfig(process journal.Process, urls []string, policy func(*journal.Config) (Policy, bool)) *Config {
	return &Config{Journal: journal.DefaultSettings(), Reserve: 16, MaxRetained: journal.MaxRetained,
		MaxSavepoints: journal.MaxSavepoints, DeleteAtOnce: 4000, Process: process,
		URLs: urls, Policy: policy}
}

// Phase says how far a machine is on its way to own the job.
type Phase uint8

// The phases.
const (
	// PhaseIdle: the machine does not own the job and does not try to.
	PhaseIdle Phase = iota
	// PhaseReading: the machine reads the head in order to attach.
	PhaseReading
	// PhaseAsking: the machine asks the owner that the head names whether it still owns the job.
	PhaseAsking
	// PhaseAttaching: the machine appends the entry of the attach.
	PhaseAttaching
	// PhaseOwning: the machine owns the job and serves its workers.
	PhaseOwning
)

// Machine is the owner of one job in one process: attach, attempts, checkpoints, deletes, sweeps. The zero value owns
// nothing. A Machine is a value: n := m makes an independent copy, because slices are never edited, only replaced.
type Machine struct {
	phase Phase
	// life counts attaches. Results of operations from an earlier life are ignored.
	life uint32
	// count is the number of nonces given out.
	count uint32
	// stop is true when the job is to be released.
	stop bool
	// suspends is true when a person wants the job released: its entry says so.
	suspends bool
	// attaching are the callers of EventAttach and EventFinish that wait for an answer, the first one first.
	attaching []attacher

	reader journal.ReadHead
	app    journal.Append
	// doing is the kind of entry that app appends, doingID the checkpoint of a commit.
	doing   journal.Kind
	doingID uint64
	// head is the newest entry that this owner knows. During an attach it is the entry to append after; nil stands for
	// an empty journal.
	head *journal.Entry
	// me is the nonce of this attach. silent is true while it is appended, and the owner that the head names gave no answer.
	me     journal.Nonce
	silent bool
	// first is the lowest checkpoint id that this epoch may trigger, next the id of the next checkpoint.
	first, next uint64

	// held are the retained checkpoints of the head, in the head's order. The files that they name are reachable.
	held []held
	// recheckHead is set when a worker reports a newer attempt than the journal entry we know. We may have lost
	// ownership while we were suspended, so the head is read again.
	recheckHead bool
	// missingMeta is a checkpoint whose _metadata was not found. The head is read again to learn whether a new owner
	// has dropped the checkpoint.
	missingMeta uint64
	index       incremental.Index

	workers []Registration
	// attempt is the progress of the head's attempt. wish is what the next attempt's entry will contain.
	attempt attemptState
	// finished are the subtasks that have finished for good in the head's attempt.
	finished Subtasks
	wish     wish
	ending   ending
	trigger  triggerWish

	pending  []Pending
	promises []promise
	// unansweredMetas are aborted checkpoints whose _metadata is still being written: the store has not answered yet.
	unansweredMetas []uint64

	// saving are the savepoints that wait for their first entry.
	saving []savepointWish
	// goneSaves are the periodic savepoints that were disposed of, and that are still on record.
	goneSaves []uint64
	// unansweredSaves are aborted savepoints that are still being written: the store has not answered yet.
	unansweredSaves []uint64
	// cleaning is the unfinished savepoint that is being cleaned. uncleaned are those whose store could not be reached, until the
	// next sweep. relists are cleaned ones whose folders are to be listed again.
	cleaning  cleaning
	uncleaned []uint64
	relists   []uint64

	// metas are the checkpoints whose _metadata is to be deleted, before the condemned files. deletingMetas and
	// deleting are those whose delete is under way.
	metas []uint64
	// deletesFail is true while a delete that failed is repeated.
	deletesFail bool
	// left are the checkpoints whose _metadata could not be condemned yet.
	left          []uint64
	deletingMetas []uint64
	deleting      incremental.Files
	sweep         sweep

	// edits are the commands of people that wait. editing is true while the entry of the first one is published.
	edits   []edit
	editing bool
	// clock is the store's time (milliseconds since 1970), as long as something needs it; 0: it is not known. timing is true
	// while the store is asked.
	clock  uint64
	timing bool

	imp    importing
	errand errand
	// foreign are the files in other jobs' folders that the retained checkpoints of a job that claims its source name, or
	// have named. They are not in the index: this owner never deletes them.
	foreign []Foreign
	// pins are taken for the import, and in no entry of this job yet.
	pins []journal.Borrowed
	// returned are pins of this job that the lenders' journals do not list any more. An entry is to forget them.
	returned []journal.Nonce
	// looks are pins of other jobs still to be looked at, leaked those that an entry is to drop.
	looks, leaked []journal.Nonce
	// stuck is true if a lender's journal could not be read. tidying is true if hidden checkpoints that nobody borrows
	// are to be dropped, though the job runs.
	stuck, tidying bool
}

// held is one retained checkpoint with the files it names.
type held struct {
	id    uint64
	state heldState
	files incremental.Files
}

type heldState uint8

const (
	heldRead heldState = iota
	// heldLoading: its _metadata is being read.
	heldLoading
	// heldMissing: its _metadata was not found. The head has to be read again: a new owner may have dropped the
	// checkpoint.
	heldMissing
	// heldUnreadable: its _metadata is damaged, lost or of a newer version. The owner deletes nothing.
	heldUnreadable
)

// wish is what the next attempt changes, and who waits for EventNewAttempt.
type wish struct {
	plan    *journal.Plan
	config  *journal.Config
	caller  uint64
	request journal.Request
}

// ending is a wish for a terminal status. Its entry is not won yet.
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
	kind   CheckpointKind
}

// promise is the owner's promise to keep files while a checkpoint is pending.
type promise struct {
	id    uint64
	files incremental.Files
}

// step is one Step under way.
type step struct {
	*Machine
	cfg *Config
	ops []Op
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

// nonce makes a nonce that was never used before.
func (s *step) nonce() journal.Nonce {
	s.count++
	return journal.Nonce{Process: s.cfg.Process, Count: s.count}
}

// forget resets the machine. It keeps the counters of lives and nonces, so that none is used twice.
func (s *step) forget() { *s.Machine = Machine{life: s.life, count: s.count} }

// free tells whether an append may begin.
func (s *step) free() bool { return !s.app.Busy() && !s.reader.Busy() }

// policy interprets the configuration in the journal.
func (s *step) policy() Policy {
	p, _ := s.cfg.Policy(s.head.Config) // canDo refuses the attach if the configuration is not understood
	return p
}

// fenced handles the loss of the job to another owner. This owner announces nothing, deletes nothing and forgets all.
func (s *step) fenced() { s.disown(TellFenced) }

func (s *step) released() { s.disown(TellReleased) }

// disown ends ownership. The Tell carries the head, because other Tells of this Step may speak of it.
func (s *step) disown(how OpKind) {
	var head *journal.Entry
	if s.phase == PhaseOwning {
		head = s.head
	}
	s.forget()
	s.emit(Op{Kind: how, Head: head})
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

// endedSavepoint is the list of savepoints in which one of them has ended.
func endedSavepoint(all []journal.Savepoint, id uint64, how journal.SavepointOutcome, at uint64, edit func(*journal.Savepoint)) []journal.Savepoint {
	out := with(all)
	for i := range out {
		if out[i].ID == id {
			out[i].Outcome, out[i].EndedAt = how, at
			edit(&out[i])
		}
	}
	return out
}

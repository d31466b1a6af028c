package owner

import (
	"slices"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
)

// Phase is the machine's phase.
func (m *Machine) Phase() Phase { return m.phase }

// Owns answers another process's OpAsk. It is true if this machine's attach with that nonce owns the job or may come to
// own it.
func (m *Machine) Owns(nonce journal.Nonce) bool {
	return !nonce.IsZero() && m.me == nonce && (m.phase == PhaseOwning || m.phase == PhaseAttaching)
}

// Head is the newest entry of the journal that this owner knows. It is nil unless the phase is PhaseOwning.
func (m *Machine) Head() *journal.Entry {
	if m.phase != PhaseOwning {
		return nil
	}
	return m.head
}

// AllRunning tells whether every subtask of the live attempt runs.
func (m *Machine) AllRunning() bool {
	return m.phase == PhaseOwning && m.Live() && m.planned().In(m.ran())
}

// Missing is the subtasks of the plan that no worker has registered for.
func (m *Machine) Missing() Subtasks {
	if m.phase != PhaseOwning {
		return Subtasks{}
	}
	return m.planned().Minus(m.registered())
}

// Pending is the pending checkpoints in ascending order. The caller must not change the slice.
func (m *Machine) Pending() []Pending { return m.pending }

// Registrations is the workers, in ascending order of their numbers. The caller must not change the slice.
func (m *Machine) Registrations() []Registration { return m.workers }

// Stopping tells whether the machine is about to release the job.
func (m *Machine) Stopping() bool { return m.stop }

// Degraded says why nothing is deleted, and because of which checkpoint: ReasonLoading (its _metadata is not read yet)
// or ReasonDegraded (its _metadata is unreadable). With ReasonNone deletes go on.
func (m *Machine) Degraded() (Reason, uint64) { return m.unread() }

// Condemned is how many files and _metadata wait to be deleted.
func (m *Machine) Condemned() int { return m.index.Condemned.Len() + len(m.metas) }

// Cleaning is how many checkpoints that left the job are being deleted: those whose _metadata waits, or one whose files do. It is 0
// while a delete that failed is repeated. A store that does not delete must not keep a job from its checkpoints.
func (m *Machine) Cleaning() int {
	if m.phase != PhaseOwning || m.deletesFail {
		return 0
	}
	if len(m.metas) == 0 && !m.index.Condemned.IsEmpty() {
		return 1
	}
	return len(m.metas)
}

// Files is the files that a retained checkpoint names; ok is false if its _metadata is unreadable or not yet read.
func (m *Machine) Files(checkpoint uint64) (files incremental.Files, ok bool) {
	i := slices.IndexFunc(m.held, func(h held) bool { return h.id == checkpoint })
	if i < 0 {
		return incremental.Files{}, false
	}
	return m.held[i].files, m.held[i].state == heldRead
}

// Floor is the lowest checkpoint that can still be acknowledged. The machine must own the job.
func (m *Machine) Floor() uint64 { return m.floor() }

// Quiet tells whether nothing is under way: no sweep, delete or entry, no question for the store's time, and no pin of this job to be
// returned or forgotten.
func (m *Machine) Quiet() bool {
	s := step{m, &Config{}, nil}
	return m.phase == PhaseOwning && m.sweep.stage == sweepIdle && m.clean() && !m.timing && !s.owes() && s.free()
}

// PinsSettled tells whether each pin on the job's checkpoints was looked at since the last sweep began, and the stale ones are dropped.
func (m *Machine) PinsSettled() bool {
	return m.phase == PhaseOwning && m.errand.kind != errandLook && len(m.looks)+len(m.leaked) == 0 && !m.timing && !(m.app.Busy() && m.doing == journal.KindReturn)
}

// NeededBy counts the retained checkpoints that name the file. The count is computed each time, never stored.
func (m *Machine) NeededBy(file incremental.File) (n int) {
	for _, h := range m.held {
		if h.files.Has(file) {
			n++
		}
	}
	return n
}

// PendingState is the progress of a pending checkpoint.
type PendingState uint8

// The states of a pending checkpoint.
const (
	// PendingOpen: the checkpoint waits for acknowledgements.
	PendingOpen PendingState = iota
	// PendingWriting: the checkpoint's _metadata is being written.
	PendingWriting
	// PendingSaving: a savepoint is being written to its folder.
	PendingSaving
	// PendingReady: the _metadata is durable. The entry waits until another append has ended.
	PendingReady
	// PendingUnresolved: the entry is being published.
	PendingUnresolved
)

// Pending is one pending checkpoint.
type Pending struct {
	ID    uint64
	State PendingState
	Kind  CheckpointKind
	// Acked are the subtasks that have acknowledged, Named the files that their acknowledgements name.
	Acked Subtasks
	Named incremental.Files
	// Meta is the checkpoint as its entry will hold it: the nonce from PendingWriting on, the rest from PendingReady
	// on.
	Meta journal.Checkpoint
	// Saved is the savepoint as its entry will hold it; zero: this is a checkpoint.
	Saved journal.Savepoint
}

// Savepoint tells whether it is a savepoint.
func (p *Pending) Savepoint() bool { return p.Saved.ID != 0 }

// stops tells whether it is a savepoint that stops the job.
func (p *Pending) stops() bool { return p.Saved.Stop != journal.StopNone }

// Registration is one worker process.
type Registration struct {
	Worker   uint32
	Subtasks Subtasks
	// Running are those of Subtasks that run, in Attempt.
	Running Subtasks
	// Attempt is the attempt that the process runs or was told to start.
	Attempt uint64
	// Gone is true after the process's stream broke.
	Gone bool
}

package owner

import (
	"slices"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
)

// Phase is what the machine is doing.
func (m *Machine) Phase() Phase { return m.phase }

// Owns answers another process's OpAsk: whether this machine's attach with that nonce owns the job, or is about to.
func (m *Machine) Owns(nonce journal.Nonce) bool {
	return !nonce.IsZero() && m.me == nonce && (m.phase == PhaseOwning || m.phase == PhaseAttaching)
}

// Head is the newest entry of the journal as far as this owner knows (epoch, attempt, restore, status, plan, retained checkpoints);
// nil unless PhaseOwning.
func (m *Machine) Head() *journal.Entry {
	if m.phase != PhaseOwning {
		return nil
	}
	return m.head
}

// Live tells whether the attempt of the head runs under this owner: started by it or adopted. Not live: it waits for workers, or
// for EventNewAttempt.
func (m *Machine) Live() bool { return m.attempt == attemptStarted || m.attempt == attemptRunning }

// AttemptKnown tells whether it is known which attempt runs. It is not while this owner waits for the workers of the
// attempt that it found, who may still run, and while the next attempt is being begun.
func (m *Machine) AttemptKnown() bool {
	adopting := m.phase == PhaseOwning && m.head.Attempt > 0 && m.attempt == attemptFound
	return !adopting && m.attempt != attemptWished && m.doing != journal.KindAttempt
}

// AllRunning tells whether every subtask of the live attempt runs.
func (m *Machine) AllRunning() bool {
	return m.phase == PhaseOwning && m.Live() && m.planned().In(m.ran())
}

// Missing is the subtasks of the plan that no worker has registered for.
func (m *Machine) Missing() incremental.Set {
	if m.phase != PhaseOwning {
		return incremental.Set{}
	}
	return m.planned().Minus(m.registered())
}

// Pending is the checkpoints that are open, being written or unresolved, in ascending order. Not to be edited.
func (m *Machine) Pending() []Pending { return m.pending }

// Registrations is the workers, in ascending order of their numbers. Not to be edited.
func (m *Machine) Registrations() []Registration { return m.workers }

// Stopping tells whether the job is being let go.
func (m *Machine) Stopping() bool { return m.stop }

// Degraded says why nothing is deleted: ReasonNone, ReasonLoading (not yet read) or ReasonDegraded (unreadable), and which
// checkpoint it is.
func (m *Machine) Degraded() (Reason, uint64) { return m.unread() }

// Condemned is how many files and _metadata wait to be deleted.
func (m *Machine) Condemned() int { return m.index.Condemned.Len() + len(m.metas) }

// Files is the files that a retained checkpoint names; ok is false if its _metadata is unreadable or not yet read.
func (m *Machine) Files(checkpoint uint64) (files incremental.Set, ok bool) {
	i := slices.IndexFunc(m.held, func(h held) bool { return h.id == checkpoint })
	if i < 0 {
		return incremental.Set{}, false
	}
	return m.held[i].files, m.held[i].state == heldRead
}

// NeededBy is how many retained checkpoints name the file: a count that is derived, never stored.
func (m *Machine) NeededBy(file incremental.File) (n int) {
	for _, h := range m.held {
		if h.files.Has(file) {
			n++
		}
	}
	return n
}

// PendingState is how far a checkpoint came.
type PendingState uint8

// The states of a pending checkpoint.
const (
	// PendingOpen: from trigger to last acknowledgement.
	PendingOpen PendingState = iota
	// PendingWriting: its _metadata is being written.
	PendingWriting
	// PendingReady: its _metadata is durable; its entry waits for its turn.
	PendingReady
	// PendingUnresolved: its entry is being published.
	PendingUnresolved
)

// Pending is one pending checkpoint.
type Pending struct {
	ID    uint64
	State PendingState
	// Acked are the subtasks that have acknowledged, Named the files that their acknowledgements name.
	Acked, Named incremental.Set
	// Meta is what its entry will say: the nonce from PendingWriting on, the rest from PendingReady on.
	Meta journal.Checkpoint
}

// Registration is one worker process.
type Registration struct {
	Worker   uint32
	Subtasks incremental.Set
	// Running of them, in Attempt.
	Running incremental.Set
	// Attempt that the process runs or was told to start.
	Attempt uint64
	// Gone: its stream broke.
	Gone bool
}

package owner

import (
	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
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

	off off
}

// DefaultConfig is that of protocol and production.
func DefaultConfig(process journal.Process, urls []string) *Config {
	return &Config{Journal: journal.DefaultSettings(), Reserve: 16, MaxRetained: journal.MaxRetained, Process: process, URLs: urls}
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
type Machine struct {
	phase Phase
}

// Step takes an event and appends what has to be done to ops.
func (m *Machine) Step(cfg *Config, ev *Event, ops []Op) []Op { return ops }

// Phase is what the machine is doing.
func (m *Machine) Phase() Phase { return m.phase }

// Owns answers another process's OpAsk: whether this machine's attach with that nonce owns the job, or is about to.
func (m *Machine) Owns(nonce journal.Nonce) bool { return false }

// Head is the newest entry of the journal as far as this owner knows; nil unless PhaseOwning.
func (m *Machine) Head() *journal.Entry { return nil }

// Epoch, Attempt, Restore, Status, Plan and the retained checkpoints are in Head.

// Live tells whether the attempt of the head runs under this owner: begun by it or adopted.
func (m *Machine) Live() bool { return false }

// AllRunning tells whether every subtask of the live attempt runs.
func (m *Machine) AllRunning() bool { return false }

// Missing is the subtasks of the plan that no worker has registered for.
func (m *Machine) Missing() incremental.Set { return incremental.Set{} }

// Pending is the checkpoints that are open, being written or unresolved, in ascending order.
func (m *Machine) Pending() []Pending { return nil }

// Registrations is the workers, in ascending order of their numbers.
func (m *Machine) Registrations() []Registration { return nil }

// Degraded says why nothing is deleted: ReasonNone, ReasonLoading (not yet read) or ReasonDegraded (unreadable), and which
// checkpoint it is.
func (m *Machine) Degraded() (Reason, uint64) { return ReasonNone, 0 }

// Condemned is how many files and _metadata wait to be deleted.
func (m *Machine) Condemned() int { return 0 }

// Files is the files that a retained checkpoint names; ok is false if its _metadata is unreadable or not yet read.
func (m *Machine) Files(checkpoint uint64) (files incremental.Set, ok bool) {
	return incremental.Set{}, false
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
	// Acked are the subtasks that have acknowledged.
	Acked incremental.Set
	// Promised are the files that must not go while it is pending; Named those that acknowledgements name.
	Promised, Named incremental.Set
	Meta            journal.Checkpoint
}

// Registration is one worker process.
type Registration struct {
	Worker   uint32
	Subtasks incremental.Set
	// Running of them, in the live attempt.
	Running incremental.Set
	// Attempt that the process runs or was told to start.
	Attempt uint64
	// Gone: its stream broke.
	Gone bool
}

// Package aligner decides when a task takes its part of a checkpoint: barriers, cancel markers and ends of its input channels
// go in, actions come out.
//
// It owns Flink's rules of exactly-once alignment: a channel whose barrier has come is blocked until all the others' have, a newer
// barrier gives up an older alignment, and what belongs to an old or aborted checkpoint is ignored. It is a pure machine: no
// goroutines, no clock, no input or output. It must not know records, operators, sockets or the coordinator.
package aligner

// The reasons of Decline, in Flink's words.
const (
	// ReasonSubsumed: a newer checkpoint reached the task before the older one was aligned.
	ReasonSubsumed = "CHECKPOINT_DECLINED_SUBSUMED"
	// ReasonCancelMarker: a task upstream gave the checkpoint up.
	ReasonCancelMarker = "CHECKPOINT_DECLINED_ON_CANCELLATION_BARRIER"
)

// Kind says what an Action asks for.
type Kind uint8

const (
	// Block: read nothing more of Channel until it is unblocked.
	Block Kind = iota + 1
	// Unblock: read Channel again.
	Unblock
	// Forward: send the barrier of Checkpoint to every output, behind all records emitted so far.
	Forward
	// Snapshot: take the task's part of Checkpoint now, before any further record is processed. Always comes right after Forward.
	Snapshot
	// Decline: tell the coordinator that the task takes no part in Checkpoint, for Reason.
	Decline
	// Cancel: send the cancel marker of Checkpoint to every output.
	Cancel
	// End: every input has ended.
	End
)

// String is the kind's name in lower case.
func (k Kind) String() string {
	names := [...]string{"?", "block", "unblock", "forward", "snapshot", "decline", "cancel", "end"}
	if int(k) >= len(names) {
		return names[0]
	}
	return names[k]
}

// Action is one thing that the task has to do. Actions are carried out in the order given.
type Action struct {
	Kind Kind
	// Channel is set for Block and Unblock.
	Channel int
	// Checkpoint is set for Forward, Snapshot, Decline and Cancel.
	Checkpoint uint64
	// Reason is set for Decline.
	Reason string
}

// rememberedAborts bounds the aborts kept for checkpoints whose barrier has not come yet; an id below the lowest of a full list
// counts as aborted.
const rememberedAborts = 16

type channel struct {
	// delivered: its barrier of the pending checkpoint came; implies blocked, unless it has ended since.
	delivered bool
	ended     bool
}

// Machine is the alignment of one task. It is used by one goroutine.
type Machine struct {
	channels []channel
	// open channels; those that have not ended.
	open int
	// current is the largest checkpoint id that was begun, finished or given up.
	current uint64
	// pending: current is being aligned; at least one channel has delivered, at least one open channel has not.
	pending bool
	// missing barriers of current while pending; at least 1 then.
	missing int
	// aborts holds ids above current of which the coordinator said that they are aborted, ascending.
	aborts []uint64
	// abortsBelow: ids up to it count as aborted.
	abortsBelow uint64
	out         []Action
}

// New makes the machine of a task with that many input channels. A source has none and is driven by Trigger.
func New(channels int) *Machine {
	return &Machine{channels: make([]channel, channels), open: channels}
}

// Current is the largest checkpoint id that was begun, finished or given up.
func (m *Machine) Current() uint64 { return m.current }

// Trigger is the coordinator's request to a task without inputs. Like all inputs it answers actions that are valid until the
// next call.
func (m *Machine) Trigger(id uint64) []Action {
	m.out = m.out[:0]
	if m.begin(id) {
		m.snapshot()
	}
	return m.out
}

// Barrier is the barrier of checkpoint id, read from a channel that is not blocked.
func (m *Machine) Barrier(ch int, id uint64) []Action {
	m.out = m.out[:0]
	if m.channels[ch].ended {
		return m.out
	}
	switch {
	case id > m.current:
		if !m.begin(id) {
			return m.out
		}
		m.pending, m.missing = true, m.open
	case id < m.current || !m.pending || m.channels[ch].delivered:
		return m.out
	}
	m.channels[ch].delivered = true
	if m.missing--; m.missing > 0 {
		m.emit(Action{Kind: Block, Channel: ch})
		return m.out
	}
	// The last channel need not be blocked at all.
	m.channels[ch].delivered = false
	m.snapshot()
	m.release()
	return m.out
}

// CancelMarker is the marker of a task upstream that gave checkpoint id up.
func (m *Machine) CancelMarker(ch int, id uint64) []Action {
	m.out = m.out[:0]
	if m.channels[ch].ended || id < m.current || (id == m.current && !m.pending) {
		return m.out
	}
	if id > m.current && m.pending {
		m.decline(ReasonSubsumed)
		m.release()
	}
	m.current = id
	m.decline(ReasonCancelMarker)
	m.release()
	m.forgetAborts()
	return m.out
}

// Ended says that a channel brings nothing more. It counts as having delivered whatever barrier is waited for.
func (m *Machine) Ended(ch int) []Action {
	m.out = m.out[:0]
	c := &m.channels[ch]
	if c.ended {
		return m.out
	}
	c.ended = true
	m.open--
	if m.pending && !c.delivered {
		if m.missing--; m.missing == 0 {
			m.snapshot()
			m.release()
		}
	}
	if m.open == 0 {
		m.emit(Action{Kind: End})
	}
	return m.out
}

// Aborted is the coordinator's word that checkpoint id will not complete. An alignment of it is given up; if its barriers are
// still to come they will be ignored, and only a cancel marker passed on. For a checkpoint that is finished here there is
// nothing to do.
func (m *Machine) Aborted(id uint64) []Action {
	m.out = m.out[:0]
	switch {
	case id == m.current && m.pending:
		m.emit(Action{Kind: Cancel, Checkpoint: id})
		m.release()
	case id > m.current:
		m.remember(id)
	}
	return m.out
}

// begin makes id, above current, the current checkpoint; an alignment in progress is given up. False: id is old or was aborted.
func (m *Machine) begin(id uint64) bool {
	if id <= m.current {
		return false
	}
	if m.pending {
		m.decline(ReasonSubsumed)
		m.release()
	}
	m.current = id
	aborted := m.wasAborted(id)
	m.forgetAborts()
	if aborted {
		m.emit(Action{Kind: Cancel, Checkpoint: id})
	}
	return !aborted
}

// snapshot is Flink's order: first the barrier, so that the tasks downstream begin early, then the snapshot.
func (m *Machine) snapshot() {
	m.emit(Action{Kind: Forward, Checkpoint: m.current})
	m.emit(Action{Kind: Snapshot, Checkpoint: m.current})
}

func (m *Machine) decline(reason string) {
	m.emit(Action{Kind: Decline, Checkpoint: m.current, Reason: reason})
	m.emit(Action{Kind: Cancel, Checkpoint: m.current})
}

// release ends the alignment, whatever became of it.
func (m *Machine) release() {
	m.pending, m.missing = false, 0
	for i := range m.channels {
		c := &m.channels[i]
		if c.delivered && !c.ended {
			m.emit(Action{Kind: Unblock, Channel: i})
		}
		c.delivered = false
	}
}

func (m *Machine) emit(a Action) { m.out = append(m.out, a) }

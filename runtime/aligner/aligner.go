// Package aligner decides when a task takes its part of a checkpoint. Barriers, cancel markers and ends of input
// channels go in; actions come out.
//
// It owns Flink's rules of exactly-once alignment. A channel whose barrier has come is blocked until the barriers of
// all other channels have come. A newer barrier ends an older alignment. Barriers of old or aborted checkpoints are
// ignored.
//
// It is a pure machine, without goroutines, clock, input or output. It must not know records, operators, sockets or
// the coordinator.
package aligner

// The reasons of Decline, in Flink's words.
const (
	// ReasonSubsumed: a newer checkpoint reached the task before the older one was aligned.
	ReasonSubsumed = "CHECKPOINT_DECLINED_SUBSUMED"
	// ReasonCancelMarker: a task upstream gave up the checkpoint.
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
	// Snapshot: take the task's part of Checkpoint now, before any further record is processed. It always follows
	// Forward.
	Snapshot
	// Decline: tell the coordinator that the task takes no part in Checkpoint, and the Reason.
	Decline
	// Cancel: send the cancel marker of Checkpoint to every output.
	Cancel
	// End: every input has ended.
	End
)

// String returns the kind's name in lower case.
func (k Kind) String() string {
	names := [...]string{"?", "block", "unblock", "forward", "snapshot", "decline", "cancel", "end"}
	if int(k) >= len(names) {
		return names[0]
	}
	return names[k]
}

// Action is one thing that the task has to do. The task carries out actions in the given order.
type Action struct {
	Kind Kind
	// Channel is set for Block and Unblock.
	Channel int
	// Checkpoint is set for Forward, Snapshot, Decline and Cancel.
	Checkpoint uint64
	// Reason is set for Decline.
	Reason string
}

// rememberedAborts bounds the list of aborted checkpoints whose barrier has not come yet. Once an id is dropped from
// a full list, all ids up to it count as aborted.
const rememberedAborts = 16

type channel struct {
	// delivered: the channel's barrier of the pending checkpoint came. The channel is blocked then, unless it has
	// ended since.
	delivered bool
	ended     bool
}

// Machine is the alignment of one task. Only one goroutine may use it.
type Machine struct {
	channels []channel
	// open is the number of channels that have not ended.
	open int
	// current is the largest checkpoint id that was begun, finished or given up.
	current uint64
	// pending: current is being aligned. At least one channel has delivered, and at least one open channel has not.
	pending bool
	// missing is the number of barriers of current still to come; at least 1 while pending, else 0.
	missing int
	// aborts holds the ids above current that the coordinator has aborted, ascending.
	aborts []uint64
	// abortsBelow: ids up to it count as aborted.
	abortsBelow uint64
	out         []Action
}

// New returns the machine of a task with this number of input channels. A source has no channels and is driven by
// Trigger.
func New(channels int) *Machine {
	return &Machine{channels: make([]channel, channels), open: channels}
}

// Current returns the largest checkpoint id that was begun, finished or given up.
func (m *Machine) Current() uint64 { return m.current }

// Trigger handles the coordinator's request to a task without inputs. Like all methods that return actions, it
// returns a slice that is valid until the next call.
func (m *Machine) Trigger(id uint64) []Action {
	m.out = m.out[:0]
	if m.begin(id) {
		m.snapshot()
	}
	return m.out
}

// Barrier handles the barrier of checkpoint id, read from a channel that is not blocked.
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
	// The channel of the last barrier need not be blocked at all.
	m.channels[ch].delivered = false
	m.snapshot()
	m.release()
	return m.out
}

// CancelMarker handles the marker of a task upstream that gave up checkpoint id.
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

// Ended handles the end of a channel. From then on the channel counts as having delivered every barrier.
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

// Aborted handles the coordinator's message that checkpoint id will not complete. Its alignment, if one is in
// progress, is given up. If its barriers are still to come, they will be ignored, and only a cancel marker is passed
// on. Nothing happens for a checkpoint that this task has finished.
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

// begin makes id, above current, the current checkpoint, and gives up an alignment in progress. It returns false if
// id is old or was aborted.
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

// snapshot uses Flink's order: first the barrier, so that the tasks downstream begin early, then the snapshot.
func (m *Machine) snapshot() {
	m.emit(Action{Kind: Forward, Checkpoint: m.current})
	m.emit(Action{Kind: Snapshot, Checkpoint: m.current})
}

func (m *Machine) decline(reason string) {
	m.emit(Action{Kind: Decline, Checkpoint: m.current, Reason: reason})
	m.emit(Action{Kind: Cancel, Checkpoint: m.current})
}

// release ends the alignment after any outcome.
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

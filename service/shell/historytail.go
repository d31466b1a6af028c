package shell

import (
	"slices"
	"time"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/history"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// draftsKept is how many failed checkpoints wait for late acknowledgements.
const draftsKept = 8

// jobHistory is what an owner knows of the job's checkpoints and has not written, and what it has seen. It is for people: no decision
// depends on it, and a checkpoint never waits for it. If the process dies, what was not written is lost.
type jobHistory struct {
	epoch  uint64
	tail   history.Tail
	drafts []*draft  // failed checkpoints, the oldest first
	due    time.Time // when the tail is written; zero: it is empty
	flight *flight   // what is being written; nil: nothing is
	// sequence numbers the writes of the epoch; known is the last one that has succeeded, and last its segment, if its name is known.
	sequence, known uint64
	last            layout.HistoryName
	// stale are segments whose records lie in others, or will, and that could not be deleted yet.
	stale    []layout.HistoryName
	untidied int  // segments written since the last plan
	tidy     bool // a plan was made in this epoch
	failures int  // writes that have failed in a row
	closed   bool // the job is being purged: nothing is written any more
	seen     Seen
}

// Seen is what this daemon has seen of a job's checkpoints since it attached the job.
type Seen struct {
	Completed, Failed uint64
	// Last is the newest completed checkpoint, savepoints not among them; its operators are left out. nil: there is none.
	Last *ckptdv1.CheckpointRecord
	// Restored is when an attempt began with a checkpoint's state; zero: none did.
	Restored time.Time
}

// draft is the record of a checkpoint that has failed. What subtasks acknowledge too late is added to it.
type draft struct {
	record    *ckptdv1.CheckpointRecord
	acks      ackTimes
	triggered time.Time
}

// finished is the draft's record.
func (d *draft) finished() *ckptdv1.CheckpointRecord {
	d.acks.describe(d.record)
	history.Clip(d.record)
	return d.record
}

// memory returns the job's history, and makes it.
func (j *Job) memory() *jobHistory {
	if j.history == nil {
		j.history = &jobHistory{}
	}
	if epoch := j.epoch(); epoch > j.history.epoch {
		j.history.epoch, j.history.sequence, j.history.known, j.history.tidy = epoch, 0, 0, false
	}
	return j.history
}

// lateAck adds an acknowledgement to the record of a checkpoint that has failed, while that is in memory.
func (h *jobHistory) lateAck(ack *acknowledgement, id, attempt uint64) {
	if h == nil {
		return
	}
	for _, d := range h.drafts {
		if d.record.GetCheckpointId() == id && d.record.GetAttempt() == attempt && d.acks.plan != nil {
			d.acks.add(ack.subtasks, time.Since(d.triggered))
		}
	}
}

// seal moves the oldest drafts into the tail.
func (h *jobHistory) seal(n int) {
	for _, d := range h.drafts[:n] {
		h.tail.Add(d.finished())
	}
	h.drafts = slices.Delete(h.drafts, 0, n)
}

// take makes a flight of all that is not written.
func (h *jobHistory) take(job string) *flight {
	h.seal(len(h.drafts))
	f := &flight{job: job, epoch: h.epoch, sequence: h.sequence + 1, known: h.known, stale: h.stale, tail: h.tail, last: h.last, done: make(chan struct{})}
	h.tail, h.due = history.Tail{}, time.Time{}
	return f
}

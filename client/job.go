package client

import (
	"context"
	"io"
)

// Job is an attached job.
type Job struct{}

// ID is the job's id.
func (j *Job) ID() string { panic("not yet") }

// Epoch is the newest epoch of the job's ownership that this process has heard of.
func (j *Job) Epoch() uint64 { panic("not yet") }

// Attempt is the journal's attempt when the job was last attached; 0: none yet.
func (j *Job) Attempt() uint64 { panic("not yet") }

// Register announces this process and the subtasks it runs. The session registers again by itself, at the same or another
// daemon, until a Cancel or Replaced has come or ctx has ended.
func (j *Job) Register(ctx context.Context, r Registration) (*Session, error) { panic("not yet") }

// Assignment answers what the attempt's subtasks have to restore, one element per subtask, in the order asked.
func (j *Job) Assignment(ctx context.Context, attempt uint64, subtasks []Subtask) ([]SubtaskState, error) {
	panic("not yet")
}

// Report tells the owner how subtasks are.
func (j *Job) Report(ctx context.Context, r Report) error { panic("not yet") }

// Decline says that subtasks could not take part in a checkpoint; the checkpoint is aborted.
func (j *Job) Decline(ctx context.Context, d Decline) error { panic("not yet") }

// NewAttempt ends the given attempt and begins the next, for engines that schedule by themselves. It answers the attempt in
// the journal: a greater one at once if the given one is not current any more.
func (j *Job) NewAttempt(ctx context.Context, attempt uint64, reason string) (uint64, error) {
	panic("not yet")
}

// Snapshot makes the subtasks' part of a checkpoint durable and acknowledges it: asks which files are known, sends the others
// in parallel, each again from its source if its stream breaks, then acknowledges. Exclusive pieces up to the daemon's inline
// threshold travel inside the acknowledgement. nil: acknowledged (that the checkpoint is complete is told by Complete).
func (j *Job) Snapshot(ctx context.Context, s Snapshot) error { panic("not yet") }

// Open reads n bytes of a piece from offset off; n < 0 means to the end. Every byte is checked against its sum before the
// reader gives it away; ErrCorrupt if it differs. A broken stream is resumed.
func (j *Job) Open(ctx context.Context, h Handle, off, n int64) (io.ReadCloser, error) {
	panic("not yet")
}

// ReadAll reads a small piece whole, checked.
func (j *Job) ReadAll(ctx context.Context, h Handle) ([]byte, error) { panic("not yet") }

// Fetch writes a piece to a new file at path, blocks in parallel, each checked against its sum, and the whole. After an error
// there is no file at path. It does not sync the file: what was fetched can be fetched again.
func (j *Job) Fetch(ctx context.Context, h Handle, path string) error { panic("not yet") }

package layout

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/ckptd/ckptd/layout/keygroup"
)

// metadataCheck holds the rules of what may follow what, and of what a record may say. Writer and reader run every record through
// the same one, so that nothing is written that would not be read. Its memory is bounded by the number of operators.
type metadataCheck struct {
	header Header
	totals Totals
	// What was last: before the job record, job is false; before the first operator, operator.ID is empty.
	job, end bool
	operator Operator
	// The index of the last subtask of operator; -1: none yet.
	subtask   int
	operators map[string]struct{}
}

var errOrder = errors.New("out of order")

func newMetadataCheck(h Header) (*metadataCheck, error) {
	if err := ValidateJobID(h.JobID); err != nil {
		return nil, err
	}
	if h.Nonce == "" {
		return nil, errors.New("no nonce")
	}
	if err := checkText("nonce", h.Nonce); err != nil {
		return nil, err
	}
	if h.Kind != KindCheckpoint && h.Kind != KindSavepoint {
		return nil, fmt.Errorf("kind %d", h.Kind)
	}
	if h.Checkpoint == 0 || h.Epoch == 0 {
		return nil, fmt.Errorf("checkpoint %d of epoch %d: both count from 1", h.Checkpoint, h.Epoch)
	}
	return &metadataCheck{header: h, subtask: -1, operators: map[string]struct{}{}}, nil
}

func (c *metadataCheck) checkJob(j *Job) error {
	if c.job {
		return fmt.Errorf("second job record: %w", errOrder)
	}
	for k, v := range j.Labels {
		if !utf8.ValidString(k) || !utf8.ValidString(v) {
			return fmt.Errorf("label %q is not text", clip(k))
		}
	}
	c.job = true
	return nil
}

func (c *metadataCheck) checkOperator(op *Operator) error {
	if err := c.checkOperatorDone(); err != nil {
		return err
	}
	if err := ValidateOperatorID(op.ID); err != nil {
		return err
	}
	if err := checkText("uid", op.UID); err != nil {
		return err
	}
	if op.Parallelism < 1 || op.Parallelism > op.MaxParallelism || op.MaxParallelism > keygroup.MaxParallelism {
		return fmt.Errorf("parallelism %d of at most %d, want 1 <= parallelism <= max parallelism <= %d",
			op.Parallelism, op.MaxParallelism, keygroup.MaxParallelism)
	}
	if _, twice := c.operators[op.ID]; twice {
		return fmt.Errorf("operator %s twice", op.ID)
	}
	if len(c.operators) == maxOperators {
		return fmt.Errorf("more than %d operators", maxOperators)
	}
	c.operators[op.ID] = struct{}{}
	c.operator, c.subtask = *op, -1
	c.totals.Operators++
	return nil
}

// checkOperatorDone refuses to leave an operator before its last subtask, or to begin one before the job record.
func (c *metadataCheck) checkOperatorDone() error {
	if !c.job || c.end {
		return errOrder
	}
	if c.operator.ID != "" && c.subtask != c.operator.Parallelism-1 {
		return fmt.Errorf("operator %s has %d of %d subtasks: %w", c.operator.ID, c.subtask+1, c.operator.Parallelism, errOrder)
	}
	return nil
}

func (c *metadataCheck) checkFile(f *File) error {
	if c.operator.ID == "" || c.end {
		return errOrder
	}
	name, err := c.checkKey(f.Key)
	if err != nil {
		return err
	}
	if err := checkBlocks(f.Length, len(f.Blocks)); err != nil {
		return err
	}
	if n := len(f.SHA256); n != 0 && n != sha256Len {
		return fmt.Errorf("SHA-256 of %d bytes", n)
	}
	if err := checkText("local name", f.LocalName); err != nil {
		return err
	}
	if err := checkText("instance nonce", f.InstanceNonce); err != nil {
		return err
	}
	if c.totals.Files == math.MaxUint32 || c.totals.FileBytes+f.Length < f.Length {
		return errors.New("more files than can be counted")
	}
	c.totals.Files++
	c.totals.FileBytes += f.Length
	if name.Checkpoint == c.header.Checkpoint {
		c.totals.NewFileBytes += f.Length
	}
	return nil
}

// checkKey refuses a file that this checkpoint cannot refer to.
func (c *metadataCheck) checkKey(key string) (FileName, error) {
	k := ParseJobKey(key)
	switch {
	case k.Place != PlaceShared && k.Place != PlaceExclusive:
		return k.File, fmt.Errorf("key %q is not that of a state file", clip(key))
	case k.Place == PlaceExclusive && (k.Checkpoint != c.header.Checkpoint || k.File.Checkpoint != c.header.Checkpoint):
		return k.File, fmt.Errorf("key %s belongs to another checkpoint", key)
	case k.File.Checkpoint > c.header.Checkpoint || k.File.Epoch > c.header.Epoch:
		return k.File, fmt.Errorf("key %s is of a later checkpoint or epoch", key)
	}
	return k.File, nil
}

// checkBlocks compares the number of block sums with the one that the length asks for.
func checkBlocks(length uint64, blocks int) error {
	want := uint64(0)
	if length > BlockSize {
		want = (length-1)/BlockSize + 1
	}
	if uint64(blocks) != want {
		return fmt.Errorf("%d block sums for %d bytes, want %d", blocks, length, want)
	}
	return nil
}

func (c *metadataCheck) checkSubtask(s *Subtask) error {
	if c.operator.ID == "" || c.end {
		return errOrder
	}
	if s.OperatorID != c.operator.ID {
		return fmt.Errorf("subtask of operator %q after operator %s: %w", clip(s.OperatorID), c.operator.ID, errOrder)
	}
	again := s.Index == c.subtask && s.Index >= 0
	if !again && (s.Index != c.subtask+1 || s.Index >= c.operator.Parallelism) {
		return fmt.Errorf("subtask %d of %s (parallelism %d) after %d: %w", s.Index, s.OperatorID, c.operator.Parallelism, c.subtask, errOrder)
	}
	for i := range s.Handles {
		if err := c.checkHandle(&s.Handles[i]); err != nil {
			return fmt.Errorf("handle %d: %w", i, err)
		}
	}
	if !again {
		c.totals.Subtasks++
	}
	c.subtask = s.Index
	return nil
}

func (c *metadataCheck) checkHandle(h *Handle) error {
	switch {
	case uint64(h.File) > c.totals.Files:
		return fmt.Errorf("file %d of %d", h.File, c.totals.Files)
	case h.File != 0 && h.Inline != nil:
		return errors.New("both a file and inline state")
	case len(h.Inline) > MaxInline:
		return fmt.Errorf("%d bytes inline, at most %d", len(h.Inline), MaxInline)
	}
	if err := checkText("name", h.Name); err != nil {
		return err
	}
	if err := checkText("instance nonce", h.InstanceNonce); err != nil {
		return err
	}
	if g := h.KeyGroups; g != nil && (g.Start > g.End || int(g.End) >= c.operator.MaxParallelism) {
		return fmt.Errorf("key groups %v of %d", g, c.operator.MaxParallelism)
	}
	c.totals.Handles++
	c.totals.InlineBytes += uint64(len(h.Inline))
	return nil
}

// checkEnd closes the file.
func (c *metadataCheck) checkEnd() error {
	if err := c.checkOperatorDone(); err != nil {
		return err
	}
	if c.totals.Operators == 0 {
		return errors.New("no operator")
	}
	c.end = true
	return nil
}

func checkText(what, s string) error {
	if len(s) > maxText {
		return fmt.Errorf("%s of %d bytes, at most %d", what, len(s), maxText)
	}
	if !utf8.ValidString(s) {
		return fmt.Errorf("%s %q is not text", what, strings.ToValidUTF8(clip(s), "?"))
	}
	return nil
}

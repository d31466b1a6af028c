package layout

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/ckptd/ckptd/layout/keygroup"
)

// metadataCheck holds the rules for the order of records and for their contents. Writer and reader check every record
// with it, so the reader accepts everything that the writer has written. maxOperators and MaxFiles bound its memory.
type metadataCheck struct {
	header Header
	totals Totals
	// The last records: job is false before the job record, operator.ID is empty before the first operator.
	job, end bool
	operator Operator
	// The index of the last subtask of operator; -1: none yet.
	subtask int
	// finished is true if that subtask had finished.
	finished  bool
	operators map[string]struct{}
	lengths   fileLengths
}

// fileLengths holds the lengths of the files in pieces, so that growth copies nothing.
type fileLengths struct{ pieces [][]uint64 }

const lengthsInPiece = 1 << 16

func (l *fileLengths) add(length uint64) {
	last := len(l.pieces) - 1
	if last < 0 || len(l.pieces[last]) == lengthsInPiece {
		l.pieces, last = append(l.pieces, nil), last+1
	}
	l.pieces[last] = append(l.pieces[last], length)
}

// of is the length of file ref, which must have been added.
func (l *fileLengths) of(ref FileRef) uint64 {
	return l.pieces[(ref-1)/lengthsInPiece][(ref-1)%lengthsInPiece]
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
	written, err := c.checkPlace(f)
	if err != nil {
		return err
	}
	if err := CheckFile(f); err != nil {
		return err
	}
	if c.totals.Files == MaxFiles {
		return fmt.Errorf("more than %d files", MaxFiles)
	}
	if c.totals.FileBytes+f.Length < f.Length {
		return errors.New("more bytes in files than can be counted")
	}
	c.lengths.add(f.Length)
	c.totals.Files++
	c.totals.FileBytes += f.Length
	if written {
		c.totals.NewFileBytes += f.Length
	}
	return nil
}

// CheckFile checks one file, except for the rules about its place. See CheckHandle.
func CheckFile(f *File) error {
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
	return checkCompression(f.Compression, f.Length)
}

// checkPlace refuses a file that this checkpoint cannot refer to, and says whether the file was written for this
// checkpoint. It compares epochs and checkpoint ids only for own files, because another job counts separately.
func (c *metadataCheck) checkPlace(f *File) (written bool, err error) {
	if f.Beside() {
		return true, c.checkBeside(f)
	}
	k := ParseJobKey(f.Key)
	if k.Place != PlaceShared && k.Place != PlaceExclusive {
		return false, fmt.Errorf("key %q is not that of a state file", clip(f.Key))
	}
	if f.Job != "" {
		return false, c.checkLent(f, k)
	}
	switch {
	case k.Place == PlaceExclusive && (k.Checkpoint != c.header.Checkpoint || k.File.Checkpoint != c.header.Checkpoint):
		return false, fmt.Errorf("key %s belongs to another checkpoint", f.Key)
	case k.File.Checkpoint > c.header.Checkpoint || k.File.Epoch > c.header.Epoch:
		return false, fmt.Errorf("key %s is of a later checkpoint or epoch", f.Key)
	}
	return k.File.Checkpoint == c.header.Checkpoint, nil
}

// checkLent checks a file in the folder of another job.
func (c *metadataCheck) checkLent(f *File, k JobKey) error {
	if err := ValidateJobID(f.Job); err != nil {
		return fmt.Errorf("lending job: %w", err)
	}
	if f.Job == c.header.JobID {
		return fmt.Errorf("key %s: job %s lends a file to itself", f.Key, f.Job)
	}
	if k.Place == PlaceExclusive && k.Checkpoint != k.File.Checkpoint {
		return fmt.Errorf("key %s of job %s: the file was written for another checkpoint than its folder's", f.Key, f.Job)
	}
	return nil
}

// checkBeside checks a file in the folder of the _metadata itself.
func (c *metadataCheck) checkBeside(f *File) error {
	switch {
	case c.header.Kind != KindSavepoint:
		return fmt.Errorf("key %q: only a savepoint has files beside its _metadata", clip(f.Key))
	case f.Job != "":
		return fmt.Errorf("key %q: a file beside the _metadata lies in no job's folder, not in that of %q", clip(f.Key), clip(f.Job))
	case len(f.Key) == 0 || len(f.Key) > maxBeside || !isBesideName(f.Key):
		return fmt.Errorf("key %q: want 1 to %d of A-Z a-z 0-9 . _ -, not beginning with . or _", clip(f.Key), maxBeside)
	}
	return nil
}

// isBesideName tells whether a name can only mean a file in the folder of the _metadata.
func isBesideName(s string) bool {
	for _, r := range s {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_', r == '-':
		default:
			return false
		}
	}
	return s[0] != '.' && s[0] != '_'
}

// checkBlocks checks the number of block sums for a file of that length.
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
	if again && (s.Finished || c.finished) {
		return fmt.Errorf("subtask %d of %s has finished and comes in several records: %w", s.Index, s.OperatorID, errOrder)
	}
	if !again && (s.Index != c.subtask+1 || s.Index >= c.operator.Parallelism) {
		return fmt.Errorf("subtask %d of %s (parallelism %d) after %d: %w", s.Index, s.OperatorID, c.operator.Parallelism, c.subtask, errOrder)
	}
	if s.Finished && len(s.Handles) > 0 {
		return fmt.Errorf("subtask %d of %s has finished and has %d handles", s.Index, s.OperatorID, len(s.Handles))
	}
	for i := range s.Handles {
		if err := c.checkHandle(&s.Handles[i]); err != nil {
			return fmt.Errorf("handle %d: %w", i, err)
		}
	}
	if !again {
		c.totals.Subtasks++
	}
	c.subtask, c.finished = s.Index, s.Finished
	return nil
}

func (c *metadataCheck) checkHandle(h *Handle) error {
	if uint64(h.File) > c.totals.Files {
		return fmt.Errorf("file %d of %d", h.File, c.totals.Files)
	}
	length := uint64(len(h.Inline))
	if h.File != 0 {
		length = c.lengths.of(h.File)
	}
	if err := CheckHandle(h, length, c.operator.MaxParallelism); err != nil {
		return err
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

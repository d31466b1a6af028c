package filesink

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/ckptd/ckptd/runtime/state"
)

// Options say where one subtask of a sink writes.
type Options struct {
	// Dir is made if it does not exist. Its file system must have hard links.
	Dir string
	// Name begins the names of all files: 1 to 128 of A-Z a-z 0-9 . _ -, not starting with . or -. A job id is such a
	// name.
	Name string
	// Subtask is the index of the sink's subtask.
	Subtask uint32
	// Form is the form of the lines.
	Form Form
	// Step, if not nil, is called before each system call that changes something, with the call's name and file. An
	// error of Step replaces the call. It is for tests.
	Step func(call, path string) error
}

// Sink implements state.Sink. Its lines are `key,value`, both as CSV fields, quoted where necessary, or the values alone.
type Sink struct {
	o       Options
	attempt uint64
	// restored: Restore was called without an error.
	restored bool
	closed   bool
	// pending are the pre-committed parts that are not published, by checkpoint, ascending.
	pending  []staged
	open     *openPart
	sequence uint64
	line     []byte
}

var _ state.Sink = (*Sink)(nil)

// openPart is the part that records are written to.
type openPart struct {
	staged
	file *os.File
	out  *bufio.Writer
}

// savedState is a sink's state, stored as JSON.
type savedState struct {
	Version int      `json:"version"`
	Parts   []staged `json:"parts"`
}

// New returns a sink. It touches no file until Restore.
func New(o Options) (*Sink, error) {
	if !validName.MatchString(o.Name) {
		return nil, fmt.Errorf("filesink: name %q: want 1 to 128 of A-Z a-z 0-9 . _ -, not starting with . or -", o.Name)
	}
	return &Sink{o: o}, nil
}

// Restore implements state.Sink.
func (s *Sink) Restore(attempt, restored uint64, saved []byte) error {
	if s.restored || s.closed {
		return errors.New("filesink: restore: this sink was restored or closed before")
	}
	parts, err := decodeState(saved, restored)
	if err == nil {
		s.attempt, s.pending = attempt, parts
		err = s.begin()
	}
	if err != nil {
		return fmt.Errorf("filesink: restore checkpoint %d in attempt %d: %w", restored, attempt, err)
	}
	s.restored = true
	return nil
}

// Write implements state.Sink.
func (s *Sink) Write(rec state.Record) error {
	if err := s.usable(); err != nil {
		return fmt.Errorf("filesink: write: %w", err)
	}
	if s.open == nil {
		if err := s.create(); err != nil {
			return fmt.Errorf("filesink: write: %w", err)
		}
	}
	if s.o.Form == JSONLines {
		s.line = append(append(s.line[:0], rec.Value...), '\n')
	} else {
		s.line = AppendLine(s.line[:0], rec.Key, rec.Value)
	}
	n, err := s.open.out.Write(s.line)
	s.open.Size += int64(n)
	if err != nil {
		return fmt.Errorf("filesink: write: %w", err)
	}
	return nil
}

// PreCommit implements state.Sink. The state is nil if no part waits to be committed.
func (s *Sink) PreCommit(checkpoint uint64) ([]byte, error) {
	if err := s.usable(); err != nil {
		return nil, fmt.Errorf("filesink: pre-commit %d: %w", checkpoint, err)
	}
	if n := len(s.pending); n > 0 && s.pending[n-1].Checkpoint >= checkpoint {
		return nil, fmt.Errorf("filesink: pre-commit %d: the later checkpoint %d was pre-committed before", checkpoint, s.pending[n-1].Checkpoint)
	}
	if s.open != nil {
		part, err := s.seal(checkpoint)
		if err != nil {
			return nil, fmt.Errorf("filesink: pre-commit %d: %w", checkpoint, err)
		}
		s.pending = append(s.pending, part)
	}
	return encodeState(s.pending), nil
}

// Commit implements state.Sink. Parts that could not be published stay pending; the others are published.
func (s *Sink) Commit(checkpoint uint64) error {
	if err := s.usable(); err != nil {
		return fmt.Errorf("filesink: commit %d: %w", checkpoint, err)
	}
	if err := s.publish(checkpoint); err != nil {
		return fmt.Errorf("filesink: commit %d: %w", checkpoint, err)
	}
	return nil
}

// Abort implements state.Sink. It does nothing.
func (s *Sink) Abort(uint64) {}

// Close implements state.Sink.
func (s *Sink) Close() error {
	s.closed = true
	if s.open == nil {
		return nil
	}
	path := s.open.pending(s.o.Dir)
	err := s.open.file.Close()
	s.open = nil
	if err := errors.Join(err, s.remove(path)); err != nil {
		return fmt.Errorf("filesink: close: %w", err)
	}
	return nil
}

func (s *Sink) usable() error {
	switch {
	case s.closed:
		return errors.New("the sink is closed")
	case !s.restored:
		return errors.New("the sink was not restored; call Restore first")
	}
	return nil
}

func encodeState(parts []staged) []byte {
	if len(parts) == 0 {
		return nil
	}
	p, err := json.Marshal(savedState{Version: 1, Parts: parts})
	if err != nil {
		panic(err) // numbers only
	}
	return p
}

// decodeState refuses a state that no sink can have saved, because the state decides which files become visible.
func decodeState(p []byte, restored uint64) ([]staged, error) {
	if len(p) == 0 {
		return nil, nil
	}
	var saved savedState
	if err := state.UnmarshalStrict(p, &saved); err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	if saved.Version != 1 {
		return nil, fmt.Errorf("state of version %d; this program reads version 1", saved.Version)
	}
	last := uint64(0)
	for i, part := range saved.Parts {
		if part.Checkpoint > restored || (i > 0 && part.Checkpoint <= last) || !validName.MatchString(part.Name) {
			return nil, fmt.Errorf("state names a part %q of checkpoint %d after one of %d", part.Name, part.Checkpoint, last)
		}
		last = part.Checkpoint
	}
	return saved.Parts, nil
}

func (s *Sink) pendingPath() string { return filepath.Join(s.o.Dir, pendingDir) }

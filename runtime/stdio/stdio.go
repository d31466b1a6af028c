// Package stdio is a sink that prints records on standard output. It owns the lines. It must not know what they mean.
//
// A record is printed as soon as it comes, as Flink's print does. So after a failure, records are printed again that came
// after the restored checkpoint.
package stdio

import (
	"errors"
	"fmt"
	"io"

	"github.com/ckptd/ckptd/runtime/state"
)

// Sink prints the values of records, one a line.
type Sink struct {
	out    io.Writer
	line   []byte
	closed bool
}

var _ state.Sink = (*Sink)(nil)

// New returns a sink that prints to out.
func New(out io.Writer) *Sink { return &Sink{out: out} }

// Restore implements state.Sink. There is nothing to restore.
func (s *Sink) Restore(uint64, uint64, []byte) error { return nil }

// Write implements state.Sink. The whole line is one write.
func (s *Sink) Write(rec state.Record) error {
	if s.closed {
		return errors.New("stdio: write: the sink is closed")
	}
	s.line = append(append(s.line[:0], rec.Value...), '\n')
	if _, err := s.out.Write(s.line); err != nil {
		return fmt.Errorf("stdio: write: %w", err)
	}
	return nil
}

// PreCommit implements state.Sink. Everything is printed already.
func (s *Sink) PreCommit(uint64) ([]byte, error) { return nil, nil }

// Commit implements state.Sink.
func (s *Sink) Commit(uint64) error { return nil }

// Abort implements state.Sink.
func (s *Sink) Abort(uint64) {}

// Close implements state.Sink.
func (s *Sink) Close() error {
	s.closed = true
	return nil
}

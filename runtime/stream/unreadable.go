package stream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/ckptd/ckptd/runtime"
	"github.com/ckptd/ckptd/runtime/state"
)

// OnError says what happens to a record that cannot be decoded.
type OnError string

const (
	// Fail fails the attempt. The record fails the next attempts, too, until the job's restarts are used up.
	Fail OnError = "fail"
	// Skip counts the record and leaves it out.
	Skip OnError = "skip"
	// DeadLetter is Skip, and appends the record to a file.
	DeadLetter OnError = "dead-letter"
)

// Unreadable says what happens to the records of a source that cannot be decoded.
type Unreadable struct {
	// OnError is Fail if it is empty.
	OnError OnError
	// File is for DeadLetter: each record is one line. After a failure of the job, a record may be there twice.
	File string
}

// decoding decodes the records of a source into the chain's cell.
type decoding[T any] struct {
	state.Source
	codec      Codec[T]
	unreadable Unreadable
	sub        runtime.Subtask
	cell       *cell[T]
	// skipped counts the records that could not be decoded.
	skipped atomic.Uint64
}

// skipsAtOnce bounds the records that one Next skips.
const skipsAtOnce = 256

// Next implements state.Source.
func (d *decoding[T]) Next(rec *state.Record) (state.Readiness, error) {
	for range skipsAtOnce {
		ready, err := d.Source.Next(rec)
		if ready != state.Ready || err != nil {
			return ready, err
		}
		v, err := d.codec.Decode(rec.Value)
		if err == nil {
			d.cell.value = v
			return state.Ready, nil
		}
		if err := d.skip(rec, err); err != nil {
			return state.NotNow, err
		}
	}
	return state.NotNow, nil
}

func (d *decoding[T]) skip(rec *state.Record, cause error) error {
	if err := d.unreadable.LeaveOut(rec.Value, cause); err != nil {
		return fmt.Errorf("stream: record %d of the source cannot be read: %w", d.Source.Progress().Records, err)
	}
	d.skipped.Add(1)
	return nil
}

// LeaveOut returns nil if a record is to be left out, after it was written to the dead-letter file, if there is one.
// Otherwise it returns the cause, with the record.
func (u Unreadable) LeaveOut(record []byte, cause error) error {
	switch u.OnError {
	case Skip:
		return nil
	case DeadLetter:
		if err := appendLine(u.File, record); err != nil {
			return fmt.Errorf("write it to the dead-letter file: %w", err)
		}
		return nil
	}
	return fmt.Errorf("%w: %s. on-error: skip, or dead-letter, leaves such records out", cause, short(record))
}

// short is the beginning of a record, for people.
func short(b []byte) string {
	const most = 100
	if len(b) > most {
		return fmt.Sprintf("%q…", b[:most])
	}
	return fmt.Sprintf("%q", b)
}

// appendLine appends a line in one write, so that the lines of several subtasks do not mix.
func appendLine(path string, line []byte) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = f.Write(append(append([]byte{}, line...), '\n'))
	return err
}

// Progress implements state.Source.
func (d *decoding[T]) Progress() state.Progress {
	p, skipped := d.Source.Progress(), d.skipped.Load()
	p.Records -= min(p.Records, skipped)
	p.Unparsable += skipped
	return p
}

// Position implements state.Source: the number of skipped records, then the position of the source.
func (d *decoding[T]) Position() []byte {
	return append(binary.AppendUvarint(nil, d.skipped.Load()), d.Source.Position()...)
}

// Seek implements state.Source.
func (d *decoding[T]) Seek(position []byte) error {
	n, size := binary.Uvarint(position)
	if size <= 0 {
		return errors.New("stream: seek: the position does not begin with a number of skipped records")
	}
	d.skipped.Store(n)
	return d.Source.Seek(position[size:])
}

// Committed passes on that a checkpoint is complete, with the position of the source itself.
func (d *decoding[T]) Committed(checkpoint uint64, position []byte) error {
	source, ok := d.Source.(interface {
		Committed(checkpoint uint64, position []byte) error
	})
	_, size := binary.Uvarint(position)
	if !ok || size <= 0 {
		return nil
	}
	return source.Committed(checkpoint, position[size:])
}

// Interrupt passes on that a waiting source has to return.
func (d *decoding[T]) Interrupt() {
	if source, ok := d.Source.(interface{ Interrupt() }); ok {
		source.Interrupt()
	}
}

package exchange

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Kind says what a Frame is.
type Kind uint8

const (
	// Data holds records.
	Data Kind = iota + 1
	// Barrier is the barrier of a checkpoint: all records sent before it belong to the checkpoint.
	Barrier
	// Cancel is the marker of a checkpoint that the sender gave up.
	Cancel
	// End says that nothing follows.
	End
	// Drain is the Barrier of a savepoint before which the job does its end-of-data work.
	Drain
	// EndOfData says that no record follows. Barriers do.
	EndOfData
)

const (
	// frameSize is the size at which a data frame is full. A large record may make it longer.
	frameSize = 32 << 10
	// MaxRecord is the largest record, key and value together, in bytes.
	MaxRecord = 64 << 20
	// headerSize is the size of the body length, kind, checkpoint and epoch.
	headerSize = 4 + 1 + 8 + 8
	maxBody    = MaxRecord + frameSize + 16
)

var (
	// ErrTooLarge is in the chain when a record is larger than MaxRecord.
	ErrTooLarge = errors.New("record too large")
	errFrame    = errors.New("malformed frame")
)

// Frame is one message of a channel. It has one holder at a time: Send passes it on, and the reader that polled it
// releases it.
type Frame struct {
	Kind Kind
	// Checkpoint and Epoch are set for Barrier, Drain and Cancel.
	Checkpoint, Epoch uint64
	// bytes begins with room for the header, so that one call writes the whole frame.
	bytes []byte
}

var frames = sync.Pool{New: func() any { return &Frame{bytes: make([]byte, headerSize, headerSize+frameSize+1024)} }}

func newFrame(kind Kind) *Frame {
	f := frames.Get().(*Frame)
	f.Kind, f.Checkpoint, f.Epoch, f.bytes = kind, 0, 0, f.bytes[:headerSize]
	return f
}

// Release returns the frame to the pool; records read from it are no longer valid.
func (f *Frame) Release() {
	if cap(f.bytes) <= 4*frameSize {
		frames.Put(f)
	}
}

// Records returns the records of a data frame.
func (f *Frame) Records() Records { return Records{rest: f.bytes[headerSize:]} }

// add appends a record: key group, lengths, bytes.
func (f *Frame) add(group uint16, key, value []byte) {
	b := binary.LittleEndian.AppendUint16(f.bytes, group)
	b = binary.AppendUvarint(b, uint64(len(key)))
	b = binary.AppendUvarint(b, uint64(len(value)))
	b = append(b, key...)
	f.bytes = append(b, value...)
}

func (f *Frame) writeTo(w io.Writer) error {
	binary.LittleEndian.PutUint32(f.bytes, uint32(len(f.bytes)-headerSize))
	f.bytes[4] = byte(f.Kind)
	binary.LittleEndian.PutUint64(f.bytes[5:], f.Checkpoint)
	binary.LittleEndian.PutUint64(f.bytes[13:], f.Epoch)
	_, err := w.Write(f.bytes)
	return err
}

// readFrame reads what writeTo wrote. It returns io.EOF at an end between frames.
func readFrame(r io.Reader) (*Frame, error) {
	f := newFrame(Data)
	if _, err := io.ReadFull(r, f.bytes[:headerSize]); err != nil {
		f.Release()
		return nil, err
	}
	n := binary.LittleEndian.Uint32(f.bytes)
	f.Kind = Kind(f.bytes[4])
	f.Checkpoint = binary.LittleEndian.Uint64(f.bytes[5:])
	f.Epoch = binary.LittleEndian.Uint64(f.bytes[13:])
	if f.Kind < Data || f.Kind > EndOfData || n > maxBody || (f.Kind != Data && n > 0) {
		return nil, fmt.Errorf("%w: kind %d, %d bytes", errFrame, f.Kind, n)
	}
	if need := headerSize + int(n); need > cap(f.bytes) {
		f.bytes = make([]byte, need)
	}
	f.bytes = f.bytes[:headerSize+int(n)]
	if _, err := io.ReadFull(r, f.bytes[headerSize:]); err != nil {
		f.Release()
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return f, nil
}

// Records iterates over the records of a frame.
type Records struct{ rest []byte }

// More reports whether another record follows.
func (r *Records) More() bool { return len(r.rest) > 0 }

// Next returns the next record; key and value are valid until the frame is released.
func (r *Records) Next() (group uint16, key, value []byte, err error) {
	b := r.rest
	if len(b) < 2 {
		return 0, nil, nil, errFrame
	}
	group = binary.LittleEndian.Uint16(b)
	b = b[2:]
	klen, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, nil, errFrame
	}
	b = b[n:]
	vlen, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, nil, errFrame
	}
	b = b[n:]
	if klen > uint64(len(b)) || vlen > uint64(len(b))-klen {
		return 0, nil, nil, errFrame
	}
	r.rest = b[klen+vlen:]
	return group, b[:klen:klen], b[klen : klen+vlen : klen+vlen], nil
}

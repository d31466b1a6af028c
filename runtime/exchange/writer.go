package exchange

import (
	"fmt"

	"github.com/ckptd/ckptd/layout/keygroup"
)

// Link is the sending side of one channel.
type Link interface {
	// Send passes the frame on. It blocks while the channel is full, until the channel ends.
	Send(f *Frame) error
	// Close gives up the channel; a blocked Send returns. The reader sees a lost channel, unless it got End before.
	Close() error
}

// Writer spreads a subtask's records over the subtasks of the next task, by the key group of the key. Only one
// goroutine may use it.
type Writer struct {
	links          []Link
	open           []*Frame // the frame being filled, per link; nil if there is none
	target         []uint16 // key group -> link
	maxParallelism int
	dirty          bool
}

// NewWriter returns the writer over the links to all subtasks of a task, in the order of their indexes.
func NewWriter(links []Link, maxParallelism int) *Writer {
	w := &Writer{links: links, open: make([]*Frame, len(links)), target: make([]uint16, maxParallelism), maxParallelism: maxParallelism}
	for g := range w.target {
		w.target[g] = uint16(keygroup.Subtask(uint16(g), maxParallelism, len(links)))
	}
	return w
}

// Write writes a record; it may wait in a buffer until Flush.
func (w *Writer) Write(key, value []byte) error {
	if len(key)+len(value) > MaxRecord {
		return fmt.Errorf("exchange: write record of %d bytes: %w", len(key)+len(value), ErrTooLarge)
	}
	group := keygroup.Of(key, w.maxParallelism)
	i := w.target[group]
	f := w.open[i]
	if f == nil {
		f = newFrame(Data)
		w.open[i] = f
		w.dirty = true
	}
	f.add(group, key, value)
	if len(f.bytes) < frameSize {
		return nil
	}
	w.open[i] = nil
	return w.links[i].Send(f)
}

// Dirty reports whether Flush has anything to send.
func (w *Writer) Dirty() bool { return w.dirty }

// Flush sends the buffered records.
func (w *Writer) Flush() error {
	if !w.dirty {
		return nil
	}
	w.dirty = false
	for i, f := range w.open {
		if f == nil {
			continue
		}
		w.open[i] = nil
		if err := w.links[i].Send(f); err != nil {
			return err
		}
	}
	return nil
}

// Broadcast sends Barrier, Drain, Cancel, End or EndOfData to every subtask, after all records written so far.
func (w *Writer) Broadcast(kind Kind, checkpoint, epoch uint64) error {
	if err := w.Flush(); err != nil {
		return err
	}
	for _, l := range w.links {
		f := newFrame(kind)
		f.Checkpoint, f.Epoch = checkpoint, epoch
		if err := l.Send(f); err != nil {
			return err
		}
	}
	return nil
}

// Close gives up all channels; links that were never made are nil. Any goroutine may call it, more than once.
func (w *Writer) Close() error {
	for _, l := range w.links {
		if l != nil {
			l.Close()
		}
	}
	return nil
}

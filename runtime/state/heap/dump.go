package heap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/ckptd/ckptd/crc32c"
	"github.com/ckptd/ckptd/layout/keygroup"
)

const (
	// chunk is how many entries are encoded under one lock: a put waits for them at most.
	chunk = 256
	// writeAt is how many bytes are collected for one write.
	writeAt = 256 << 10
)

// overhead is the number of bytes of a file without entries.
var overhead = int64(len(magic) + 4 + 8 + 4)

// dump writes one snapshot to a file, in a goroutine of its own.
type dump struct {
	path   string
	groups keygroup.Range
	// done is closed when the file is whole, or err is set. released is closed when nobody needs it any more.
	done, released chan struct{}
	err            error

	mu sync.Mutex
	// entries are those of the snapshot. The backend may set their values, and keeps those that are not written in saved.
	entries []entry
	// written is the number of entries that are encoded.
	written int
	saved   map[int][]byte
}

// save keeps the value of an entry that is about to change. It is false if the dump needs no values any more.
func (d *dump) save(i int, value []byte) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.written == len(d.entries) {
		return false
	}
	if i >= d.written && i < len(d.entries) {
		if _, ok := d.saved[i]; !ok {
			d.saved[i] = value
		}
	}
	return true
}

// write writes the file.
func (d *dump) write() {
	defer close(d.done)
	if d.err = d.store(); d.err != nil {
		d.err = fmt.Errorf("heap: write a snapshot: %w", d.err)
		os.Remove(d.path)
	}
	d.mu.Lock()
	d.entries, d.written, d.saved = nil, 0, nil // save is false from now on
	d.mu.Unlock()
}

func (d *dump) store() (err error) {
	f, err := os.OpenFile(d.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sum := crc32c.New()
	out := io.MultiWriter(f, sum)
	b := append([]byte{}, magic...)
	b = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, d.groups.Start), d.groups.End)
	b = binary.BigEndian.AppendUint64(b, uint64(len(d.entries)))
	for more := true; more; {
		select {
		case <-d.released:
			return errReleased
		default:
		}
		b, more = d.encode(b)
		if len(b) >= writeAt || !more {
			if _, err := out.Write(b); err != nil {
				return err
			}
			b = b[:0]
		}
	}
	_, err = f.Write(binary.BigEndian.AppendUint32(nil, sum.Sum32()))
	return err
}

// encode appends the next entries. more is false if they are the last.
func (d *dump) encode(b []byte) (_ []byte, more bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for range chunk {
		if d.written == len(d.entries) {
			return b, false
		}
		e := d.entries[d.written]
		if old, ok := d.saved[d.written]; ok {
			e.value = old
			delete(d.saved, d.written)
		}
		b = append(b, e.key[:2]...)
		b = binary.BigEndian.AppendUint32(b, uint32(len(e.key)-2))
		b = append(b, e.key[2:]...)
		b = binary.BigEndian.AppendUint32(b, uint32(len(e.value)))
		b = append(b, e.value...)
		d.written++
	}
	return b, true
}

var errReleased = errors.New("the snapshot was released")

// open waits for the file.
func (d *dump) open() (io.ReadCloser, error) {
	<-d.done
	if d.err != nil {
		return nil, d.err
	}
	return os.Open(d.path)
}

// release ends the writing and removes the file.
func (d *dump) release() {
	close(d.released)
	<-d.done
	os.Remove(d.path)
}

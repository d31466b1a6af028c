// Package heap is a state backend in a map, whose snapshot is one exclusive file. It owns the format of that file. It
// is the reference for other backends, and is enough for small state. It knows no tasks, handles or outcomes of
// checkpoints.
package heap

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/ckptd/ckptd/crc32c"
	"github.com/ckptd/ckptd/layout/keygroup"
	"github.com/ckptd/ckptd/runtime/state"
)

// FileName is the name of the only file of a snapshot.
const FileName = "heap"

// ErrCorrupt is in the chain of the error for a restored file that is cut, changed or of another kind.
var ErrCorrupt = errors.New("heap: not a snapshot, or damaged")

// The file holds: magic; first and last key group (2 bytes each, big-endian); number of entries (8); the entries, in
// no order; CRC32C of all that (4).
//
// An entry holds: key group (2), length of key (4), key, length of value (4), value.
var magic = []byte("ckptd-heap-1\n")

// Backend implements state.Backend.
type Backend struct {
	dir      string
	groups   keygroup.Range
	nonce    string
	values   map[string][]byte
	sequence int
	closed   bool
	scratch  []byte
}

var (
	_ state.Backend = (*Backend)(nil)
	_ state.Factory = Open
)

// Open is a state.Factory.
func Open(ctx context.Context, dir string, groups keygroup.Range, restore []state.RestoredFile) (state.Backend, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("heap: open %s: %w", dir, err)
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, fmt.Errorf("heap: open %s: %w", dir, err)
	}
	b := &Backend{dir: dir, groups: groups, nonce: state.NewInstance(), values: map[string][]byte{}}
	if len(restore) == 0 {
		return b, nil
	}
	if len(restore) != 1 || restore[0].Name != FileName {
		return nil, fmt.Errorf("heap: restore: want the one file %q, got %d files, the first %q: %w", FileName, len(restore), restore[0].Name, ErrCorrupt)
	}
	if err := b.load(restore[0].Path); err != nil {
		return nil, fmt.Errorf("heap: restore %s: %w", restore[0].Path, err)
	}
	return b, nil
}

// Get implements state.Backend.
func (b *Backend) Get(keyGroup uint16, key []byte) ([]byte, error) {
	if err := b.check(keyGroup); err != nil {
		return nil, err
	}
	b.scratch = appendKey(b.scratch[:0], keyGroup, key)
	return b.values[string(b.scratch)], nil
}

// Put implements state.Backend.
func (b *Backend) Put(keyGroup uint16, key, value []byte) error {
	if err := b.check(keyGroup); err != nil {
		return err
	}
	b.scratch = appendKey(b.scratch[:0], keyGroup, key)
	b.values[string(b.scratch)] = append([]byte{}, value...)
	return nil
}

// Snapshot implements state.Backend.
func (b *Backend) Snapshot(checkpoint uint64) (*state.Snapshot, error) {
	if b.closed {
		return nil, errors.New("heap: snapshot: the backend is closed")
	}
	b.sequence++
	path := filepath.Join(b.dir, fmt.Sprintf("%d-%d", checkpoint, b.sequence))
	size, err := b.store(path)
	if err != nil {
		os.Remove(path)
		return nil, fmt.Errorf("heap: snapshot %d: %w", checkpoint, err)
	}
	return &state.Snapshot{
		InstanceNonce: b.nonce,
		Files:         []state.File{{Name: FileName, Path: path, Size: size}},
		Release:       sync.OnceFunc(func() { os.Remove(path) }),
	}, nil
}

// Close implements state.Backend.
func (b *Backend) Close() error {
	b.closed, b.values = true, nil
	return nil
}

func (b *Backend) check(keyGroup uint16) error {
	if b.closed {
		return errors.New("heap: the backend is closed")
	}
	if keyGroup < b.groups.Start || keyGroup > b.groups.End {
		return fmt.Errorf("heap: key group %d is outside of %v", keyGroup, b.groups)
	}
	return nil
}

func appendKey(dst []byte, keyGroup uint16, key []byte) []byte {
	return append(binary.BigEndian.AppendUint16(dst, keyGroup), key...)
}

func (b *Backend) store(path string) (size int64, err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sum := crc32c.New()
	w := bufio.NewWriter(io.MultiWriter(f, sum))
	w.Write(magic)
	w.Write(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, b.groups.Start), b.groups.End))
	w.Write(binary.BigEndian.AppendUint64(nil, uint64(len(b.values))))
	size = int64(len(magic)) + 4 + 8 + 4
	for k, v := range b.values {
		w.WriteString(k[:2])
		w.Write(binary.BigEndian.AppendUint32(nil, uint32(len(k)-2)))
		w.WriteString(k[2:])
		w.Write(binary.BigEndian.AppendUint32(nil, uint32(len(v))))
		w.Write(v)
		size += int64(len(k) + len(v) + 8)
	}
	if err := w.Flush(); err != nil { // Flush returns the first error of all writes
		return 0, err
	}
	_, err = f.Write(binary.BigEndian.AppendUint32(nil, sum.Sum32()))
	return size, err
}

func (b *Backend) load(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() < int64(len(magic))+16 {
		return fmt.Errorf("only %d bytes: %w", info.Size(), ErrCorrupt)
	}
	sum := crc32c.New()
	r := &reader{left: info.Size() - 4, r: bufio.NewReader(f), sum: sum}
	if string(r.next(int64(len(magic)))) != string(magic) {
		return fmt.Errorf("wrong magic: %w", ErrCorrupt)
	}
	head := r.next(12)
	if r.err != nil {
		return r.err
	}
	start, end, count := binary.BigEndian.Uint16(head), binary.BigEndian.Uint16(head[2:]), binary.BigEndian.Uint64(head[4:])
	for ; count > 0 && r.err == nil; count-- {
		b.loadEntry(r)
	}
	if r.err != nil {
		return r.err
	}
	var want [4]byte
	if _, err := io.ReadFull(r.r, want[:]); err != nil {
		return err
	}
	if r.left != 0 || binary.BigEndian.Uint32(want[:]) != sum.Sum32() {
		return fmt.Errorf("checksum differs: %w", ErrCorrupt)
	}
	if start > b.groups.Start || end < b.groups.End { // checked last, because before the checksum it could be damage
		return fmt.Errorf("holds key groups %d-%d, asked for %d-%d", start, end, b.groups.Start, b.groups.End)
	}
	return nil
}

// loadEntry reads an entry, and drops it if its key group is outside of the backend's range.
func (b *Backend) loadEntry(r *reader) {
	group := r.next(2)
	key := r.next(r.length())
	value := r.next(r.length())
	if r.err != nil {
		return
	}
	if g := binary.BigEndian.Uint16(group); g >= b.groups.Start && g <= b.groups.End {
		b.values[string(group)+string(key)] = value
	}
}

// reader reads the file, sums its bytes, and keeps the first error.
type reader struct {
	r    *bufio.Reader
	sum  hash.Hash32
	left int64
	err  error
}

func (r *reader) next(n int64) []byte {
	if r.err != nil || n > r.left {
		if r.err == nil {
			r.err = fmt.Errorf("cut: %w", ErrCorrupt)
		}
		return nil
	}
	p := make([]byte, n)
	if _, err := io.ReadFull(r.r, p); err != nil {
		r.err = err
		return nil
	}
	r.left -= n
	r.sum.Write(p)
	return p
}

func (r *reader) length() int64 {
	if p := r.next(4); p != nil {
		return int64(binary.BigEndian.Uint32(p))
	}
	return 0
}

// Package heap is a state backend in memory, whose snapshot is one exclusive file. It owns the format of that file, and
// the copy on write beside a snapshot. It knows no tasks, handles or outcomes of checkpoints.
//
// # A snapshot
//
// Entries lie in one slice, in the order of their first put; a map finds them by their keys. Snapshot only notes how many
// entries there are. A goroutine then writes them to the file, in their order, while puts go on. A put that replaces a
// value which the goroutine has not reached yet leaves it the old value first. So the time of a snapshot does not
// depend on the size of the state, and its memory only on what is put meanwhile.
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
	dir    string
	groups keygroup.Range
	nonce  string
	// index finds an entry by its key group and key.
	index   map[string]int
	entries []entry
	// size is the number of bytes of all entries in a file.
	size int64
	// dumps are the snapshots that may still need old values.
	dumps    []*dump
	sequence int
	closed   bool
	scratch  []byte
}

// entry is a key, with its key group in front, and its value.
type entry struct {
	key   string
	value []byte
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
	b := &Backend{dir: dir, groups: groups, nonce: state.NewInstance(), index: map[string]int{}}
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
	if i, ok := b.index[string(b.scratch)]; ok {
		return b.entries[i].value, nil
	}
	return nil, nil
}

// Put implements state.Backend.
func (b *Backend) Put(keyGroup uint16, key, value []byte) error {
	if err := b.check(keyGroup); err != nil {
		return err
	}
	b.scratch = appendKey(b.scratch[:0], keyGroup, key)
	i, ok := b.index[string(b.scratch)]
	if !ok {
		b.add(string(b.scratch), append([]byte{}, value...))
		return nil
	}
	e := &b.entries[i]
	b.size += int64(len(value) - len(e.value))
	if len(b.dumps) > 0 {
		b.replace(i, value)
		return nil
	}
	e.value = append(e.value[:0], value...)
	return nil
}

// add adds an entry for a key that has none.
func (b *Backend) add(key string, value []byte) {
	b.index[key] = len(b.entries)
	b.entries = append(b.entries, entry{key, value})
	b.size += int64(len(key)+len(value)) + 8
}

// replace sets the value of an entry while there are dumps. The old value is left to those that need it.
func (b *Backend) replace(i int, value []byte) {
	left := b.dumps[:0]
	for _, d := range b.dumps {
		if d.save(i, b.entries[i].value) {
			left = append(left, d)
		}
	}
	clear(b.dumps[len(left):])
	b.dumps = left
	b.set(i, append(make([]byte, 0, len(value)), value...))
}

// set publishes a value that dumps may read: each reads under its own lock.
func (b *Backend) set(i int, value []byte) {
	for _, d := range b.dumps {
		d.mu.Lock()
	}
	b.entries[i].value = value
	for _, d := range b.dumps {
		d.mu.Unlock()
	}
}

// Snapshot implements state.Backend.
func (b *Backend) Snapshot(checkpoint uint64) (*state.Snapshot, error) {
	if b.closed {
		return nil, errors.New("heap: snapshot: the backend is closed")
	}
	b.sequence++
	d := &dump{
		path: filepath.Join(b.dir, fmt.Sprintf("%d-%d", checkpoint, b.sequence)), groups: b.groups, entries: b.entries[:len(b.entries):len(b.entries)],
		saved: map[int][]byte{}, done: make(chan struct{}), released: make(chan struct{}),
	}
	b.dumps = append(b.dumps, d)
	go d.write()
	return &state.Snapshot{
		InstanceNonce: b.nonce,
		Files:         []state.File{{Name: FileName, Size: overhead + b.size, Open: d.open}},
		Release:       sync.OnceFunc(d.release),
	}, nil
}

// Close implements state.Backend.
func (b *Backend) Close() error {
	b.closed, b.index, b.entries, b.dumps = true, nil, nil, nil
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
		b.add(string(group)+string(key), value)
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

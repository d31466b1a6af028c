package verify

import (
	"crypto/sha256"
	"encoding/binary"
	"hash/fnv"
	"sync"

	"github.com/ckptd/ckptd/layout"
)

// fileID is the beginning of the SHA-256 of a file's key in the store.
type fileID [16]byte

func idOf(key string) fileID {
	sum := sha256.Sum256([]byte(key))
	return fileID(sum[:16])
}

// flags say what is known of a file.
type flags uint8

const (
	// flagFound: a list has shown the file with the right size.
	flagFound flags = 1 << iota
	// flagWrongSize: a list has shown the file with another size. trouble has that size.
	flagWrongSize
	// flagRead: all bytes were read, and have the right sums.
	flagRead
	// flagTrouble: trouble says what is wrong.
	flagTrouble
	// flagDisagree: two _metadata name the file with other lengths or sums. One of them must be wrong.
	flagDisagree
	// flagGone: the file was not there when it was to be read.
	flagGone
	// flagClaimed: somebody reads the file, or has read it.
	flagClaimed
)

// unread tells whether the file has the right size and nobody has begun to read it.
func (f flags) unread() bool { return f&flagFound != 0 && f&(flagWrongSize|flagClaimed) == 0 }

// bad tells whether something is wrong with a file whose folder was listed.
func (f flags) bad() bool {
	return f&flagFound == 0 || f&(flagWrongSize|flagTrouble|flagDisagree|flagGone) != 0
}

// record is what the table holds of a file.
type record struct {
	length uint64
	// sums is a hash of the file's sums.
	sums  uint32
	flags flags
}

// trouble says what is wrong with a file, as far as its flags do not.
type trouble struct {
	// found is the size on storage, with flagWrongSize.
	found uint64
	// err is why the file could not be read; nil: its bytes differ.
	err error
	// text describes the difference. [offset, offset+length) are the bytes that differ, as closely as is known.
	text           string
	offset, length uint64
}

// table holds the files of all checkpoints of a run, each once. Its methods are safe for concurrent use.
type table struct {
	mu       sync.Mutex
	index    map[fileID]int32
	records  []record
	troubles map[int32]*trouble
	// bytes of all files.
	bytes uint64
}

func newTable() *table {
	return &table{index: map[fileID]int32{}, troubles: map[int32]*trouble{}}
}

// add enters a file that a _metadata names.
func (t *table) add(id fileID, f *layout.File) {
	sums := sumsOf(f)
	t.mu.Lock()
	defer t.mu.Unlock()
	if i, ok := t.index[id]; ok {
		if r := &t.records[i]; r.length != f.Length || r.sums != sums {
			r.flags |= flagDisagree
		}
		return
	}
	t.index[id] = int32(len(t.records))
	t.records = append(t.records, record{length: f.Length, sums: sums})
	t.bytes += f.Length
}

// sumsOf is a hash of everything by which the bytes of a file are checked.
func sumsOf(f *layout.File) uint32 {
	h := fnv.New32a()
	var b [4]byte
	for _, sum := range append([]uint32{f.CRC32C}, f.Blocks...) {
		binary.LittleEndian.PutUint32(b[:], sum)
		_, _ = h.Write(b[:])
	}
	_, _ = h.Write(f.SHA256)
	return h.Sum32()
}

// list notes that a list has shown an object of that size. It ignores objects that no checkpoint names.
func (t *table) list(id fileID, size uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i, ok := t.index[id]
	if !ok {
		return
	}
	r := &t.records[i]
	r.flags |= flagFound
	if r.length != size {
		r.flags |= flagWrongSize
		t.troubles[i] = &trouble{found: size}
	}
}

// get returns what is known of a file.
func (t *table) get(id fileID) (flags, *trouble) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i, ok := t.index[id]
	if !ok {
		return 0, nil
	}
	return t.records[i].flags, t.troubles[i]
}

// set adds flags to a file, and what is wrong with it.
func (t *table) set(id fileID, f flags, what *trouble) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i, ok := t.index[id]
	if !ok {
		return
	}
	t.records[i].flags |= f
	if what != nil {
		t.troubles[i] = what
	}
}

// anyBad tells whether something is wrong with any file.
func (t *table) anyBad() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.records {
		if t.records[i].flags.bad() {
			return true
		}
	}
	return false
}

// counts returns the number of files and their bytes.
func (t *table) counts() (files, bytes uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return uint64(len(t.records)), t.bytes
}

// claim gives a file to the one caller that reads it: true once, and only for a file that was found with its size.
func (t *table) claim(id fileID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	i, ok := t.index[id]
	if !ok || !t.records[i].flags.unread() {
		return false
	}
	t.records[i].flags |= flagClaimed
	return true
}

// unread counts the files of a subset that claim would give away.
func (t *table) unread(s Subset) (files, bytes uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, i := range t.index {
		if r := &t.records[i]; r.flags.unread() && s.has(id) {
			files, bytes = files+1, bytes+r.length
		}
	}
	return files, bytes
}

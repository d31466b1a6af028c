package incremental

import (
	"errors"
	"hash/maphash"
	"math"
)

// Description is what is known of a file beside its number.
type Description struct {
	// Key relative to the job's folder: the file's identity.
	Key string
	// Instance and Name are what the backend that made it calls it: its instance nonce and its own name there. Empty: unknown.
	Instance, Name string
	// Size in bytes, CRC of all of them, Blocks of each block.
	Size   uint64
	CRC    uint32
	Blocks []uint32
	// Compression of a compressed file; nil otherwise.
	Compression *Compression
}

// Compression is the frame table of a compressed file: the codec, what each frame takes in the file, and what it holds.
type Compression struct {
	Codec         string
	Stored, Plain []uint32
}

// Names numbers files and finds them again: by key, or by what the backend that made them calls them. Memory is about 200 bytes a
// file, its names included. Not safe for concurrent use.
type Names struct {
	next    File
	files   map[File]*file
	keys    map[string]File
	locals  map[uint64]File
	nonces  map[string]uint32
	nonceOf []string
	seed    maphash.Seed
}

// file is a Description with its instance nonce shared.
type file struct {
	key, name string
	blocks    []uint32
	frames    *Compression
	size      uint64
	crc       uint32
	instance  uint32
}

// ErrNamesFull says that all numbers were given out; an owner has to attach again.
var ErrNamesFull = errors.New("incremental: all file numbers are used up")

// NewNames knows nothing yet.
func NewNames() *Names {
	return &Names{files: make(map[File]*file), keys: make(map[string]File), locals: make(map[uint64]File),
		nonces: map[string]uint32{"": 0}, nonceOf: []string{""}, seed: maphash.MakeSeed()}
}

// Intern gives the file its number: the one its key has already, else a new one. A file known only by its key so far (of a
// sweep's list) gets the rest of its description now.
func (n *Names) Intern(d Description) (File, error) {
	number, known := n.keys[d.Key]
	if !known {
		if n.next == math.MaxUint32-1 { // one less than the type holds: callers add 1
			return 0, ErrNamesFull
		}
		number = n.next
		n.next++
		n.keys[d.Key] = number
		n.files[number] = &file{key: d.Key}
	}
	f := n.files[number]
	if f.name == "" && (d.Name != "" || d.Size != 0) {
		f.name, f.blocks, f.frames, f.size, f.crc, f.instance = d.Name, d.Blocks, d.Compression, d.Size, d.CRC, n.nonce(d.Instance)
		if d.Instance != "" {
			n.locals[n.local(d.Instance, d.Name, d.Size)] = number
		}
	}
	return number, nil
}

// Lookup finds the file that a backend instance calls by that name, or that it restored from the handle with restoredKey. Size
// must agree in both cases. Whether it may be reused, Index.Promisable says.
func (n *Names) Lookup(instance, name string, size uint64, restoredKey string) (File, bool) {
	if number, ok := n.locals[n.local(instance, name, size)]; ok {
		if f := n.files[number]; f.name == name && f.size == size && n.nonceOf[f.instance] == instance {
			return number, true
		}
	}
	if restoredKey == "" {
		return 0, false
	}
	number, ok := n.keys[restoredKey]
	return number, ok && n.files[number].size == size
}

// ByKey finds a file by its key.
func (n *Names) ByKey(key string) (File, bool) {
	number, ok := n.keys[key]
	return number, ok
}

// Describe is what is known of a file.
func (n *Names) Describe(number File) (Description, bool) {
	f, ok := n.files[number]
	if !ok {
		return Description{}, false
	}
	return Description{
		Key: f.key, Instance: n.nonceOf[f.instance], Name: f.name, Size: f.size, CRC: f.crc, Blocks: f.blocks, Compression: f.frames,
	}, true
}

// Forget drops files that are gone. Their numbers are not given out again.
func (n *Names) Forget(files Set) {
	for number := range files.All() {
		f, ok := n.files[number]
		if !ok {
			continue
		}
		local := n.local(n.nonceOf[f.instance], f.name, f.size)
		if n.locals[local] == number {
			delete(n.locals, local)
		}
		delete(n.keys, f.key)
		delete(n.files, number)
	}
}

// Len is how many files are known.
func (n *Names) Len() int { return len(n.files) }

func (n *Names) nonce(instance string) uint32 {
	i, ok := n.nonces[instance]
	if !ok {
		i = uint32(len(n.nonceOf))
		n.nonces[instance] = i
		n.nonceOf = append(n.nonceOf, instance)
	}
	return i
}

// local hashes what a backend calls a file. A clash only makes a known file unknown: what is found is compared.
func (n *Names) local(instance, name string, size uint64) uint64 {
	const odd = 0x9e3779b97f4a7c15
	return (maphash.String(n.seed, name)*odd+maphash.String(n.seed, instance))*odd + size
}

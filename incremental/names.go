package incremental

import (
	"errors"
	"hash/maphash"
	"math"
	"slices"
)

// Description is what is known of a file, beside its number.
type Description struct {
	// Key relative to the job's folder, or to that of Job. Both are the file's identity.
	Key string
	// Job in whose folder the file lies; empty: the owner's own job.
	Job string
	// Instance and Name identify the file for the backend that made it: the backend's instance nonce, and its name
	// there. Empty: unknown.
	Instance, Name string
	// Size in bytes, CRC of all bytes, Blocks with the CRC of each block.
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

// Names numbers files and finds them again: by key, or by the name that their backend gave them. Its memory is about
// 200 bytes a file, names included. It is not safe for concurrent use.
//
// A file in another job's folder is found by the name that its backend gave it, or by the key that it was restored from.
type Names struct {
	next   File
	files  map[File]*file
	keys   map[string]File // by key; of a file in another job's folder, by the job and the key
	abroad map[string]File // files in other jobs' folders, by key alone
	locals map[uint64]File
	// older are files that share the name of their backend with a newer one: a full checkpoint sends again what is there already.
	older   map[uint64][]File
	nonces  map[string]uint32
	nonceOf []string
	seed    maphash.Seed
	bytes   uint64 // of all described files
}

// file is a Description with a number in place of its instance nonce.
type file struct {
	key, job, name string
	blocks         []uint32
	frames         *Compression
	size           uint64
	crc            uint32
	instance       uint32
}

// ErrNamesFull says that no numbers are left; the owner has to attach again.
var ErrNamesFull = errors.New("incremental: all file numbers are used up")

// NewNames returns a Names without files.
func NewNames() *Names {
	return &Names{files: make(map[File]*file), keys: make(map[string]File), abroad: map[string]File{}, locals: make(map[uint64]File), older: map[uint64][]File{},
		nonces: map[string]uint32{"": 0}, nonceOf: []string{""}, seed: maphash.MakeSeed()}
}

// Intern returns the number of the file: the number that its key has already, else a new one. If only the key was
// known so far, from a sweep's list, the file now gets the rest of its description.
func (n *Names) Intern(d Description) (File, error) {
	key := qualified(d.Job, d.Key)
	number, known := n.keys[key]
	if !known {
		if n.next == math.MaxUint32-1 { // one less than the type holds, because callers add 1
			return 0, ErrNamesFull
		}
		number = n.next
		n.next++
		n.keys[key] = number
		if _, taken := n.abroad[d.Key]; d.Job != "" && !taken {
			n.abroad[d.Key] = number
		}
		n.files[number] = &file{key: d.Key, job: d.Job}
	}
	f := n.files[number]
	if f.name == "" && (d.Name != "" || d.Size != 0) {
		f.name, f.blocks, f.frames, f.size, f.crc, f.instance = d.Name, d.Blocks, d.Compression, d.Size, d.CRC, n.nonce(d.Instance)
		n.bytes += d.Size
		if d.Instance != "" {
			local := n.local(d.Instance, d.Name, d.Size)
			if before, twice := n.locals[local]; twice {
				n.older[local] = append(n.older[local], before)
			}
			n.locals[local] = number
		}
	}
	return number, nil
}

// Lookup finds the file that a backend instance calls name, or that the backend restored from the handle with
// restoredKey. In both cases the size must agree. Index.Promisable decides whether the file may be reused.
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
	if !ok {
		number, ok = n.abroad[restoredKey]
	}
	return number, ok && n.files[number].size == size
}

// ByKey finds a file by its key.
func (n *Names) ByKey(key string) (File, bool) {
	number, ok := n.keys[key]
	return number, ok
}

// Describe returns what is known of a file.
func (n *Names) Describe(number File) (Description, bool) {
	f, ok := n.files[number]
	if !ok {
		return Description{}, false
	}
	return Description{
		Key: f.key, Job: f.job, Instance: n.nonceOf[f.instance], Name: f.name, Size: f.size, CRC: f.crc, Blocks: f.blocks, Compression: f.frames,
	}, true
}

// Forget removes files that were deleted. Their numbers are not given out again.
func (n *Names) Forget(files Files) {
	for number := range files.All() {
		f, ok := n.files[number]
		if !ok {
			continue
		}
		n.unname(n.local(n.nonceOf[f.instance], f.name, f.size), number)
		delete(n.keys, qualified(f.job, f.key))
		delete(n.files, number)
		n.bytes -= f.size
	}
}

// unname forgets the backend's name of a file. If an older file has the same name, the name is that file's again.
func (n *Names) unname(local uint64, number File) {
	older := slices.DeleteFunc(n.older[local], func(o File) bool { return o == number })
	if n.locals[local] == number {
		delete(n.locals, local)
		if last := len(older) - 1; last >= 0 {
			n.locals[local] = older[last]
			older = older[:last]
		}
	}
	if n.older[local] = older; len(older) == 0 {
		delete(n.older, local)
	}
}

// qualified is the key of a file among those of all jobs. Own keys have one slash, those of other jobs' files two.
func qualified(job, key string) string {
	if job == "" {
		return key
	}
	return job + "/" + key
}

// Len returns the number of known files.
func (n *Names) Len() int { return len(n.files) }

// Bytes returns the size of all known files together. A file that only a sweep's list has shown counts as empty.
func (n *Names) Bytes() uint64 { return n.bytes }

func (n *Names) nonce(instance string) uint32 {
	i, ok := n.nonces[instance]
	if !ok {
		i = uint32(len(n.nonceOf))
		n.nonces[instance] = i
		n.nonceOf = append(n.nonceOf, instance)
	}
	return i
}

// local returns a hash of a backend's name for a file. Lookup compares what it finds, so a collision only makes a
// known file unknown.
func (n *Names) local(instance, name string, size uint64) uint64 {
	const odd = 0x9e3779b97f4a7c15
	return (maphash.String(n.seed, name)*odd+maphash.String(n.seed, instance))*odd + size
}

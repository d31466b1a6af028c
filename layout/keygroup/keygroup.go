// Package keygroup assigns keys to key groups and key groups to subtasks, exactly as Apache Flink does. With it, state
// can be redistributed when the parallelism changes.
//
// It owns the hash, the mapping of groups to subtasks and the arithmetic of ranges. It must not know what a job, a
// key or state is, and imports no other package of ckptd.
//
// # The hash of a byte-string key
//
// Flink hashes key.hashCode() with one round of MurmurHash3. A key that is valid UTF-8 has the hashCode of the Java
// String of the same text, so "user-1" is in the same group as in Flink. That code is the 31-polynomial over the
// text's UTF-16 units. Any other key has the value of java.util.Arrays.hashCode(byte[]).
package keygroup

import (
	"fmt"
	"math/bits"
	"unicode/utf8"
)

const (
	// MaxParallelism is the upper bound of a job's number of key groups.
	MaxParallelism = 1 << 15
	// defaultLower is the least number of key groups that DefaultMaxParallelism returns.
	defaultLower = 1 << 7
)

// Of returns the key group of a key, out of maxParallelism groups.
func Of(key []byte, maxParallelism int) uint16 { return Assign(Hash(key), maxParallelism) }

// Assign returns the key group of a key with the given hashCode: Flink's assignToKeyGroup.
func Assign(hash int32, maxParallelism int) uint16 {
	return uint16(int(Murmur(hash)) % maxParallelism)
}

// Hash returns the Java hashCode of a byte-string key, as described in the package comment.
func Hash(key []byte) int32 {
	var h int32
	for i, b := range key {
		if b >= utf8.RuneSelf {
			return hashWide(key, i, h)
		}
		h = 31*h + int32(b)
	}
	return h
}

// hashWide continues Hash at the first byte that is not ASCII: at key[i], with h for the bytes before it.
func hashWide(key []byte, i int, h int32) int32 {
	for i < len(key) {
		r, n := utf8.DecodeRune(key[i:])
		switch {
		case r == utf8.RuneError && n <= 1:
			return hashBytes(key)
		case r > 0xffff: // two UTF-16 units
			h = 31*h + 0xd800 + (r-0x10000)>>10
			h = 31*h + 0xdc00 + (r-0x10000)&0x3ff
		default:
			h = 31*h + r
		}
		i += n
	}
	return h
}

// hashBytes is java.util.Arrays.hashCode(byte[]); Java's bytes are signed.
func hashBytes(key []byte) int32 {
	h := int32(1)
	for _, b := range key {
		h = 31*h + int32(int8(b))
	}
	return h
}

// Murmur is Flink's MathUtils.murmurHash: one MurmurHash3 block over the 32-bit code, never negative.
func Murmur(code int32) int32 {
	h := uint32(code) * 0xcc9e2d51
	h = bits.RotateLeft32(h, 15)
	h *= 0x1b873593
	h = bits.RotateLeft32(h, 13)
	h = h*5 + 0xe6546b64
	h ^= 4
	h ^= h >> 16
	h *= 0x85ebca6b
	h ^= h >> 13
	h *= 0xc2b2ae35
	h ^= h >> 16
	switch v := int32(h); {
	case v >= 0:
		return v
	case v == -1<<31: // -1<<31 has no positive counterpart
		return 0
	default:
		return -v
	}
}

// Subtask returns the index of the subtask that holds a key group: Flink's computeOperatorIndexForKeyGroup.
func Subtask(group uint16, maxParallelism, parallelism int) int {
	return int(group) * parallelism / maxParallelism
}

// DefaultMaxParallelism returns the number of key groups of an operator that does not choose one: the least power of
// two that is at least one and a half times the parallelism, from 128 to 32768.
func DefaultMaxParallelism(parallelism int) int {
	want := min(max(parallelism+parallelism/2, defaultLower), MaxParallelism)
	return 1 << bits.Len(uint(want-1))
}

// Range is an inclusive range of key groups, Start <= End. It is never empty.
type Range struct {
	Start, End uint16
}

// RangeOf returns the range of the subtask with the given index. The ranges of all subtasks together are all key
// groups, without overlap. The caller keeps 0 <= index < parallelism <= maxParallelism <= MaxParallelism.
func RangeOf(maxParallelism, parallelism, index int) Range {
	return Range{
		Start: uint16((index*maxParallelism + parallelism - 1) / parallelism),
		End:   uint16(((index+1)*maxParallelism - 1) / parallelism),
	}
}

// Len returns the number of key groups in the range.
func (r Range) Len() int { return int(r.End) - int(r.Start) + 1 }

// Contains reports whether a key group lies in the range.
func (r Range) Contains(group uint16) bool { return r.Start <= group && group <= r.End }

// Intersect returns the key groups that are in both ranges; false if there are none.
func (r Range) Intersect(other Range) (Range, bool) {
	both := Range{Start: max(r.Start, other.Start), End: min(r.End, other.End)}
	if both.Start > both.End {
		return Range{}, false
	}
	return both, true
}

// String formats as "0-42".
func (r Range) String() string { return fmt.Sprintf("%d-%d", r.Start, r.End) }

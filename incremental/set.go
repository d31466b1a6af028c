package incremental

import (
	"encoding/binary"
	"iter"
	"maps"
	"math/bits"
	"slices"
)

// File is the number of a file. An owner never gives out a number twice.
type File uint32

// Files is a set of files.
type Files = Set[File]

// FilesOf returns a set of files, given in any order.
func FilesOf(files ...File) Files { return SetOf(files...) }

// Set is an immutable, comparable set of numbers of one kind of thing, counted from 0. The zero value is empty.
//
// Numbers below 64 lie in one word, so that small sets cost nothing. The others lie in a string of pairs (word
// number, word), in ascending order, without empty words.
type Set[T ~uint32] struct {
	lo uint64
	hi string
}

// pair is the size of one (word number, word) in hi.
const pair = 4 + 8

// SetOf returns a set of numbers, given in any order.
func SetOf[T ~uint32](numbers ...T) Set[T] {
	var b Builder[T]
	for _, n := range numbers {
		b.Add(n)
	}
	return b.Set()
}

// Range returns the set of 0 to n-1.
func Range[T ~uint32](n uint32) Set[T] {
	if n <= 64 {
		return Set[T]{lo: 1<<n - 1}
	}
	words := n / 64
	out := make([]byte, 0, (words+1)*pair)
	for w := uint32(1); w < words; w++ {
		out = binary.LittleEndian.AppendUint32(out, w)
		out = binary.LittleEndian.AppendUint64(out, ^uint64(0))
	}
	if rest := n % 64; rest != 0 {
		out = binary.LittleEndian.AppendUint32(out, words)
		out = binary.LittleEndian.AppendUint64(out, 1<<rest-1)
	}
	return Set[T]{^uint64(0), string(out)}
}

// Has reports whether n is in the set.
func (s Set[T]) Has(n T) bool {
	word, bit := uint32(n>>6), uint64(1)<<(n&63)
	if word == 0 {
		return s.lo&bit != 0
	}
	lo, hi := 0, len(s.hi)/pair
	for lo < hi {
		if mid := int(uint(lo+hi) >> 1); s.number(mid) < word {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo < len(s.hi)/pair && s.number(lo) == word && s.word(lo)&bit != 0
}

// IsEmpty reports whether the set is empty.
func (s Set[T]) IsEmpty() bool { return s == Set[T]{} }

// Len returns the number of elements.
func (s Set[T]) Len() int {
	n := bits.OnesCount64(s.lo)
	for i := range len(s.hi) / pair {
		n += bits.OnesCount64(s.word(i))
	}
	return n
}

// All yields the numbers in ascending order.
func (s Set[T]) All() iter.Seq[T] {
	return func(yield func(T) bool) {
		if !each(0, s.lo, yield) {
			return
		}
		for i := range len(s.hi) / pair {
			if !each(s.number(i), s.word(i), yield) {
				return
			}
		}
	}
}

// First returns the n lowest numbers of the set, or all of them if there are fewer.
func (s Set[T]) First(n int) Set[T] {
	if s.Len() <= n {
		return s
	}
	var b Builder[T]
	for number := range s.All() {
		if n--; n < 0 {
			break
		}
		b.Add(number)
	}
	return b.Set()
}

func each[T ~uint32](number uint32, w uint64, yield func(T) bool) bool {
	for ; w != 0; w &= w - 1 {
		if !yield(T(number)<<6 | T(bits.TrailingZeros64(w))) {
			return false
		}
	}
	return true
}

// Or returns the numbers that are in s or t.
func (s Set[T]) Or(t Set[T]) Set[T] {
	if t.hi == "" || s.hi == t.hi {
		return Set[T]{s.lo | t.lo, s.hi}
	}
	if s.hi == "" {
		return Set[T]{s.lo | t.lo, t.hi}
	}
	return s.merge(t, func(a, b uint64) uint64 { return a | b })
}

// And returns the numbers that are in both sets.
func (s Set[T]) And(t Set[T]) Set[T] {
	if s.hi == "" || t.hi == "" || s.hi == t.hi {
		if s.hi != t.hi {
			return Set[T]{lo: s.lo & t.lo}
		}
		return Set[T]{s.lo & t.lo, s.hi}
	}
	return s.merge(t, func(a, b uint64) uint64 { return a & b })
}

// Minus returns the numbers that are in s and not in t.
func (s Set[T]) Minus(t Set[T]) Set[T] {
	if s.hi == "" || t.hi == "" {
		return Set[T]{s.lo &^ t.lo, s.hi}
	}
	if s.hi == t.hi {
		return Set[T]{lo: s.lo &^ t.lo}
	}
	return s.merge(t, func(a, b uint64) uint64 { return a &^ b })
}

// In reports whether every number of s is in t.
func (s Set[T]) In(t Set[T]) bool { return s.Minus(t).IsEmpty() }

// AppendKey appends bytes that no other set has.
func (s Set[T]) AppendKey(b []byte) []byte {
	b = binary.AppendUvarint(b, s.lo)
	b = binary.AppendUvarint(b, uint64(len(s.hi)))
	return append(b, s.hi...)
}

func (s Set[T]) number(i int) uint32 {
	p := s.hi[i*pair:]
	return uint32(p[0]) | uint32(p[1])<<8 | uint32(p[2])<<16 | uint32(p[3])<<24
}

func (s Set[T]) word(i int) uint64 {
	p := s.hi[i*pair+4:]
	return uint64(p[0]) | uint64(p[1])<<8 | uint64(p[2])<<16 | uint64(p[3])<<24 |
		uint64(p[4])<<32 | uint64(p[5])<<40 | uint64(p[6])<<48 | uint64(p[7])<<56
}

// merge combines both sets word by word.
func (s Set[T]) merge(t Set[T], f func(a, b uint64) uint64) Set[T] {
	out := make([]byte, 0, len(s.hi)+len(t.hi))
	i, j, n, m := 0, 0, len(s.hi)/pair, len(t.hi)/pair
	for i < n || j < m {
		var number uint32
		var a, b uint64
		switch {
		case j == m || i < n && s.number(i) < t.number(j):
			number, a = s.number(i), s.word(i)
			i++
		case i == n || t.number(j) < s.number(i):
			number, b = t.number(j), t.word(j)
			j++
		default:
			number, a, b = s.number(i), s.word(i), t.word(j)
			i++
			j++
		}
		if w := f(a, b); w != 0 {
			out = binary.LittleEndian.AppendUint32(out, number)
			out = binary.LittleEndian.AppendUint64(out, w)
		}
	}
	return Set[T]{f(s.lo, t.lo), string(out)}
}

// Builder makes a Set of many numbers. The zero value is ready for use; after Set it must not be used again.
type Builder[T ~uint32] struct {
	words map[uint32]uint64
	last  uint32
	word  uint64
}

// Add adds a number. Adding numbers in runs is cheapest.
func (b *Builder[T]) Add(n T) {
	if w := uint32(n >> 6); w != b.last {
		b.flush()
		b.last = w
	}
	b.word |= 1 << (n & 63)
}

func (b *Builder[T]) flush() {
	if b.word != 0 {
		if b.words == nil {
			b.words = make(map[uint32]uint64)
		}
		b.words[b.last] |= b.word
		b.word = 0
	}
}

// Set returns the set of the added numbers.
func (b *Builder[T]) Set() (s Set[T]) {
	if b.words == nil && b.last == 0 {
		return Set[T]{lo: b.word}
	}
	b.flush()
	s.lo = b.words[0]
	delete(b.words, 0)
	out := make([]byte, 0, len(b.words)*pair)
	for _, number := range slices.Sorted(maps.Keys(b.words)) {
		out = binary.LittleEndian.AppendUint32(out, number)
		out = binary.LittleEndian.AppendUint64(out, b.words[number])
	}
	s.hi = string(out)
	return s
}

package data

import (
	"hash/crc32"
	"slices"

	"github.com/ckptd/ckptd/crc32c"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// CRC32C continues a CRC32C over p; begin with 0.
func CRC32C(crc uint32, p []byte) uint32 { return crc32c.Update(crc, p) }

// Sums takes the sums of a file in one pass: each byte is looked at once, the sum of the whole is put together from those of the
// blocks. The zero value is ready.
type Sums struct {
	length uint64
	// whole is the sum of all finished blocks, block that of the one in progress.
	whole, block uint32
	blocks       []uint32
}

// Write continues the sums. It never fails.
func (s *Sums) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		room := BlockSize - int(s.length%BlockSize)
		q := p[:min(room, len(p))]
		s.block = CRC32C(s.block, q)
		s.length += uint64(len(q))
		p = p[len(q):]
		if len(q) == room {
			s.whole = Combine(s.whole, s.block, BlockSize)
			s.blocks = append(s.blocks, s.block)
			s.block = 0
		}
	}
	return n, nil
}

// Length is the number of bytes so far.
func (s *Sums) Length() uint64 { return s.length }

// CRC32C is the sum of all bytes so far.
func (s *Sums) CRC32C() uint32 { return Combine(s.whole, s.block, s.length%BlockSize) }

// Handle is the file with its sums. Block sums are only for files of more than one block.
func (s *Sums) Handle(key string) *ckptdv1.FileHandle {
	h := &ckptdv1.FileHandle{Key: key, Length: s.length, Crc32C: s.CRC32C()}
	if s.length > BlockSize {
		h.BlockCrc32C = slices.Clone(s.blocks)
		if s.length%BlockSize > 0 {
			h.BlockCrc32C = append(h.BlockCrc32C, s.block)
		}
	}
	return h
}

// BlockCount is how many block sums a file of that length has.
func BlockCount(length uint64) uint64 {
	if length <= BlockSize {
		return 0
	}
	return (length + BlockSize - 1) / BlockSize
}

// Combine gives the CRC32C of two pieces one after the other, of which the second is n bytes long.
//
// Appending n bytes multiplies the first sum, seen as a polynomial over GF(2), by x^(8n) modulo the CRC's polynomial.
func Combine(first, second uint32, n uint64) uint32 {
	if first == 0 {
		return second
	}
	// square is x^(8·2^i): x^8 at first. Bit 31 is the coefficient of x^0.
	factor, square := uint32(1)<<31, uint32(1)<<(31-8)
	for ; n > 0; n >>= 1 {
		if n&1 != 0 {
			factor = multiply(factor, square)
		}
		square = multiply(square, square)
	}
	return multiply(factor, first) ^ second
}

// multiply multiplies two polynomials modulo Castagnoli's, bit-reflected as the sums are.
func multiply(a, b uint32) uint32 {
	var p uint32
	for bit := uint32(1) << 31; bit != 0; bit >>= 1 {
		if a&bit != 0 {
			p ^= b
		}
		if b&1 != 0 {
			b = b>>1 ^ crc32.Castagnoli
		} else {
			b >>= 1
		}
	}
	return p
}

package data

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

func TestCombineIsTheSumOfTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.SliceOf(rapid.Byte()).Draw(t, "a")
		b := rapid.SliceOf(rapid.Byte()).Draw(t, "b")
		if got, want := Combine(CRC32C(0, a), CRC32C(0, b), uint64(len(b))), CRC32C(0, append(bytes.Clone(a), b...)); got != want {
			t.Fatalf("got %08x, want %08x", got, want)
		}
	})
}

// Sums in pieces of any size are those of the plain definition, at and around the ends of blocks.
func TestSums(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	all := make([]byte, 3*BlockSize+5)
	for i := range all {
		all[i] = byte(rng.Uint32())
	}
	for _, n := range []int{0, 1, BlockSize - 1, BlockSize, BlockSize + 1, 2 * BlockSize, 3*BlockSize + 5} {
		p := all[:n]
		var s Sums
		for rest := p; len(rest) > 0; {
			k := min(len(rest), 1+rng.IntN(BlockSize+1))
			if _, err := s.Write(rest[:k]); err != nil {
				t.Fatal(err)
			}
			rest = rest[k:]
		}
		h := s.Handle("k")
		if h.GetLength() != uint64(n) || h.GetCrc32C() != CRC32C(0, p) || s.CRC32C() != CRC32C(0, p) {
			t.Errorf("%d bytes: length %d, crc %08x, want %08x", n, h.GetLength(), h.GetCrc32C(), CRC32C(0, p))
		}
		if uint64(len(h.GetBlockCrc32C())) != BlockCount(uint64(n)) {
			t.Errorf("%d bytes: %d block sums, want %d", n, len(h.GetBlockCrc32C()), BlockCount(uint64(n)))
		}
		for i, got := range h.GetBlockCrc32C() {
			if want := CRC32C(0, p[i*BlockSize:min(n, (i+1)*BlockSize)]); got != want {
				t.Errorf("%d bytes: block %d: %08x, want %08x", n, i, got, want)
			}
		}
	}
}

func BenchmarkSums(b *testing.B) {
	p := make([]byte, 1<<20)
	b.SetBytes(int64(len(p)))
	var s Sums
	for b.Loop() {
		s.Write(p)
	}
}

package lsm

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/ckptd/ckptd/layout/keygroup"
)

// BenchmarkCount is the running count of the click job: a get and a put for each record, with users by Zipf's law.
func BenchmarkCount(b *testing.B) {
	for _, users := range []uint64{1_000, 100_000, 5_000_000} {
		b.Run(fmt.Sprintf("zipf/users=%d", users), func(b *testing.B) {
			z := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.1, 10, users-1)
			count(b, z.Uint64)
		})
	}
	b.Run("uniform/users=1000000", func(b *testing.B) {
		r := rand.New(rand.NewPCG(1, 2))
		count(b, func() uint64 { return r.Uint64N(1e6) })
	})
}

func count(b *testing.B, next func() uint64) {
	backend := begin(b, engine(b, nil), nil)
	key := make([]byte, 0, 32)
	for b.Loop() {
		key = strconv.AppendUint(append(key[:0], "user-"...), next(), 10)
		group := keygroup.Of(key, 128)
		v, err := backend.Get(group, key)
		if err != nil {
			b.Fatal(err)
		}
		var n uint64
		if v != nil {
			n = binary.BigEndian.Uint64(v)
		}
		if err := backend.Put(group, key, binary.BigEndian.AppendUint64(nil, n+1)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkSnapshot is the synchronous part, with no key changed, with a hundred keys of 100,000, and with all keys.
func BenchmarkSnapshot(b *testing.B) {
	for _, changed := range []int{0, 100, 100_000} {
		b.Run(fmt.Sprintf("changed=%d", changed), func(b *testing.B) {
			backend := begin(b, engine(b, nil), nil)
			for i := range 100_000 {
				put(b, backend, fmt.Sprint("user-", i), "12345678")
			}
			n := uint64(0)
			for b.Loop() {
				b.StopTimer()
				for i := range changed {
					put(b, backend, fmt.Sprint("user-", i*(100_000/changed)), fmt.Sprint(n, "-------"))
				}
				n++
				b.StartTimer()
				s, err := backend.Snapshot(n)
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				s.Release()
				b.StartTimer()
			}
		})
	}
}

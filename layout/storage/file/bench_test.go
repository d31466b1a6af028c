package file

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ckptd/ckptd/crc32c"
	"github.com/ckptd/ckptd/layout/storage"
)

// BenchmarkDurable writes files with the driver and, in turn within the same run, the same bytes plainly. A round is
// one file for each writer, with each method once, in changing order. The medians of a round by each method are
// reported, and
//
//	ratio          plain write+fsync / driver (limit: at least 0.9)
//	ratio-durable  the same, with a plain writer that also syncs the folder, so that a power cut cannot take its file
func BenchmarkDurable(b *testing.B) {
	for _, writers := range []int{1, 16, 64} {
		for _, size := range []int{4 << 10, 256 << 10, 4 << 20, 32 << 20} {
			if writers*size > 256<<20 {
				continue
			}
			b.Run(fmt.Sprintf("writers=%d/KiB=%d", writers, size>>10), func(b *testing.B) { durable(b, writers, size) })
		}
	}
}

// leastRounds is the number of rounds that a median needs.
const leastRounds = 15

func durable(b *testing.B, writers, size int) {
	root := b.TempDir()
	opened, err := Open(b.Context(), filepath.Join(root, "driver"), nil)
	if err != nil {
		b.Fatal(err)
	}
	for _, dir := range []string{"plain", "plain-dir"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o777); err != nil {
			b.Fatal(err)
		}
	}
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{}).Read(data)
	opts := storage.CreateOptions{Size: int64(size), HasSize: true, HasCRC32C: true, CRC32C: crc32c.Sum(data)}
	methods := []func(name string) error{
		func(name string) error { return plain(filepath.Join(root, "plain"), name, data, false) },
		func(name string) error { return plain(filepath.Join(root, "plain-dir"), name, data, true) },
		func(name string) error { return byDriver(b, opened.Store, "shared/"+name, data, opts) },
	}
	times := make([][]time.Duration, len(methods))
	round := 0
	one := func() {
		for i := range methods {
			m := (i + round) % len(methods)
			times[m] = append(times[m], together(b, writers, methods[m]))
		}
		round++
		for _, dir := range []string{"plain", "plain-dir", "driver/shared"} {
			for w := range writers {
				if err := os.Remove(filepath.Join(root, dir, fmt.Sprint(w))); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	for range 2 {
		one() // makes the folder, which is not measured
	}
	clear(times)
	round = 0
	for b.Loop() {
		one()
	}
	for round < leastRounds {
		one()
	}
	median := func(m int) float64 {
		slices.Sort(times[m])
		return times[m][len(times[m])/2].Seconds()
	}
	b.ReportMetric(median(0)*1e3, "plain-ms")
	b.ReportMetric(median(2)*1e3, "driver-ms")
	b.ReportMetric(float64(writers*size)/median(2)/1e6, "driver-MB/s")
	b.ReportMetric(median(0)/median(2), "ratio")
	b.ReportMetric(median(1)/median(2), "ratio-durable")
	b.ReportMetric(0, "ns/op") // the time of a round with all methods has no meaning
}

// together lets each writer make one file, and returns how long they took.
func together(b *testing.B, writers int, write func(name string) error) time.Duration {
	var wg sync.WaitGroup
	start := time.Now()
	for w := range writers {
		wg.Go(func() {
			if err := write(fmt.Sprint(w)); err != nil {
				b.Error(err)
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}

// piece is the number of bytes that callers write at once.
const piece = 512 << 10

func plain(dir, name string, data []byte, syncDir bool) error {
	f, err := os.Create(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	defer f.Close()
	for p := range slices.Chunk(data, piece) {
		if _, err := f.Write(p); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil || !syncDir {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func byDriver(b *testing.B, s storage.Store, key string, data []byte, opts storage.CreateOptions) error {
	w, err := s.Create(b.Context(), key, opts)
	if err != nil {
		return err
	}
	defer w.Abort()
	for p := range slices.Chunk(data, piece) {
		if _, err := w.Write(p); err != nil {
			return err
		}
	}
	return w.Commit()
}

package verify_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage/file"
	"github.com/ckptd/ckptd/layout/verify"
)

// BenchmarkReadData verifies 64 files of 4 MiB with their bytes and, in turn within the same run, reads the same files
// plainly with as many readers. Before each round the system forgets the files, so that both read from the disk. It
// reports the medians, and
//
//	ratio        plain reading / verify (limit: at least 0.9)
//	ratio-warm   the same without forgetting: plain reading only copies memory, and verify sums the bytes, too
func BenchmarkReadData(b *testing.B) {
	dir := b.TempDir()
	opened, err := file.Open(b.Context(), dir, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer opened.Close()
	w := newWorld(b, opened.Store, 1, 0)
	var files []layout.File
	for range 64 {
		files = append(files, w.file(layout.PlaceShared, 1, 4<<20))
	}
	w.commit(1, files)
	reader, err := file.Open(b.Context(), dir, &file.Options{ReadOnly: true}) // as the command has it
	if err != nil {
		b.Fatal(err)
	}
	defer reader.Close()
	var paths []string
	for key := range w.keys {
		if !strings.HasSuffix(key, layout.MetadataName) {
			paths = append(paths, filepath.Join(dir, key))
		}
	}
	w.keys = nil
	ours := func() error {
		r, err := verify.Run(b.Context(), reader.Store, verify.Options{ReadData: true})
		if err == nil && (r.GetVerdict() != whole || r.GetFilesRead() != 64) {
			err = errors.New(r.String())
		}
		return err
	}
	times := map[string][]float64{}
	for round := 0; b.Loop(); round++ {
		methods := []string{"plain", "verify"}
		for i := range 4 {
			method := methods[(i+round)%2]
			name := method + "-warm"
			if i < 2 {
				name = method
				forget(b, paths)
			}
			times[name] = append(times[name], seconds(b, func() error {
				if method == "plain" {
					return readAll(paths)
				}
				return ours()
			}))
		}
	}
	median := func(name string) float64 {
		slices.Sort(times[name])
		return times[name][len(times[name])/2]
	}
	b.ReportMetric(median("plain")/median("verify"), "ratio")
	b.ReportMetric(median("plain-warm")/median("verify-warm"), "ratio-warm")
	b.ReportMetric(256/median("verify"), "verify-MiB/s")
	b.ReportMetric(256/median("plain"), "plain-MiB/s")
	b.ReportMetric(256/median("verify-warm"), "verify-warm-MiB/s")
}

// forget has the system forget what it keeps of files in memory.
func forget(b *testing.B, paths []string) {
	b.Helper()
	for _, path := range paths {
		f, err := os.Open(path)
		if err == nil {
			err = errors.Join(unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED), f.Close())
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

func seconds(b *testing.B, do func() error) float64 {
	b.Helper()
	began := time.Now()
	if err := do(); err != nil {
		b.Fatal(err)
	}
	return time.Since(began).Seconds()
}

// buffers keeps the plain readers from paying for new memory in each round.
var buffers = sync.Pool{New: func() any { return new([1 << 20]byte) }}

// readAll reads files with as many readers as verify has.
func readAll(paths []string) error {
	var g errgroup.Group
	g.SetLimit(verify.Parallel)
	for _, path := range paths {
		g.Go(func() error {
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			defer f.Close()
			buffer := buffers.Get().(*[1 << 20]byte)
			defer buffers.Put(buffer)
			_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, buffer[:])
			return err
		})
	}
	return g.Wait()
}

package main

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/conformance/servers"
	"github.com/ckptd/ckptd/layout"
)

// BenchmarkRestore restores a job from its own checkpoint and, interleaved, another job from the same checkpoint, which is lent to
// it: a new attempt, its assignment, and every byte fetched into a new folder. It reports
//
//	own/lent   the ratio of the medians of their times: 1 is as fast as from one's own
//	import-ms  what the second job pays once, from its attach to its first start: the pin, and a _metadata of its own
func BenchmarkRestore(b *testing.B) {
	dir := b.TempDir()
	b.Run("file", func(b *testing.B) {
		benchmarkRestores(b, func(name string) string { return filepath.Join(dir, name) })
	})
	b.Run(servers.Versitygw, func(b *testing.B) {
		server := servers.StartS3(b, servers.Versitygw, false)
		benchmarkRestores(b, func(name string) string { return server.URL(name, "") })
	})
}

func benchmarkRestores(b *testing.B, url func(name string) string) {
	for _, c := range []struct{ size, files int }{{16 << 10, 1000}, {4 << 20, 32}} {
		own := startBenchWorker(b, url, int64(c.size), 4, c.files)
		b.Run(fmt.Sprintf("KiB=%d", c.size>>10), func(b *testing.B) { benchmarkRestore(b, own) })
		own.stop()
	}
}

func benchmarkRestore(b *testing.B, own *benchWorker) {
	from := own.newest(b)
	var imports, owns, lents []float64
	lent := &benchWorker{}
	restore := func(w *benchWorker) float64 {
		began := time.Now()
		w.restore(b)
		w.fetch(b)
		return time.Since(began).Seconds()
	}
	n := 0
	round := func() {
		n++
		*lent = *own
		began := time.Now()
		lent.attach(b, client.JobSpec{ID: fmt.Sprintf("lent-%d", n), RestoreFrom: from})
		imports = append(imports, time.Since(began).Seconds()*1e3)
		if n%2 == 0 {
			owns = append(owns, restore(own))
		}
		lents = append(lents, restore(lent))
		if n%2 != 0 {
			owns = append(owns, restore(own))
		}
		own.must(b, lent.session.Close())
	}
	round()
	imports, owns, lents = nil, nil, nil
	for b.Loop() {
		round()
	}
	for len(lents) < leastRounds {
		round()
	}
	mib := float64(own.size) * float64(own.files) / (1 << 20)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(mib/middle(lents), "lent-MiB/s")
	b.ReportMetric(mib/middle(owns), "own-MiB/s")
	b.ReportMetric(middle(owns)/middle(lents), "own/lent")
	b.ReportMetric(middle(imports), "import-ms")
}

// newest takes a checkpoint, unless there is one, and names the job's newest as another job would.
func (w *benchWorker) newest(b *testing.B) string {
	b.Helper()
	if w.made == 0 {
		w.snapshot(b)
	}
	all, err := w.client.Admin().Checkpoints(b.Context(), w.job.ID())
	w.must(b, err)
	newest := slices.MaxFunc(all, func(x, y client.CheckpointSummary) int { return cmp.Compare(x.ID, y.ID) })
	return fmt.Sprintf("%s/%s", w.job.ID(), layout.CheckpointDir(newest.ID))
}

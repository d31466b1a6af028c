package collect_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/file"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/collect"
)

// files is how many files the benchmark's job has: 100,000, or what CKPTD_FILES says.
func files() int {
	n, err := strconv.Atoi(os.Getenv("CKPTD_FILES"))
	if err != nil {
		n = 100_000
	}
	return n
}

// filled makes an ended job whose folder holds n shared files. Its one checkpoint names every second one.
func filled(tb testing.TB, s storage.Store, root string, n int) {
	tb.Helper()
	var table bytes.Buffer
	nonce := journal.Nonce{Process: journal.Process{1}, Count: 1}
	at := time.Date(2026, 11, 21, 17, 0, 0, 0, time.UTC)
	m := layout.NewMetadataWriter(&table, layout.Header{JobID: "j", Checkpoint: 7, Epoch: 2, Attempt: 1, Nonce: nonce.String(), TriggeredAt: at, CompletedAt: at})
	must := func(err error) {
		if err != nil {
			tb.Helper()
			tb.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(root, "j", "shared"), 0o777))
	must(m.WriteJob(layout.Job{}))
	must(m.WriteOperator(layout.Operator{ID: "op", Parallelism: 1, MaxParallelism: 128, Triggered: true}))
	name := layout.FileName{Epoch: 1, Checkpoint: 7, Nonce: layout.NewNonce()}
	var handles []layout.Handle
	for i := range n {
		name.Sequence = uint64(i)
		key := layout.JobKey{Place: layout.PlaceShared, File: name}.String()
		must(os.WriteFile(filepath.Join(root, "j", key), nil, 0o666))
		if i%2 == 0 {
			ref, err := m.WriteFile(layout.File{Key: key, InstanceNonce: "i", LocalName: strconv.Itoa(i)})
			must(err)
			handles = append(handles, layout.Handle{File: ref, Name: strconv.Itoa(i), State: layout.State{Kind: layout.StateSourceReader}})
		}
	}
	must(m.WriteSubtask(layout.Subtask{OperatorID: "op", Handles: handles}))
	must(m.Close())
	w, err := s.Create(tb.Context(), layout.MetadataKey("j", 7), storage.CreateOptions{})
	must(err)
	_, err = w.Write(table.Bytes())
	must(err)
	must(w.Commit())
	entry, err := journal.Encode(&journal.Entry{
		Slot: 1, Epoch: 2, Kind: journal.KindRelease, LeastReader: 1, LeastWriter: 1, Nonce: nonce, Ring: []journal.Nonce{nonce},
		Status: journal.StatusCanceled, Ended: journal.EndedAt(uint64(at.UnixMilli()), "canceled"), Attempt: 1, Reserved: 16,
		Plan: journal.NewPlan([]journal.Operator{{ID: "op", Parallelism: 1, MaxParallelism: 128, Triggered: true}}), Config: journal.NewConfig(nil),
		About:    &journal.About{Job: "j"},
		Retained: []journal.Checkpoint{{ID: 7, Nonce: nonce, Size: uint64(m.Size()), CRC: m.Sum()}},
	})
	must(err)
	must(s.Publish(tb.Context(), layout.SlotKey("j", 1), entry))
}

// BenchmarkPlan plans the collection of a job of many files, half of which go. In turn it lists the same folder plainly.
// Both use a store that only reads, as the command's is. It reports
//
//	ratio      plan / plain list, of the medians (limit: at most 1.5)
//	cpu-ratio  the same of the CPU time: on a machine with other work it says more
//	MB         the largest heap during a plan (limit: 200)
func BenchmarkPlan(b *testing.B) {
	n := files()
	b.Run(fmt.Sprintf("files=%d", n), func(b *testing.B) { benchmarkPlan(b, n) })
}

func benchmarkPlan(b *testing.B, n int) {
	root := b.TempDir()
	opened, err := file.Open(b.Context(), root, nil)
	if err != nil {
		b.Fatal(err)
	}
	filled(b, opened.Store, root, n)
	if err := opened.Close(); err != nil {
		b.Fatal(err)
	}
	if opened, err = file.Open(b.Context(), root, &file.Options{ReadOnly: true}); err != nil {
		b.Fatal(err)
	}
	defer opened.Close()
	var plain, plan, plainCPU, planCPU []time.Duration
	heap := uint64(0)
	list := func() {
		listed := 0
		for _, err := range opened.Store.List(b.Context(), layout.JobPrefix("j")) {
			if err != nil {
				b.Fatal(err)
			}
			listed++
		}
		if listed != n+2 {
			b.Fatalf("the list has %d objects, want %d", listed, n+2)
		}
	}
	collected := func() {
		out, looked := &ckptdv1.CollectedJob{}, 0
		if err := collect.Plan(b.Context(), opened.Store, "j", time.Now(), out, func() {
			if looked++; looked%max(1, n/10) == 0 {
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				heap = max(heap, m.HeapInuse)
			}
		}); err != nil {
			b.Fatal(err)
		}
		if out.GetObjects() != uint64(n/2) || out.GetLookedAt() != uint64(n+2) {
			b.Fatalf("the plan has %d objects of %d, want %d of %d", out.GetObjects(), out.GetLookedAt(), n/2, n+2)
		}
	}
	for b.Loop() {
		took, cpu := timed(list)
		plain, plainCPU = append(plain, took), append(plainCPU, cpu)
		took, cpu = timed(collected)
		plan, planCPU = append(plan, took), append(planCPU, cpu)
	}
	b.ReportMetric(0, "ns/op") // of both: says nothing
	b.ReportMetric(median(plan).Seconds()/median(plain).Seconds(), "ratio")
	b.ReportMetric(median(planCPU).Seconds()/median(plainCPU).Seconds(), "cpu-ratio")
	b.ReportMetric(median(plan).Seconds(), "plan-s")
	b.ReportMetric(float64(heap)/1e6, "MB")
}

// timed returns the time that a call takes, and the CPU time of this process meanwhile.
func timed(do func()) (took, cpu time.Duration) {
	runtime.GC()
	used := func() time.Duration {
		var use syscall.Rusage
		if syscall.Getrusage(syscall.RUSAGE_SELF, &use) != nil {
			return 0
		}
		return time.Duration(use.Utime.Nano() + use.Stime.Nano())
	}
	before, began := used(), time.Now()
	do()
	return time.Since(began), used() - before
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

// TestPlan: half of the files of an ended job go, and the plan takes no record of the others.
func TestPlan(t *testing.T) {
	root := t.TempDir()
	opened, err := file.Open(t.Context(), root, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	filled(t, opened.Store, root, 500)
	out, looked := &ckptdv1.CollectedJob{}, 0
	if err := collect.Plan(t.Context(), opened.Store, "j", time.Now(), out, func() { looked++ }); err != nil {
		t.Fatal(err)
	}
	if out.GetObjects() != 250 || looked != 502 || len(out.GetGroups()) != 1 || len(out.GetGroups()[0].GetKeys()) != 10 {
		t.Errorf("the plan is %v after %d objects; want 250 of 502 in one group, with 10 names", out, looked)
	}
	if err := os.Truncate(filepath.Join(root, layout.MetadataKey("j", 7)), 100); err != nil {
		t.Fatal(err)
	}
	if err := collect.Plan(t.Context(), opened.Store, "j", time.Now(), out, func() {}); err == nil || out.GetObjects() > 0 {
		t.Errorf("with a damaged _metadata: %v, %v; want an error and no object", out, err)
	}
}

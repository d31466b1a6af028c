package main

import (
	"os"
	"slices"
	"strings"
	"testing"
)

const said = `cpu: A machine
date: 2026-01-02
load: 0.50
BenchmarkTransfer/minio/KiB=16384/at-once=1/up-2   5   200 driver-MiB/s   0.80 manager/driver   1.5 s5cmd/driver
BenchmarkGraph/lsm-2   100   10 ns/op   1000 records/s
BenchmarkGraph/lsm,_1s-2   100   10 ns/op   900 records/s
BenchmarkGraph/lsm-2   100   10 ns/op   3000 records/s
BenchmarkGraph/lsm,_1s-2   100   10 ns/op   2940 records/s
BenchmarkGraph/lsm-2   100   10 ns/op   2000 records/s
BenchmarkGraph/lsm,_1s-2   100   10 ns/op   1960 records/s
BenchmarkPlan/files=200000-2   3   15 MB   1.51 ratio   1.6 plan-s
BenchmarkLongPlan/files=100000-2	1	10 alone-p50-ms	21 beside-p50-ms	2.1 beside/alone
    memory_test.go:12: 300 bytes for each known file; the budget is 256
load: 3.00
took: 9m0s
`

func TestRender(t *testing.T) {
	f := parse(said)
	texts := f.render()
	for name, want := range map[string]string{
		"made":     "on 2026-01-02, in 9m0s: A machine, 2 cores; load average (its own included) 0.5 to 3.",
		"plan":     "| 200000 files | 1.6 | **1.51** | – | 15 | no |",
		"beside":   "| 100000 files | 10 | 21 | **2.1** | – | – | – | no |",
		"transfer": "| minio, 16 MiB, 1 at once, up | 200 | **0.8** | 1.5 | – | no |",
	} {
		if !strings.Contains(texts[name], want) {
			t.Errorf("table %s is\n%s\nwant %s in it", name, texts[name], want)
		}
	}
	for _, want := range []string{
		"| records/s with checkpoints at 1 s, against off, LSM state | ≥ 0.95 | 0.98 | yes |",
		"| memory of a known shared file, bytes | ≤ 256 | 300 | no |",
		"| restoring by Unix socket, against the same | ≥ 0.85 | not measured |",
	} {
		if !strings.Contains(texts["budgets"], want) {
			t.Errorf("budgets are\n%s\nwant %s in them", texts["budgets"], want)
		}
	}
}

const saidLong = `date: 2026-01-03
BenchmarkLongJobs/jobs=1000-2	1	999.1 checkpoints/s	40 p50-ms	401 p99-ms	150 resident-MB	2000 bare/s
BenchmarkLongSweep/files=1000000-2	1	8 alone-p50-ms	12 beside-p50-ms	1.5 beside/alone
BenchmarkPlan/files=1000000-2   3   22 MB   1.05 ratio
BenchmarkLongPlan/files=1000000-2	1	10 alone-p50-ms	12 beside-p50-ms	1.2 beside/alone
BenchmarkDelete/files=100000-2   1   4000 gc-objects/s   2000 s5cmd-objects/s   2.0 s5cmd/gc
BenchmarkPeers/MB=5000/again_with_1_%_new_files-2   1   0.2 ckptd-s   0.1 restic-s   0.5 restic/ckptd   2 kopia/ckptd
BenchmarkLongBack/idle-jobs=10000-2	1	1.9 seconds	16000 attached-bytes/job	20000 restarted-bytes/job
took: 20m0s
`

func TestRenderLong(t *testing.T) {
	f := parse(saidLong)
	texts := f.renderLong()
	for name, want := range map[string]string{
		"long-made":   "Made by `make bench-long` on 2026-01-03, in 20m0s",
		"long-jobs":   "| 1000 jobs | 999 | 40 | **401** | 150 | – | 2000 | – | – | – | no |",
		"long-sweep":  "| 1000000 files | 8 | 12 | 1.5 | – | – | yes |",
		"long-plan":   "| 1000000 files | – | 1.05 | – | 22 | yes |",
		"long-beside": "| 1000000 files | 10 | 12 | 1.2 | – | – | – | yes |",
		"long-delete": "| 100000 files | 4000 | 2000 | 2 | – | yes |",
		"long-peers":  "| 5000 MB, again with 1 % new files | 0.2 | 0.1 | – | **0.5** | 2 | – | – | – | no |",
		"long-back":   "| 10000 idle jobs | 1.9 | – | 16000 | **20000** | no |",
	} {
		if !strings.Contains(texts[name], want) {
			t.Errorf("table %s is\n%s\nwant %s in it", name, texts[name], want)
		}
	}
}

// The page has a place for each table and for no other, and filling it again changes nothing. The tables of the other kind
// of run stay.
func TestFillPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/benchmarks.md")
	if err != nil {
		t.Fatal(err)
	}
	once, err := fill(string(page), parse(said), false)
	if err != nil {
		t.Fatal(err)
	}
	twice, err := fill(once, parse(said), false)
	if err != nil || twice != once {
		t.Errorf("filling the page again: %v, and the page is\n%s\nwant it unchanged", err, twice)
	}
	both, err := fill(once, parse(saidLong), true)
	if err != nil || !strings.Contains(both, "on 2026-01-02, in 9m0s") || !strings.Contains(both, "on 2026-01-03, in 20m0s") {
		t.Errorf("filling the page with a long run, too: %v, and the page is\n%s\nwant the tables of both", err, both)
	}
	for _, long := range []bool{false, true} {
		if _, err := fill("<!-- bench nothing -->\n<!-- end -->", parse(said), long); err == nil {
			t.Error("a page with an unknown table: no error, want one")
		}
		if _, err := fill("", parse(said), long); err == nil {
			t.Error("a page without places for the tables: no error, want one")
		}
	}
}

// A part of a long run with the size 0 is left out. The others get their sizes.
func TestLongCommands(t *testing.T) {
	all := longRun{files: 7, mb: 9, manyjobs: []string{"-for", "2m"}}.commands()
	var said []string
	for _, c := range all {
		said = append(said, strings.Join(c, " "))
	}
	want := []string{
		"go run ./conformance/bench/manyjobs -for 2m",
		"env CKPTD_FILES=7 go test -timeout 2h -run ^$ -bench Plan -benchtime 3x ./service/collect",
		"env CKPTD_MB=9 go test -timeout 2h -run ^$ -bench Peers -benchtime 1x ./cmd/ckptd",
	}
	if !slices.Equal(said, want) {
		t.Errorf("the commands are\n%s\nwant\n%s", strings.Join(said, "\n"), strings.Join(want, "\n"))
	}
}

package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/conformance/servers"
	"github.com/ckptd/ckptd/crc32c"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/journalio"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// copySource is a root with one job, which takes one checkpoint after another.
type copySource struct {
	b     *testing.B
	url   string
	store storage.Store
	head  *journal.Entry
	files []layout.File
	n     uint32
}

func (s *copySource) must(err error) {
	s.b.Helper()
	if err != nil {
		s.b.Fatal(err)
	}
}

// checkpoint completes a checkpoint with so many new files, beside those of the one before.
func (s *copySource) checkpoint(count, size int) {
	s.b.Helper()
	ctx, id := s.b.Context(), uint64(s.n+1)
	data := make([]byte, size)
	random := rand.NewChaCha8([32]byte{byte(id)})
	for range count {
		s.n++
		_, _ = random.Read(data)
		name := layout.FileName{Epoch: 1, Checkpoint: id, Nonce: layout.NewNonce(), Sequence: uint64(s.n)}
		f := layout.File{Key: layout.JobKey{Place: layout.PlaceShared, File: name}.String(), Length: uint64(size), CRC32C: crc32c.Sum(data)}
		for at := 0; size > layout.BlockSize && at < size; at += layout.BlockSize {
			f.Blocks = append(f.Blocks, crc32c.Sum(data[at:min(size, at+layout.BlockSize)]))
		}
		s.must(s.store.Publish(ctx, layout.JobPrefix("job")+f.Key, data))
		s.files = append(s.files, f)
	}
	c := journal.Checkpoint{ID: id, Nonce: journal.Nonce{Process: journal.Process{1}, Count: uint32(id)}}
	var text bytes.Buffer
	m := layout.NewMetadataWriter(&text, layout.Header{JobID: "job", Checkpoint: id, Epoch: 1, Nonce: c.Nonce.String()})
	s.must(m.WriteJob(layout.Job{}))
	s.must(m.WriteOperator(layout.Operator{ID: "op", Parallelism: 1, MaxParallelism: 128}))
	state := layout.Subtask{OperatorID: "op"}
	for _, f := range s.files {
		ref, err := m.WriteFile(f)
		s.must(err)
		state.Handles = append(state.Handles, layout.Handle{File: ref})
	}
	s.must(m.WriteSubtask(state))
	s.must(m.Close())
	s.must(s.store.Publish(ctx, layout.MetadataKey("job", id), text.Bytes()))
	c.Size, c.CRC = uint64(m.Size()), m.Sum()
	next := journal.Entry{Epoch: 1, Kind: journal.KindCommit, Status: journal.StatusCanceled, About: &journal.About{Job: "job"}, Config: journal.NewConfig(nil),
		Plan: journal.NewPlan([]journal.Operator{{ID: "op", Parallelism: 1, MaxParallelism: 128}}), Reserved: id + 16, Retained: []journal.Checkpoint{c}}
	head, verdict, err := journalio.Append(ctx, s.store, storage.Facts{}, "job", journalio.Appending{Base: s.head, Next: next, Role: journal.RoleOwner,
		Nonce: journal.Nonce{Process: journal.Process{2}, Count: uint32(id)}, Effect: func(*journal.Entry) bool { return false }})
	s.must(err)
	if verdict != journal.Won {
		s.b.Fatal(verdict)
	}
	s.head = head
}

// BenchmarkCopy copies a checkpoint from files to an S3 server by `ckptd copy` and, interleaved, the same files by s5cmd,
// each in a process of its own. Then 1 % new files come, and the copy is made again, a few times. Budgets:
//
//	s5cmd/ckptd   the ratio of the medians of their times: at least 1.0
//	moved/new     the bytes of files that a later copy moves against the new ones: at most 1.0
//	second/first  the median time of a later copy against that of the first: reported
func BenchmarkCopy(b *testing.B) {
	s5cmd := servers.S5cmd(b)
	for _, kind := range []string{servers.Versitygw, servers.MinIO} {
		b.Run(kind, func(b *testing.B) {
			server := servers.StartS3(b, kind, false)
			for _, c := range []struct{ size, files int }{{16 << 10, 1000}, {1 << 20, 200}, {32 << 20, 6}} {
				b.Run(fmt.Sprintf("KiB=%d", c.size>>10), func(b *testing.B) {
					benchmarkCopy(b, server, s5cmd, c.size, c.files)
				})
			}
		})
	}
}

func benchmarkCopy(b *testing.B, server *servers.S3, s5cmd string, size, files int) {
	dir := b.TempDir()
	opened, err := drivers.Open(b.Context(), filepath.Join(dir, "root"), false)
	if err != nil {
		b.Fatal(err)
	}
	defer opened.Close()
	src := &copySource{b: b, url: filepath.Join(dir, "root"), store: opened.Store}
	if _, err := layout.OpenRoot(b.Context(), opened.Store); err != nil {
		b.Fatal(err)
	}
	src.checkpoint(files, size)
	run := func(name string, args ...string) (time.Duration, []byte) {
		cmd := exec.Command(name, args...)
		cmd.Env = append(os.Environ(), "AWS_REGION=us-east-1")
		var out, said bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &said
		began := time.Now()
		if err := cmd.Run(); err != nil {
			b.Fatalf("%s: %v\n%s", name, err, &said)
		}
		return time.Since(began), out.Bytes()
	}
	copyTo := func(target string) (time.Duration, *ckptdv1.CopyReport) {
		took, out := run(os.Args[0], "copy", src.url, target, "--json")
		report := &ckptdv1.CopyReport{}
		src.must(protojson.Unmarshal(out, report))
		return took, report
	}
	var ours, theirs []time.Duration
	target, round := "", 0
	once := func() {
		round++
		target = server.URL(fmt.Sprintf("copy-%d-%d", size, round), "")
		made, err := drivers.Open(b.Context(), target, false)
		src.must(err)
		_, err = layout.OpenRoot(b.Context(), made.Store)
		src.must(err)
		src.must(made.Close())
		took, report := copyTo(target)
		if report.GetFilesCopied() != uint64(files) {
			b.Fatalf("%d files were copied, want %d", report.GetFilesCopied(), files)
		}
		ours = append(ours, took)
		if s5cmd != "" {
			took, _ := run(s5cmd, "--endpoint-url", server.Endpoint, "--log", "error", "cp", filepath.Join(src.url, "job")+"/", fmt.Sprintf("s3://%s/s5cmd-%d-%d/", servers.Bucket, size, round))
			theirs = append(theirs, took)
		}
	}
	for b.Loop() {
		once()
	}
	for len(ours) < leastRounds {
		once()
	}
	fresh, moved := max(1, files/100), uint64(0)
	var again []time.Duration
	for range leastRounds {
		src.checkpoint(fresh, size)
		took, report := copyTo(target)
		again, moved = append(again, took), moved+report.GetBytesCopied()
	}
	middle := func(all []time.Duration) float64 { slices.Sort(all); return all[len(all)/2].Seconds() }
	mib := float64(size) * float64(files) / (1 << 20)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(mib/middle(ours), "ckptd-MiB/s")
	if len(theirs) > 0 {
		b.ReportMetric(middle(theirs)/middle(ours), "s5cmd/ckptd")
	}
	b.ReportMetric(middle(again)*1000, "second-ms")
	b.ReportMetric(middle(again)/middle(ours), "second/first")
	b.ReportMetric(float64(moved)/(leastRounds*float64(fresh)*float64(size)), "moved/new")
}

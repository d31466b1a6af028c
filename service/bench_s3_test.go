package service_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/conformance/servers"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/s3"
)

// BenchmarkCommitS3 measures the time from the last acknowledgement to Complete, with small state, on S3 servers. One
// job runs, or 16 jobs that take their checkpoints at the same time.
//
// Beside it, it measures the same three requests made by the driver alone: a create of _metadata, a publish of the
// journal's slot, a list of the journal. A round is one commit of each job, then as many bare ones. The p99 is
// reported, never judged. commits/s counts whole checkpoints, from the trigger until the files that it replaced are
// deleted.
func BenchmarkCommitS3(b *testing.B) {
	for _, kind := range []string{servers.Versitygw, servers.MinIO} {
		b.Run(kind, func(b *testing.B) {
			server := servers.StartS3(b, kind, false)
			for _, jobs := range []int{1, 16} {
				b.Run(fmt.Sprintf("jobs=%d", jobs), func(b *testing.B) { commitS3(b, server, jobs) })
			}
		})
	}
}

func commitS3(b *testing.B, server *servers.S3, jobs int) {
	d := startBenchDaemon(b, openS3(b, server, fmt.Sprintf("commit-%d", jobs)))
	bare := openS3(b, server, fmt.Sprintf("bare-%d", jobs)).Store
	var workers []*sdkWorker
	for i := range jobs {
		workers = append(workers, startSDKWorker(b, d, fmt.Sprint("j", i)))
	}
	pieces := []client.Piece{{Name: "n", Inline: []byte("a small state")}}
	var commits, requests []time.Duration
	var all time.Duration
	n := 0
	round := func() {
		n++
		began := time.Now()
		commits = append(commits, atOnce(b, jobs, func(i int) (time.Duration, error) { return workers[i].checkpoint(pieces).wall, nil })...)
		all += time.Since(began)
		requests = append(requests, atOnce(b, jobs, func(i int) (time.Duration, error) {
			began := time.Now()
			err := bareCommit(b, bare, fmt.Sprint("j", i), uint64(n))
			took := time.Since(began)
			if err == nil {
				err = errors.Join(bare.Delete(b.Context(), bareKeys(fmt.Sprint("j", i), uint64(n-1)))...)
			}
			return took, err
		})...)
	}
	for range 3 {
		round()
	}
	commits, requests, all = nil, nil, 0
	for b.Loop() {
		round()
	}
	b.ReportMetric(0, "ns/op") // of a round: says nothing
	b.ReportMetric(float64(len(commits))/all.Seconds(), "commits/s")
	b.ReportMetric(median(commits).Seconds()*1e3, "commit-ms")
	b.ReportMetric(percentile(commits, 99).Seconds()*1e3, "commit-p99-ms")
	b.ReportMetric(median(requests).Seconds()*1e3, "requests-ms")
	b.ReportMetric(percentile(requests, 99).Seconds()*1e3, "requests-p99-ms")
	b.ReportMetric(median(commits).Seconds()/median(requests).Seconds(), "ratio")
}

func openS3(b *testing.B, server *servers.S3, prefix string) storage.Opened {
	c, err := s3.Parse(server.URL(prefix, ""))
	if err != nil {
		b.Fatal(err)
	}
	root, err := s3.Open(b.Context(), c)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { root.Close() })
	return root
}

// atOnce runs f several times in parallel and returns the time of each run.
func atOnce(b *testing.B, n int, do func(i int) (time.Duration, error)) []time.Duration {
	times := make([]time.Duration, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			var err error
			if times[i], err = do(i); err != nil {
				b.Error(err)
			}
		})
	}
	wg.Wait()
	return times
}

// bareKeys returns the keys of the _metadata and the slot of a commit.
func bareKeys(job string, n uint64) []string {
	return []string{job + "/" + layout.CheckpointDir(n) + "/_metadata", job + "/_journal/" + layout.SlotName(n)}
}

// bareCommit makes the requests of a commit.
func bareCommit(b *testing.B, s storage.Store, job string, n uint64) error {
	ctx, keys := b.Context(), bareKeys(job, n)
	w, err := s.Create(ctx, keys[0], storage.CreateOptions{IfAbsent: true})
	if err != nil {
		return err
	}
	defer w.Abort()
	if _, err := w.Write(make([]byte, 160)); err != nil {
		return err
	}
	if err := w.Commit(); err != nil {
		return err
	}
	if err := s.Publish(ctx, keys[1], make([]byte, 600)); err != nil {
		return err
	}
	for _, err := range s.List(ctx, job+"/_journal/") {
		if err != nil {
			return err
		}
	}
	return nil
}

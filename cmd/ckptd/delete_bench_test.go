package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/conformance/servers"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// BenchmarkDelete deletes many objects that nothing needs on an S3 server: by `ckptd gc --yes`, by s5cmd rm, each in a process of its
// own, and by the driver alone, interleaved. There are 10,000 of them, or what CKPTD_FILES says. Each lists what it deletes. gc also
// attaches to the job, judges each object, and writes its name into the audit log before it goes. Budget:
//
//	s5cmd/gc  the ratio of the medians of their times: at least 1.0
func BenchmarkDelete(b *testing.B) {
	n, err := strconv.Atoi(os.Getenv("CKPTD_FILES"))
	if err != nil {
		n = 10_000
	}
	b.Run(fmt.Sprintf("files=%d", n), func(b *testing.B) {
		d := &deletion{B: b, server: servers.StartS3(b, servers.Versitygw, false), s5cmd: servers.S5cmd(b), n: n}
		times := map[string][]float64{}
		once := func() {
			for _, way := range []struct {
				name string
				do   func(round int) time.Duration
			}{{"gc", d.gc}, {"s5cmd", d.byS5cmd}, {"driver", d.driver}} {
				if way.name != "s5cmd" || d.s5cmd != "" {
					times[way.name] = append(times[way.name], way.do(len(times[way.name])).Seconds())
				}
			}
		}
		for b.Loop() {
			once()
		}
		for len(times["gc"]) < leastRounds {
			once()
		}
		b.ReportMetric(0, "ns/op")
		gc := middle(times["gc"])
		b.ReportMetric(float64(n)/gc, "gc-objects/s")
		b.ReportMetric(float64(n)/middle(times["driver"]), "driver-objects/s")
		if d.s5cmd != "" {
			b.ReportMetric(float64(n)/middle(times["s5cmd"]), "s5cmd-objects/s")
			b.ReportMetric(middle(times["s5cmd"])/gc, "s5cmd/gc")
		}
	})
}

// A deletion has the three ways. Each makes its objects before its time begins.
type deletion struct {
	*testing.B
	server *servers.S3
	s5cmd  string
	n      int
}

func (d *deletion) must(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

// fill puts objects into a folder of the bucket, behind the server's back: it would take minutes to store so many.
func (d *deletion) fill(folder string) {
	d.Helper()
	folder = filepath.Join(d.server.Folder(), folder)
	d.must(os.MkdirAll(folder, 0o777))
	name := layout.FileName{Epoch: 1, Checkpoint: 1, Nonce: layout.NewNonce()}
	for i := range d.n {
		name.Sequence = uint64(i)
		d.must(os.WriteFile(filepath.Join(folder, name.String()), []byte("nothing needs me"), 0o666))
	}
}

// empty checks that no state file is left.
func (d *deletion) empty(folder string) {
	d.Helper()
	left, err := filepath.Glob(filepath.Join(d.server.Folder(), folder, "*-1-1-*"))
	d.must(err)
	if len(left) > 0 {
		d.Fatalf("%d objects are left in %s, want none", len(left), folder)
	}
}

// run runs a command, and returns what it wrote.
func (d *deletion) run(name string, args ...string) (time.Duration, []byte) {
	d.Helper()
	cmd := exec.CommandContext(d.Context(), name, args...)
	cmd.Env = append(os.Environ(), "AWS_REGION=us-east-1")
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	began := time.Now()
	if err := cmd.Run(); err != nil {
		d.Fatalf("%s: %v\n%s", name, err, &said)
	}
	return time.Since(began), out.Bytes()
}

func (d *deletion) gc(round int) time.Duration {
	d.Helper()
	root := fmt.Sprintf("gc-%d", round)
	url := d.server.URL(root, "")
	opened, err := drivers.Open(d.Context(), url, false)
	d.must(err)
	_, err = layout.OpenRoot(d.Context(), opened.Store)
	d.must(err)
	job := &copySource{b: d.B, url: url, store: opened.Store}
	job.checkpoint(1, 16)
	d.must(opened.Close())
	shared := filepath.Join(root, layout.SharedPrefix("job"))
	d.must(os.RemoveAll(filepath.Join(d.server.Folder(), shared))) // the checkpoint's one file has the names of those that go
	d.fill(shared)
	took, out := d.run(os.Args[0], "gc", url, "--yes", "--json")
	report := &ckptdv1.CollectReport{}
	d.must(protojson.Unmarshal(out, report))
	if report.GetObjects() != uint64(d.n) {
		d.Fatalf("gc deleted %d objects, want %d: %s", report.GetObjects(), d.n, out)
	}
	d.empty(shared)
	return took
}

func (d *deletion) byS5cmd(round int) time.Duration {
	d.Helper()
	folder := fmt.Sprintf("s5cmd-%d", round)
	d.fill(folder)
	took, _ := d.run(d.s5cmd, "--endpoint-url", d.server.Endpoint, "--log", "error", "rm", fmt.Sprintf("s3://%s/%s/*", servers.Bucket, folder))
	d.empty(folder)
	return took
}

// driver lists and deletes in turn, in this process.
func (d *deletion) driver(round int) time.Duration {
	d.Helper()
	folder := fmt.Sprintf("driver-%d", round)
	opened, err := drivers.Open(d.Context(), d.server.URL(folder, ""), false)
	d.must(err)
	defer opened.Close()
	d.fill(folder)
	began := time.Now()
	d.must(listAndDelete(d.Context(), opened.Store))
	took := time.Since(began)
	d.empty(folder)
	return took
}

func listAndDelete(ctx context.Context, s storage.Store) error {
	const batch = 1000
	var keys []string
	flush := func() error {
		errs := s.Delete(ctx, keys)
		keys = keys[:0]
		if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
			return errs[i]
		}
		return nil
	}
	for info, err := range s.List(ctx, "") {
		if err != nil {
			return err
		}
		if keys = append(keys, info.Key); len(keys) == batch {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ckptd/ckptd/cmd/ckptd/demo"
	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/cmd/ckptd/launch"
	"github.com/ckptd/ckptd/conformance/gcsfake"
	"github.com/ckptd/ckptd/conformance/servers"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
)

// manyFilesBudget is the memory of each process, whatever the number of files.
const manyFilesBudget = 200 << 20

// TestManyFiles: a root holds a job with two checkpoints and very many files that nothing needs any more. Each command
// that lists the files, looks for some of them or examines the root stays within one budget of memory. So does a daemon
// that takes the job over and deletes the files.
//
// With CKPTD_NIGHTLY=1 there are a million files on file storage and 20,000 on the servers, with CKPTD_TEST_FULL=1
// 20,000 and 2,000 on S3, else 5,000 on file storage alone. TestOnHDFS does the same on HDFS, nightly.
func TestManyFiles(t *testing.T) {
	t.Parallel()
	files := 5000
	switch {
	case os.Getenv("CKPTD_NIGHTLY") != "":
		files = 1_000_000
	case os.Getenv("CKPTD_TEST_FULL") != "":
		files = 20_000
	}
	t.Run("file", func(t *testing.T) {
		t.Parallel()
		root := filepath.Join(t.TempDir(), "root")
		manyFiles(t, root, func(key string) error {
			path := filepath.Join(root, key)
			err := os.WriteFile(path, nil, 0o666)
			if errors.Is(err, fs.ErrNotExist) { // the first
				err = errors.Join(os.MkdirAll(filepath.Dir(path), 0o777), os.WriteFile(path, nil, 0o666))
			}
			return err
		}, files)
	})
	if os.Getenv("CKPTD_TEST_FULL") == "" && os.Getenv("CKPTD_NIGHTLY") == "" {
		return
	}
	for _, kind := range []string{servers.Versitygw, servers.MinIO} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			manyObjects(t, servers.StartS3(t, kind, false).URL("root", ""))
		})
	}
	if os.Getenv("CKPTD_NIGHTLY") == "" {
		return
	}
	t.Run("gcs", func(t *testing.T) { // fake-gcs-server takes the longer for an object, the more there are
		t.Parallel()
		listening := httptest.NewServer(gcsfake.New(servers.Bucket, gcsfake.Bucket{}))
		defer listening.Close()
		manyObjects(t, servers.GCSURL(listening.URL, "root", ""))
	})
}

// manyObjects is manyFiles on a server: 20,000 nightly, else 2,000.
func manyObjects(t *testing.T, root string) {
	objects := 2000
	if os.Getenv("CKPTD_NIGHTLY") != "" {
		objects = 20_000
	}
	opened := sync.OnceValues(func() (storage.Opened, error) { return drivers.Open(t.Context(), root, false) })
	manyFiles(t, root, func(key string) error {
		o, err := opened()
		if err != nil {
			return err
		}
		w, err := o.Store.Create(t.Context(), key, storage.CreateOptions{})
		if err == nil {
			err = w.Commit()
		}
		return err
	}, objects)
	if o, err := opened(); err != nil || o.Close() != nil {
		t.Errorf("close: %v", err)
	}
}

func manyFiles(t *testing.T, root string, create func(key string) error, n int) {
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	dir := socketDir(t)
	program, server := withoutRace(t), "unix:"+filepath.Join(dir, "s")
	checkpoint := someCheckpoints(ctx, t, dir, root, server)

	nonce, began := layout.NewNonce(), time.Now()
	key := func(i int) string {
		place := layout.JobKey{Place: layout.PlaceShared, File: layout.FileName{Epoch: 1, Checkpoint: 1, Nonce: nonce, Sequence: uint64(i)}}
		return layout.JobPrefix(countingJob) + place.String()
	}
	g := errgroup.Group{}
	g.SetLimit(16)
	for i := range n {
		g.Go(func() error { return create(key(i)) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d files made in %v", n, time.Since(began).Round(time.Millisecond))

	for _, args := range [][]string{{"ls", root}, {"files", drivers.Below(root, fmt.Sprintf("%s/chk-%d", countingJob, checkpoint))}, {"gc", root}, {"doctor", root, "--quick"}} {
		most, began := uint64(0), time.Now()
		for most == 0 { // one that ends before it is looked at, as ls may on a busy machine, is run again
			began = time.Now()
			most = peakOf(ctx, t, program, args...)
		}
		resident(t, "ckptd "+args[0], began, most)
	}

	began = time.Now()
	daemon := begin(ctx, t, program, "serve", "--root", root, "--listen", server)
	awaitServer(ctx, t, server)
	t.Logf("the daemon answers after %v", time.Since(began).Round(time.Millisecond))
	deleted(ctx, t, root, nonce)
	if code := run(ctx, []string{"cancel", countingJob, "--server", server}, io.Discard, os.Stderr); code != exit.Done {
		t.Errorf("cancel: exit code %d", code)
	}
	opened, err := drivers.Open(ctx, root, true)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	for demo.Owned(ctx, opened.Store, countingJob) {
		if !launch.Sleep(ctx, pollEvery) {
			t.Fatal("the job is not let go")
		}
	}
	var left []string
	for info, err := range opened.Store.List(ctx, "") {
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, info.Key)
	}
	slices.Sort(left)
	compareStorage(ctx, t, opened.Store, countingJob, left)
	most := peak(daemon.cmd.Process.Pid)
	daemon.kill()
	resident(t, "ckptd serve", began, most)
}

const countingJob = "counter"

// someCheckpoints lets the example engine complete some, and answers the newest; then engine and daemon are killed.
func someCheckpoints(ctx context.Context, t *testing.T, dir, root, server string) uint64 {
	t.Helper()
	engine := filepath.Join(dir, "engine")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", engine, "../../client/exampleengine").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	daemon := begin(ctx, t, os.Args[0], "serve", "--root", root, "--listen", server)
	awaitServer(ctx, t, server)
	count := begin(ctx, t, engine, "-daemon", server, "-job", countingJob)
	count.await("checkpoint %d is complete")
	newest := count.await("checkpoint %d is complete")
	count.kill()
	daemon.kill()
	return newest
}

// deleted waits until none of the writer's files is left.
func deleted(ctx context.Context, t *testing.T, root, nonce string) {
	t.Helper()
	opened, err := drivers.Open(ctx, root, true)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	some := func() bool {
		for info, err := range opened.Store.List(ctx, layout.JobPrefix(countingJob)+"shared/") {
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(info.Key, nonce) {
				return true
			}
		}
		return false
	}
	for some() {
		if !launch.Sleep(ctx, pollEvery) {
			t.Fatal("the files are not deleted")
		}
	}
}

// peak is the largest resident memory of a process so far, in bytes; 0 when the process has ended. The number that the
// system gives the parent at the end would not do: it is at least the memory of the parent at the start.
func peak(pid int) (most uint64) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, line, _ := strings.Cut(string(status), "VmHWM:")
	_, _ = fmt.Sscan(line, &most)
	return most << 10
}

// peakOf runs a process to its end.
func peakOf(ctx context.Context, t *testing.T, program string, args ...string) uint64 {
	t.Helper()
	cmd := exec.CommandContext(ctx, program, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	most := peakUntilEnd(cmd)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("ckptd %s: %v\n%s", strings.Join(args, " "), err, out.String())
	}
	return <-most
}

// peakUntilEnd looks at a process that has begun, all the time until it ends.
func peakUntilEnd(cmd *exec.Cmd) <-chan uint64 {
	most := make(chan uint64, 1)
	go func() {
		var last uint64
		for now := peak(cmd.Process.Pid); now > 0; now = peak(cmd.Process.Pid) {
			last = now
			time.Sleep(time.Millisecond)
		}
		most <- last
	}()
	return most
}

// resident reports the most memory that a process had.
func resident(t *testing.T, what string, began time.Time, most uint64) {
	t.Helper()
	t.Logf("%s: %v, at most %d MiB resident", what, time.Since(began).Round(time.Millisecond), most>>20)
	if most == 0 || most > manyFilesBudget {
		t.Errorf("%s: %d MiB were resident, at most %d may be", what, most>>20, manyFilesBudget>>20)
	}
}

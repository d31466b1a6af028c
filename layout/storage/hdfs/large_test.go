package hdfs_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	library "github.com/colinmarc/hdfs/v2"
	"golang.org/x/sync/errgroup"

	"github.com/ckptd/ckptd/conformance/servers"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/hdfs"
)

// nightly skips a test that takes long.
func nightly(t *testing.T) {
	t.Helper()
	if os.Getenv("CKPTD_NIGHTLY") != "1" {
		t.Skip("`make nightly` runs it")
	}
}

// halfURL, in the environment, makes this program write half an object and wait, instead of a test.
const halfURL = "CKPTD_TEST_HDFS_HALF"

// halfMain runs such a process; it returns false if this process is none.
func halfMain() bool {
	url := os.Getenv(halfURL)
	if url == "" {
		return false
	}
	c, err := hdfs.Parse(url)
	if err != nil {
		panic(err)
	}
	opened, err := hdfs.Open(context.Background(), c)
	if err != nil {
		panic(err)
	}
	w, err := opened.Store.Create(context.Background(), "job/shared/half", storage.CreateOptions{})
	if err != nil {
		panic(err)
	}
	if _, err := w.Write(random(300_000)); err != nil {
		panic(err)
	}
	fmt.Println("written")
	select {}
}

// TestDeadWriter kills a process in the middle of an object. HDFS itself makes an ordinary file of the half one when the lease
// of the dead writer ends. No list shows it, neither before nor after that, and a sweep removes it.
func TestDeadWriter(t *testing.T) {
	c := harmful(t)
	long := os.Getenv("CKPTD_NIGHTLY") == "1"
	if long {
		c = servers.StartHDFS(t, 1, map[string]string{"dfs.namenode.lease-hard-limit-sec": "20"})
	}
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), halfURL+"="+c.URL("dead", ""))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	if lines := bufio.NewScanner(out); !lines.Scan() || lines.Text() != "written" {
		t.Fatalf("the writer says %q, want written", lines.Text())
	}
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	opened := open(t, c.URL("dead", ""))
	defer opened.Close()
	unseen := func() {
		t.Helper()
		for info, err := range opened.Store.List(t.Context(), "") {
			must(t, err)
			t.Errorf("list shows %s of %d bytes, want nothing", info.Key, info.Size)
		}
	}
	unseen()
	if long {
		client := bare(t, c)
		for end := time.Now().Add(2 * time.Minute); closed(client, "/dead") != nil; time.Sleep(time.Second) {
			if time.Now().After(end) {
				t.Fatal(closed(client, "/dead"))
			}
		}
		unseen()
	}
	n, err := opened.Store.AbortUnfinished(t.Context(), "job/", func(key string) bool { return key == "job/shared/half" })
	if n != 1 || err != nil {
		t.Errorf("abort unfinished: %d, %v; want the half object removed", n, err)
	}
	nothingLeft(t, c, "dead", opened.Store)
}

// closed returns an error until a file below a path has a size, as HDFS says of closed files only.
func closed(client *library.Client, path string) error {
	size := int64(0)
	err := client.Walk(path, func(_ string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			size += info.Size()
		}
		return err
	})
	if err == nil && size == 0 {
		err = errors.New("the file is open")
	}
	return err
}

// TestManyFiles lists and deletes 20,000 files of one root.
func TestManyFiles(t *testing.T) {
	nightly(t)
	c := cluster(t)
	opened := open(t, c.URL("many", ""))
	defer opened.Close()
	const files = 20_000
	var all errgroup.Group
	all.SetLimit(16)
	var keys []string
	for i := range files {
		key := fmt.Sprintf("job-%d/shared/%05d", i%10, i)
		keys = append(keys, key)
		all.Go(func() error { return create(t.Context(), opened.Store, key, nil, storage.CreateOptions{}, nil) })
	}
	must(t, all.Wait())
	begun, n := time.Now(), 0
	for _, err := range opened.Store.List(t.Context(), "") {
		must(t, err)
		n++
	}
	listed := time.Since(begun)
	must(t, errors.Join(opened.Store.Delete(t.Context(), keys)...))
	t.Logf("%d files: listed in %v, deleted in %v", n, listed, time.Since(begun)-listed)
	if n != files {
		t.Errorf("list shows %d files, want %d", n, files)
	}
	nothingLeft(t, c, "many", opened.Store)
}

// TestManyStreams writes 500 objects at once, and reads 500 at once, within 512 MiB.
func TestManyStreams(t *testing.T) {
	nightly(t)
	c := servers.StartHDFS(t, 1, map[string]string{"dfs.blocksize": "4m"}) // so much room the DataNode sets aside for each
	opened := open(t, c.URL("streams", ""))
	defer opened.Close()
	const streams, pieces = 500, 8
	piece := random(256 << 10)
	var most uint64
	measure := func() {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		most = max(most, m.Sys-m.HeapReleased)
	}
	var writers []storage.Writer
	for i := range streams {
		w, err := opened.Store.Create(t.Context(), fmt.Sprintf("job/shared/%d", i), storage.CreateOptions{})
		must(t, err)
		defer w.Abort()
		writers = append(writers, w)
	}
	for range pieces {
		var all errgroup.Group
		for _, w := range writers {
			all.Go(func() error { _, err := w.Write(piece); return err })
		}
		must(t, all.Wait())
		measure()
	}
	var all errgroup.Group
	for i, w := range writers {
		all.Go(func() error {
			if err := w.Commit(); err != nil {
				return err
			}
			r, err := opened.Store.Open(t.Context(), fmt.Sprintf("job/shared/%d", i), 0, -1)
			if err != nil {
				return err
			}
			defer r.Close()
			buffer, n := make([]byte, 64<<10), 0
			for {
				m, err := r.Read(buffer)
				if n += m; err != nil {
					if n != pieces*len(piece) {
						return fmt.Errorf("read %d bytes: %w", n, err)
					}
					return nil
				}
			}
		})
	}
	must(t, all.Wait())
	measure()
	t.Logf("at most %d MiB", most>>20)
	if most > 512<<20 {
		t.Errorf("%d MiB of memory, want 512 at most", most>>20)
	}
}

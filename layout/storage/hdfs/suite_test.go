package hdfs_test

import (
	"fmt"
	"os"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/ckptd/ckptd/conformance/servers"
	"github.com/ckptd/ckptd/conformance/stores"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/hdfs"
)

func TestMain(m *testing.M) {
	if raceMain() || halfMain() {
		return
	}
	code := m.Run()
	if shared.cluster != nil {
		shared.cluster.Close()
		_ = os.RemoveAll(shared.dir)
	}
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// shared is the one cluster of this program, for the tests that do it no harm.
var shared struct {
	once    sync.Once
	dir     string
	cluster *servers.HDFS
	err     error
}

// cluster returns the shared cluster, which has one DataNode.
func cluster(t testing.TB) *servers.HDFS {
	t.Helper()
	if err := servers.HaveHDFS(); err != nil && !servers.InCI() {
		t.Skipf("NOT RUN: %s needs HDFS: %v", t.Name(), err)
	}
	shared.once.Do(func() {
		if shared.dir, shared.err = os.MkdirTemp("", "ckptd-hdfs-"); shared.err == nil {
			shared.cluster, shared.err = servers.NewHDFS(shared.dir, 1, nil)
		}
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.cluster
}

func open(t testing.TB, url string) storage.Opened {
	t.Helper()
	c, err := hdfs.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := hdfs.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return opened
}

// full reports whether slow tests must run, too.
func full() bool {
	return os.Getenv("CKPTD_TEST_FULL") == "1" || os.Getenv("CKPTD_NIGHTLY") == "1" || servers.InCI()
}

// TestStore runs the suite on a real cluster.
func TestStore(t *testing.T) {
	c := cluster(t)
	h := stores.Harness{Open: func(t *testing.T, root string) storage.Opened { return open(t, c.URL("suite/"+root, "")) }}
	switch {
	case os.Getenv("CKPTD_NIGHTLY") == "1":
		h.Races = 20
	case full():
		h.Races = 10
	default:
		h.Races = 5
	}
	h.Faulty = faulty(c)
	stores.Run(t, h)
}

func tryOpen(t testing.TB, url string) (storage.Opened, error) {
	t.Helper()
	c, err := hdfs.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	return hdfs.Open(t.Context(), c)
}

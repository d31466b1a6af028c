package hdfs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	library "github.com/colinmarc/hdfs/v2"

	"github.com/ckptd/ckptd/conformance/servers"
	"github.com/ckptd/ckptd/layout/storage"
)

// harmful returns a cluster for a test that kills, pauses or shuts a part of it. Such tests run one after the other, and
// leave it whole.
func harmful(t *testing.T) *servers.HDFS {
	t.Helper()
	if !full() {
		t.Skip("`make test` runs it")
	}
	return cluster(t)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func random(n int) []byte {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n)}).Read(data)
	return data
}

// create writes an object of unknown length in pieces. halfway is called in the middle.
func create(ctx context.Context, s storage.Store, key string, data []byte, opts storage.CreateOptions, halfway func()) error {
	w, err := s.Create(ctx, key, opts)
	if err != nil {
		return err
	}
	defer w.Abort()
	half := len(data) / 2
	if _, err := w.Write(data[:half]); err != nil {
		return err
	}
	if halfway != nil {
		halfway()
	}
	if _, err := w.Write(data[half:]); err != nil {
		return err
	}
	return w.Commit()
}

// nothingLeft wants that below the root nothing is but these objects, and nothing unfinished.
func nothingLeft(t *testing.T, c *servers.HDFS, root string, s storage.Store, want ...string) {
	t.Helper()
	var got []string
	for info, err := range s.List(t.Context(), "") {
		must(t, err)
		got = append(got, info.Key)
	}
	slices.Sort(got)
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("list shows %q, want %q", got, want)
	}
	must(t, bare(t, c).Walk("/"+root, func(path string, _ os.FileInfo, err error) error {
		if strings.Contains(path, "/_tmp/") {
			t.Errorf("left behind: %s", path)
		}
		return err
	}))
}

// bare returns a client of the library.
func bare(t testing.TB, c *servers.HDFS) *library.Client {
	t.Helper()
	client, err := library.NewClient(library.ClientOptions{Addresses: []string{c.Address}, User: c.User})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// TestNameNodeKilled kills the NameNode with a call under way, and brings it back on its data. The mutation's outcome is told
// by what is there then.
func TestNameNodeKilled(t *testing.T) {
	c := harmful(t)
	opened := open(t, c.URL("killed", "timeout=3s"))
	defer opened.Close()
	must(t, opened.Store.Publish(t.Context(), "job/_journal/1", []byte("before")))
	rounds := 1
	if os.Getenv("CKPTD_NIGHTLY") == "1" {
		rounds = 5
	}
	for round := range rounds {
		key := fmt.Sprintf("job/_journal/%d", round+2)
		ended := make(chan error)
		go func() {
			var err error
			for i := 0; err == nil; i++ {
				err = opened.Store.Publish(t.Context(), fmt.Sprintf("%s-%d", key, i), []byte(fmt.Sprintf("%s-%d", key, i)))
			}
			ended <- err
		}()
		time.Sleep(time.Duration(50+round*30) * time.Millisecond) // any moment will do
		c.KillNameNode()
		killed := time.Now()
		err := <-ended
		t.Logf("told of it after %v: %v", time.Since(killed), err)
		if !errors.As(err, new(*storage.Error)) {
			t.Errorf("publish without a NameNode: %v, want an error that names key and operation", err)
		}
		if _, err = opened.Store.Stat(t.Context(), "job/_journal/1"); err == nil || errors.Is(err, storage.ErrNotFound) {
			t.Errorf("stat without a NameNode: %v, want an error that does not say that the object is gone", err)
		}
		down := time.Now()
		must(t, c.StartNameNode())
		must(t, c.Await(1))
		t.Logf("the NameNode was back after %v", time.Since(down))
		must(t, opened.Store.Publish(t.Context(), key, []byte("after")))
	}
	if rounds > 1 { // idle clients notice by themselves, and are not used again
		var readers []io.ReadCloser
		for i := range 8 {
			r, err := opened.Store.Open(t.Context(), fmt.Sprintf("job/_journal/%d", i%2+1), 0, -1)
			must(t, err)
			readers = append(readers, r)
		}
		for _, r := range readers {
			must(t, r.Close()) // gives the clients back, one for each
		}
		c.KillNameNode()
		must(t, c.StartNameNode())
		must(t, c.Await(1))
		for range 4 {
			_, err := opened.Store.Stat(t.Context(), "job/_journal/1")
			must(t, err)
		}
	}
	if _, err := opened.Store.AbortUnfinished(t.Context(), "", func(string) bool { return true }); err != nil {
		t.Error(err)
	}
	for info, err := range opened.Store.List(t.Context(), "job/") {
		must(t, err)
		if data, err := readAll(t.Context(), opened.Store, info.Key); err != nil || len(data) == 0 {
			t.Errorf("%s: %d bytes, %v; want a whole object", info.Key, len(data), err)
		}
	}
}

// TestNameNodePaused: every call ends within its time although the NameNode is silent, and a cancelled one at once.
func TestNameNodePaused(t *testing.T) {
	c := harmful(t)
	opened := open(t, c.URL("paused", "timeout=300ms"))
	defer opened.Close()
	must(t, opened.Store.Publish(t.Context(), "job/_journal/1", []byte("x")))
	must(t, c.PauseNameNode(true))
	for name, do := range map[string]func(ctx context.Context) error{
		"stat":    func(ctx context.Context) error { _, err := opened.Store.Stat(ctx, "job/_journal/1"); return err },
		"publish": func(ctx context.Context) error { return opened.Store.Publish(ctx, "job/_journal/2", []byte("y")) },
		"delete":  func(ctx context.Context) error { return errors.Join(opened.Store.Delete(ctx, []string{"job/x"})...) },
		"list": func(ctx context.Context) (err error) {
			for _, err = range opened.Store.List(ctx, "") {
			}
			return err
		},
		"create": func(ctx context.Context) error {
			return create(ctx, opened.Store, "job/shared/f", random(1<<20), storage.CreateOptions{}, nil)
		},
	} {
		begun := time.Now()
		err := do(t.Context())
		if took := time.Since(begun); err == nil || took > 30*time.Second {
			t.Errorf("%s with a silent NameNode: %v after %v, want an error soon", name, err, took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		if err := do(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%s, cancelled: %v, want the context's error", name, err)
		}
	}
	must(t, c.PauseNameNode(false))
	must(t, c.Await(1))
	must(t, opened.Store.Publish(t.Context(), "job/_journal/2", []byte("y")))
	if _, err := opened.Store.AbortUnfinished(t.Context(), "", func(string) bool { return true }); err != nil {
		t.Error(err)
	}
	nothingLeft(t, c, "paused", opened.Store, "job/_journal/1", "job/_journal/2")
}

// TestDataNodeGone kills and pauses the DataNode in the middle of a write and of a read. The write is not done, and leaves
// nothing; the read gives an error; both work again when the DataNode is back.
func TestDataNodeGone(t *testing.T) {
	c := harmful(t)
	opened := open(t, c.URL("gone", "timeout=2s"))
	defer opened.Close()
	data := random(24 << 20)
	must(t, create(t.Context(), opened.Store, "job/shared/before", data, storage.CreateOptions{}, nil))
	for name, harm := range map[string]struct{ away, back func() error }{
		"killed": {func() error { c.KillDataNode(0); return nil }, func() error { return c.StartDataNode(0) }},
		"paused": {func() error { return c.PauseDataNode(0, true) }, func() error { return c.PauseDataNode(0, false) }},
	} {
		t.Run(name, func(t *testing.T) {
			var written storage.Writer
			again(t, func() (err error) {
				if written, err = opened.Store.Create(t.Context(), "job/shared/written", storage.CreateOptions{}); err != nil {
					return err
				}
				if _, err = written.Write(data[:200<<10]); err != nil {
					written.Abort()
				}
				return err
			})
			r, err := opened.Store.Open(t.Context(), "job/shared/before", 0, -1)
			must(t, err)
			_, err = r.Read(make([]byte, 10))
			must(t, err)
			err = create(t.Context(), opened.Store, "job/shared/"+name, data, storage.CreateOptions{}, func() { must(t, harm.away()) })
			if err == nil || errors.Is(err, storage.ErrUnknown) {
				t.Errorf("create: %v, want an error that is not an unknown outcome", err)
			}
			err = written.Commit()
			if err == nil || errors.Is(err, storage.ErrUnknown) || strings.Contains(err.Error(), "have not reported") {
				t.Errorf("commit of what was written before: %v, want the DataNode's error, and not that of a second Close", err)
			}
			for err = nil; err == nil; {
				_, err = r.Read(make([]byte, 1<<20))
			}
			if !errors.As(err, new(*storage.Error)) {
				t.Errorf("read to the end: %v, want an error", err)
			}
			must(t, r.Close())
			begun := time.Now()
			if _, err := readAll(t.Context(), opened.Store, "job/shared/before"); err == nil || time.Since(begun) > 20*time.Second {
				t.Errorf("read: %v after %v, want an error soon", err, time.Since(begun))
			}
			must(t, harm.back())
			must(t, c.Await(1))
			again(t, func() error {
				got, err := readAll(t.Context(), opened.Store, "job/shared/before")
				if err == nil && !bytes.Equal(got, data) {
					t.Fatal("read other bytes")
				}
				return err
			})
			again(t, func() error {
				return create(t.Context(), opened.Store, "job/shared/"+name+"-again", data[:1<<20], storage.CreateOptions{}, nil)
			})
		})
	}
	nothingLeft(t, c, "gone", opened.Store, "job/shared/before", "job/shared/killed-again", "job/shared/paused-again")
}

// again repeats what may fail until the NameNode has noticed that a DataNode is back.
func again(t *testing.T, do func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if err = do(); err == nil {
			return
		}
	}
	t.Fatal(err)
}

// TestSafeMode: writes fail and are not done, reads work, and all goes on when the NameNode leaves safe mode.
func TestSafeMode(t *testing.T) {
	c := harmful(t)
	opened := open(t, c.URL("safe", ""))
	defer opened.Close()
	must(t, opened.Store.Publish(t.Context(), "job/_journal/1", []byte("x")))
	_, err := c.Admin("dfsadmin", "-safemode", "enter")
	must(t, err)
	for name, err := range map[string]error{
		"publish": opened.Store.Publish(t.Context(), "job/_journal/2", []byte("y")),
		"create":  create(t.Context(), opened.Store, "job/shared/f", random(1<<20), storage.CreateOptions{}, nil),
		"delete":  errors.Join(opened.Store.Delete(t.Context(), []string{"job/_journal/1"})...),
		"settle":  opened.Facts.Settle(t.Context(), "job/_journal/"),
	} {
		if err == nil || errors.Is(err, storage.ErrUnknown) || !strings.Contains(err.Error(), "safe mode") {
			t.Errorf("%s in safe mode: %v, want an error that says so, and is not an unknown outcome", name, err)
		}
	}
	if hazard := hazard(t, opened, "safe mode"); hazard.Weight != storage.WeightWarning {
		t.Errorf("hazard %+v, want a warning", hazard)
	}
	if data, err := readAll(t.Context(), opened.Store, "job/_journal/1"); err != nil || string(data) != "x" {
		t.Errorf("read %q, %v; want x", data, err)
	}
	_, err = c.Admin("dfsadmin", "-safemode", "leave")
	must(t, err)
	must(t, opened.Store.Publish(t.Context(), "job/_journal/2", []byte("y")))
	must(t, opened.Facts.Settle(t.Context(), "job/_journal/"))
	nothingLeft(t, c, "safe", opened.Store, "job/_journal/1", "job/_journal/2")
}

func hazard(t *testing.T, opened storage.Opened, name string) storage.Hazard {
	t.Helper()
	for _, h := range opened.Facts.Hazards(t.Context()) {
		if h.Name == name {
			return h
		}
	}
	t.Fatalf("no hazard %q", name)
	return storage.Hazard{}
}

// TestQuotas: a write that a quota refuses is not done and says why; the library itself calls such a file closed. When the
// quota is lifted, all goes on.
func TestQuotas(t *testing.T) {
	c := harmful(t)
	opened := open(t, c.URL("quota", "blocksize=1m"))
	defer opened.Close()
	must(t, opened.Store.Publish(t.Context(), "job/_journal/1", []byte("x")))
	data := random(3 << 20)
	for name, quota := range map[string][2]int64{"space": {-1, 2 << 20}, "names": {6, -1}} {
		must(t, c.SetQuota("/quota", quota[0], quota[1]))
		var err error
		for i := range 3 { // a few names may still be free
			err = create(t.Context(), opened.Store, fmt.Sprintf("job/shared/%s-%d", name, i), data, storage.CreateOptions{}, nil)
			if err != nil {
				break
			}
		}
		if err == nil || errors.Is(err, storage.ErrUnknown) || !strings.Contains(err.Error(), "quota") {
			t.Errorf("create beyond the quota of %s: %v, want an error that says so", name, err)
		}
		if h := hazard(t, opened, "quotas"); h.Weight != storage.WeightWarning || h.Advice == "" {
			t.Errorf("hazard %+v, want a warning with advice", h)
		}
		must(t, c.SetQuota("/quota", -1, -1))
		must(t, create(t.Context(), opened.Store, "job/shared/after-"+name, data, storage.CreateOptions{}, nil))
		got, err := readAll(t.Context(), opened.Store, "job/shared/after-"+name)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("read %d bytes, %v; want what was written", len(got), err)
		}
	}
	if _, err := opened.Store.AbortUnfinished(t.Context(), "", func(string) bool { return true }); err != nil {
		t.Error(err)
	}
}

// TestOddFolders: folders in which files would be written that nobody can read are refused; one with snapshots is warned of.
func TestOddFolders(t *testing.T) {
	c := harmful(t)
	client := bare(t, c)
	must(t, client.MkdirAll("/odd/coded/in", 0o755))
	must(t, client.MkdirAll("/odd/snaps/in", 0o755))
	must(t, client.AllowSnapshots("/odd/snaps"))
	opened := open(t, c.URL("odd/snaps/in", ""))
	defer opened.Close()
	must(t, opened.Store.Publish(t.Context(), "job/_journal/1", []byte("x")))
	if h := hazard(t, opened, "snapshots"); h.Weight != storage.WeightWarning || !strings.Contains(h.Seen, "/odd/snaps ") {
		t.Errorf("hazard %+v, want a warning that names /odd/snaps", h)
	}
	if os.Getenv("CKPTD_NIGHTLY") != "1" {
		return // another two starts of Java
	}
	for _, args := range [][]string{{"ec", "-enablePolicy", "-policy", "XOR-2-1-1024k"}, {"ec", "-setPolicy", "-path", "/odd/coded", "-policy", "XOR-2-1-1024k"}} {
		_, err := c.Admin(args[0], args[1:]...)
		must(t, err)
	}
	if _, err := tryOpen(t, c.URL("odd/coded/in", "")); !errors.Is(err, storage.ErrUnfit) || !strings.Contains(err.Error(), "erasure coded") {
		t.Errorf("open below a coded folder: %v, want it refused with the reason", err)
	}
}

// TestEncryptionZone: a folder whose status has the flag of an encryption zone is refused. No key server is at hand, so a
// middleman sets the flag in the NameNode's replies.
func TestEncryptionZone(t *testing.T) {
	c := cluster(t)
	opened := open(t, c.URL("zone", ""))
	defer opened.Close()
	must(t, opened.Store.Publish(t.Context(), "job/_journal/1", []byte("x")))
	const tag = "\x90\x01" // of the field "flags" in a file's status
	m := newMiddleman(t, c.Address, 0, way{})
	m.rewrite = func(reply []byte) []byte { return bytes.ReplaceAll(reply, []byte(tag+"\x00"), []byte(tag+"\x02")) }
	if _, err := tryOpen(t, c.URLAt(m.address(), "zone", "")); !errors.Is(err, storage.ErrUnfit) || !strings.Contains(err.Error(), "/zone is an encryption zone") {
		t.Errorf("open of an encryption zone: %v, want it refused with the reason", err)
	}
}

// TestPermissions: a user who may not write is told so, and nothing is done.
func TestPermissions(t *testing.T) {
	c := cluster(t)
	mine := open(t, c.URL("mine", ""))
	defer mine.Close()
	must(t, mine.Store.Publish(t.Context(), "job/_journal/1", []byte("x")))
	theirs := open(t, strings.Replace(c.URL("mine", ""), c.User+"@", "stranger@", 1))
	defer theirs.Close()
	for name, err := range map[string]error{
		"publish": theirs.Store.Publish(t.Context(), "job/_journal/2", []byte("y")),
		"create":  create(t.Context(), theirs.Store, "job/shared/f", random(1<<20), storage.CreateOptions{}, nil),
		"delete":  errors.Join(theirs.Store.Delete(t.Context(), []string{"job/_journal/1"})...),
	} {
		if !errors.Is(err, os.ErrPermission) || errors.Is(err, storage.ErrUnknown) {
			t.Errorf("%s by a stranger: %v, want a permission error that is not an unknown outcome", name, err)
		}
	}
	if _, err := theirs.Store.Stat(t.Context(), "job/_journal/1/below/it"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("stat of what cannot be there: %v, want not found", err)
	}
	if data, err := readAll(t.Context(), mine.Store, "job/_journal/1"); err != nil || string(data) != "x" {
		t.Errorf("read %q, %v; want x", data, err)
	}
}

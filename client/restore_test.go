package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/proto/data"
)

// uploaded stores p as a file of the job and gives its handle.
func uploaded(t *testing.T, c *cluster, job *Job, p []byte) Handle {
	t.Helper()
	if err := job.Snapshot(t.Context(), snapshotOf(piece("f", Shared, p))); err != nil {
		t.Fatal(err)
	}
	return Handle{Name: "f", Scope: Shared, File: fromFile(c.lastAck()[0].GetUploaded())}
}

func TestFetch(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		c := newCluster(t)
		_, job := c.client([]string{c.start(daemonOptions{network: network}).url})
		for _, n := range []int{0, 1, data.BlockSize, data.BlockSize + 1, 9*data.BlockSize + 5} {
			p := randomBytes(byte(n), n)
			h := uploaded(t, c, job, p)
			path := filepath.Join(t.TempDir(), "f")
			if err := job.Fetch(t.Context(), h, path); err != nil {
				t.Fatalf("%d bytes: %v", n, err)
			}
			if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, p) {
				t.Errorf("%d bytes: fetched %d, %v", n, len(got), err)
			}
			if got, err := job.ReadAll(t.Context(), h); err != nil || !bytes.Equal(got, p) {
				t.Errorf("%d bytes: read %d, %v", n, len(got), err)
			}
			if err := job.Fetch(t.Context(), h, path); !errors.Is(err, os.ErrExist) {
				t.Errorf("an existing file was overwritten: %v", err)
			}
		}
		path := filepath.Join(t.TempDir(), "inline")
		if err := job.Fetch(t.Context(), Handle{Inline: []byte("inline")}, path); err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(path); string(got) != "inline" {
			t.Errorf("got %q", got)
		}
	}
}

// Open returns the right bytes for any range of any piece.
func TestOpenRanges(t *testing.T) {
	c := newCluster(t)
	_, job := c.client([]string{c.start(daemonOptions{network: "unix"}).url})
	p := randomBytes(4, data.BlockSize+1000)
	file := uploaded(t, c, job, p)
	rapid.Check(t, func(rt *rapid.T) {
		h, p := file, p
		if rapid.IntRange(0, 4).Draw(rt, "inline") == 0 {
			p = p[:100]
			h = Handle{Inline: p}
		}
		edge := rapid.SampledFrom([]int{0, min(len(p), data.BlockSize), len(p)}).Draw(rt, "near")
		off := min(len(p), max(0, edge+rapid.IntRange(-5, 5).Draw(rt, "off")))
		n := rapid.IntRange(0, len(p)-off).Draw(rt, "n")
		r, err := job.Open(t.Context(), h, int64(off), int64(n))
		if err != nil {
			rt.Fatal(err)
		}
		defer r.Close()
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, p[off:off+n]) {
			rt.Fatalf("%d bytes from %d: got %d, %v", n, off, len(got), err)
		}
	})
	for _, bad := range [][2]int64{{-1, 1}, {0, int64(len(p)) + 1}, {int64(len(p)) + 1, -1}} {
		if _, err := job.Open(t.Context(), file, bad[0], bad[1]); !errors.Is(err, ErrInvalid) {
			t.Errorf("%v: %v", bad, err)
		}
	}
	r, err := job.Open(t.Context(), file, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// rottenStore changes one byte of each read.
type rottenStore struct {
	storage.Store
	at int64
}

func (s *rottenStore) Open(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	r, err := s.Store.Open(ctx, key, off, n)
	if err != nil || s.at < off || n >= 0 && s.at >= off+n {
		return r, err
	}
	defer r.Close()
	p, err := io.ReadAll(r)
	if err == nil {
		p[s.at-off] ^= 0x10
	}
	return io.NopCloser(bytes.NewReader(p)), err
}

func TestHandlesAreChecked(t *testing.T) {
	c := newCluster(t)
	_, job := c.client([]string{c.start(daemonOptions{}).url})
	p := randomBytes(1, data.BlockSize+1)
	edits := map[string]struct {
		edit func(f *File)
		err  error
	}{
		"whole sum":      {func(f *File) { f.CRC32C++ }, ErrCorrupt},
		"block sum":      {func(f *File) { f.BlockCRC32C[1]++ }, ErrCorrupt},
		"no block sums":  {func(f *File) { f.BlockCRC32C = nil }, ErrCorrupt},
		"longer":         {func(f *File) { f.Length++ }, ErrCorrupt},
		"shorter":        {func(f *File) { f.Length-- }, ErrCorrupt},
		"not there":      {func(f *File) { f.Key = f.Key[:len(f.Key)-1] + "9" }, ErrInvalid}, // the name's own digits do not fit
		"not a file":     {func(f *File) { f.Key = "_journal/1" }, ErrInvalid},
		"gone from disk": {func(f *File) { c.store.Delete(t.Context(), []string{"job/" + f.Key}) }, ErrNotFound},
	}
	for name, e := range edits {
		h := uploaded(t, c, job, p)
		e.edit(h.File)
		if err := job.Fetch(t.Context(), h, filepath.Join(t.TempDir(), "f")); !errors.Is(err, e.err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// brokenWriteConn breaks after so many bytes have been written, or damages one; once per test.
type brokenWriteConn struct {
	net.Conn
	n    int
	once *sync.Once
	flip bool
}

func (b *brokenWriteConn) Write(p []byte) (int, error) {
	if b.n -= len(p); b.n < 0 {
		broken := false
		b.once.Do(func() {
			if b.flip {
				p = bytes.Clone(p)
				p[len(p)-1] ^= 1
				return
			}
			broken = true
		})
		if broken {
			b.Conn.Close()
		}
	}
	return b.Conn.Write(p)
}

// A restore continues where its stream broke, and asks again for a block that was damaged on the way.
func TestRestoreGoesOnAfterABreak(t *testing.T) {
	for _, flip := range []bool{false, true} {
		c := newCluster(t)
		once := &sync.Once{}
		_, job := c.client([]string{c.start(daemonOptions{wrap: func(conn net.Conn) net.Conn {
			return &brokenWriteConn{Conn: conn, n: 6 << 20, once: once, flip: flip}
		}}).url}, WithParallel(1))
		p := randomBytes(2, 3*data.BlockSize+1)
		h := uploaded(t, c, job, p)
		path := filepath.Join(t.TempDir(), "f")
		if err := job.Fetch(t.Context(), h, path); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, p) {
			t.Errorf("fetched %d bytes, %v", len(got), err)
		}
		struck := true
		once.Do(func() { struck = false })
		if !struck {
			t.Error("the fault never struck")
		}
	}
}

package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
	"github.com/ckptd/ckptd/proto/data"
)

// readPaths are the ways to read a whole piece.
var readPaths = map[string]func(ctx context.Context, t *testing.T, j *Job, h Handle) ([]byte, error){
	"Fetch": func(ctx context.Context, t *testing.T, j *Job, h Handle) ([]byte, error) {
		path := filepath.Join(t.TempDir(), "f")
		if err := j.Fetch(ctx, h, path); err != nil {
			if _, gone := os.Stat(path); !errors.Is(gone, os.ErrNotExist) {
				t.Errorf("a file is left after an error: %v", gone)
			}
			return nil, err
		}
		return os.ReadFile(path)
	},
	"ReadAll": func(ctx context.Context, _ *testing.T, j *Job, h Handle) ([]byte, error) { return j.ReadAll(ctx, h) },
	"Open": func(ctx context.Context, _ *testing.T, j *Job, h Handle) ([]byte, error) {
		r, err := j.Open(ctx, h, 0, -1)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return io.ReadAll(r)
	},
	"Open of a range": func(ctx context.Context, _ *testing.T, j *Job, h Handle) ([]byte, error) {
		r, err := j.Open(ctx, h, 0, h.Size())
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return io.ReadAll(r)
	},
}

// rotten stores p whole, and gives the handle to a job whose daemon reads the byte at another than it is.
func rotten(t *testing.T, p []byte, at int64) (*Job, Handle) {
	t.Helper()
	c := newCluster(t)
	good := c.start(daemonOptions{})
	_, job := c.client([]string{good.url})
	h := uploaded(t, c, job, p)
	bad := c.start(daemonOptions{store: &rottenStore{Store: c.store, at: at}})
	good.kill()
	_, job = c.client([]string{bad.url}, WithParallel(2))
	return job, h
}

// A flipped bit on the store never gets out, wherever it is, however long the file, whichever way it is read.
func TestRottenBytesAreFound(t *testing.T) {
	const block = data.BlockSize
	for _, test := range []struct {
		n, at int64
		where string
	}{
		{1, 0, "the only byte"},
		{1000, 0, "the first byte of a small file"},
		{1000, 999, "the last byte of a small file"},
		{block, 0, "the first byte of a file of one block"},
		{block, block - 1, "the last byte of a file of one block"},
		{block + 1, block, "the last block, of one byte"},
		{3*block + 1000, 0, "the first block"},
		{3*block + 1000, block - 1, "the end of the first block"},
		{3*block + 1000, block, "the start of a middle block"},
		{3*block + 1000, 2*block + 17, "a middle block"},
		{3*block + 1000, 3*block + 999, "the last byte"},
	} {
		t.Run(fmt.Sprintf("%s of %d", test.where, test.n), func(t *testing.T) {
			t.Parallel()
			p := randomBytes(1, int(test.n))
			job, h := rotten(t, p, test.at)
			start := test.at / block * block
			for name, read := range readPaths {
				got, err := read(t.Context(), t, job, h)
				if !errors.Is(err, ErrCorrupt) {
					t.Errorf("%s: %d bytes, %v; want ErrCorrupt", name, len(got), err)
				}
				if int64(len(got)) > start || !bytes.Equal(got, p[:len(got)]) {
					t.Errorf("%s: %d bytes got out, want none of the block that begins at %d", name, len(got), start)
				}
			}
			// A part of the rotten block has no sum of its own: not a byte of it is given away, even a right one.
			for _, r := range [][2]int64{{test.at, 1}, {start, 1}, {min(test.n, start+block) - 1, 1}} {
				if got, err := openRange(t, job, h, r[0], r[1]); !errors.Is(err, ErrCorrupt) || len(got) > 0 {
					t.Errorf("%d bytes from %d: %d bytes, %v; want ErrCorrupt and none", r[1], r[0], len(got), err)
				}
			}
			// The other blocks are what they were.
			for _, off := range []int64{0, start - 1, start + block, test.n - 1} {
				if off < 0 || off >= test.n || off/block*block == start {
					continue
				}
				if got, err := openRange(t, job, h, off, 1); err != nil || got[0] != p[off] {
					t.Errorf("1 byte from %d, of a block that is whole: %x, %v", off, got, err)
				}
			}
		})
	}
}

func openRange(t *testing.T, job *Job, h Handle, off, n int64) ([]byte, error) {
	t.Helper()
	r, err := job.Open(t.Context(), h, off, n)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	return io.ReadAll(r)
}

// otherLength streams as many bytes as length says instead of those that were asked for, and ends without an error.
type otherLength struct {
	ckptdv1connect.StateServiceHandler
	length func(req *ckptdv1.GetStateRequest) uint64
}

func (o *otherLength) GetState(ctx context.Context, r *ckptdv1.GetStateRequest, s *connect.ServerStream[ckptdv1.GetStateResponse]) error {
	n := o.length(r)
	if n == 0 {
		return nil // asked for, 0 is everything
	}
	asked := &ckptdv1.GetStateRequest{JobId: r.GetJobId(), File: r.GetFile(), Offset: r.GetOffset(), Length: n}
	return o.StateServiceHandler.GetState(ctx, asked, s)
}

// before puts an otherLength before a daemon's data plane.
func before(length func(req *ckptdv1.GetStateRequest) uint64) daemonOptions {
	return daemonOptions{state: func(h ckptdv1connect.StateServiceHandler) ckptdv1connect.StateServiceHandler {
		return &otherLength{h, length}
	}}
}

// cuts say where a stream of n bytes ends too early.
var cuts = map[string]func(n uint64) uint64{
	"before its first byte":   func(uint64) uint64 { return 0 },
	"after its first byte":    func(n uint64) uint64 { return min(1, n-1) },
	"in the middle":           func(n uint64) uint64 { return n / 2 },
	"before its last byte":    func(n uint64) uint64 { return n - 1 },
	"at the end of a block":   func(n uint64) uint64 { return (n - 1) / data.BlockSize * data.BlockSize },
	"right behind its border": func(n uint64) uint64 { return min(n-1, (n-1)/data.BlockSize*data.BlockSize+1) },
}

// What a stream that ended too early lacks is asked for again.
func TestStreamThatEndsTooEarlyIsContinued(t *testing.T) {
	for name, cut := range cuts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			var streams atomic.Int32
			_, job := c.client([]string{c.start(before(func(r *ckptdv1.GetStateRequest) uint64 {
				if streams.Add(1)%2 == 1 {
					return cut(r.GetLength())
				}
				return r.GetLength()
			})).url}, WithParallel(1))
			p := randomBytes(3, 2*data.BlockSize+1000)
			h := uploaded(t, c, job, p)
			for path, read := range readPaths {
				if got, err := read(t.Context(), t, job, h); err != nil || !bytes.Equal(got, p) {
					t.Errorf("%s: %d bytes, %v; want the %d that were stored", path, len(got), err, len(p))
				}
			}
		})
	}
}

// A daemon whose streams always end too early counts as one that does not answer: the client gives up when its
// patience ends.
func TestStreamsThatAlwaysEndTooEarlyAreGivenUp(t *testing.T) {
	for name, cut := range map[string]func(n uint64) uint64{
		"before the first byte": cuts["before its first byte"],
		"in the middle":         cuts["in the middle"],
		"before the last byte":  cuts["before its last byte"],
	} {
		for path, read := range readPaths {
			t.Run(name+"/"+path, func(t *testing.T) {
				t.Parallel()
				c := newCluster(t)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var streams atomic.Int32
				d := c.start(before(func(r *ckptdv1.GetStateRequest) uint64 {
					if streams.Add(1) == 200 {
						cancel() // it would go on for ever
					}
					return cut(r.GetLength())
				}))
				_, job := c.client([]string{d.url}, WithPatience(200*time.Millisecond))
				h := uploaded(t, c, job, randomBytes(3, 1000))
				if got, err := read(ctx, t, job, h); !errors.Is(err, ErrUnavailable) || len(got) > 0 {
					t.Errorf("%d bytes, %v after %d streams; want ErrUnavailable and none", len(got), err, streams.Load())
				}
			})
		}
	}
}

// A daemon that sends more than was asked for sends something else.
func TestStreamsThatGoOnAreRefused(t *testing.T) {
	const asked, stored = data.BlockSize, data.BlockSize + 1000
	c := newCluster(t)
	_, job := c.client([]string{c.start(before(func(r *ckptdv1.GetStateRequest) uint64 { return r.GetFile().GetLength() - r.GetOffset() })).url})
	h := uploaded(t, c, job, randomBytes(3, stored))
	if got, err := openRange(t, job, h, 0, asked); !errors.Is(err, ErrCorrupt) || len(got) > 0 {
		t.Errorf("asked for the first block: %d bytes, %v; want ErrCorrupt", len(got), err)
	}
	if got, err := openRange(t, job, h, asked, -1); err != nil || len(got) != stored-asked {
		t.Errorf("asked for the last block: %d bytes, %v; want all %d", len(got), err, stored-asked)
	}
}

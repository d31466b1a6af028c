package client

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/ckptd/ckptd/proto/data"
)

// Open returns a reader of n bytes of a piece from offset off; n < 0 means to the end. The reader checks the sum of
// every byte before it returns the byte; ErrCorrupt if the sum differs. It resumes a broken stream. It holds one block
// of 4 MiB until it is closed, and ends with ctx.
func (j *Job) Open(ctx context.Context, h Handle, off, n int64) (io.ReadCloser, error) {
	size := h.Size()
	if n < 0 {
		n = size - off
	}
	if off < 0 || n < 0 || off > size || n > size-off {
		return nil, j.wrap("open "+h.Name+" of", fmt.Errorf("%w: %d bytes from %d of %d", ErrInvalid, n, off, size))
	}
	if h.File == nil {
		return io.NopCloser(bytes.NewReader(h.Inline[off : off+n])), nil
	}
	if err := checkHandle(h.File); err != nil {
		return nil, j.wrap("open "+h.Name+" of", err)
	}
	if s := h.File.Segment; s != nil {
		off += int64(s.Offset)
	}
	return &reader{ctx: ctx, job: j, handle: h, at: uint64(off), end: uint64(off + n)}, nil
}

// blocks are the buffers of readers.
var blocks = sync.Pool{New: func() any { return new([data.BlockSize]byte) }}

// reader fetches one block at a time, each by its own stream. That costs one more round trip per 4 MiB, but nothing
// runs between two Reads.
type reader struct {
	ctx     context.Context // Open's; Read has no parameter for it
	job     *Job
	handle  Handle
	at, end uint64
	buffer  *[data.BlockSize]byte
	// left is the part of the buffered block that was not read yet.
	left   []byte
	closed bool
}

func (r *reader) Read(p []byte) (int, error) {
	switch {
	case r.closed:
		return 0, r.job.wrap("read "+r.handle.Name+" of", ErrClosed)
	case len(r.left) == 0 && r.at == r.end:
		return 0, io.EOF
	case len(r.left) == 0:
		if err := r.fetch(); err != nil {
			return 0, r.job.wrap("read "+r.handle.Name+" of", err)
		}
	}
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}

// fetch reads the block that at lies in, and checks it.
func (r *reader) fetch() error {
	if r.buffer == nil {
		r.buffer = blocks.Get().(*[data.BlockSize]byte)
	}
	f := r.handle.File
	start := r.at - r.at%data.BlockSize
	s := span{start, min(f.Length, start+data.BlockSize)}
	err := r.job.read(r.ctx, f, newVerifier(f, s), func(p []byte, off uint64) error {
		copy(r.buffer[off-start:], p)
		return nil
	})
	if err != nil {
		return err
	}
	to := min(r.end, s.end)
	r.left, r.at = r.buffer[r.at-start:to-start], to
	return nil
}

// Close gives the buffer back.
func (r *reader) Close() error {
	r.closed = true
	if r.buffer != nil {
		blocks.Put(r.buffer)
		r.buffer, r.left = nil, nil
	}
	return nil
}

package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sync/errgroup"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/data"
)

// ReadAll reads a small piece whole and checks its sum.
func (j *Job) ReadAll(ctx context.Context, h Handle) ([]byte, error) {
	r, err := j.Open(ctx, h, 0, -1)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// Fetch writes a piece to a new file at path. It fetches blocks in parallel, and checks the sum of each block and of
// the whole. After an error there is no file at path. Fetch does not sync the file, because it can be fetched again.
func (j *Job) Fetch(ctx context.Context, h Handle, path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return j.wrap("fetch", err)
	}
	err = j.fetch(ctx, h, f)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		_ = os.Remove(path)
		return j.wrap(fmt.Sprintf("fetch %s of", h.Name), err)
	}
	return nil
}

func (j *Job) fetch(ctx context.Context, h Handle, w io.WriterAt) error {
	if h.File == nil {
		_, err := w.WriteAt(h.Inline, 0)
		return err
	}
	if h.File.Segment != nil {
		return j.fetchSegment(ctx, h, w)
	}
	if err := checkHandle(h.File); err != nil {
		return err
	}
	spans := spansOf(h.File.Length, j.client.options.parallel)
	sums := make([]uint32, len(spans))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(j.client.options.parallel)
	for i, s := range spans {
		g.Go(func() error {
			v := newVerifier(h.File, s)
			err := j.read(gctx, h.File, v, func(p []byte, off uint64) error {
				_, err := w.WriteAt(p, int64(off))
				return err
			})
			sums[i] = v.whole
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	var whole uint32
	for i, s := range spans {
		whole = data.Combine(whole, sums[i], s.end-s.start)
	}
	return compareWhole(h.File, whole)
}

// fetchSegment writes a segment of a file. It reads the segment's blocks whole, one after the other, because there are
// sums of whole blocks only.
func (j *Job) fetchSegment(ctx context.Context, h Handle, w io.WriterAt) error {
	r, err := j.Open(ctx, h, 0, -1)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(io.NewOffsetWriter(w, 0), r)
	return err
}

// span is a range of a file: whole blocks, but for the file's end.
type span struct{ start, end uint64 }

// spansOf cuts a file for parallel streams.
func spansOf(length uint64, parallel int) []span {
	blocks := (length + data.BlockSize - 1) / data.BlockSize
	each := max(1, (blocks+uint64(parallel)-1)/uint64(parallel)) * data.BlockSize
	var spans []span
	for at := uint64(0); at < length; at += each {
		spans = append(spans, span{at, min(length, at+each)})
	}
	return spans
}

// checkHandle refuses a handle whose sums cannot be those of its length, or whose segment reaches beyond it.
func checkHandle(f *File) error {
	if n := data.BlockCount(f.Length); uint64(len(f.BlockCRC32C)) != n {
		return &callError{kind: ErrCorrupt, cause: fmt.Errorf("handle of %s: %d block sums, want %d", f.Key, len(f.BlockCRC32C), n)}
	}
	if s := f.Segment; s != nil && (s.Offset > f.Length || s.Length > f.Length-s.Offset) {
		return &callError{kind: ErrCorrupt, cause: fmt.Errorf("handle of %s: segment of %d bytes from %d in a file of %d",
			f.Key, s.Length, s.Offset, f.Length)}
	}
	return nil
}

func compareWhole(f *File, sum uint32) error {
	if sum != f.CRC32C {
		return &callError{kind: ErrCorrupt, cause: fmt.Errorf("%s: CRC32C %08x, want %08x", f.Key, sum, f.CRC32C)}
	}
	return nil
}

// verifier checks the blocks of a span while they are read.
type verifier struct {
	file *File
	span span
	// at is the offset of the next byte; done is the end of the last block with the right sum.
	at, done uint64
	// block is the sum of the current block so far, whole the sum of all blocks before it.
	block, whole uint32
}

func newVerifier(f *File, s span) *verifier {
	return &verifier{file: f, span: s, at: s.start, done: s.start}
}

// rewind goes back to the beginning of the current block.
func (v *verifier) rewind() { v.at, v.block = v.done, 0 }

// add takes bytes that do not reach beyond the current block, and says whether they complete the block.
func (v *verifier) add(p []byte) (complete bool, err error) {
	v.block = data.CRC32C(v.block, p)
	v.at += uint64(len(p))
	if v.at < v.blockEnd() {
		return false, nil
	}
	want := v.file.CRC32C
	index := v.done / data.BlockSize
	if blocks := v.file.BlockCRC32C; len(blocks) > 0 {
		want = blocks[index]
	}
	if v.block != want {
		return false, &callError{kind: ErrCorrupt, cause: fmt.Errorf("%s: block %d has CRC32C %08x, want %08x", v.file.Key, index, v.block, want)}
	}
	v.whole = data.Combine(v.whole, v.block, v.at-v.done)
	v.done, v.block = v.at, 0
	return true, nil
}

// blockEnd is the end of the current block.
func (v *verifier) blockEnd() uint64 {
	return min(v.file.Length, (v.done/data.BlockSize+1)*data.BlockSize)
}

// read streams the rest of the verifier's span to write, in order. After a broken stream it begins the current block
// again, so write may see bytes of one block twice. It asks for a block with a wrong sum once more, because the network
// may have damaged the bytes.
func (j *Job) read(ctx context.Context, f *File, v *verifier, write func(p []byte, off uint64) error) error {
	corrupt := 0
	for v.done < v.span.end {
		_, err := search(ctx, j, 0, func(ctx context.Context, e *endpoint) (struct{}, error) {
			v.rewind()
			before := v.done
			err := j.stream(ctx, e, f, v, write)
			ce := classify(ctx, err)
			switch {
			case err == nil:
			case errors.Is(ce, ErrCorrupt):
				corrupt++
				ce.retry = corrupt < corruptTries
				err = ce
			case ce.retry && v.done > before:
				err = nil // the try made progress: begin a new search, with full patience
			}
			return struct{}{}, err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// errSink is the error of a consumer of bytes. The daemon did not cause it.
type errSink struct{ error }

func (e errSink) Unwrap() error { return e.error }

// stream makes one GetState call, from the verifier's offset to the end of its span.
func (j *Job) stream(ctx context.Context, e *endpoint, f *File, v *verifier, write func(p []byte, off uint64) error) error {
	in := data.In{Direction: data.Get, Write: func(p []byte) error { return deliver(v, p, write) }}
	ctx, cancel := context.WithCancel(data.WithSink(ctx, &in))
	defer cancel()
	stream, err := e.state.GetState(ctx, &ckptdv1.GetStateRequest{
		JobId: j.spec.ID, File: &ckptdv1.FileHandle{Key: f.Key, Length: f.Length, JobId: f.Job}, Offset: v.at, Length: v.span.end - v.at,
	})
	if err != nil {
		return err
	}
	defer stream.Close()
	conn, err := stream.Conn()
	if err != nil {
		return err
	}
	for {
		err := conn.Receive(&in)
		switch {
		case in.Err != nil:
			return in.Err
		case errors.Is(err, io.EOF) && v.done < v.span.end:
			return &callError{retry: true, kind: ErrUnavailable, cause: fmt.Errorf("%s: the stream ended at %d of %d", f.Key, v.at, v.span.end)}
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// deliver passes a chunk to write and to the verifier, block by block.
func deliver(v *verifier, p []byte, write func(p []byte, off uint64) error) error {
	for len(p) > 0 {
		if v.at >= v.span.end {
			return &callError{kind: ErrCorrupt, cause: fmt.Errorf("%s: more bytes than asked for", v.file.Key)}
		}
		q := p[:min(uint64(len(p)), v.blockEnd()-v.at)]
		if err := write(q, v.at); err != nil {
			return &callError{cause: errSink{err}}
		}
		if _, err := v.add(q); err != nil {
			return err
		}
		p = p[len(q):]
	}
	return nil
}

package verify

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/proto/data"
)

// tries is how often a stream is opened again without progress.
const tries = 3

// bytes reads the files of checkpoints, each once.
func (r *run) bytes(ctx context.Context, targets []*target) error {
	files, bytes := r.table.unread(r.opts.Subset)
	r.opts.Progress.TotalFiles.Add(files)
	r.opts.Progress.TotalBytes.Add(bytes)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(r.opts.Parallel)
	for _, t := range targets {
		if !t.read {
			continue
		}
		if err := r.bytesOf(ctx, g, t); err != nil {
			if cause := g.Wait(); cause != nil {
				return cause
			}
			return err
		}
	}
	return g.Wait()
}

// bytesOf hands the files of one checkpoint to the group. The _metadata stays open meanwhile; if its stream breaks, it
// is read again from the beginning, and files that were claimed are passed over.
func (r *run) bytesOf(ctx context.Context, g *errgroup.Group, t *target) error {
	for left := tries; ; left-- {
		progress := false
		_, _, err := records(ctx, r.store, t.key, func(_ *layout.MetadataReader, rec layout.Record) error {
			f, ok := rec.(*layout.File)
			if !ok {
				return nil
			}
			key := t.locate(f)
			id := idOf(key)
			if key == "" || !r.opts.Subset.has(id) || !r.table.claim(id) {
				return ctx.Err()
			}
			progress = true
			g.Go(func() error { return r.readFile(ctx, id, key, f) })
			return ctx.Err()
		})
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			return nil
		case progress:
			left = tries
		case left <= 1:
			t.read = false
			return r.accuse(t, err)
		}
	}
}

// readFile reads a file and notes what it found.
func (r *run) readFile(ctx context.Context, id fileID, key string, f *layout.File) error {
	sums := newSums(f, 0)
	err := stream(ctx, r.store, key, 0, f.Length, func(p []byte) error {
		sums.add(p)
		r.opts.Progress.Bytes.Add(uint64(len(p)))
		return nil
	})
	r.opts.Progress.Files.Add(1)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, storage.ErrNotFound):
		r.table.set(id, flagGone, nil)
		return nil
	case errors.Is(err, errShort):
		r.table.set(id, flagTrouble, &trouble{text: err.Error(), offset: sums.at, length: f.Length - sums.at})
		return nil
	case err != nil:
		r.table.set(id, flagTrouble, &trouble{err: err})
		return r.failed(err)
	}
	r.mu.Lock()
	r.report.FilesRead++
	r.report.BytesRead += f.Length
	r.mu.Unlock()
	if what := sums.finish(); what != nil {
		r.table.set(id, flagTrouble, what)
		return nil
	}
	r.table.set(id, flagRead, nil)
	return nil
}

// errShort: the object is shorter than its checkpoint says.
var errShort = errors.New("shorter than it must be")

// bufferSize is what each reader of a file takes.
const bufferSize = 1 << 20

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// stream gives the bytes [from, to) of an object to sink, in order and in pieces of at most bufferSize. It opens a broken
// stream again where it broke.
func stream(ctx context.Context, s storage.Store, key string, from, to uint64, sink func(p []byte) error) error {
	buffer := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buffer)
	for left := tries; from < to; {
		n, err := streamOnce(ctx, s, key, from, to, buffer[:], sink)
		if from += n; n > 0 {
			left = tries
		}
		var own *sinkError
		switch left--; {
		case err == nil:
		case errors.As(err, &own):
			return own.err
		case ctx.Err() != nil || errors.Is(err, storage.ErrNotFound):
			return err
		case left > 0:
		case errors.Is(err, io.ErrUnexpectedEOF): // a broken connection, or the end of the object
			if info, e := s.Stat(ctx, key); e == nil && uint64(info.Size) < to {
				return fmt.Errorf("%w: %d bytes", errShort, info.Size)
			}
			return err
		default:
			return err
		}
	}
	return nil
}

// sinkError marks an error of the sink.
type sinkError struct{ err error }

func (e *sinkError) Error() string { return e.err.Error() }

// streamOnce returns how many bytes it gave to sink.
func streamOnce(ctx context.Context, s storage.Store, key string, from, to uint64, buffer []byte, sink func(p []byte) error) (given uint64, err error) {
	body, err := s.Open(ctx, key, saturated(from), saturated(to-from))
	if err != nil {
		return 0, err
	}
	defer body.Close()
	for given < to-from {
		p := buffer[:min(uint64(len(buffer)), to-from-given)]
		n, err := io.ReadFull(body, p)
		if n > 0 {
			if err := sink(p[:n]); err != nil {
				return given, &sinkError{err}
			}
			given += uint64(n)
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return given, err
		}
	}
	return given, nil
}

// sums compares the bytes of a file, or of whole blocks of it, with its sums.
type sums struct {
	file *layout.File
	// at is the offset of the next byte; start is where the bytes began.
	at, start uint64
	// block is the sum of the current block so far, whole that of the blocks before it.
	block, whole uint32
	// [from, to) spans the blocks with a wrong sum; to 0: none.
	from, to uint64
	text     string
	digest   hash.Hash
}

// newSums begins at start, which is a multiple of layout.BlockSize.
func newSums(f *layout.File, start uint64) *sums {
	s := &sums{file: f, at: start, start: start}
	if len(f.SHA256) > 0 && start == 0 {
		s.digest = sha256.New()
	}
	return s
}

func (s *sums) add(p []byte) {
	if s.digest != nil {
		_, _ = s.digest.Write(p)
	}
	for len(p) > 0 {
		q := p[:min(uint64(len(p)), layout.BlockSize-s.at%layout.BlockSize)]
		s.block = data.CRC32C(s.block, q)
		s.at += uint64(len(q))
		p = p[len(q):]
		if s.at%layout.BlockSize == 0 {
			s.endBlock(layout.BlockSize)
		}
	}
}

// endBlock compares the sum of a block of that length.
func (s *sums) endBlock(length uint64) {
	begin := s.at - length
	if i := begin / layout.BlockSize; i < uint64(len(s.file.Blocks)) && s.block != s.file.Blocks[i] {
		if s.to == 0 {
			s.from, s.text = begin, fmt.Sprintf("block %d has CRC32C %08x, want %08x", i, s.block, s.file.Blocks[i])
		}
		s.to = s.at
	}
	s.whole = data.Combine(s.whole, s.block, length)
	s.block = 0
}

// finish compares what is left to compare. It returns nil if all sums are right.
func (s *sums) finish() *trouble {
	if rest := s.at % layout.BlockSize; rest > 0 {
		s.endBlock(rest)
	}
	all := s.start == 0 && s.at == s.file.Length
	switch {
	case s.to > 0:
		return &trouble{text: s.text, offset: s.from, length: s.to - s.from}
	case all && s.whole != s.file.CRC32C:
		return &trouble{text: fmt.Sprintf("CRC32C %08x, want %08x", s.whole, s.file.CRC32C), length: s.file.Length}
	case all && s.digest != nil && !slices.Equal(s.digest.Sum(nil), s.file.SHA256):
		return &trouble{text: "another SHA-256 than the _metadata says", length: s.file.Length}
	}
	return nil
}

package copying

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journalio"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// tries is how often a file is written, and how often a broken stream is opened again without progress.
const tries = 4

// firstPause is the pause before the second try; each is twice the one before.
const firstPause = 200 * time.Millisecond

// bufferSize is what each file that is being copied takes.
const bufferSize = 512 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// copyFile copies one file to a key that the copy lacks.
func (r *run) copyFile(ctx context.Context, from string, f *layout.File, to string, out *ckptdv1.CopiedCheckpoint) error {
	opts := storage.CreateOptions{Size: int64(f.Length), HasSize: true, CRC32C: f.CRC32C, HasCRC32C: true}
	var err error
	within := false
	for n := range tries {
		if n > 0 && !journalio.Sleep(ctx, firstPause<<(n-1)) {
			return context.Cause(ctx)
		}
		if within, err = r.transfer(ctx, from, f, to, opts); err == nil {
			break
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if errors.Is(err, errSource) || errors.Is(err, storage.ErrMismatch) {
			return fmt.Errorf("%s: %w", from, err)
		}
		// Nobody else writes into the copy, so an object of the right size is what an earlier try has written.
		if info, statErr := r.to.Store.Stat(ctx, to); statErr == nil {
			if info.Size != opts.Size {
				return fmt.Errorf("%w: the target's %s has %d bytes, want %d", catalog.ErrDamaged, to, info.Size, opts.Size)
			}
			err = nil
			break
		}
	}
	if err != nil {
		return err
	}
	r.mu.Lock()
	out.FilesCopied, out.BytesCopied = out.FilesCopied+1, out.BytesCopied+f.Length
	r.report.FilesCopied, r.report.BytesCopied = r.report.FilesCopied+1, r.report.BytesCopied+f.Length
	if within {
		r.report.BytesWithinStore += f.Length
	}
	r.mu.Unlock()
	r.opts.Progress.Files.Add(1)
	r.step(nil, StepFile)
	return nil
}

// transfer has the store copy a file by itself if it can, and streams it otherwise.
func (r *run) transfer(ctx context.Context, from string, f *layout.File, to string, opts storage.CreateOptions) (within bool, err error) {
	err = storage.CopyWithin(ctx, r.from.Opened, from, r.to.Opened, to, opts)
	if err == nil {
		r.opts.Progress.Bytes.Add(f.Length)
		return true, nil
	}
	if !errors.Is(err, errors.ErrUnsupported) {
		return false, err
	}
	_, err = r.stream(ctx, from, f, to, opts)
	return false, err
}

// errSource is in the chain when the source's object cannot be read to its end.
var errSource = errors.New("cannot be read from the source")

// stream copies an object through this process. The target's driver compares size and sum.
func (r *run) stream(ctx context.Context, from string, f *layout.File, to string, opts storage.CreateOptions) (given uint64, err error) {
	w, err := r.to.Store.Create(ctx, to, opts)
	if err != nil {
		return 0, err
	}
	defer w.Abort()
	buffer := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buffer)
	for left := tries; given < f.Length; {
		n, err := r.streamOnce(ctx, from, given, f.Length, buffer[:], w)
		if given += n; n > 0 {
			left = tries
		}
		var sink *sinkError
		left--
		switch {
		case err == nil:
		case errors.As(err, &sink):
			return given, sink.err
		case ctx.Err() != nil:
			return given, context.Cause(ctx)
		case errors.Is(err, storage.ErrNotFound), left <= 0:
			return given, errors.Join(errSource, r.tooShort(ctx, from, f, err))
		}
	}
	return given, w.Commit()
}

// tooShort makes an object that is missing, or shorter than its checkpoint says, an error of damage.
func (r *run) tooShort(ctx context.Context, from string, f *layout.File, err error) error {
	if errors.Is(err, storage.ErrNotFound) {
		return fmt.Errorf("%w: %w", catalog.ErrDamaged, err)
	}
	if info, statErr := r.from.Store.Stat(ctx, from); statErr == nil && uint64(info.Size) < f.Length {
		return fmt.Errorf("%w: it has %d bytes, want %d", catalog.ErrDamaged, info.Size, f.Length)
	}
	return err
}

// sinkError marks an error of the target.
type sinkError struct{ err error }

func (e *sinkError) Error() string { return e.err.Error() }

// streamOnce gives the bytes [at, end) of an object to w, and returns how many it gave.
func (r *run) streamOnce(ctx context.Context, from string, at, end uint64, buffer []byte, w io.Writer) (given uint64, err error) {
	body, err := r.from.Store.Open(ctx, from, int64(at), int64(end-at))
	if err != nil {
		return 0, err
	}
	defer body.Close()
	for at+given < end {
		p := buffer[:min(uint64(len(buffer)), end-at-given)]
		n, err := io.ReadFull(body, p)
		if n > 0 {
			if _, err := w.Write(p[:n]); err != nil {
				return given, &sinkError{err}
			}
			given += uint64(n)
			r.opts.Progress.Bytes.Add(uint64(n))
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

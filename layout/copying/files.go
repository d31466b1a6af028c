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
	"github.com/ckptd/ckptd/layout/verify"
)

// tries is how often a file is written, and how often a broken stream is opened again without progress.
const tries = 4

// firstPause is the pause before the second try; each is twice the one before.
const firstPause = 200 * time.Millisecond

// bufferSize is what each file that is being copied takes.
const bufferSize = 512 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// Mover copies single files from one root to another. It is safe for concurrent use.
type Mover struct {
	From, To *Place
	// Progress, if not nil, counts the bytes.
	Progress *verify.Progress
}

// File copies a file to a key that the target lacks, and compares its size and sum. within: the store copied by itself.
// catalog.ErrDamaged or storage.ErrMismatch is in the chain if the source's object is not what f says.
func (m *Mover) File(ctx context.Context, from string, f *layout.File, to string) (within bool, err error) {
	opts := storage.CreateOptions{Size: int64(f.Length), HasSize: true, CRC32C: f.CRC32C, HasCRC32C: true}
	for n := range tries {
		if n > 0 && !journalio.Sleep(ctx, firstPause<<(n-1)) {
			return false, context.Cause(ctx)
		}
		if within, err = m.transfer(ctx, from, f, to, opts); err == nil {
			return within, nil
		}
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		if errors.Is(err, errSource) || errors.Is(err, storage.ErrMismatch) {
			return false, fmt.Errorf("%s: %w", from, err)
		}
		// Nobody else writes this key, so an object of the right size is what an earlier try has written.
		if info, statErr := m.To.Store.Stat(ctx, to); statErr == nil {
			if info.Size != opts.Size {
				return false, fmt.Errorf("%w: the target's %s has %d bytes, want %d", catalog.ErrDamaged, to, info.Size, opts.Size)
			}
			return within, nil
		}
	}
	return false, err
}

func (m *Mover) moved(bytes uint64) {
	if m.Progress != nil {
		m.Progress.Bytes.Add(bytes)
	}
}

// transfer has the store copy a file by itself if it can, and streams it otherwise.
func (m *Mover) transfer(ctx context.Context, from string, f *layout.File, to string, opts storage.CreateOptions) (within bool, err error) {
	err = storage.CopyWithin(ctx, m.From.Opened, from, m.To.Opened, to, opts)
	if err == nil {
		m.moved(f.Length)
		return true, nil
	}
	if !errors.Is(err, errors.ErrUnsupported) {
		return false, err
	}
	_, err = m.stream(ctx, from, f, to, opts)
	return false, err
}

// errSource is in the chain when the source's object cannot be read to its end.
var errSource = errors.New("cannot be read from the source")

// stream copies an object through this process. The target's driver compares size and sum.
func (m *Mover) stream(ctx context.Context, from string, f *layout.File, to string, opts storage.CreateOptions) (given uint64, err error) {
	w, err := m.To.Store.Create(ctx, to, opts)
	if err != nil {
		return 0, err
	}
	defer w.Abort()
	buffer := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buffer)
	for left := tries; given < f.Length; {
		n, err := m.streamOnce(ctx, from, given, f.Length, buffer[:], w)
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
			return given, errors.Join(errSource, m.tooShort(ctx, from, f, err))
		}
	}
	return given, w.Commit()
}

// tooShort makes an object that is missing, or shorter than its checkpoint says, an error of damage.
func (m *Mover) tooShort(ctx context.Context, from string, f *layout.File, err error) error {
	if errors.Is(err, storage.ErrNotFound) {
		return fmt.Errorf("%w: %w", catalog.ErrDamaged, err)
	}
	if info, statErr := m.From.Store.Stat(ctx, from); statErr == nil && uint64(info.Size) < f.Length {
		return fmt.Errorf("%w: it has %d bytes, want %d", catalog.ErrDamaged, info.Size, f.Length)
	}
	return err
}

// sinkError marks an error of the target.
type sinkError struct{ err error }

func (e *sinkError) Error() string { return e.err.Error() }

// streamOnce gives the bytes [at, end) of an object to w, and returns how many it gave.
func (m *Mover) streamOnce(ctx context.Context, from string, at, end uint64, buffer []byte, w io.Writer) (given uint64, err error) {
	body, err := m.From.Store.Open(ctx, from, int64(at), int64(end-at))
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
			m.moved(uint64(n))
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

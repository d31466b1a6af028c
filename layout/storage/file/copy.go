package file

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/ckptd/ckptd/layout/storage"
)

var _ storage.Copier = (*store)(nil)

// copyPiece is how many bytes are copied between two looks at the context.
const copyPiece = 64 << 20

// CopyFrom implements storage.Copier. The kernel copies from file to file; a file system that can shares the blocks. Then
// the copy is read back, for its sum.
func (s *store) CopyFrom(ctx context.Context, source storage.Store, sourceKey, key string, opts storage.CreateOptions) error {
	from, ok := source.(*store)
	if !ok || opts.IfAbsent {
		return s.failed("copy", key, errors.ErrUnsupported)
	}
	if err := s.copyFrom(ctx, from, sourceKey, key, opts); err != nil {
		return s.failed("copy", key, err)
	}
	return nil
}

func (s *store) copyFrom(ctx context.Context, from *store, sourceKey, key string, opts storage.CreateOptions) error {
	r, err := from.open(ctx, sourceKey, 0, -1)
	if err != nil {
		return fmt.Errorf("from %s: %w", sourceKey, from.notFound(err))
	}
	defer r.Close()
	if opts.HasSize && r.rest != opts.Size {
		return fmt.Errorf("%w: %s has %d bytes, announced %d", storage.ErrMismatch, sourceKey, r.rest, opts.Size)
	}
	t, err := s.begin(ctx, key)
	if err != nil {
		return err
	}
	done := false
	defer func() { s.discard(t, key, done) }()
	for at, size := int64(0), r.rest; at < size; {
		n, err := io.CopyN(t.f, r.f, min(copyPiece, size-at))
		if err != nil {
			return err
		}
		if at += n; ctx.Err() != nil {
			return ctx.Err()
		}
	}
	verifier := storage.NewVerifier(opts)
	if _, err := t.f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	buffer := make([]byte, 256<<10)
	for {
		n, err := t.f.Read(buffer)
		if added := verifier.Add(buffer[:n]); added != nil {
			return added
		}
		if err == io.EOF {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
	}
	if err := verifier.Check(); err != nil {
		return err
	}
	err = s.finish(ctx, t, key)
	done = err == nil
	return err
}

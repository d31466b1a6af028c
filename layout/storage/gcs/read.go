package gcs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"

	"cloud.google.com/go/storage"

	contract "github.com/ckptd/ckptd/layout/storage"
)

// Open implements storage.Store.
func (s *store) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	err := s.usable(ctx, key)
	var r io.ReadCloser
	if err == nil {
		r, err = s.openRange(ctx, key, offset, length)
	}
	if err != nil {
		return nil, &contract.Error{Op: "open", Key: key, Err: err}
	}
	return r, nil
}

func (s *store) openRange(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	switch {
	case offset < 0:
		return nil, fmt.Errorf("range from %d; want 0 or more", offset)
	case length == 0 || length > 0 && offset > math.MaxInt64-length:
		return s.openNothing(ctx, key, offset, length) // no request can ask for an empty range
	case length < 0:
		length = -1
	}
	ctx, cancel := context.WithCancel(ctx)
	body, err := s.object(key).NewRangeReader(withReading(ctx, &reading{store: s}), offset, length)
	if err != nil {
		cancel()
		if statusOf(err) == http.StatusRequestedRangeNotSatisfiable {
			return s.openNothing(ctx, key, offset, length)
		}
		return nil, readError(err)
	}
	got := body.Remain()
	switch {
	case body.Attrs.Generation <= 0:
		err = errNotGCS
	case got < 0:
		err = errors.New("the reply does not say its length")
	case body.Attrs.StartOffset != offset:
		err = fmt.Errorf("asked for a range from %d, the reply's begins at %d: the server does not support ranges", offset, body.Attrs.StartOffset)
	case got < length:
		err = fmt.Errorf("range of %d bytes from %d, of which the object has %d: %w", length, offset, got, io.ErrUnexpectedEOF)
	}
	if err != nil {
		cancel()
		return nil, errors.Join(err, body.Close())
	}
	if length < 0 {
		length = got
	}
	return &rangeReader{body: body, cancel: cancel, key: key, rest: length, whole: length == got}, nil
}

// openNothing opens an empty range, or returns the error for an invalid one.
func (s *store) openNothing(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	info, err := s.stat(context.WithoutCancel(ctx), key)
	if err != nil {
		return nil, err
	}
	if offset > info.Size || length > 0 {
		return nil, fmt.Errorf("range of %d bytes from %d of an object of %d: %w", length, offset, info.Size, io.ErrUnexpectedEOF)
	}
	if length < 0 && offset < info.Size {
		return nil, fmt.Errorf("range from %d refused for an object of %d bytes", offset, info.Size)
	}
	return emptyReader{}, nil
}

// A rangeReader gives exactly rest more bytes, or an error.
type rangeReader struct {
	body   *storage.Reader
	cancel context.CancelFunc
	key    string
	rest   int64
	// whole: the reply ends where the range does. Its end is read too: only there the library compares sums.
	whole bool
	ended bool
}

func (r *rangeReader) Read(p []byte) (int, error) {
	if r.rest == 0 {
		return 0, r.end()
	}
	if int64(len(p)) > r.rest {
		p = p[:r.rest]
	}
	n, err := r.body.Read(p)
	r.rest -= int64(n)
	switch {
	case err == io.EOF && r.rest == 0:
		r.ended = true
		return n, io.EOF
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		err = &contract.Error{Op: "read", Key: r.key, Err: plain(err)}
	}
	return n, err
}

// end reads the end of the reply.
func (r *rangeReader) end() error {
	if r.ended || !r.whole {
		return io.EOF
	}
	r.ended = true
	n, err := r.body.Read(make([]byte, 1))
	switch {
	case err == io.EOF && n == 0:
		return io.EOF
	case err == nil || err == io.EOF:
		err = errors.New("the reply is longer than it said")
	}
	return &contract.Error{Op: "read", Key: r.key, Err: plain(err)}
}

func (r *rangeReader) Close() error {
	if r.rest == 0 {
		_ = r.end() // so that the connection can be used again
	}
	defer r.cancel()
	return r.body.Close()
}

// Stat implements storage.Store.
func (s *store) Stat(ctx context.Context, key string) (contract.Info, error) {
	err := s.usable(ctx, key)
	var info contract.Info
	if err == nil {
		info, err = s.stat(ctx, key)
	}
	if err != nil {
		return contract.Info{}, &contract.Error{Op: "stat", Key: key, Err: err}
	}
	return info, nil
}

func (s *store) stat(ctx context.Context, key string) (contract.Info, error) {
	attrs, err := s.object(key).Attrs(ctx)
	if err != nil {
		return contract.Info{}, readError(err)
	}
	if attrs.Generation == 0 || attrs.Name != s.prefix+key {
		return contract.Info{}, errNotGCS
	}
	return contract.Info{Key: key, Size: attrs.Size, ModTime: attrs.Created}, nil
}

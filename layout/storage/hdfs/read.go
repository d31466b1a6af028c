package hdfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/colinmarc/hdfs/v2"

	"github.com/ckptd/ckptd/layout/storage"
)

// Open implements storage.Store.
func (s *store) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	err := s.usable(ctx, key)
	if err == nil && offset < 0 {
		err = fmt.Errorf("range from %d; want 0 or more", offset)
	}
	var r io.ReadCloser
	if err == nil {
		r, err = s.openRange(ctx, key, offset, length)
	}
	if err != nil {
		return nil, &storage.Error{Op: "open", Key: key, Err: err}
	}
	return r, nil
}

func (s *store) openRange(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	c, err := s.pool.take(ctx)
	if err != nil {
		return nil, plain(err)
	}
	r := &rangeReader{store: s, client: c, key: key, ctx: ctx}
	r.stop = context.AfterFunc(ctx, c.link.cut)
	if r.file, err = openFile(c, s.path(key)); err == nil {
		size := r.file.Stat().Size()
		if length < 0 {
			length = size - offset
		}
		switch {
		case offset > size, length > size-offset:
			err = fmt.Errorf("range of %d bytes from %d of an object of %d: %w", length, offset, size, io.ErrUnexpectedEOF)
		case offset > 0:
			_, err = r.file.Seek(offset, io.SeekStart)
		}
	}
	if err != nil {
		r.failed = !errors.Is(err, io.ErrUnexpectedEOF) && kindOf(err) >= unsent
		_ = r.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, readError(err)
	}
	r.rest = length
	return r, nil
}

// openFile opens the file of an object: at its path, or in the folder there.
func openFile(c *client, path string) (*hdfs.FileReader, error) {
	file, err := c.Open(path)
	if err != nil || !file.Stat().IsDir() {
		return file, err
	}
	file, err = c.Open(below(path, dataName))
	if err == nil && file.Stat().IsDir() {
		return nil, fs.ErrNotExist
	}
	return file, err
}

// A rangeReader gives exactly rest more bytes, or an error. Its client is its own until Close.
type rangeReader struct {
	store  *store
	client *client
	file   *hdfs.FileReader
	key    string
	rest   int64
	ctx    context.Context // of Open; it also ends the reader
	stop   func() bool
	failed bool
	over   bool
}

func (r *rangeReader) Read(p []byte) (int, error) {
	switch {
	case r.over:
		return 0, &storage.Error{Op: "read", Key: r.key, Err: fs.ErrClosed}
	case r.rest == 0:
		return 0, io.EOF
	case int64(len(p)) > r.rest:
		p = p[:r.rest]
	}
	n, err := r.file.Read(p)
	r.rest -= int64(n)
	if err == nil || err == io.EOF && r.rest == 0 {
		return n, nil
	}
	r.failed = true
	switch {
	case r.ctx.Err() != nil:
		err = r.ctx.Err()
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	case r.store.cluster.options.DataTransferProtection != "" && kindOf(err) == lost:
		err = fmt.Errorf("%w; if the DataNodes encrypt in another way, %s", err, wantAES)
	default:
		err = readError(err)
	}
	return n, &storage.Error{Op: "read", Key: r.key, Err: err}
}

func (r *rangeReader) Close() error {
	if r.over {
		return nil
	}
	r.over = true
	if r.file != nil {
		_ = r.file.Close()
	}
	if !r.stop() || r.failed {
		r.client.drop()
		return nil
	}
	r.store.pool.give(r.client)
	return nil
}

// Stat implements storage.Store.
func (s *store) Stat(ctx context.Context, key string) (storage.Info, error) {
	err := s.usable(ctx, key)
	var info storage.Info
	if err == nil {
		info, err = s.stat(ctx, key)
	}
	if err != nil {
		return storage.Info{}, &storage.Error{Op: "stat", Key: key, Err: err}
	}
	return info, nil
}

func (s *store) stat(ctx context.Context, key string) (storage.Info, error) {
	var found fs.FileInfo
	err := s.pool.call(ctx, func(c *client) (err error) {
		if found, err = c.Stat(s.path(key)); err == nil && found.IsDir() {
			found, err = c.Stat(below(s.path(key), dataName))
		}
		return err
	})
	if err != nil {
		return storage.Info{}, readError(err)
	}
	return storage.Info{Key: key, Size: found.Size(), ModTime: found.ModTime()}, nil
}

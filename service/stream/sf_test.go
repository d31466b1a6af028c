package stream_test

import (
	"context"
	"io"
	"os"
	"path/filepath"

	"github.com/ckptd/ckptd/layout/storage"
)

type sfStore struct {
	storage.Store
	dir string
}

func (s sfStore) Open(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	f, err := os.Open(filepath.Join(s.dir, key))
	if err != nil {
		return nil, err
	}
	f.Seek(off, 0)
	return &sfReader{f, n}, nil
}

type sfReader struct {
	*os.File
	n int64
}

func (r *sfReader) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, &io.LimitedReader{R: r.File, N: r.n})
}

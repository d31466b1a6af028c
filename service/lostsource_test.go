package service_test

import (
	"context"
	"io"

	"github.com/ckptd/ckptd/layout/storage"
)

// lostSource loses the object with a key after it was read twice: to see whether it is whole, and for its operators.
type lostSource struct {
	storage.Store
	key   string
	reads int
}

// Open implements storage.Store.
func (s *lostSource) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if key == s.key {
		if s.reads++; s.reads > 2 {
			return nil, storage.ErrNotFound
		}
	}
	return s.Store.Open(ctx, key, offset, length)
}

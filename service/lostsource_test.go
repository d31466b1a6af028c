package service_test

import (
	"context"
	"io"
	"strings"
	"sync/atomic"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
)

// lostSource loses the object with a key as soon as a job has its first entry: after the attach has read the object, and before the
// job's owner reads it. How often anybody reads the object does not matter: a sweep reads it, too.
type lostSource struct {
	storage.Store
	key, job string
	lost     atomic.Bool
}

// Publish implements storage.Store.
func (s *lostSource) Publish(ctx context.Context, key string, data []byte) error {
	if strings.HasPrefix(key, layout.JournalPrefix(s.job)) {
		s.lost.Store(true)
	}
	return s.Store.Publish(ctx, key, data)
}

// Open implements storage.Store.
func (s *lostSource) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if key == s.key && s.lost.Load() {
		return nil, storage.ErrNotFound
	}
	return s.Store.Open(ctx, key, offset, length)
}

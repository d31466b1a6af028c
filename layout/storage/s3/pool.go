package s3

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/ckptd/ckptd/crc32c"
)

// A pool bounds the memory of all parts of a store, and keeps some of it for the next parts.
type pool struct {
	size  int64
	space *semaphore.Weighted
	free  sync.Pool // of *[]byte with room for partSize
}

func newPool(size int64) *pool {
	return &pool{size: size, space: semaphore.NewWeighted(size)}
}

// A buffer holds bytes that wait to be sent: an object, or one part of a larger object. Its first smallSize bytes
// need no memory from the pool, so small objects never wait behind large ones.
type buffer struct {
	store *store
	limit int
	data  []byte
	// taken is the number of bytes reserved in the pool.
	taken int64
}

func (p *buffer) full() bool { return len(p.data) >= p.limit }

// add takes as many bytes as fit, and waits for the pool if it must.
func (p *buffer) add(ctx context.Context, data []byte) (int, error) {
	data = data[:min(len(data), p.limit-len(p.data))]
	if len(p.data)+len(data) > smallSize && p.taken == 0 {
		if err := p.reserve(ctx); err != nil {
			return 0, err
		}
	}
	p.data = append(p.data, data...)
	return len(data), nil
}

// reserve gets memory for a whole part. A holder of such memory needs no more of it to go on, so there is no
// deadlock.
func (p *buffer) reserve(ctx context.Context) error {
	pool := p.store.pool
	want := min(int64(p.limit), pool.size)
	if err := pool.space.Acquire(ctx, want); err != nil {
		return err
	}
	p.taken = want
	var room []byte
	if kept, ok := pool.free.Get().(*[]byte); ok && cap(*kept) >= p.limit {
		room = (*kept)[:0]
	} else {
		room = make([]byte, 0, p.limit)
	}
	p.data = append(room, p.data...)
	return nil
}

// release returns the memory to the pool.
func (p *buffer) release() {
	if p.taken > 0 {
		if kept := p.data[:0]; cap(kept) == partSize {
			p.store.pool.free.Put(&kept)
		}
		p.store.pool.space.Release(p.taken)
	}
	p.data, p.taken = nil, 0
}

func update(sum uint32, data []byte) uint32 { return crc32c.Update(sum, data) }

package mem

import (
	"fmt"
	"sync"
	"syscall"
)

// objectCost is counted for each object beside its bytes and its key: maps and headers take about that much.
const objectCost = 256

// Cost is what an object counts in a bounded store.
func Cost(key string, size int64) int64 { return objectCost + int64(len(key)) + size }

// Bounded returns an empty store whose objects and unfinished writers take at most limit bytes, counted by Cost. What does
// not fit is refused, and nothing is done.
//
// Publish may go beyond the limit by a sixteenth of it and 1 MiB: a job that cannot write its journal can end no checkpoint and
// free nothing.
func Bounded(limit int64) *Store {
	return &Store{room: &room{limit: limit, extra: limit/16 + 1<<20}}
}

// Usage returns the bytes that the store counts, and its limit; 0, 0: the store has none.
func (s *Store) Usage() (used, limit int64) {
	if s.room == nil {
		return 0, 0
	}
	s.room.mu.Lock()
	defer s.room.mu.Unlock()
	return s.room.used, s.room.limit
}

// Holds tells whether an object lies below a folder.
func (s *Store) Holds(folder string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.findLocked(folder, false) != nil
}

// room counts the bytes of a bounded store. A nil room has no limit.
type room struct {
	mu                 sync.Mutex
	used, limit, extra int64
}

// take counts n bytes, or refuses them. published bytes may use the extra room.
func (r *room) take(n int64, published bool) error {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	limit := r.limit
	if published {
		limit += r.extra
	}
	if n > limit-r.used {
		return fullError{needed: n, free: max(0, r.limit-r.used), limit: r.limit}
	}
	r.used += n
	return nil
}

// give gives bytes back.
func (r *room) give(n int64) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.used -= n
}

// fullError says that a bounded store is full. It is syscall.ENOSPC to errors.Is, like the error of a full disk.
type fullError struct{ needed, free, limit int64 }

func (e fullError) Error() string {
	return fmt.Sprintf("the memory for state is full: %d bytes are needed, %d of %d are free: keep fewer or smaller checkpoints in memory, "+
		"allow more memory, or use a storage on disk", e.needed, e.free, e.limit)
}

// Is makes the error one of a full store.
func (e fullError) Is(target error) bool { return target == syscall.ENOSPC }

package gcs

import (
	"sync/atomic"

	"cloud.google.com/go/storage"
)

// retries reports the requests that the driver or Google's library repeats. No error shows them.
type retries struct {
	listener atomic.Pointer[func(cause error)]
}

// listen implements storage.Facts.Repeats.
func (r *retries) listen(listener func(cause error)) { r.listener.Store(&listener) }

func (r *retries) report(cause error) {
	if listener := r.listener.Load(); listener != nil {
		(*listener)(plain(cause))
	}
}

// repeating is the handle of a key through which the library repeats requests, a limited number of times.
func (s *store) repeating(key string, progress *atomic.Int64) *storage.ObjectHandle {
	return s.handle(storage.WithPolicy(storage.RetryIdempotent), s.bounded(progress)).Object(s.prefix + key)
}

// bounded is a policy for the library: it repeats what Google says may be repeated, a limited number of times in a row.
// progress is the number of bytes that have arrived; each advance gives new tries.
func (s *store) bounded(progress *atomic.Int64) storage.RetryOption {
	var failed, seen int64
	return storage.WithErrorFunc(func(err error) bool {
		if err == nil {
			return false
		}
		if now := progress.Load(); now != seen {
			failed, seen = 0, now
		}
		failed++
		if failed >= int64(s.attempts()) || !storage.ShouldRetry(err) {
			return false
		}
		s.retries.report(err)
		return true
	})
}

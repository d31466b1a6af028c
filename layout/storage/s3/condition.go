package s3

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"

	"github.com/ckptd/ckptd/layout/storage"
)

// A condition is what is known of the store's obedience to If-None-Match on CompleteMultipartUpload. Some servers ignore it silently.
// It is found out when it is first needed, which is rarely: by objects that are made IfAbsent and do not fit into one request.
type condition struct {
	turn  chan struct{} // holds one: whoever put it there may look at the rest, and tries; the others wait only as long as their contexts
	known bool
	holds bool
}

var errNoCondition = errors.New("this store ignores If-None-Match on CompleteMultipartUpload, so an object of this size cannot be made only if absent")

// conditionHolds refuses where the store does not obey.
func (s *store) conditionHolds(ctx context.Context) error {
	select {
	case s.condition.turn <- struct{}{}:
		defer func() { <-s.condition.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if !s.condition.known {
		holds, err := s.tryCondition(ctx)
		if err != nil {
			return fmt.Errorf("trying If-None-Match on CompleteMultipartUpload: %w", err)
		}
		s.condition.known, s.condition.holds = true, holds
	}
	if !s.condition.holds {
		return errNoCondition
	}
	return nil
}

// tryCondition completes an upload over an object of its own, which an obedient store refuses.
func (s *store) tryCondition(ctx context.Context) (holds bool, err error) {
	key := "_probe/" + rand.Text() + "/complete"
	data := []byte("ckptd")
	defer func() { // also where it is not known whether it was made
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTime)
		defer cancel()
		_ = s.deleteBatch(ctx, []string{key}) // a probe's leavings are removed by the next start
	}()
	if err := s.put(ctx, key, data, checksum(data), false); err != nil {
		return false, certain(err) // it says nothing about the object that this is for
	}
	data = []byte("other") // or the object that is there would pass for what Complete made of it
	u, err := s.newUpload(ctx, key)
	if err != nil {
		return false, err
	}
	defer u.abort()
	if err := u.send(part{store: s, data: data}); err != nil {
		return false, err
	}
	switch err := u.complete(int64(len(data)), checksum(data), true); {
	case errors.Is(err, storage.ErrExists):
		return true, nil
	case statusOf(err) == http.StatusNotImplemented:
		return false, nil
	default:
		return false, certain(err)
	}
}

package s3

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"

	"github.com/ckptd/ckptd/layout/storage"
)

// A condition records whether the store obeys If-None-Match on CompleteMultipartUpload. Some servers ignore it
// silently. The store is tried when the answer is first needed, which is rare: for an object made IfAbsent that does
// not fit into one request.
type condition struct {
	turn  chan struct{} // a lock for known and holds; waiting for it ends with the waiter's context
	known bool
	holds bool
}

var errNoCondition = errors.New("this store ignores If-None-Match on CompleteMultipartUpload, so an object of this size cannot be created with IfAbsent")

// conditionHolds returns an error if the store does not obey the condition.
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
			return fmt.Errorf("try If-None-Match on CompleteMultipartUpload: %w", err)
		}
		s.condition.known, s.condition.holds = true, holds
	}
	if !s.condition.holds {
		return errNoCondition
	}
	return nil
}

// tryCondition completes an upload over an object of its own. A store that obeys refuses it.
func (s *store) tryCondition(ctx context.Context) (holds bool, err error) {
	key := "_probe/" + rand.Text() + "/complete"
	data := []byte("ckptd")
	defer func() { // even if it is unknown whether the object was made
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTime)
		defer cancel()
		_ = s.deleteBatch(ctx, []string{key}) // the next start removes what a probe leaves
	}()
	if err := s.put(ctx, key, data, checksum(data), false); err != nil {
		return false, withoutUnknown(err) // an unknown outcome here says nothing about the caller's object
	}
	data = []byte("other") // other bytes, so that the existing object is not taken for the result of Complete
	u, err := s.newUpload(ctx, key, false)
	if err != nil {
		return false, err
	}
	defer u.abort()
	if err := u.send(buffer{store: s, data: data}); err != nil {
		return false, err
	}
	switch err := u.complete(int64(len(data)), checksum(data), true); {
	case errors.Is(err, storage.ErrExists):
		return true, nil
	case statusOf(err) == http.StatusNotImplemented:
		return false, nil
	default:
		return false, withoutUnknown(err)
	}
}

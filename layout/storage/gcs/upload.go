package gcs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"cloud.google.com/go/storage"

	"github.com/ckptd/ckptd/crc32c"
	contract "github.com/ckptd/ckptd/layout/storage"
)

func checksum(data []byte) uint32 { return crc32c.Sum(data) }

// markName is the name of the writer's mark in an object's metadata.
const markName = "ckptd-writer"

var errAborted = errors.New("aborted")

// An upload is one object on its way: one request, or a resumable upload.
type upload struct {
	store  *store
	key    string
	mark   string
	caller context.Context // its requests are not recorded in tries
	ctx    context.Context
	cancel context.CancelCauseFunc
	tries  *tries
	w      *storage.Writer
	begun  bool
}

// An announcement is what the store is told of an object before its bytes.
type announcement struct {
	// mark of the writer; the same for every try of one object.
	mark string
	// chunk is the size of chunks; 0: one request.
	chunk int
	// sum, if hasSum. Without it the library sends its own with the last chunk.
	sum    uint32
	hasSum bool
}

func (s *store) begin(ctx context.Context, key string, a announcement) *upload {
	u := &upload{store: s, key: key, mark: a.mark, caller: ctx}
	ctx, u.cancel = context.WithCancelCause(ctx)
	u.ctx, u.tries = watched(ctx)
	u.tries.incomplete.Store(true)
	object := s.object(key)
	var arrived atomic.Int64
	if a.chunk > 0 {
		object = s.repeating(key, &arrived)
	}
	u.w = object.If(storage.Conditions{DoesNotExist: true}).NewWriter(u.ctx)
	u.w.ChunkSize = a.chunk
	u.w.ProgressFunc = arrived.Store
	u.w.ContentType = "application/octet-stream"
	u.w.Metadata = map[string]string{markName: a.mark}
	u.w.StorageClass, u.w.KMSKeyName = s.config.StorageClass, s.config.KMSKey
	u.w.SendCRC32C, u.w.CRC32C = a.hasSum, a.sum
	return u
}

// Write implements io.Writer. The error is the cause, not the pipe's.
func (u *upload) Write(p []byte) (int, error) {
	u.begun = true
	n, err := u.w.Write(p)
	if err == nil {
		return n, nil
	}
	// Not all bytes were taken, so the object is certainly not made. Close waits for the request and has its error.
	if closed := u.w.Close(); closed != nil {
		err = closed
	}
	if statusOf(err) == http.StatusPreconditionFailed {
		return n, fmt.Errorf("%w: %w", contract.ErrExists, plain(err))
	}
	return n, plain(err)
}

// finish sends the end and waits for the reply.
func (u *upload) finish(size int64, sum uint32) error {
	u.begun = true
	u.tries.incomplete.Store(false)
	outcome := u.tries.outcome(u.w.Close())
	defer u.cancel(nil)
	switch {
	case outcome == nil:
		return u.store.confirm(u.caller, u.w.Attrs(), u.key, size, sum)
	case errors.Is(outcome, contract.ErrExists) && u.tries.unknown(true), errors.Is(outcome, contract.ErrUnknown):
		return u.store.resolve(u.caller, u.key, u.mark, size, sum, outcome)
	}
	return outcome
}

// abort ends an upload that must not become an object. Nothing that completes it is under way, because only finish sends
// that.
func (u *upload) abort() {
	if !u.begun {
		u.cancel(errAborted)
		return
	}
	u.cancel(errAborted)
	_ = u.w.Close() // waits for the request to end
	session := u.tries.uploadSession()
	if session == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(u.caller), abortTime)
	defer cancel()
	u.store.forget(ctx, session)
}

// forget ends a resumable upload, so that the store need not keep its bytes for a week. A failure costs nothing.
func (s *store) forget(ctx context.Context, session string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, session, http.NoBody)
	if err != nil {
		return
	}
	if resp, err := s.conn.http.Do(req); err == nil {
		_ = resp.Body.Close()
	}
}

// put creates an object by one request, and repeats it up to attempts times in all. A repetition is harmless: it finds
// the object of an earlier try by its mark.
func (s *store) put(ctx context.Context, key string, data []byte, sum uint32, attempts int) error {
	mark := rand.Text()
	mayLand := false // the request of a try may be carried out yet, whatever is said of a later one
	for attempt := 1; ; attempt++ {
		u := s.begin(ctx, key, announcement{mark: mark, sum: sum, hasSum: true})
		outcome := u.send(data, sum)
		u.cancel(nil)
		if attempt > 1 && errors.Is(outcome, contract.ErrExists) {
			return s.resolve(ctx, key, mark, int64(len(data)), sum, outcome)
		}
		unknown := errors.Is(outcome, contract.ErrUnknown)
		again := unknown || errors.Is(outcome, contract.ErrThrottled) || outcome != nil && storage.ShouldRetry(outcome)
		if mayLand && outcome != nil && !unknown {
			outcome = &unknownError{outcome}
		}
		mayLand = mayLand || unknown
		if !again || attempt >= attempts || ctx.Err() != nil {
			return outcome
		}
		select {
		case <-time.After(time.Duration(attempt) * 200 * time.Millisecond):
			s.retries.report(outcome)
		case <-ctx.Done():
			return outcome
		}
	}
}

// send sends a whole object by one request.
func (u *upload) send(data []byte, sum uint32) error {
	if len(data) > 0 {
		if _, err := u.Write(data); err != nil {
			return err
		}
	}
	return u.finish(int64(len(data)), sum)
}

// confirm compares a store's reply with what was sent. An object that differs was damaged where the store did not look,
// and is removed; it is of a generation that only this writer has made.
func (s *store) confirm(ctx context.Context, attrs *storage.ObjectAttrs, key string, size int64, sum uint32) error {
	switch {
	case attrs == nil || attrs.Generation == 0 || attrs.Name != s.prefix+key:
		return &unknownError{errNotGCS}
	case attrs.Size == size && attrs.CRC32C == sum:
		return nil
	}
	damaged := fmt.Errorf("%w: the store has %d bytes with CRC32C %08x, sent were %d with %08x", contract.ErrMismatch, attrs.Size, attrs.CRC32C, size, sum)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTime)
	defer cancel()
	if err := s.object(key).If(storage.Conditions{GenerationMatch: attrs.Generation}).Delete(ctx); err != nil && !absent(err) {
		return &unknownError{errors.Join(damaged, plain(err))}
	}
	return damaged
}

// resolve looks at the object itself after a lost reply. With this writer's mark, length and sum it is ours. With
// another mark, another writer has won. No object proves nothing: the request may land later.
func (s *store) resolve(ctx context.Context, key, mark string, size int64, sum uint32, outcome error) error {
	attrs, err := s.object(key).Attrs(ctx)
	switch {
	case err != nil:
		return outcome
	case attrs.Metadata[markName] == mark && attrs.Size == size && attrs.CRC32C == sum:
		return nil
	case attrs.Metadata[markName] != mark:
		return fmt.Errorf("%w, generation %d, of another writer: %w", contract.ErrExists, attrs.Generation, withoutUnknown(outcome))
	}
	return outcome
}

// withoutUnknown removes ErrUnknown from an error where the outcome is known by now.
func withoutUnknown(err error) error {
	var unknown *unknownError
	if errors.As(err, &unknown) {
		return unknown.err
	}
	return err
}

// Package retry repeats failed requests to a store, where repeating is safe.
//
// It owns the choice of what is repeated: reads before their first byte (Open, Stat, List), and Delete, key by key.
// It never repeats the creation of an object. Only the caller has the source of a stream, and only the journal's
// machines know what another Publish of the same bytes means. The package must not know what the objects mean, nor a
// store's own errors.
package retry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/ckptd/ckptd/layout/storage"
)

// Policy says how often and after which pauses requests are repeated. The zero value of a field means its default.
type Policy struct {
	// Tries is the largest number of tries of a request, the first included. Default: 6, which take about 3 s.
	Tries int
	// First is the pause before the second try. Default: 100 ms. Each pause is about twice the one before, and
	// random, so that several users do not come back at the same time.
	First time.Duration
	// Longest is the longest pause. Default: 5 s.
	Longest time.Duration
	// Retried, if not nil, is called before each repetition, with the operation's name.
	Retried func(op string)
}

// New returns a store that repeats reads and deletes by the policy.
func New(inner storage.Store, p Policy) storage.Store {
	if p.Tries <= 0 {
		p.Tries = 6
	}
	if p.First <= 0 {
		p.First = 100 * time.Millisecond
	}
	if p.Longest <= 0 {
		p.Longest = 5 * time.Second
	}
	if p.Retried == nil {
		p.Retried = func(string) {}
	}
	return store{inner, &p}
}

// store embeds the methods that are never repeated: Create, Publish, AbortUnfinished.
type store struct {
	storage.Store
	policy *Policy
}

var _ storage.Store = store{}

// Open implements storage.Store.
func (s store) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	r, err := s.Store.Open(ctx, key, offset, length)
	for t := (tries{policy: s.policy, op: "open"}); t.again(ctx, err); {
		r, err = s.Store.Open(ctx, key, offset, length)
	}
	return r, err
}

// Stat implements storage.Store.
func (s store) Stat(ctx context.Context, key string) (storage.Info, error) {
	info, err := s.Store.Stat(ctx, key)
	for t := (tries{policy: s.policy, op: "stat"}); t.again(ctx, err); {
		info, err = s.Store.Stat(ctx, key)
	}
	return info, err
}

// List implements storage.Store.
func (s store) List(ctx context.Context, prefix string) iter.Seq2[storage.Info, error] {
	return repeated(ctx, s, func() iter.Seq2[storage.Info, error] { return s.Store.List(ctx, prefix) })
}

// Folders implements storage.FolderLister.
func (s store) Folders(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return repeated(ctx, s, func() iter.Seq2[string, error] { return storage.Folders(ctx, s.Store, prefix) })
}

// repeated repeats a list. Once an element was shown, an error ends the list, because another list might show the
// element again.
func repeated[T any](ctx context.Context, s store, list func() iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for t := (tries{policy: s.policy, op: "list"}); ; {
			shown, repeat := false, false
			for element, err := range list() {
				if repeat = !shown && t.again(ctx, err); repeat {
					break
				}
				if shown = true; !yield(element, err) {
					return
				}
			}
			if !repeat {
				return
			}
		}
	}
}

// delete sends one request. If the store returns another number of results than keys, no result is believed.
func (s store) delete(ctx context.Context, keys []string) []error {
	errs := s.Store.Delete(ctx, keys)
	if len(errs) == 0 || len(errs) == len(keys) {
		return errs
	}
	answers := len(errs)
	errs = make([]error, len(keys))
	for i, key := range keys {
		errs[i] = &storage.Error{Op: "delete", Key: key, Err: fmt.Errorf("%w: the driver gave %d results for %d keys", storage.ErrUnknown, answers, len(keys))}
	}
	return errs
}

// Delete implements storage.Store. Only the keys that may still be there are tried again.
func (s store) Delete(ctx context.Context, keys []string) []error {
	errs := s.delete(ctx, keys)
	for t := (tries{policy: s.policy, op: "delete"}); ; {
		var again []int
		var left []string
		var cause error
		for i, err := range errs {
			if retriable(err) {
				again, left, cause = append(again, i), append(left, keys[i]), err
			}
		}
		if !t.again(ctx, cause) {
			break
		}
		repeated := s.delete(ctx, left)
		for n, i := range again {
			var now error
			if len(repeated) > 0 {
				now = repeated[n]
			}
			errs[i] = since(errs[i], now, keys[i])
		}
	}
	if errors.Join(errs...) == nil {
		return nil
	}
	return errs
}

// since combines the outcome of an earlier try of a delete, before, with the outcome of a later try, now. If the
// later try was refused, the earlier try may still have been done or may be done later, so the outcome stays unknown.
func since(before, now error, key string) error {
	if now == nil || !errors.Is(before, storage.ErrUnknown) || errors.Is(now, storage.ErrUnknown) {
		return now
	}
	return &storage.Error{Op: "delete", Key: key, Err: fmt.Errorf("%w of an earlier try; then: %w", storage.ErrUnknown, now)}
}

// tries counts the tries of one request.
type tries struct {
	policy *Policy
	op     string
	made   int
	pauses *backoff.ExponentialBackOff
}

// again waits for the next try; it returns false if there is none.
func (t *tries) again(ctx context.Context, err error) bool {
	if t.made++; !retriable(err) || t.made >= t.policy.Tries {
		return false
	}
	if t.pauses == nil {
		t.pauses = &backoff.ExponentialBackOff{
			InitialInterval: t.policy.First, MaxInterval: t.policy.Longest, Multiplier: 2, RandomizationFactor: 0.5,
		}
	}
	timer := time.NewTimer(t.pauses.NextBackOff())
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	}
	if ctx.Err() != nil {
		return false
	}
	t.policy.Retried(t.op)
	return true
}

// retriable reports whether the same request may end differently.
func retriable(err error) bool {
	for _, final := range []error{
		storage.ErrNotFound, storage.ErrExists, storage.ErrMismatch, storage.ErrAbandoned, storage.ErrUnfit, fs.ErrPermission,
	} {
		if errors.Is(err, final) {
			return false
		}
	}
	return err != nil
}

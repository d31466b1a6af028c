// Package retry repeats requests to a store that failed, where repeating is safe.
//
// It owns which those are: reads before their first byte (Open, Stat, List), and Delete, key by key. It never repeats what makes
// objects: a stream comes from its source, which the caller has, and only the journal's machines know what another Publish of
// the same bytes means. It must not know what the objects mean, nor a store's own errors.
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

// Policy says how patient a store's user is. The zero value of a field is its default.
type Policy struct {
	// Tries is how often a request is made at most, the first time included: 6, which take about 3 s.
	Tries int
	// First is the pause before the second try: 100 ms. Each pause is about twice the one before; at random, so that users do not come
	// back together.
	First time.Duration
	// Longest is the longest pause: 5 s.
	Longest time.Duration
	// Retried is called before each repetition, with the operation's name; nil: nothing.
	Retried func(op string)
}

// New makes a store whose reads and deletes are repeated by the policy.
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

// store embeds what it repeats nothing of: Create, Publish, AbortUnfinished.
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

// repeated repeats a list. Once an element was shown, an error ends it: another list might show it again.
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

// delete asks the store once. Of a store that answers for other keys than it was asked for, nothing is believed.
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

// Delete implements storage.Store. Only the keys that may still be there are repeated.
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

// since is the outcome of a delete that ended as before, and then as now. A refusal says nothing about an earlier try, which may have been
// done or may still be.
func since(before, now error, key string) error {
	if now == nil || !errors.Is(before, storage.ErrUnknown) || errors.Is(now, storage.ErrUnknown) {
		return now
	}
	return &storage.Error{Op: "delete", Key: key, Err: fmt.Errorf("%w of an earlier try; then: %w", storage.ErrUnknown, now)}
}

// tries are those of one request.
type tries struct {
	policy *Policy
	op     string
	made   int
	pauses *backoff.ExponentialBackOff
}

// again waits for the next try, and tells whether there is one.
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

// retriable tells whether the same request may end otherwise.
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

package retry_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ckptd/ckptd/conformance/stores"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/mem"
	"github.com/ckptd/ckptd/layout/storage/retry"
)

func TestStore(t *testing.T) {
	roots := map[string]*mem.Store{}
	open := func(name string) *mem.Store {
		if roots[name] == nil {
			roots[name] = mem.New()
		}
		return roots[name]
	}
	wrapped := func(s storage.Store) storage.Opened {
		opened := mem.New().Opened()
		opened.Store = retry.New(s, retry.Policy{First: time.Microsecond})
		return opened
	}
	outcomes := []mem.Outcome{mem.Failed(), mem.DoneButError(), mem.Later(1), mem.Later(3)}
	stores.Run(t, stores.Harness{
		Races: 5,
		Open:  func(_ *testing.T, name string) storage.Opened { return wrapped(open(name)) },
		Faulty: func(_ *testing.T, name string, step int) (storage.Opened, func(), func() bool) {
			faults := mem.NewFaults(open(name), nil)
			injected := false
			arm := func() {
				faults.SetDecide(func(mem.Mutation) mem.Outcome {
					if injected || step >= len(outcomes) {
						return mem.Done()
					}
					injected = true
					return outcomes[step]
				})
			}
			return wrapped(faults), arm, func() bool { return injected }
		},
	})
}

// failing returns the next error from each call, and counts the calls; nil is success.
type failing struct {
	storage.Store
	errs  []error
	calls int
}

func (f *failing) next() error {
	f.calls++
	if f.calls <= len(f.errs) {
		return f.errs[f.calls-1]
	}
	return nil
}

func (f *failing) Create(context.Context, string, storage.CreateOptions) (storage.Writer, error) {
	return nil, f.next()
}
func (f *failing) Publish(context.Context, string, []byte) error { return f.next() }
func (f *failing) Open(context.Context, string, int64, int64) (io.ReadCloser, error) {
	return nil, f.next()
}
func (f *failing) Stat(context.Context, string) (storage.Info, error) {
	return storage.Info{}, f.next()
}
func (f *failing) AbortUnfinished(context.Context, string, func(string) bool) (int, error) {
	return 0, f.next()
}
func (f *failing) Delete(_ context.Context, keys []string) []error {
	if err := f.next(); err != nil {
		return slices.Repeat([]error{err}, len(keys))
	}
	return nil
}
func (f *failing) List(context.Context, string) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		if err := f.next(); err != nil {
			yield(storage.Info{}, err)
		} else if yield(storage.Info{Key: "a"}, nil) {
			if err := f.next(); err != nil { // of the second page
				yield(storage.Info{}, err)
			}
		}
	}
}

var errBroken = errors.New("connection reset")

func listed(ctx context.Context, s storage.Store) error {
	var last error
	for _, err := range s.List(ctx, "") {
		last = err
	}
	return last
}

// calls are all verbs, and how often each may be called.
var calls = []struct {
	name    string
	retried bool
	do      func(context.Context, storage.Store) error
}{
	{"create", false, func(ctx context.Context, s storage.Store) error {
		_, err := s.Create(ctx, "a", storage.CreateOptions{})
		return err
	}},
	{"publish", false, func(ctx context.Context, s storage.Store) error { return s.Publish(ctx, "a", nil) }},
	{"open", true, func(ctx context.Context, s storage.Store) error { _, err := s.Open(ctx, "a", 0, -1); return err }},
	{"stat", true, func(ctx context.Context, s storage.Store) error { _, err := s.Stat(ctx, "a"); return err }},
	{"list", true, func(ctx context.Context, s storage.Store) error { return listed(ctx, s) }},
	{"delete", true, func(ctx context.Context, s storage.Store) error {
		return errors.Join(s.Delete(ctx, []string{"a", "b"})...)
	}},
	{"abort unfinished", false, func(ctx context.Context, s storage.Store) error {
		_, err := s.AbortUnfinished(ctx, "", nil)
		return err
	}},
}

// Safe requests are repeated with growing pauses, up to the limit. All others are sent once.
func TestRepeats(t *testing.T) {
	for _, c := range calls {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var told []string
				f := &failing{errs: []error{errBroken, errBroken, errBroken}}
				s := retry.New(f, retry.Policy{Retried: func(op string) { told = append(told, op) }})
				start := time.Now()
				err := c.do(t.Context(), s)
				if !c.retried {
					if f.calls != 1 || !errors.Is(err, errBroken) || time.Since(start) != 0 {
						t.Errorf("%d calls, %v, after %v; want 1 call, and the error at once", f.calls, err, time.Since(start))
					}
					return
				}
				if want := []string{c.name, c.name, c.name}; err != nil || !slices.Equal(told, want) {
					t.Errorf("told %q, %v, want %q", told, err, want)
				}
				if took := time.Since(start); took < 350*time.Millisecond || took > 1050*time.Millisecond {
					t.Errorf("pauses of %v, want 100, 200 and 400 ms, half of each more or less", took)
				}
				f.calls, f.errs = 0, slices.Repeat([]error{errBroken}, 100)
				start = time.Now()
				if err := c.do(t.Context(), s); f.calls != 6 || !errors.Is(err, errBroken) || time.Since(start) > 5*time.Second {
					t.Errorf("%d calls, %v, after %v; want 6 calls within 5 s, and the error", f.calls, err, time.Since(start))
				}
			})
		})
	}
}

// A request that would end the same way again is not repeated.
func TestFinal(t *testing.T) {
	final := []error{storage.ErrNotFound, storage.ErrExists, storage.ErrAbandoned, storage.ErrMismatch, storage.ErrUnfit, fs.ErrPermission}
	for _, c := range calls {
		for _, want := range final {
			f := &failing{errs: []error{&storage.Error{Op: c.name, Key: "a", Err: fmt.Errorf("%w: %w", want, storage.ErrUnknown)}}}
			if err := c.do(t.Context(), retry.New(f, retry.Policy{})); !errors.Is(err, want) || f.calls != 1 {
				t.Errorf("%s, %v: %d calls, %v; want 1 call", c.name, want, f.calls, err)
			}
		}
	}
}

// A cancelled context ends the pauses at once, and the store's own error is returned.
func TestCancelled(t *testing.T) {
	for _, c := range calls {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancel()
			f := &failing{errs: slices.Repeat([]error{errBroken}, 100)}
			start := time.Now()
			if err := c.do(ctx, retry.New(f, retry.Policy{})); !errors.Is(err, errBroken) || f.calls != 1 || time.Since(start) > 10*time.Millisecond {
				t.Errorf("%s: %d calls, %v, after %v; want 1 call, and the store's error at once", c.name, f.calls, err, time.Since(start))
			}
			f.calls = 0
			if err := c.do(ctx, retry.New(f, retry.Policy{})); !errors.Is(err, errBroken) || f.calls != 1 {
				t.Errorf("%s, cancelled before: %d calls, %v; want 1 call, and the store's error", c.name, f.calls, err)
			}
		})
	}
}

// A list that broke after its first element is not repeated, because it would show the element twice.
func TestListBrokenInTheMiddle(t *testing.T) {
	f := &failing{errs: []error{nil, errBroken}}
	var keys []string
	var last error
	for info, err := range retry.New(f, retry.Policy{}).List(t.Context(), "") {
		keys, last = append(keys, info.Key), err
	}
	if f.calls != 2 || !slices.Equal(keys, []string{"a", ""}) || !errors.Is(last, errBroken) {
		t.Errorf("%d calls, keys %q, %v; want 2 calls, the key a once, and the error", f.calls, keys, last)
	}
}

// partial fails to delete some keys, once, and records its requests.
type partial struct {
	storage.Store
	asked [][]string
}

func (p *partial) Delete(_ context.Context, keys []string) []error {
	p.asked = append(p.asked, slices.Clone(keys))
	errs := make([]error, len(keys))
	for i, key := range keys {
		switch {
		case key == "denied":
			errs[i] = fs.ErrPermission
		case key == "stuck" && len(p.asked) < 4, key == "busy" && len(p.asked) < 3:
			errs[i] = storage.ErrThrottled
		}
	}
	return errs
}

func TestDeleteRepeatsOnlyWhatIsLeft(t *testing.T) {
	p := &partial{}
	s := retry.New(p, retry.Policy{First: time.Microsecond})
	errs := s.Delete(t.Context(), []string{"a", "stuck", "denied", "busy"})
	if errs[0] != nil || errs[1] != nil || !errors.Is(errs[2], fs.ErrPermission) || errs[3] != nil {
		t.Errorf("results %v, want only the third key refused", errs)
	}
	want := "[[a stuck denied busy] [stuck busy] [stuck busy] [stuck]]"
	if got := fmt.Sprint(p.asked); got != want {
		t.Errorf("asked %s, want %s", got, want)
	}
	if errs := s.Delete(t.Context(), []string{"a"}); errs != nil {
		t.Errorf("all deleted: %v, want nil", errs)
	}
}

// sequence returns the next error from each delete, and the last one for ever.
type sequence struct {
	storage.Store
	errs []error
}

func (s *sequence) Delete(_ context.Context, keys []string) []error {
	err := s.errs[0]
	s.errs = s.errs[min(1, len(s.errs)-1):]
	return slices.Repeat([]error{err}, len(keys))
}

// A later refusal does not make an unknown outcome certain. Only a later successful delete does.
func TestDeleteStaysUnknown(t *testing.T) {
	unknown := fmt.Errorf("cut: %w", storage.ErrUnknown)
	for _, c := range []struct {
		errs            []error
		failed, unknown bool
	}{
		{[]error{unknown, errBroken}, true, true},
		{[]error{unknown, fs.ErrPermission}, true, true},
		{[]error{errBroken, unknown, errBroken}, true, true},
		{[]error{unknown, errBroken, nil}, false, false},
		{[]error{errBroken, fs.ErrPermission}, true, false},
	} {
		errs := retry.New(&sequence{errs: c.errs}, retry.Policy{First: time.Microsecond}).Delete(t.Context(), []string{"a"})
		err := errors.Join(errs...)
		if (err != nil) != c.failed || errors.Is(err, storage.ErrUnknown) != c.unknown || c.failed && !errors.Is(err, c.errs[len(c.errs)-1]) {
			t.Errorf("deletes that end with %v: %v, want an error: %v, unknown: %v", c.errs, err, c.failed, c.unknown)
		}
	}
}

// counter returns a fixed number of results for any request.
type counter struct {
	storage.Store
	results int
}

func (c counter) Delete(context.Context, []string) []error { return make([]error, c.results) }

func TestDeleteOfADriverThatMiscounts(t *testing.T) {
	keys := []string{"a", "b"}
	for results, done := range []bool{true, false, true, false} {
		errs := retry.New(counter{results: results}, retry.Policy{First: time.Microsecond, Tries: 2}).Delete(t.Context(), keys)
		if done && errs != nil {
			t.Errorf("%d results: %v, want nil", results, errs)
		}
		if !done && (len(errs) != len(keys) || !errors.Is(errs[0], storage.ErrUnknown) || !errors.Is(errs[1], storage.ErrUnknown)) {
			t.Errorf("%d results: %v, want two unknown outcomes", results, errs)
		}
	}
}

package limit_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ckptd/ckptd/conformance/stores"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/limit"
	"github.com/ckptd/ckptd/layout/storage/mem"
)

// The budget is so small that a turn that is not given back is noticed; the suite holds several writers at a time.
func TestStore(t *testing.T) {
	roots := map[string]*mem.Store{}
	stores.Run(t, stores.Harness{Races: 5, Open: func(_ *testing.T, name string) storage.Opened {
		if roots[name] == nil {
			roots[name] = mem.New()
		}
		opened := roots[name].Opened()
		opened.Store = limit.New(limit.Budgets{Upload: 16}).Store(opened.Store, limit.Upload)
		return opened
	}})
}

// slow is a store that takes its time, and can be made to throttle.
type slow struct {
	storage.Store
	takes     time.Duration
	throttle  atomic.Bool
	running   atomic.Int64
	most      atomic.Int64
	published atomic.Int64
}

func (s *slow) work(ctx context.Context) error {
	s.most.Store(max(s.most.Load(), s.running.Add(1)))
	defer s.running.Add(-1)
	select {
	case <-time.After(s.takes):
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.throttle.Load() {
		return fmt.Errorf("503: %w", storage.ErrThrottled)
	}
	return nil
}

func (s *slow) Publish(ctx context.Context, _ string, _ []byte) error {
	s.published.Add(1)
	return s.work(ctx)
}

func (s *slow) Delete(ctx context.Context, keys []string) []error {
	if err := s.work(ctx); err != nil {
		return slices.Repeat([]error{err}, len(keys))
	}
	return nil
}

func (s *slow) Stat(ctx context.Context, _ string) (storage.Info, error) {
	return storage.Info{}, s.work(ctx)
}

func (s *slow) Open(ctx context.Context, key string, _, _ int64) (io.ReadCloser, error) {
	return s.Store.Open(ctx, key, 0, -1)
}

// A commit waits neither for a thousand queued deletes nor for a flood of uploads. All deletes are done in the end.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{Store: mem.New(), takes: 10 * time.Millisecond}
		l := limit.New(limit.Budgets{})
		var wg sync.WaitGroup
		collect, upload, commit := l.Store(s, limit.Collect), l.Store(s, limit.Upload), l.Store(s, limit.Commit)
		for range 1000 {
			wg.Go(func() {
				if errs := collect.Delete(t.Context(), []string{"k"}); errs != nil {
					t.Error(errs)
				}
			})
			wg.Go(func() { // an upload that its sender never ends
				w, err := upload.Create(t.Context(), "k", storage.CreateOptions{})
				if err != nil {
					t.Error(err)
					return
				}
				time.Sleep(time.Second)
				w.Abort()
			})
		}
		synctest.Wait()
		if got := l.Line(limit.Collect); got != (limit.Line{Running: 4, Waiting: 996, Allowed: 4}) {
			t.Errorf("the class collect: %+v, want 4 running, 996 waiting, 4 allowed", got)
		}
		for range 100 {
			start := time.Now()
			if err := commit.Publish(t.Context(), "k", nil); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took > s.takes {
				t.Fatalf("a commit took %v, want %v: as without any flood", took, s.takes)
			}
		}
		wg.Wait()
		if most := s.most.Load(); most > 5 {
			t.Errorf("%d commits and deletes at a time, want at most 5", most)
		}
	})
}

// While commits run, one delete at a time continues; after them all four do.
func TestCollectYieldsToCommits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{Store: mem.New(), takes: 10 * time.Millisecond}
		l := limit.New(limit.Budgets{})
		var wg sync.WaitGroup
		wg.Go(func() { _ = l.Store(s, limit.Commit).Publish(t.Context(), "k", nil) })
		synctest.Wait()
		for range 8 {
			wg.Go(func() { l.Store(s, limit.Collect).Delete(t.Context(), []string{"k"}) })
		}
		synctest.Wait()
		if got := l.Line(limit.Collect).Running; got != 1 {
			t.Errorf("beside a commit %d deletes run, want 1", got)
		}
		time.Sleep(s.takes + 1)
		synctest.Wait()
		if got := l.Line(limit.Collect).Running; got != 4 {
			t.Errorf("after the commit %d deletes run, want 4", got)
		}
		wg.Wait()
	})
}

// A throttling store gets fewer and fewer requests of all classes but commits, and more again when it has recovered.
func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{Store: mem.New(), takes: 10 * time.Millisecond}
		l := limit.New(limit.Budgets{Restore: 16, Upload: 16})
		s.throttle.Store(true)
		restore := l.Store(s, limit.Restore)
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		var asked atomic.Int64
		for range 32 {
			wg.Go(func() {
				for ctx.Err() == nil {
					_, _ = restore.Stat(ctx, "k")
					asked.Add(1)
				}
			})
		}
		time.Sleep(s.takes + time.Millisecond)
		synctest.Wait()
		if got := l.Line(limit.Restore); got.Running != 0 || got.Waiting != 32 {
			t.Errorf("after the first burst: %+v, want 0 running, 32 waiting", got)
		}
		start := time.Now()
		if err := l.Store(s, limit.Commit).Publish(t.Context(), "k", nil); !errors.Is(err, storage.ErrThrottled) || time.Since(start) > s.takes {
			t.Errorf("commit in the pause: %v after %v, want ErrThrottled at once", err, time.Since(start))
		}
		for l.Line(limit.Restore).Running == 0 {
			time.Sleep(time.Millisecond)
			synctest.Wait()
		}
		if got := l.Line(limit.Restore).Running; got != 4 {
			t.Errorf("after a burst of 16 throttles and one of the commit, %d run; want 4", got)
		}
		time.Sleep(time.Minute)
		asked.Store(0)
		time.Sleep(time.Minute)
		if n := asked.Load(); n < 6 || n > 30 {
			t.Errorf("a store that keeps throttling got %d requests in a minute, want about 12", n)
		}
		s.throttle.Store(false)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := l.Line(limit.Restore); got.Allowed != 16 || got.Running != 16 {
			t.Errorf("after the store recovered: %+v, want 16 running of 16 allowed", got)
		}
		if got := l.Line(limit.Upload).Allowed; got != 1 {
			t.Errorf("uploads may run %d at a time before one has succeeded, want 1", got)
		}
		stop()
		wg.Wait()
	})
}

// well is a store whose journal works while the rest of it throttles.
type well struct{ *slow }

func (w well) Publish(context.Context, string, []byte) error {
	time.Sleep(w.takes)
	return nil
}

// Commits that succeed do not shorten the pauses of the other classes.
func TestCommitsDoNotShortenPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{Store: mem.New(), takes: 10 * time.Millisecond}
		l := limit.New(limit.Budgets{})
		s.throttle.Store(true)
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		var asked atomic.Int64
		wg.Go(func() {
			for ctx.Err() == nil {
				_ = l.Store(well{s}, limit.Commit).Publish(ctx, "k", nil)
			}
		})
		wg.Go(func() {
			for ctx.Err() == nil {
				_, _ = l.Store(s, limit.Restore).Stat(ctx, "k")
				asked.Add(1)
			}
		})
		time.Sleep(time.Minute)
		asked.Store(0)
		time.Sleep(time.Minute)
		if n := asked.Load(); n < 6 || n > 30 {
			t.Errorf("the store got %d requests in a minute, want about 12", n)
		}
		stop()
		wg.Wait()
	})
}

// The limiter reacts to a driver's own repetitions: fewer requests run, once for a burst. Only throttles count.
func TestRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limit.New(limit.Budgets{Upload: 16})
		l.Repeated(errors.New("a cut connection"))
		if got := l.Line(limit.Upload).Allowed; got != 16 {
			t.Errorf("%d allowed after a repetition that was no throttle, want 16", got)
		}
		for range 10 {
			l.Repeated(fmt.Errorf("503: %w", storage.ErrThrottled))
		}
		if got := l.Line(limit.Upload).Allowed; got != 0 {
			t.Errorf("%d allowed in the pause, want 0", got)
		}
		time.Sleep(time.Second)
		if got := l.Line(limit.Upload).Allowed; got != 8 {
			t.Errorf("%d allowed after one burst, want half of 16", got)
		}
	})
}

// Commits that are throttled again and again do not starve a restore.
func TestThrottledCommitsStarveNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{Store: mem.New(), takes: 10 * time.Millisecond}
		l := limit.New(limit.Budgets{})
		s.throttle.Store(true)
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			for ctx.Err() == nil {
				_ = l.Store(s, limit.Commit).Publish(ctx, "k", nil)
			}
		})
		time.Sleep(time.Minute)
		for n := range 10 { // the first comes in the middle of a pause
			start := time.Now()
			_, _ = l.Store(s, limit.Restore).Stat(ctx, "k")
			if took := time.Since(start); n > 0 && took < 2*time.Second || took > 8*time.Second {
				t.Errorf("restore %d waited %v, want a pause of about 5 s", n, took)
			}
		}
		stop()
		wg.Wait()
	})
}

// A caller that gives up waiting leaves nothing behind and has changed nothing.
func TestCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{Store: mem.New(), takes: time.Hour}
		l := limit.New(limit.Budgets{Commit: 1})
		commit := l.Store(s, limit.Commit)
		first, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = commit.Publish(first, "a", nil) })
		synctest.Wait()
		reason := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		for range 3 {
			wg.Go(func() {
				var e *storage.Error
				if err := commit.Publish(ctx, "b", nil); !errors.Is(err, reason) || !errors.As(err, &e) || e.Key != "b" {
					t.Errorf("a caller that gave up: %v, want its context's cause and its key", err)
				}
			})
		}
		wg.Go(func() {
			if errs := commit.Delete(ctx, []string{"b", "c"}); len(errs) != 2 || !errors.Is(errs[1], reason) {
				t.Errorf("deletes that gave up: %v, want the context's cause for each key", errs)
			}
		})
		synctest.Wait()
		cancel(reason)
		synctest.Wait()
		if got := l.Line(limit.Commit); got.Waiting != 0 || got.Running != 1 {
			t.Errorf("after all gave up: %+v, want 1 running, 0 waiting", got)
		}
		stop()
		wg.Wait()
		if got := l.Line(limit.Commit); got.Running != 0 || s.published.Load() != 1 {
			t.Errorf("at the end: %+v, %d published; want 0 running, 1 published", got, s.published.Load())
		}
	})
}

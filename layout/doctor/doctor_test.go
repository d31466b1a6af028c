package doctor

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/mem"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "8"); err != nil { // the tests mostly wait; -parallel overrides this
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// opened returns a store as a driver would open it.
func opened(s storage.Store) storage.Opened {
	o := mem.Open()
	o.Store = s
	return o
}

func keysOf(t *testing.T, s storage.Store) []string {
	t.Helper()
	keys, err := list(context.Background(), s, "")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(keys)
	return keys
}

func results(r *ckptdv1.DoctorReport) map[string]ckptdv1.Result {
	m := map[string]ckptdv1.Result{}
	for _, f := range r.GetFindings() {
		m[f.GetCheck()] = f.GetResult()
	}
	return m
}

func text(r *ckptdv1.DoctorReport) string {
	var b strings.Builder
	fmt.Fprintln(&b, r.GetVerdict(), r.GetSummary())
	for _, f := range r.GetFindings() {
		fmt.Fprintf(&b, "%s: %v: %s: %s\n", f.GetCheck(), f.GetResult(), f.GetSeen(), f.GetAdvice())
	}
	return b.String()
}

func examineIt(t *testing.T, o storage.Opened, options *Options) *ckptdv1.DoctorReport {
	t.Helper()
	r, err := Examine(t.Context(), o, options)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Every check runs on a fit store, and nothing is left there.
func TestFit(t *testing.T) {
	t.Parallel()
	for _, quick := range []bool{true, false} {
		s := mem.New()
		r := examineIt(t, opened(s), &Options{Quick: quick})
		want := []string{
			"contents", "publish", "clock", "stat", "read", "range", "list", "create", "delete", "abort unfinished", "publish races",
			"read after write", "list after write", "gone after delete", "create if absent", "ranges", "sums", "speed",
		}
		var got []string
		for _, f := range r.GetFindings() {
			got = append(got, f.GetCheck())
			if f.GetResult() != ckptdv1.Result_RESULT_OK {
				t.Errorf("%s: %v: %s; want OK", f.GetCheck(), f.GetResult(), f.GetSeen())
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("checks %v\nwant %v", got, want)
		}
		if r.GetVerdict() != ckptdv1.Verdict_VERDICT_FIT || r.GetSummary() != "fit" || len(r.GetMeasurements()) != 9 || r.GetTook() == nil {
			t.Errorf("verdict %v, %q, %d measurements; want fit, and 9", r.GetVerdict(), r.GetSummary(), len(r.GetMeasurements()))
		}
		if left := keysOf(t, s); len(left) > 0 {
			t.Errorf("left: %v, want nothing", left)
		}
	}
}

// A root in use is examined, and its content stays as it is.
func TestRootInUse(t *testing.T) {
	s := mem.New()
	if _, err := layout.OpenRoot(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	must(t, s.Publish(t.Context(), "clicks/_journal/00000000000000000001", []byte("x")))
	before := keysOf(t, s)
	r := examineIt(t, opened(s), &Options{Quick: true})
	if r.GetVerdict() != ckptdv1.Verdict_VERDICT_FIT || r.GetReadOnly() {
		t.Errorf("%s\nwant it fit, and written to", text(r))
	}
	if after := keysOf(t, s); !slices.Equal(before, after) {
		t.Errorf("before %v, after %v; want no change", before, after)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A bent store is a store in which single operations do something else.
type bent struct {
	storage.Store
	publish func(ctx context.Context, key string, data []byte) error
	open    func(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error)
	stat    func(ctx context.Context, key string) (storage.Info, error)
	list    func(ctx context.Context, prefix string) iter.Seq2[storage.Info, error]
	delete  func(ctx context.Context, keys []string) []error
	create  func(ctx context.Context, key string, opts storage.CreateOptions) (storage.Writer, error)
	abort   func(prefix string, dead func(key string) bool) error
}

func (b *bent) AbortUnfinished(ctx context.Context, prefix string, dead func(key string) bool) (int, error) {
	if b.abort != nil {
		if err := b.abort(prefix, dead); err != nil {
			return 0, err
		}
	}
	return b.Store.AbortUnfinished(ctx, prefix, dead)
}

func (b *bent) Publish(ctx context.Context, key string, data []byte) error {
	if b.publish != nil {
		return b.publish(ctx, key, data)
	}
	return b.Store.Publish(ctx, key, data)
}

func (b *bent) Create(ctx context.Context, key string, opts storage.CreateOptions) (storage.Writer, error) {
	if b.create != nil {
		return b.create(ctx, key, opts)
	}
	return b.Store.Create(ctx, key, opts)
}

func (b *bent) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if b.open != nil {
		return b.open(ctx, key, offset, length)
	}
	return b.Store.Open(ctx, key, offset, length)
}

func (b *bent) Stat(ctx context.Context, key string) (storage.Info, error) {
	if b.stat != nil {
		return b.stat(ctx, key)
	}
	return b.Store.Stat(ctx, key)
}

func (b *bent) List(ctx context.Context, prefix string) iter.Seq2[storage.Info, error] {
	if b.list != nil {
		return b.list(ctx, prefix)
	}
	return b.Store.List(ctx, prefix)
}

func (b *bent) Delete(ctx context.Context, keys []string) []error {
	if b.delete != nil {
		return b.delete(ctx, keys)
	}
	return b.Store.Delete(ctx, keys)
}

func replace(ctx context.Context, s storage.Store, key string, data []byte) error {
	for {
		s.Delete(ctx, []string{key})
		if err := s.Publish(ctx, key, data); !errors.Is(err, storage.ErrExists) {
			return err
		}
	}
}

// Each store breaks one promise, and the check of that promise finds it unfit.
func TestUnfit(t *testing.T) {
	t.Parallel()
	denied := errors.New("AccessDenied")
	for _, c := range []struct {
		name, check, seen string
		bend              func(b *bent)
	}{
		{"publish replaces what is there", "publish races", "were told that they won", func(b *bent) {
			b.publish = func(ctx context.Context, key string, data []byte) error { return replace(ctx, b.Store, key, data) }
		}},
		{"publish looks before it writes", "publish races", "were told that they won", func(b *bent) {
			b.publish = func(ctx context.Context, key string, data []byte) error {
				if _, err := b.Store.Stat(ctx, key); err == nil {
					return storage.ErrExists
				}
				time.Sleep(time.Millisecond)
				return replace(ctx, b.Store, key, data)
			}
		}},
		{"success is answered to both of two concurrent writers, and the first stays", "publish races", "were told that they won", func(b *bent) {
			var writing sync.Map
			b.publish = func(ctx context.Context, key string, data []byte) error {
				_, another := writing.LoadOrStore(key, true)
				defer writing.Delete(key)
				time.Sleep(time.Millisecond)
				if err := b.Store.Publish(ctx, key, data); err == nil || !another {
					return err
				}
				return nil
			}
		}},
		{"the wrong one is told that it won", "publish races", "", func(b *bent) {
			b.publish = func(ctx context.Context, key string, data []byte) error {
				err := b.Store.Publish(ctx, key, data)
				if strings.Contains(key, "race") && bytes.HasPrefix(data, []byte("1 ")) && errors.Is(err, storage.ErrExists) {
					return nil
				}
				return err
			}
		}},
		{"losers see a part", "publish races", "a part of an object", func(b *bent) {
			b.publish = func(ctx context.Context, key string, data []byte) error {
				if err := b.Store.Publish(ctx, key, data[:len(data)/2]); err != nil {
					return err
				}
				time.Sleep(time.Millisecond)
				return replace(ctx, b.Store, key, data)
			}
		}},
		{"what was written is seen a little later", "read after write", "not found right after it was written", func(b *bent) {
			var mu sync.Mutex
			since := map[string]time.Time{}
			b.publish = func(ctx context.Context, key string, data []byte) error {
				mu.Lock()
				since[key] = time.Now()
				mu.Unlock()
				return b.Store.Publish(ctx, key, data)
			}
			fresh := func(key string) bool {
				mu.Lock()
				defer mu.Unlock()
				return strings.Contains(key, "look") && time.Since(since[key]) < 200*time.Millisecond
			}
			b.stat = func(ctx context.Context, key string) (storage.Info, error) {
				if fresh(key) {
					return storage.Info{}, storage.ErrNotFound
				}
				return b.Store.Stat(ctx, key)
			}
			b.open = func(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
				if fresh(key) {
					return nil, storage.ErrNotFound
				}
				return b.Store.Open(ctx, key, offset, length)
			}
		}},
		{"absence is remembered", "read after write", "not found right after it was written", func(b *bent) {
			var absent sync.Map
			b.stat = func(ctx context.Context, key string) (storage.Info, error) {
				if _, ok := absent.Load(key); ok {
					return storage.Info{}, storage.ErrNotFound
				}
				info, err := b.Store.Stat(ctx, key)
				if strings.Contains(key, "look") && errors.Is(err, storage.ErrNotFound) {
					absent.Store(key, true)
				}
				return info, err
			}
		}},
		{"lists come from a cache", "list after write", "does not show the object", func(b *bent) {
			var mu sync.Mutex
			var cached []storage.Info
			var at time.Time
			b.list = func(ctx context.Context, prefix string) iter.Seq2[storage.Info, error] {
				mu.Lock()
				defer mu.Unlock()
				if time.Since(at) > time.Second {
					cached, at = nil, time.Now()
					for info := range b.Store.List(ctx, "") {
						cached = append(cached, info)
					}
					if len(cached) < 2 { // let the examination begin
						at = time.Time{}
					}
				}
				infos := slices.Clone(cached)
				return func(yield func(storage.Info, error) bool) {
					for _, info := range infos {
						if strings.HasPrefix(info.Key, prefix) && !yield(info, nil) {
							return
						}
					}
				}
			}
		}},
		{"what is deleted can still be read", "gone after delete", "after it was deleted", func(b *bent) {
			b.delete = func(ctx context.Context, keys []string) []error {
				if strings.Contains(keys[0], "look") {
					go func() { time.Sleep(time.Second); b.Store.Delete(context.Background(), keys) }()
					return nil
				}
				return b.Store.Delete(ctx, keys)
			}
		}},
		{"ranges begin at 0", "range", "not the", func(b *bent) {
			b.open = func(ctx context.Context, key string, _, length int64) (io.ReadCloser, error) {
				return b.Store.Open(ctx, key, 0, length)
			}
		}},
		{"ranges are cut at the end", "ranges", "beyond the end", func(b *bent) {
			b.open = func(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
				r, err := b.Store.Open(ctx, key, offset, length)
				if errors.Is(err, io.ErrUnexpectedEOF) {
					return b.Store.Open(ctx, key, offset, -1)
				}
				return r, err
			}
		}},
		{"reads are short", "ranges", "are not those that were written", func(b *bent) {
			b.open = func(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
				r, err := b.Store.Open(ctx, key, offset, length)
				if err != nil {
					return nil, err
				}
				return io.NopCloser(io.LimitReader(r, 65_000)), nil
			}
		}},
		{"the condition of create is not obeyed", "create if absent", "were told that they won", func(b *bent) {
			b.create = func(ctx context.Context, key string, opts storage.CreateOptions) (storage.Writer, error) {
				if opts.IfAbsent {
					b.Store.Delete(ctx, []string{key})
				}
				return b.Store.Create(ctx, key, opts)
			}
		}},
		{"sums are not looked at", "sums", "became an object", func(b *bent) {
			b.create = func(ctx context.Context, key string, opts storage.CreateOptions) (storage.Writer, error) {
				opts.HasCRC32C = false
				return b.Store.Create(ctx, key, opts)
			}
		}},
		{"publish is denied", "publish", "AccessDenied", func(b *bent) {
			b.publish = func(context.Context, string, []byte) error { return denied }
		}},
		{"delete is denied", "delete", "AccessDenied", func(b *bent) {
			b.delete = func(_ context.Context, keys []string) []error { return slices.Repeat([]error{denied}, len(keys)) }
		}},
		{"read is denied", "read", "AccessDenied", func(b *bent) {
			b.open = func(_ context.Context, key string, _, _ int64) (io.ReadCloser, error) {
				if key == layout.RootMarkerKey {
					return nil, storage.ErrNotFound
				}
				return nil, denied
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := &bent{Store: mem.New()}
			var r *ckptdv1.DoctorReport
			synctest.Test(t, func(t *testing.T) { // or what is late by a second is not late for an examination that takes as long
				c.bend(b)
				r = examineIt(t, opened(b), &Options{Quick: true})
				time.Sleep(time.Minute) // until what is late has come
			})
			if r.GetVerdict() != ckptdv1.Verdict_VERDICT_UNFIT || results(r)[c.check] != ckptdv1.Result_RESULT_UNFIT {
				t.Fatalf("want unfit by %q:\n%s", c.check, text(r))
			}
			for _, f := range r.GetFindings() {
				if f.GetCheck() == c.check && (!strings.Contains(f.GetSeen(), c.seen) || !strings.HasSuffix(f.GetAdvice(), ".")) {
					t.Errorf("seen %q, want %q, with advice %q", f.GetSeen(), c.seen, f.GetAdvice())
				}
			}
			if left := keysOf(t, b.Store); len(left) > 0 && c.check != "delete" && !strings.Contains(c.name, "deleted") && !strings.Contains(c.name, "list") {
				t.Errorf("left: %v, want nothing", left)
			}
			if c.check == "delete" && results(r)["left behind"] != ckptdv1.Result_RESULT_WARNING {
				t.Errorf("want a warning about what stays:\n%s", text(r))
			}
		})
	}
}

// A store that cannot list unfinished uploads is unfit for every user. All other checks run, and nothing is reported
// as left.
func TestLacking(t *testing.T) {
	t.Parallel()
	b := &bent{Store: mem.New()}
	b.abort = func(string, func(string) bool) error { return fmt.Errorf("%w: NotImplemented", storage.ErrUnfit) }
	b.publish = func(ctx context.Context, key string, data []byte) error { return replace(ctx, b.Store, key, data) }
	r := examineIt(t, opened(b), &Options{Quick: true})
	if want := "unfit: abort unfinished, publish races"; r.GetSummary() != want {
		t.Errorf("%s\nwant %s", text(r), want)
	}
	for _, f := range r.GetFindings() {
		if f.GetCheck() == LeftBehind || f.GetCheck() == "abort unfinished" && f.GetAdvice() != Advice {
			t.Errorf("%v, want nothing left, and the general advice", f)
		}
	}
}

// A store that does not answer is not called unfit.
func TestNoAnswer(t *testing.T) {
	t.Parallel()
	b := &bent{Store: mem.New()}
	b.publish = func(context.Context, string, []byte) error { return fmt.Errorf("cut off: %w", storage.ErrUnknown) }
	r := examineIt(t, opened(b), &Options{Quick: true})
	if r.GetVerdict() != ckptdv1.Verdict_VERDICT_NOT_EXAMINED {
		t.Errorf("%s\nwant it not examined", text(r))
	}
	b = &bent{Store: mem.New()}
	b.publish = func(ctx context.Context, key string, data []byte) error {
		if strings.Contains(key, "race") {
			return fmt.Errorf("cut off: %w", storage.ErrUnknown)
		}
		return b.Store.Publish(ctx, key, data)
	}
	r = examineIt(t, opened(b), &Options{Quick: true})
	if got := results(r)["publish races"]; got != ckptdv1.Result_RESULT_NOT_EXAMINED || r.GetVerdict() != ckptdv1.Verdict_VERDICT_NOT_EXAMINED {
		t.Errorf("%s\nwant it not examined", text(r))
	}
}

// Another process that removes the probes makes the store look unfit; the doctor does not call it so.
func TestDisturbed(t *testing.T) {
	s := mem.New()
	b := &bent{Store: s}
	var once sync.Once
	b.publish = func(ctx context.Context, key string, data []byte) error {
		err := s.Publish(ctx, key, data)
		if strings.Contains(key, "race-001") {
			once.Do(func() {
				keys, _ := list(ctx, s, layout.ProbePrefix)
				s.Delete(ctx, keys)
			})
		}
		return err
	}
	r := examineIt(t, opened(b), &Options{Quick: true})
	if r.GetVerdict() == ckptdv1.Verdict_VERDICT_UNFIT {
		t.Errorf("%s\nwant any verdict but unfit", text(r))
	}
}

// Content that is not ckptd's is only read, unless Options.Write is set.
func TestForeign(t *testing.T) {
	s := mem.New()
	must(t, s.Publish(t.Context(), "photos/1.jpg", bytes.Repeat([]byte("jpg"), 1000)))
	must(t, s.Publish(t.Context(), "photos/2.jpg", []byte("x")))
	must(t, s.Publish(t.Context(), "_probe/mine", []byte("x")))
	faults := mem.NewFaults(s, nil)
	before := keysOf(t, s)
	r := examineIt(t, opened(faults), &Options{Quick: true})
	if faults.Count() != 0 || !r.GetReadOnly() {
		t.Errorf("%d mutations, want none, and a report that it only read", faults.Count())
	}
	got := results(r)
	if r.GetVerdict() != ckptdv1.Verdict_VERDICT_NOT_EXAMINED || got["list"] != ckptdv1.Result_RESULT_OK || got["read"] != ckptdv1.Result_RESULT_OK ||
		!strings.Contains(text(r), "photos/") {
		t.Errorf("%s\nwant it not examined, with list and read OK", text(r))
	}
	r = examineIt(t, opened(faults), &Options{Quick: true, Write: true})
	if faults.Count() == 0 || r.GetReadOnly() || r.GetVerdict() != ckptdv1.Verdict_VERDICT_FIT || results(r)["contents"] != ckptdv1.Result_RESULT_WARNING {
		t.Errorf("with --write: %s\nwant it fit, with a warning about the content", text(r))
	}
	if after := keysOf(t, s); !slices.Equal(before, after) {
		t.Errorf("before %v, after %v; want no change", before, after)
	}
}

// Interrupted after any mutation, an examination leaves nothing.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	for _, at := range []int64{1, 2, 5, 40, 150, 300, 330, 380, 480, 520} {
		s := mem.New()
		ctx, cancel := context.WithCancel(t.Context())
		b := &bent{Store: s}
		var n atomic.Int64
		step := func() {
			if n.Add(1) == at {
				cancel()
			}
		}
		b.publish = func(ctx context.Context, key string, data []byte) error { step(); return s.Publish(ctx, key, data) }
		b.create = func(ctx context.Context, key string, opts storage.CreateOptions) (storage.Writer, error) {
			step()
			return s.Create(ctx, key, opts)
		}
		_, err := Examine(ctx, opened(b), &Options{Quick: true})
		if n.Load() >= at && !errors.Is(err, context.Canceled) {
			t.Errorf("interrupted at %d: %v, want the context's error", at, err)
		}
		if n.Load() > at+200 {
			t.Errorf("interrupted at %d: %d more mutations, want at most 200", at, n.Load()-at)
		}
		if left := keysOf(t, s); len(left) > 0 {
			t.Errorf("interrupted at %d: left %v, want nothing", at, left)
		}
		cancel()
	}
}

// The driver decides the weight of a hazard. A hazard that cannot be asked about does not withhold the verdict.
func TestHazards(t *testing.T) {
	t.Parallel()
	for weight, want := range map[storage.Weight]ckptdv1.Verdict{
		storage.WeightNone: ckptdv1.Verdict_VERDICT_FIT, storage.WeightUnknown: ckptdv1.Verdict_VERDICT_FIT,
		storage.WeightWarning: ckptdv1.Verdict_VERDICT_FIT, storage.WeightUnfit: ckptdv1.Verdict_VERDICT_UNFIT,
	} {
		o := mem.Open()
		o.Facts.Hazards = func(context.Context) []storage.Hazard {
			return []storage.Hazard{{Name: "lifecycle rules", Weight: weight, Seen: "s", Advice: "a."}}
		}
		if r := examineIt(t, o, &Options{Quick: true}); r.GetVerdict() != want || results(r)["lifecycle rules"] == 0 {
			t.Errorf("weight %d: %s\nwant %v", weight, text(r), want)
		}
	}
}

// The report names a clock that is wrong.
func TestClock(t *testing.T) {
	t.Parallel()
	for skew, want := range map[time.Duration]ckptdv1.Result{
		0: ckptdv1.Result_RESULT_OK, -900 * time.Millisecond: ckptdv1.Result_RESULT_OK, 10 * time.Second: ckptdv1.Result_RESULT_OK,
		time.Hour: ckptdv1.Result_RESULT_WARNING, -time.Hour: ckptdv1.Result_RESULT_WARNING,
	} {
		b := &bent{Store: mem.New()}
		b.stat = func(ctx context.Context, key string) (storage.Info, error) {
			info, err := b.Store.Stat(ctx, key)
			info.ModTime = info.ModTime.Add(skew)
			return info, err
		}
		if r := examineIt(t, opened(b), &Options{Quick: true}); results(r)["clock"] != want {
			t.Errorf("skew %v: %s\nwant the clock %v", skew, text(r), want)
		}
	}
}

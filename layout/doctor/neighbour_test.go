package doctor

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/mem"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// swept is a fit store on which a daemon starts before the operation that when picks, and removes all probes.
func swept(when func(n int64, op, key string) bool) *bent {
	s := mem.New()
	b := &bent{Store: s}
	var n atomic.Int64
	step := func(op, key string) {
		if !when(n.Add(1), op, key) {
			return
		}
		ctx := context.Background()
		keys, _ := list(ctx, s, layout.ProbePrefix)
		s.Delete(ctx, keys)
		_, _ = s.AbortUnfinished(ctx, layout.ProbePrefix, func(string) bool { return true })
	}
	b.publish = func(ctx context.Context, key string, data []byte) error {
		step("publish", key)
		return s.Publish(ctx, key, data)
	}
	b.open = func(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
		step("open", key)
		return s.Open(ctx, key, offset, length)
	}
	b.stat = func(ctx context.Context, key string) (storage.Info, error) {
		step("stat", key)
		return s.Stat(ctx, key)
	}
	b.list = func(ctx context.Context, prefix string) iter.Seq2[storage.Info, error] {
		step("list", prefix)
		return s.List(ctx, prefix)
	}
	b.delete = func(ctx context.Context, keys []string) []error { step("delete", keys[0]); return s.Delete(ctx, keys) }
	b.create = func(ctx context.Context, key string, opts storage.CreateOptions) (storage.Writer, error) {
		step("create", key)
		return s.Create(ctx, key, opts)
	}
	return b
}

// A daemon that starts over the same root removes the doctor's objects. At whatever moment it starts, a fit store is
// not called unfit.
func TestSwept(t *testing.T) {
	t.Parallel()
	whens := map[string]func(n int64, op, key string) bool{}
	for n := int64(1); n <= 12; n++ {
		whens[fmt.Sprintf("before operation %d", n)] = func(i int64, _, _ string) bool { return i == n }
	}
	for _, at := range []string{
		"publish race-001", "open race-001", "stat look-000", "open look-000", "list", "open absent-01", "create there", "open ranges", "create flipped",
		"stat flipped", "publish entry-005", "stat small-003", "open small-003", "open large-001",
	} {
		op, name, _ := strings.Cut(at, " ")
		var seen atomic.Int64
		whens["before the first "+at] = func(_ int64, o, key string) bool {
			return o == op && strings.Contains(key, name) && seen.Add(1) == 1
		}
	}
	for name, when := range whens {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := examineIt(t, opened(swept(when)), &Options{Quick: !strings.HasSuffix(name, " there")})
			for _, f := range r.GetFindings() {
				if f.GetResult() == ckptdv1.Result_RESULT_UNFIT || strings.Contains(name, " there") && f.GetCheck() == "create if absent" &&
					!strings.HasPrefix(f.GetSeen(), "disturbed: ") {
					t.Errorf("%v, want no such finding: another process removed the objects", f)
				}
			}
		})
	}
}

// A store that finds no written object is unfit, and not called disturbed.
func TestForgets(t *testing.T) {
	t.Parallel()
	b := &bent{Store: mem.New()}
	b.stat = func(context.Context, string) (storage.Info, error) { return storage.Info{}, storage.ErrNotFound }
	if r := examineIt(t, opened(b), &Options{Quick: true}); results(r)["stat"] != ckptdv1.Result_RESULT_UNFIT {
		t.Errorf("%s\nwant stat unfit", text(r))
	}
}

// A store that keeps what it says it deleted is unfit. If its answers prove nothing, the outcome of deletes is not
// known.
func TestDeletes(t *testing.T) {
	t.Parallel()
	unknown := fmt.Errorf("not the answer of a store: %w", storage.ErrUnknown)
	for name, c := range map[string]struct {
		does bool
		says error
		want ckptdv1.Result
	}{
		"says so, and does not":  {false, nil, ckptdv1.Result_RESULT_UNFIT},
		"says nothing, does not": {false, unknown, ckptdv1.Result_RESULT_NOT_EXAMINED},
		"says nothing, and does": {true, unknown, ckptdv1.Result_RESULT_OK},
	} {
		b := &bent{Store: mem.New()}
		b.delete = func(ctx context.Context, keys []string) []error {
			if c.does {
				b.Store.Delete(ctx, keys)
			}
			errs := make([]error, len(keys))
			for i := range errs {
				errs[i] = c.says
			}
			return errs
		}
		r := examineIt(t, opened(b), &Options{Quick: true})
		if results(r)["delete"] != c.want || c.want == ckptdv1.Result_RESULT_UNFIT && !strings.Contains(text(r), DeleteAdvice) {
			t.Errorf("%s: %s\nwant delete %v", name, text(r), c.want)
		}
	}
}

// A single operation that fails for a moment is tried again; the store is fit, although a request had no answer.
func TestTriesAgain(t *testing.T) {
	t.Parallel()
	b := &bent{Store: mem.New()}
	var n atomic.Int64
	failing := func(key string) bool {
		return (strings.HasSuffix(key, canary) || strings.Contains(key, "created") || strings.Contains(key, "ranges")) && n.Add(1)%3 != 0
	}
	b.publish = func(ctx context.Context, key string, data []byte) error {
		err := b.Store.Publish(ctx, key, data)
		if failing(key) {
			return fmt.Errorf("500: %w", storage.ErrUnknown)
		}
		return err
	}
	b.create = func(ctx context.Context, key string, opts storage.CreateOptions) (storage.Writer, error) {
		if failing(key) {
			return nil, fmt.Errorf("500: %w", storage.ErrUnknown)
		}
		return b.Store.Create(ctx, key, opts)
	}
	if r := examineIt(t, opened(b), &Options{Quick: true}); r.GetVerdict() != ckptdv1.Verdict_VERDICT_FIT {
		t.Errorf("%s\nwant it fit", text(r))
	}
}

// If every write is carried out twice, the winner is told that the object exists. The object is its own. An object of
// another is not.
func TestWritesComeTwice(t *testing.T) {
	t.Parallel()
	b := &bent{Store: mem.New()}
	b.publish = func(ctx context.Context, key string, data []byte) error {
		_ = b.Store.Publish(ctx, key, data)
		return b.Store.Publish(ctx, key, data)
	}
	if r := examineIt(t, opened(b), &Options{Quick: true}); r.GetVerdict() != ckptdv1.Verdict_VERDICT_FIT {
		t.Errorf("%s\nwant it fit", text(r))
	}
	b.publish = func(ctx context.Context, key string, data []byte) error {
		_ = b.Store.Publish(ctx, key, bytes.ToUpper(data))
		return b.Store.Publish(ctx, key, data)
	}
	if r, err := Examine(t.Context(), opened(b), &Options{Quick: true}); err != nil ||
		results(r)["publish"] != ckptdv1.Result_RESULT_UNFIT {
		t.Errorf("%v, %s; want publish unfit", err, text(r))
	}
}

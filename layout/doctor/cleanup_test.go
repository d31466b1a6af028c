package doctor

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/mem"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

func finding(r *ckptdv1.DoctorReport, check string) string {
	for _, f := range r.GetFindings() {
		if f.GetCheck() == check {
			return f.GetSeen() + ": " + f.GetAdvice()
		}
	}
	return ""
}

// A mutation that is cut off may happen after the clean-up. The doctor looks again, and reports that the mutation may
// still happen.
func TestLateMutation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, lateMutation) // or what is late comes too late on a slow machine
}

func lateMutation(t *testing.T) {
	s := mem.New()
	b := &bent{Store: s}
	var late sync.WaitGroup
	defer late.Wait()
	var n atomic.Int64
	b.publish = func(ctx context.Context, key string, data []byte) error {
		if !strings.Contains(key, "entry") || n.Add(1) != 3 {
			return s.Publish(ctx, key, data)
		}
		late.Go(func() { time.Sleep(100 * time.Millisecond); _ = s.Publish(context.Background(), key, data) })
		return storage.ErrUnknown
	}
	r := examineIt(t, opened(b), &Options{Quick: true})
	late.Wait()
	if left := keysOf(t, s); len(left) > 0 {
		t.Errorf("left %v, want nothing", left)
	}
	if got := finding(r, LeftBehind); !strings.HasPrefix(got, "nothing, but 1 request had no answer and may still be carried out below _probe/") {
		t.Errorf("left behind: %q, want one request that may still be carried out", got)
	}
}

// The examination is interrupted while racers wait for answers. Their requests are carried out a little later, and
// the objects are removed.
func TestInterruptedInDoubt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, interruptedInDoubt)
}

func interruptedInDoubt(t *testing.T) {
	s := mem.New()
	b := &bent{Store: s}
	ctx, cancel := context.WithCancel(t.Context())
	var late sync.WaitGroup
	b.publish = func(ctx context.Context, key string, data []byte) error {
		if !strings.Contains(key, "race") {
			return s.Publish(ctx, key, data)
		}
		cancel()
		<-ctx.Done()
		late.Go(func() { time.Sleep(100 * time.Millisecond); _ = s.Publish(context.Background(), key, data) })
		return fmt.Errorf("%w: %w", storage.ErrUnknown, ctx.Err())
	}
	r, err := Examine(ctx, opened(b), &Options{Quick: true})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	late.Wait()
	if left := keysOf(t, s); len(left) > 0 {
		t.Errorf("left %v, want nothing", left)
	}
	if got := finding(r, LeftBehind); !strings.Contains(got, "had no answer and may still be carried out") {
		t.Errorf("left behind: %q, want a request that may still be carried out", got)
	}
}

// aged shows an object as older than it is.
func aged(s storage.Store, old ...string) func(ctx context.Context, prefix string) iter.Seq2[storage.Info, error] {
	return func(ctx context.Context, prefix string) iter.Seq2[storage.Info, error] {
		return func(yield func(storage.Info, error) bool) {
			for info, err := range s.List(ctx, prefix) {
				if slices.Contains(old, info.Key) {
					info.ModTime = info.ModTime.Add(-staleAge - time.Minute)
				}
				if !yield(info, err) {
					return
				}
			}
		}
	}
}

// An examination removes the objects of an old killed examination, and leaves those of a running one. It reports
// both.
func TestStale(t *testing.T) {
	t.Parallel()
	s := mem.New()
	oldNonce, youngNonce := layout.NewNonce(), layout.NewNonce()
	old, young := "_probe/"+oldNonce+"/race-000-01", "_probe/"+youngNonce+"/race-000-01"
	for _, key := range []string{old, young, "_probe/not-a-nonce/x"} {
		must(t, s.Publish(t.Context(), key, []byte("x")))
	}
	b := &bent{Store: s, list: aged(s, old)}
	asked := false
	b.abort = func(prefix string, dead func(string) bool) error {
		if prefix != layout.ProbePrefix {
			return nil
		}
		asked = true
		if !dead("_probe/"+oldNonce+"/large") || dead("_probe/"+youngNonce+"/large") || dead("_probe/not-a-nonce/x") {
			t.Error("AbortUnfinished got a wrong choice, want only the uploads of the killed examination")
		}
		return nil
	}
	r := examineIt(t, opened(b), &Options{Quick: true})
	if got := keysOf(t, s); !slices.Equal(got, slices.Sorted(slices.Values([]string{young, "_probe/not-a-nonce/x"}))) {
		t.Errorf("left %v, want the young examination's object and the foreign one", got)
	}
	if got := text(r); !strings.Contains(got, "1 object of killed ones removed") || !strings.Contains(got, "1 object below _probe/ of one that is at work") {
		t.Errorf("%s\nwant 1 object removed, and 1 left", got)
	}
	if !asked {
		t.Error("AbortUnfinished was not called, want it for the killed examination")
	}
}

// If nothing can be removed again, nothing is written, unless Options.Write is set.
func TestHeld(t *testing.T) {
	t.Parallel()
	faults := mem.NewFaults(mem.New(), nil)
	o := opened(faults)
	o.Facts.Hazards = func(context.Context) []storage.Hazard {
		return []storage.Hazard{{Name: "object lock", Weight: storage.WeightWarning, Seen: "s", Advice: "a.", Holds: true}}
	}
	r := examineIt(t, o, &Options{Quick: true})
	if faults.Count() != 0 || !r.GetReadOnly() || r.GetVerdict() != ckptdv1.Verdict_VERDICT_NOT_EXAMINED || !strings.Contains(finding(r, "writing"), "--write") {
		t.Errorf("%d mutations, want none, and a report that it only read: %s", faults.Count(), text(r))
	}
	o.Facts.Purge = func(context.Context, string) (int, error) { return 7, errors.New("retained") }
	r = examineIt(t, o, &Options{Quick: true, Write: true})
	if r.GetVerdict() != ckptdv1.Verdict_VERDICT_FIT || !strings.Contains(finding(r, LeftBehind), "7 old versions below _probe/") ||
		!strings.Contains(finding(r, LeftBehind), "retained: Delete them by hand, with their delete markers, when the retention has ended.") {
		t.Errorf("with --write: %s\nwant it fit, and 7 old versions left", text(r))
	}
}

// Old versions are removed below the examination's own prefix. The report names those that stay.
func TestPurge(t *testing.T) {
	t.Parallel()
	for _, left := range []int{0, 1} {
		o := opened(mem.New())
		var asked string
		o.Facts.Purge = func(_ context.Context, prefix string) (int, error) { asked = prefix; return left, nil }
		r := examineIt(t, o, &Options{Quick: true, Permission: func(operation string) string { return operation + "-right" }})
		if !strings.HasPrefix(asked, "_probe/") || len(asked) < len("_probe/x/") {
			t.Errorf("purged %q, want the examination's own prefix", asked)
		}
		if got := finding(r, LeftBehind); (got != "") != (left > 0) || left > 0 && !strings.Contains(got, "purge-right") {
			t.Errorf("left behind: %q, want the versions that stayed, and the permission", got)
		}
	}
}

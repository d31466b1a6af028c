package doctor

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/mem"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// A full store, or a user without free file descriptors, does not make a store unfit. The advice names what has run
// out.
func TestRunOut(t *testing.T) {
	t.Parallel()
	for errno, advice := range map[syscall.Errno]string{
		syscall.ENOSPC: "Make space", syscall.EDQUOT: "quota", syscall.EMFILE: "open files", syscall.ENFILE: "open files",
	} {
		for name, large := range map[string]bool{"anything": false, "something large": true} {
			s := mem.New()
			full := func(key string) error {
				return &storage.Error{Op: "write", Key: key, Err: fmt.Errorf("write: %w", errno)}
			}
			b := &bent{Store: s}
			if large {
				b.create = func(ctx context.Context, key string, opts storage.CreateOptions) (storage.Writer, error) {
					if strings.Contains(key, "/large-") || strings.Contains(key, "/there") || strings.Contains(key, "/unfinished") {
						return nil, full(key)
					}
					return s.Create(ctx, key, opts)
				}
			} else {
				b.publish = func(_ context.Context, key string, _ []byte) error { return full(key) }
			}
			r := examineIt(t, opened(b), &Options{Quick: true})
			if r.GetVerdict() != ckptdv1.Verdict_VERDICT_NOT_EXAMINED || !strings.Contains(text(r), advice) || strings.Contains(text(r), "permission") {
				t.Errorf("%v at %s: %s\nwant it not examined, with the advice %q", errno, name, text(r), advice)
			}
			if left := keysOf(t, s); len(left) > 0 {
				t.Errorf("left: %v, want nothing", left)
			}
		}
	}
}

// A read-only file system is unfit, and no permission of a user would help.
func TestReadOnlyFileSystem(t *testing.T) {
	t.Parallel()
	b := &bent{Store: mem.New(), publish: func(_ context.Context, key string, _ []byte) error {
		return &storage.Error{Op: "publish", Key: key, Err: fmt.Errorf("open: %w", syscall.EROFS)}
	}}
	r := examineIt(t, opened(b), &Options{Quick: true})
	if r.GetVerdict() != ckptdv1.Verdict_VERDICT_UNFIT || !strings.Contains(text(r), "Mount it for writing") || strings.Contains(text(r), "permission") {
		t.Errorf("%s\nwant it unfit, with the advice to mount it for writing", text(r))
	}
}

// A store that takes no writes for now may be fit, and no permission of a user would help.
func TestPaused(t *testing.T) {
	t.Parallel()
	b := &bent{Store: mem.New(), publish: func(_ context.Context, key string, _ []byte) error {
		return &storage.Error{Op: "publish", Key: key, Err: fmt.Errorf("safe mode: %w", storage.ErrPaused)}
	}}
	r := examineIt(t, opened(b), &Options{Quick: true})
	if r.GetVerdict() != ckptdv1.Verdict_VERDICT_NOT_EXAMINED || !strings.Contains(text(r), runAgain) || strings.Contains(text(r), "permission") {
		t.Errorf("%s\nwant it not examined, with the advice to run doctor again", text(r))
	}
}

// A folder that a user may not look into is no wrong address.
func TestOpeningNotPermitted(t *testing.T) {
	t.Parallel()
	refused := fmt.Errorf("stat /x: %w", fs.ErrPermission)
	o := &Options{Opening: "Mend the address.", Permission: func(operation string) string { return map[string]string{"open": "execute above it"}[operation] }}
	for err, want := range map[error]string{refused: "Give ckptd's user execute above it.", io.ErrUnexpectedEOF: o.Opening} {
		r := Unopened("hdfs://x/y", "hdfs", false, err, o)
		if r.GetVerdict() != ckptdv1.Verdict_VERDICT_NOT_EXAMINED || r.GetFindings()[0].GetAdvice() != want {
			t.Errorf("%v: %s\nwant it not examined, with the advice %q", err, text(r), want)
		}
	}
}

// Space may run out while processes race: their errors come as text.
func TestRunOutInARace(t *testing.T) {
	t.Parallel()
	for kind, check := range map[string]string{"/race-": "publish races", "/look-": "read after write"} {
		s := mem.New()
		b := &bent{Store: s, publish: func(ctx context.Context, key string, data []byte) error {
			if strings.Contains(key, kind) {
				return &storage.Error{Op: "publish", Key: key, Err: fmt.Errorf("write: %w (inodes free: 0 of 60)", syscall.ENOSPC)}
			}
			return s.Publish(ctx, key, data)
		}}
		r := examineIt(t, opened(b), &Options{Quick: true})
		for _, f := range r.GetFindings() {
			if f.GetCheck() == check && (f.GetResult() != ckptdv1.Result_RESULT_NOT_EXAMINED || !strings.Contains(f.GetAdvice(), "inodes")) {
				t.Errorf("%s: %v, want advice on inodes", check, f)
			}
		}
		if !strings.Contains(text(r), check) {
			t.Errorf("no check %s in %s", check, text(r))
		}
	}
}

// A read without an answer is not a read of an absent object.
func TestStatThrottledOnce(t *testing.T) {
	t.Parallel()
	s := mem.New()
	b := &bent{Store: s}
	var n atomic.Int64
	b.stat = func(ctx context.Context, key string) (storage.Info, error) {
		// The racers also look at each key before its object exists.
		if strings.Contains(key, "/look-000-00") && n.Add(1) == localRacers+1 {
			return storage.Info{}, &storage.Error{Op: "stat", Key: key, Err: storage.ErrThrottled}
		}
		return s.Stat(ctx, key)
	}
	r := examineIt(t, opened(b), &Options{Quick: true})
	if n.Load() <= localRacers || r.GetVerdict() != ckptdv1.Verdict_VERDICT_NOT_EXAMINED {
		t.Errorf("%d looks: %s\nwant more looks than racers, and a store not examined", n.Load(), text(r))
	}
}

// A store was opened for reading only, because it did not answer then. It is not unfit if it answers now.
func TestOpenedToRead(t *testing.T) {
	t.Parallel()
	faults := mem.NewFaults(mem.New(), nil)
	r := examineIt(t, opened(faults), &Options{Quick: true, ReadOnly: true})
	if faults.Count() != 0 || !r.GetReadOnly() || r.GetVerdict() != ckptdv1.Verdict_VERDICT_NOT_EXAMINED {
		t.Errorf("%d mutations, want none, and a store not examined: %s", faults.Count(), text(r))
	}
}

// A race whose winner's object does not exist is not a race with one winner.
func TestIfAbsentForgets(t *testing.T) {
	t.Parallel()
	s := mem.New()
	b := &bent{Store: s}
	b.open = func(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
		if strings.Contains(key, "/absent-") {
			return nil, &storage.Error{Op: "open", Key: key, Err: storage.ErrNotFound}
		}
		return s.Open(ctx, key, offset, length)
	}
	r := examineIt(t, opened(b), &Options{Quick: true})
	if results(r)["create if absent"] != ckptdv1.Result_RESULT_UNFIT {
		t.Errorf("%s\nwant create if absent unfit", text(r))
	}
}

// Content of other programs may change, disappear, be a link or be private while it is read; that says nothing about
// the store. In a root of ckptd, objects may disappear.
func TestOnlyReadWhatOthersChange(t *testing.T) {
	t.Parallel()
	stat := func(ctx context.Context, s storage.Store, key string) (storage.Info, error) {
		info, err := s.Stat(ctx, key)
		info.Size++
		return info, err
	}
	gone := func(op, key string) error { return &storage.Error{Op: op, Key: key, Err: storage.ErrNotFound} }
	for name, bend := range map[string]func(b *bent, s storage.Store){
		"grows": func(b *bent, s storage.Store) {
			b.stat = func(ctx context.Context, key string) (storage.Info, error) { return stat(ctx, s, key) }
		},
		"goes": func(b *bent, s storage.Store) {
			b.stat = func(_ context.Context, key string) (storage.Info, error) { return storage.Info{}, gone("stat", key) }
			b.open = func(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
				if key == layout.RootMarkerKey {
					return s.Open(ctx, key, offset, length)
				}
				return nil, gone("open", key)
			}
		},
		"private": func(b *bent, s storage.Store) {
			b.open = func(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
				if key == layout.RootMarkerKey {
					return s.Open(ctx, key, offset, length)
				}
				return nil, &storage.Error{Op: "open", Key: key, Err: syscall.EACCES}
			}
		},
	} {
		s := mem.New()
		must(t, s.Publish(t.Context(), "log", bytes.Repeat([]byte("line\n"), 100)))
		b := &bent{Store: s}
		bend(b, s)
		if r := examineIt(t, opened(b), &Options{Quick: true}); r.GetVerdict() != ckptdv1.Verdict_VERDICT_NOT_EXAMINED {
			t.Errorf("%s: %s\nwant it not examined", name, text(r))
		}
	}
}

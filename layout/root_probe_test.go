package layout_test

import (
	"context"
	"errors"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/mem"
)

// A lagging store shows an earlier state.
type lagging struct {
	storage.Store
	mu sync.Mutex
	// since says when a key was published.
	since map[string]time.Time
	// lists and reads are the delays after which lists and reads show an object.
	listLag, readLag time.Duration
	// absences and lists are remembered.
	remembersAbsence, remembersLists bool
	absent                           map[string]bool
	lists                            map[string][]storage.Info
}

func newLagging() *lagging {
	return &lagging{Store: mem.New(), since: map[string]time.Time{}, absent: map[string]bool{}, lists: map[string][]storage.Info{}}
}

func (l *lagging) fresh(key string, lag time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.absent[key] || time.Since(l.since[key]) < lag
}

func (l *lagging) Publish(ctx context.Context, key string, data []byte) error {
	l.mu.Lock()
	if _, there := l.since[key]; !there {
		l.since[key] = time.Now()
	}
	l.mu.Unlock()
	return l.Store.Publish(ctx, key, data)
}

func (l *lagging) Stat(ctx context.Context, key string) (storage.Info, error) {
	if l.fresh(key, l.readLag) {
		return storage.Info{}, storage.ErrNotFound
	}
	info, err := l.Store.Stat(ctx, key)
	if l.remembersAbsence && errors.Is(err, storage.ErrNotFound) {
		l.mu.Lock()
		l.absent[key] = true
		l.mu.Unlock()
	}
	return info, err
}

func (l *lagging) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if l.fresh(key, l.readLag) {
		return nil, storage.ErrNotFound
	}
	return l.Store.Open(ctx, key, offset, length)
}

func (l *lagging) List(ctx context.Context, prefix string) iter.Seq2[storage.Info, error] {
	l.mu.Lock()
	infos, known := l.lists[prefix]
	l.mu.Unlock()
	if !known {
		for info := range l.Store.List(ctx, prefix) {
			infos = append(infos, info)
		}
		if l.remembersLists {
			l.mu.Lock()
			l.lists[prefix] = infos
			l.mu.Unlock()
		}
	}
	infos = slices.DeleteFunc(slices.Clone(infos), func(i storage.Info) bool { return l.fresh(i.Key, l.listLag) })
	return func(yield func(storage.Info, error) bool) {
		for _, info := range infos {
			if !yield(info, nil) {
				return
			}
		}
	}
}

// A store that shows objects late is refused, and so is a store that remembers that an object was absent.
func TestOpenRootRefusesStoresThatShowThingsLate(t *testing.T) {
	for name, c := range map[string]struct {
		bend    func(l *lagging)
		message string
	}{
		"lists late":       {func(l *lagging) { l.listLag = 100 * time.Millisecond }, "a list that began after a write does not show"},
		"remembers lists":  {func(l *lagging) { l.remembersLists = true }, "a list that began after a write does not show"},
		"reads late":       {func(l *lagging) { l.readLag = 20 * time.Millisecond }, "is not found right after it was written"},
		"remembers absent": {func(l *lagging) { l.remembersAbsence = true }, "is not found right after it was written"},
		"fit":              {func(*lagging) {}, ""},
	} {
		l := newLagging()
		c.bend(l)
		var err error
		synctest.Test(t, func(t *testing.T) { // or a slow machine looks when nothing is late any more
			_, err = layout.OpenRoot(t.Context(), l)
		})
		if c.message == "" && err != nil || c.message != "" && (!errors.Is(err, layout.ErrUnfit) || !strings.Contains(err.Error(), c.message)) {
			t.Errorf("a store that %s: %v, want ErrUnfit, %q", name, err, c.message)
		}
		if _, err := l.Store.Stat(t.Context(), layout.RootMarkerKey); (err == nil) != (c.message == "") {
			t.Errorf("a store that %s: stat of the marker: %v, want a marker only if the store is fit", name, err)
		}
	}
}

// keeping is a store whose deletes fail.
type keeping struct {
	storage.Store
	err error
}

func (k *keeping) Delete(_ context.Context, keys []string) []error {
	return slices.Repeat([]error{k.err}, len(keys))
}

// A store that deletes nothing is refused at the first start and at the next. A store that only does not answer a
// delete is accepted.
func TestOpenRootRefusesStoresThatDeleteNothing(t *testing.T) {
	k := &keeping{mem.New(), errors.New("AccessDenied: locked")}
	for range 2 {
		if _, err := layout.OpenRoot(t.Context(), k); !errors.Is(err, layout.ErrUnfit) || !strings.Contains(err.Error(), "cannot be deleted again: AccessDenied: locked") {
			t.Errorf("%v, want ErrUnfit", err)
		}
	}
	k = &keeping{mem.New(), storage.ErrUnknown}
	if _, err := layout.OpenRoot(t.Context(), k); err != nil {
		t.Error(err)
	}
}

// The start-up line reports the removed objects of killed probes.
func TestOpenRootTellsWhatItRemoves(t *testing.T) {
	s := mem.New()
	publish(t, s, "_probe/"+layout.NewNonce()+"/canary", "x")
	r, err := layout.OpenRoot(t.Context(), s)
	if err != nil || r.Probe.Removed != 1 || !strings.HasSuffix(r.String(), ", removed what killed ones left: 1") {
		t.Errorf("OpenRoot = %v, %v; want 1 removed object, and a line that says so", r, err)
	}
}

// A start leaves the proof of a call that may still be under way, and removes one that a killed command has left long ago.
func TestOpenRootSparesYoungProofs(t *testing.T) {
	s := mem.New()
	young, remove, err := layout.ProveRoot(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	old, _, err := layout.ProveRoot(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	aged := ageing{s, old}
	r, err := layout.OpenRoot(t.Context(), aged)
	if err != nil || r.Probe.Removed != 1 {
		t.Errorf("OpenRoot = %v, %v; want 1 removed object", r, err)
	}
	if sees, err := layout.SeesProof(t.Context(), s, young); err != nil || !sees {
		t.Errorf("the proof of a call is seen: %v, %v; want that it is", sees, err)
	}
	remove()
	if left := keys(t, s); len(left) != 1 {
		t.Errorf("%v are there, want the marker only", left)
	}
}

// ageing shows one object as two hours older than it is.
type ageing struct {
	storage.Store
	key string
}

func (a ageing) List(ctx context.Context, prefix string) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		for info, err := range a.Store.List(ctx, prefix) {
			if info.Key == a.key {
				info.ModTime = info.ModTime.Add(-2 * time.Hour)
			}
			if !yield(info, err) {
				return
			}
		}
	}
}

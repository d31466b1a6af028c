package layout_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/file"
	"github.com/ckptd/ckptd/layout/storage/mem"
)

func keys(t *testing.T, s storage.Store) (all []string) {
	t.Helper()
	for info, err := range s.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, info.Key)
	}
	return all
}

func publish(t *testing.T, s storage.Store, key, text string) {
	t.Helper()
	if err := s.Publish(t.Context(), key, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func marker(t *testing.T, s storage.Store) []byte {
	t.Helper()
	r, err := s.Open(t.Context(), layout.RootMarkerKey, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestOpenRootMakesOneAndFindsItAgain(t *testing.T) {
	onDisk, err := file.Open(t.Context(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = onDisk.Close() }()
	for name, s := range map[string]storage.Store{"mem": mem.New(), "file": onDisk.Store} {
		if _, err := layout.ReadRoot(t.Context(), s); !errors.Is(err, layout.ErrNotRoot) {
			t.Errorf("%s: ReadRoot of an empty store: %v, want ErrNotRoot", name, err)
		}
		first, err := layout.OpenRoot(t.Context(), s)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		t.Logf("%s: %v", name, first)
		if !first.Created || first.Probe.Decided != first.Probe.Rounds {
			t.Errorf("%s: the first OpenRoot = %v, want it created, and all races decided", name, first)
		}
		again, err := layout.OpenRoot(t.Context(), s)
		if err != nil || again.Created || again.ID != first.ID {
			t.Errorf("%s: the second OpenRoot = %v, %v; want the same root, not created", name, again, err)
		}
		read, err := layout.ReadRoot(t.Context(), s)
		if err != nil || read.ID != first.ID || read.Probe != nil {
			t.Errorf("%s: ReadRoot = %v, %v; want the same root, without a probe", name, read, err)
		}
		if got := keys(t, s); len(got) != 1 || got[0] != layout.RootMarkerKey {
			t.Errorf("%s: left on storage: %v, want the marker alone", name, got)
		}
		if !strings.HasPrefix(first.String(), "root "+first.ID+", format 1, new, publish probed: 32 of 32 races with one winner") {
			t.Errorf("%s: line %q, want the root's id, format and races", name, first)
		}
	}
}

func TestOpenRootRefusesContentWithoutMarker(t *testing.T) {
	s := mem.New()
	for _, key := range []string{"photos/1.jpg", "photos/2.jpg", "b", "c", "_probe/x/00"} {
		publish(t, s, key, "x")
	}
	for name, open := range map[string]func(context.Context, storage.Store) (layout.Root, error){"OpenRoot": layout.OpenRoot, "ReadRoot": layout.ReadRoot} {
		_, err := open(t.Context(), s)
		if !errors.Is(err, layout.ErrNotRoot) || !strings.HasSuffix(err.Error(), ": b, c, photos/") {
			t.Errorf("%s: %v, want ErrNotRoot with what was found", name, err)
		}
	}
	if got := keys(t, s); len(got) != 5 {
		t.Errorf("the store holds %v, want its 5 objects", got)
	}
	for i := range 10 {
		publish(t, s, fmt.Sprint("more", i), "x")
	}
	if _, err := layout.ReadRoot(t.Context(), s); !errors.Is(err, layout.ErrNotRoot) || !strings.HasSuffix(err.Error(), ", …") {
		t.Errorf("with more names: %v, want ErrNotRoot, and names that end in …", err)
	}
}

func TestOpenRootRemovesStaleProbes(t *testing.T) {
	s := mem.New()
	publish(t, s, "_probe/killed/canary", "x")
	if _, err := layout.OpenRoot(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	publish(t, s, "_probe/killed/07", "x")
	if _, err := layout.OpenRoot(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if got := keys(t, s); len(got) != 1 {
		t.Errorf("left: %v, want the marker alone", got)
	}
}

// withSum ends a marker's text as a newer ckptd would.
func withSum(text string) string { return fmt.Sprintf("%scrc32c %08x\n", text, crc32c([]byte(text))) }

func TestRootMarkers(t *testing.T) {
	id := "id " + nonceA + "\n"
	for _, c := range []struct {
		name, text  string
		read, write error
	}{
		{"ours", withSum("ckptd root\nformat 1\nleast-reader 1\nleast-writer 1\n" + id), nil, nil},
		{"newer, still open to us", withSum("ckptd root\nformat 3\nleast-reader 1\nleast-writer 1\n" + id + "flavour mint\n"), nil, nil},
		{"newer, to be read only", withSum("ckptd root\nformat 3\nleast-reader 1\nleast-writer 2\n" + id), nil, layout.ErrNewerFormat},
		{"newer", withSum("ckptd root\nformat 3\nleast-reader 2\nleast-writer 2\nwho knows\n"), layout.ErrNewerFormat, layout.ErrNewerFormat},
		{"empty", "", layout.ErrCorrupt, layout.ErrCorrupt},
		{"foreign", "hello\n", layout.ErrCorrupt, layout.ErrCorrupt},
		{"no id", withSum("ckptd root\nformat 1\nleast-reader 1\nleast-writer 1\n"), layout.ErrCorrupt, layout.ErrCorrupt},
		{"format 0", withSum("ckptd root\nformat 0\nleast-reader 1\nleast-writer 1\n" + id), layout.ErrCorrupt, layout.ErrCorrupt},
		{"other order", withSum("ckptd root\nleast-reader 1\nformat 1\nleast-writer 1\n" + id), layout.ErrCorrupt, layout.ErrCorrupt},
		{"unknown line", withSum("ckptd root\nformat 1\nleast-reader 1\nleast-writer 1\n" + id + "x y\n"), layout.ErrCorrupt, layout.ErrCorrupt},
	} {
		s := mem.New()
		publish(t, s, layout.RootMarkerKey, c.text)
		if _, err := layout.ReadRoot(t.Context(), s); !errors.Is(err, c.read) {
			t.Errorf("%s: ReadRoot: %v, want %v", c.name, err, c.read)
		}
		faults := mem.NewFaults(s, nil)
		if _, err := layout.OpenRoot(t.Context(), faults); !errors.Is(err, c.write) {
			t.Errorf("%s: OpenRoot: %v, want %v", c.name, err, c.write)
		}
		if n := faults.Count(); c.write != nil && n != 0 {
			t.Errorf("%s: refused after %d mutations, want none", c.name, n)
		}
	}
}

func TestRootMarkerEveryByteFlippedAndCut(t *testing.T) {
	s := mem.New()
	if _, err := layout.OpenRoot(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	whole := marker(t, s)
	try := func(what string, data []byte) {
		t.Helper()
		s := mem.New()
		publish(t, s, layout.RootMarkerKey, string(data))
		if r, err := layout.ReadRoot(t.Context(), s); !errors.Is(err, layout.ErrCorrupt) {
			t.Errorf("%s: %v, %v; want ErrCorrupt", what, r, err)
		}
	}
	for i := range whole {
		for _, flip := range []byte{1, 0x20, 0x80} {
			bad := bytes.Clone(whole)
			bad[i] ^= flip
			try(fmt.Sprintf("byte %d ^ %02x", i, flip), bad)
		}
		try(fmt.Sprintf("cut to %d", i), whole[:i])
	}
	try("with a byte more", append(bytes.Clone(whole), '\n'))
}

// Processes that open one prefix at the same time remove each other's probes. In the end all have the same root.
func TestOpenRootByManyAtOnce(t *testing.T) {
	shared := mem.New()
	t.Run("mem", func(t *testing.T) {
		openByMany(t, func() storage.Store { return shared })
	})
	dir := t.TempDir()
	t.Run("file", func(t *testing.T) {
		openByMany(t, func() storage.Store {
			opened, err := file.Open(t.Context(), dir, nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = opened.Close() })
			return opened.Store
		})
	})
}

func openByMany(t *testing.T, process func() storage.Store) {
	const n = 4
	var roots [n]layout.Root
	var errs [n]error
	var wg sync.WaitGroup
	for i := range n {
		s := process()
		wg.Go(func() { roots[i], errs[i] = layout.OpenRoot(t.Context(), s) })
	}
	wg.Wait()
	created := 0
	for i := range n {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		if roots[i].ID != roots[0].ID {
			t.Errorf("two roots: %v and %v, want one", roots[0], roots[i])
		}
		if roots[i].Created {
			created++
		}
	}
	if created != 1 {
		t.Errorf("%d processes report that they made the root, want 1", created)
	}
	if got := keys(t, process()); len(got) != 1 {
		t.Errorf("left: %v, want the marker alone", got)
	}
}

func TestOpenRootWithLostReplies(t *testing.T) {
	for _, seed := range []uint64{1, 2, 3} {
		s := mem.New()
		faults := mem.NewFaults(s, mem.Seeded(seed, mem.Rates{DoneButError: 0.1}))
		r, err := layout.OpenRoot(t.Context(), faults)
		if err != nil {
			t.Errorf("seed %d: %v", seed, err)
			continue
		}
		if r.Probe.Decided == r.Probe.Rounds {
			t.Errorf("seed %d: all races were decided, want some undecided", seed)
		}
	}
}

// altered is a store with another Publish.
type altered struct {
	storage.Store
	publish func(ctx context.Context, inner storage.Store, key string, data []byte) error
}

func (a altered) Publish(ctx context.Context, key string, data []byte) error {
	return a.publish(ctx, a.Store, key, data)
}

func put(ctx context.Context, s storage.Store, key string, data []byte) error {
	s.Delete(ctx, []string{key})
	return s.Publish(ctx, key, data)
}

func TestOpenRootRefusesUnfitStores(t *testing.T) {
	for _, c := range []struct {
		name, message string
		publish       func(ctx context.Context, inner storage.Store, key string, data []byte) error
	}{
		{"replaces what is there", "both told that they won", func(ctx context.Context, s storage.Store, key string, data []byte) error {
			if err := put(ctx, s, key, data); !errors.Is(err, storage.ErrExists) {
				return err
			}
			return nil
		}},
		{"looks before it writes", "both told that they won", func(ctx context.Context, s storage.Store, key string, data []byte) error {
			if _, err := s.Stat(ctx, key); err == nil {
				return storage.ErrExists
			}
			time.Sleep(time.Millisecond)
			if err := put(ctx, s, key, data); !errors.Is(err, storage.ErrExists) {
				return err
			}
			return nil
		}},
		{"shows a part first", "saw a part", func(ctx context.Context, s storage.Store, key string, data []byte) error {
			if err := s.Publish(ctx, key, data[:len(data)/2]); err != nil {
				return err
			}
			time.Sleep(time.Millisecond)
			return put(ctx, s, key, data)
		}},
		{"forgets", "is not found", func(ctx context.Context, s storage.Store, key string, data []byte) error {
			if strings.HasSuffix(key, "canary") || data[0] == 'a' {
				return s.Publish(ctx, key, data)
			}
			time.Sleep(time.Millisecond)
			err := s.Publish(ctx, key, data)
			s.Delete(ctx, []string{key})
			return err
		}},
		{"tells the wrong one", "but the object is the other's", func(ctx context.Context, s storage.Store, key string, data []byte) error {
			err := s.Publish(ctx, key, data)
			if strings.HasSuffix(key, "canary") {
				return err
			}
			if err == nil {
				return storage.ErrExists
			}
			return nil
		}},
	} {
		s := mem.New()
		_, err := layout.OpenRoot(t.Context(), altered{s, c.publish})
		if !errors.Is(err, layout.ErrUnfit) || !strings.Contains(err.Error(), c.message) {
			t.Errorf("a store that %s: %v, want ErrUnfit, %q", c.name, err, c.message)
		}
		if got := keys(t, s); len(got) != 0 {
			t.Errorf("a store that %s: left %v, want nothing", c.name, got)
		}
	}
}

// Another process that opens the root removes the probe as stale. That is not a fault of the store.
func TestOpenRootDisturbedByANeighbour(t *testing.T) {
	s := mem.New()
	publishes := 0
	var mu sync.Mutex
	r, err := layout.OpenRoot(t.Context(), altered{s, func(ctx context.Context, s storage.Store, key string, data []byte) error {
		err := s.Publish(ctx, key, data)
		mu.Lock()
		defer mu.Unlock()
		if publishes++; publishes == 10 {
			for _, k := range keys(t, s) {
				s.Delete(ctx, []string{k})
			}
		}
		return err
	}})
	if err != nil || publishes < 2*r.Probe.Rounds+10 {
		t.Errorf("%v, %v, after %d publishes; want a second probe", r, err, publishes)
	}
}

func TestOpenRootReportsTheStoresTrouble(t *testing.T) {
	faults := mem.NewFaults(mem.New(), func(m mem.Mutation) mem.Outcome {
		if m.N > 20 && m.Op != mem.OpDelete {
			return mem.Failed()
		}
		return mem.Done()
	})
	if _, err := layout.OpenRoot(t.Context(), faults); !errors.Is(err, mem.ErrInjected) || errors.Is(err, layout.ErrUnfit) {
		t.Errorf("got %v, want the store's own error", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := mem.New()
	if _, err := layout.OpenRoot(ctx, s); !errors.Is(err, context.Canceled) {
		t.Errorf("OpenRoot with a cancelled context: %v, want the context's error", err)
	}
}

// Package statetest is the test suite that every state backend passes. It owns the promises of state.Backend and
// state.Factory, as tests. It knows no backend.
package statetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/ckptd/ckptd/layout/keygroup"
	"github.com/ckptd/ckptd/runtime/state"
)

var everything = keygroup.Range{Start: 0, End: 127}

// Backends runs the suite.
func Backends(t *testing.T, open state.Factory) {
	t.Run("ValuesAreThoseOfTheLastPut", func(t *testing.T) { lastPut(t, open) })
	t.Run("KeyGroupOutsideOfTheRangeIsAnError", func(t *testing.T) { outside(t, open) })
	t.Run("SnapshotHoldsExactlyThePutsBeforeIt", func(t *testing.T) { exactly(t, open) })
	t.Run("SharedNameMeansTheSameBytes", func(t *testing.T) { sameBytes(t, open) })
	t.Run("SnapshotOutlivesClose", func(t *testing.T) { outlives(t, open) })
	t.Run("ReleaseRemovesWhatNothingElseHolds", func(t *testing.T) { releases(t, open) })
	t.Run("EveryCallFailsAfterClose", func(t *testing.T) { closed(t, open) })
	t.Run("EachOpenHasANonceOfItsOwn", func(t *testing.T) { nonces(t, open) })
	t.Run("RestoredFilesKeepTheirKeys", func(t *testing.T) { keepKeys(t, open) })
	t.Run("FileTooFewCutOrForeignIsAnError", func(t *testing.T) { badFiles(t, open) })
	t.Run("FlippedByteIsNeverAWrongValue", func(t *testing.T) { flipped(t, open) })
	t.Run("NarrowerRangeDropsTheRest", func(t *testing.T) { narrower(t, open) })
	t.Run("WiderRangeIsRefused", func(t *testing.T) { wider(t, open) })
	t.Run("CancelledContextOpensNothing", func(t *testing.T) { cancelled(t, open) })
	t.Run("Model", func(t *testing.T) { rapid.Check(t, func(r *rapid.T) { model(r, open) }) })
}

// Fetch copies a snapshot's files as a restore would fetch them. The key of a new shared file is prefix and the
// file's name.
func Fetch(t tb, s *state.Snapshot, prefix string) []state.RestoredFile {
	t.Helper()
	dir := tempDir(t)
	var files []state.RestoredFile
	for i, f := range s.Files {
		p := content(t, f)
		if int64(len(p)) != f.Size {
			t.Fatalf("%s has %d bytes, want the announced %d", f.Name, len(p), f.Size)
		}
		path := filepath.Join(dir, fmt.Sprint(i))
		check(t, os.WriteFile(path, p, 0o666))
		key := f.RestoredKey
		if key == "" && f.Shared {
			key = prefix + f.Name
		}
		files = append(files, state.RestoredFile{Name: f.Name, Path: path, RestoredKey: key})
	}
	return files
}

// content returns the bytes of a file of a snapshot.
func content(t tb, f state.File) []byte {
	t.Helper()
	r, err := f.Reader()
	check(t, err)
	p, err := io.ReadAll(r)
	check(t, err)
	check(t, r.Close())
	return p
}

func lastPut(t *testing.T, open state.Factory) {
	b := begin(t, open)
	for _, key := range []string{"", "a", "\x00", "ab", "\xff"} {
		want(t, b, 3, key, nil)
		put(t, b, 3, key, "1")
		put(t, b, 3, key, "longer than before")
		want(t, b, 3, key, []byte("longer than before"))
		put(t, b, 3, key, "")
		want(t, b, 3, key, []byte{})
		put(t, b, 127, key, "other group")
		want(t, b, 3, key, []byte{})
	}
	check(t, b.Put(0, []byte("nil"), nil))
	want(t, b, 0, "nil", []byte{})
	key, value := []byte("key"), []byte("value")
	check(t, b.Put(1, key, value))
	key[0], value[0] = 'x', 'x' // still the caller's
	want(t, b, 1, "key", []byte("value"))
}

func outside(t *testing.T, open state.Factory) {
	for name, call := range map[string]func(state.Backend, uint16) error{
		"get": func(b state.Backend, g uint16) error { _, err := b.Get(g, []byte("k")); return err },
		"put": func(b state.Backend, g uint16) error { return b.Put(g, []byte("k"), nil) },
	} {
		for _, group := range []uint16{0, 9, 21, 65535} {
			b := openIn(t, open, keygroup.Range{Start: 10, End: 20}, nil)
			if call(b, group) == nil {
				t.Errorf("%s in group %d: no error, want one", name, group)
			}
		}
	}
}

func exactly(t *testing.T, open state.Factory) {
	b := begin(t, open)
	for i := range 500 {
		put(t, b, uint16(i%128), fmt.Sprint(i), "before")
	}
	first := snapshot(t, b, 1)
	done := make(chan []state.RestoredFile)
	go func() { done <- Fetch(t, first, "k/") }() // the upload, while writes continue
	for i := range 1000 {
		put(t, b, uint16(i%128), fmt.Sprint(i), "after")
	}
	second := snapshot(t, b, 2)
	first2 := <-done
	for name, files := range map[string][]state.RestoredFile{"during": first2, "after": Fetch(t, first, "k/")} {
		r := openIn(t, open, everything, files)
		for i := range 1000 {
			if i < 500 {
				want(t, r, uint16(i%128), fmt.Sprint(i), []byte("before"))
			} else {
				want(t, r, uint16(i%128), fmt.Sprint(i), nil)
			}
		}
		t.Log(name)
	}
	r := openIn(t, open, everything, Fetch(t, second, ""))
	want(t, r, 0, "0", []byte("after"))
	want(t, r, 999%128, "999", []byte("after"))
}

func sameBytes(t *testing.T, open state.Factory) {
	b := begin(t, open)
	seen := map[string][32]byte{}
	for n := range 20 {
		for i := range 200 {
			put(t, b, uint16(i%128), fmt.Sprint(i*n), fmt.Sprint(n))
		}
		s := snapshot(t, b, uint64(n))
		for _, f := range s.Files {
			if !f.Shared {
				continue
			}
			p := content(t, f)
			sum := sha256.Sum256(p)
			if old, ok := seen[f.Name]; ok && old != sum {
				t.Fatalf("snapshot %d: %s changed, want the same bytes", n, f.Name)
			}
			seen[f.Name] = sum
		}
		s.Release()
	}
}

func outlives(t *testing.T, open state.Factory) {
	b := begin(t, open)
	put(t, b, 1, "k", "v")
	s := snapshot(t, b, 1)
	check(t, b.Close())
	check(t, b.Close())
	want(t, openIn(t, open, everything, Fetch(t, s, "")), 1, "k", []byte("v"))
	s.Release()
	s.Release()
}

func releases(t *testing.T, open state.Factory) {
	dir := tempDir(t)
	b, err := open(context.Background(), dir, everything, nil)
	check(t, err)
	put(t, b, 1, "k", "v")
	one, two := snapshot(t, b, 1), snapshot(t, b, 1)
	one.Release()
	for _, f := range one.Files {
		if r, err := f.Reader(); err == nil {
			r.Close()
			t.Errorf("%s is still there, want it removed", f.Name)
		}
	}
	want(t, openIn(t, open, everything, Fetch(t, two, "")), 1, "k", []byte("v"))
	check(t, b.Close())
	two.Release()
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left after Close and Release: %v, want nothing", left)
	}
}

func closed(t *testing.T, open state.Factory) {
	b := begin(t, open)
	put(t, b, 1, "k", "v")
	check(t, b.Close())
	_, getErr := b.Get(1, []byte("k"))
	_, snapErr := b.Snapshot(1)
	for op, err := range map[string]error{"get": getErr, "put": b.Put(1, []byte("k"), nil), "snapshot": snapErr} {
		if err == nil {
			t.Errorf("%s after Close: no error, want one", op)
		}
	}
}

func nonces(t *testing.T, open state.Factory) {
	b := begin(t, open)
	one, two := snapshot(t, b, 1), snapshot(t, b, 2)
	if one.InstanceNonce == "" || one.InstanceNonce != two.InstanceNonce {
		t.Errorf("one instance has the nonces %q and %q, want one nonce", one.InstanceNonce, two.InstanceNonce)
	}
	r := openIn(t, open, everything, Fetch(t, one, ""))
	if snapshot(t, r, 3).InstanceNonce == one.InstanceNonce {
		t.Error("the restored instance has the old nonce, want a new one")
	}
}

func keepKeys(t *testing.T, open state.Factory) {
	b := begin(t, open)
	put(t, b, 1, "k", "v")
	for generation := range 3 { // each generation is restored from the one before
		s := snapshot(t, b, uint64(generation))
		files := Fetch(t, s, fmt.Sprintf("shared/%d-", generation))
		b = openIn(t, open, everything, files)
		put(t, b, 1, fmt.Sprint(generation), "v")
		keys := map[string]string{}
		for _, f := range files {
			keys[f.Name] = f.RestoredKey
		}
		for _, f := range snapshot(t, b, 9).Files {
			if f.RestoredKey != "" && f.RestoredKey != keys[f.Name] {
				t.Errorf("%s: restored key %q, want %q", f.Name, f.RestoredKey, keys[f.Name])
			}
			if f.RestoredKey == "" && f.Shared && keys[f.Name] != "" {
				t.Errorf("%s lost its restored key, want it kept", f.Name)
			}
		}
	}
}

func badFiles(t *testing.T, open state.Factory) {
	b := begin(t, open)
	for i := range 100 {
		put(t, b, 1, fmt.Sprint(i), "v")
	}
	s := snapshot(t, b, 1)
	good := Fetch(t, s, "k/")
	refuse := func(name string, files []state.RestoredFile) {
		t.Helper()
		if r, err := open(context.Background(), tempDir(t), everything, files); err == nil {
			t.Errorf("open %s: no error, want one", name)
			r.Close()
		}
	}
	for i, f := range good {
		if len(good) > 1 {
			refuse("without "+f.Name, append(slices.Clone(good[:i]), good[i+1:]...))
		}
		refuse(f.Name+" twice", append(slices.Clone(good), f))
		p, err := os.ReadFile(f.Path)
		check(t, err)
		for _, n := range []int{0, 1, len(p) / 2, len(p) - 1} {
			short := filepath.Join(tempDir(t), "short")
			check(t, os.WriteFile(short, p[:n], 0o666))
			files := slices.Clone(good)
			files[i].Path = short
			refuse(fmt.Sprintf("%s cut at %d", f.Name, n), files)
		}
		files := slices.Clone(good)
		files[i].Path += "-absent"
		refuse(f.Name+" absent", files)
	}
	refuse("a foreign file", append(slices.Clone(good), state.RestoredFile{Name: "../../x", Path: good[0].Path}))
}

func flipped(t *testing.T, open state.Factory) {
	b := begin(t, open)
	for i := range 100 {
		put(t, b, 1, fmt.Sprint(i), "value")
	}
	s := snapshot(t, b, 1)
	for i, f := range s.Files {
		step := max(1, int(f.Size)/50)
		for at := 0; at < int(f.Size); at += step {
			files := Fetch(t, s, "")
			p, err := os.ReadFile(files[i].Path)
			check(t, err)
			p[at] ^= 1 << (at % 8)
			check(t, os.WriteFile(files[i].Path, p, 0o666))
			r, err := open(context.Background(), tempDir(t), everything, files)
			if err != nil {
				continue
			}
			for k := range 100 {
				v, err := r.Get(1, []byte(fmt.Sprint(k)))
				if err == nil && string(v) != "value" {
					t.Errorf("%s flipped at %d of %d: key %d has %q, want its value or an error", f.Name, at, f.Size, k, v)
				}
				if err != nil {
					break
				}
			}
			r.Close()
		}
	}
}

func narrower(t *testing.T, open state.Factory) {
	b := begin(t, open)
	for g := range uint16(128) {
		put(t, b, g, "k", fmt.Sprint(g))
	}
	s := snapshot(t, b, 1)
	half := openIn(t, open, keygroup.Range{Start: 40, End: 80}, Fetch(t, s, ""))
	for g := uint16(40); g <= 80; g++ {
		want(t, half, g, "k", []byte(fmt.Sprint(g)))
	}
	again := openIn(t, open, keygroup.Range{Start: 41, End: 80}, Fetch(t, snapshot(t, half, 2), ""))
	want(t, again, 41, "k", []byte("41"))
	want(t, again, 80, "k", []byte("80"))
}

func wider(t *testing.T, open state.Factory) {
	b := openIn(t, open, keygroup.Range{Start: 10, End: 20}, nil)
	files := Fetch(t, snapshot(t, b, 1), "")
	for _, groups := range []keygroup.Range{{Start: 9, End: 20}, {Start: 10, End: 21}, {Start: 30, End: 40}} {
		if r, err := open(context.Background(), tempDir(t), groups, files); err == nil {
			t.Errorf("groups %v of a snapshot of 10-20: no error, want one", groups)
			r.Close()
		}
	}
}

func cancelled(t *testing.T, open state.Factory) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if b, err := open(ctx, tempDir(t), everything, nil); err == nil {
		t.Error("open with a cancelled context: no error, want one")
		b.Close()
	}
}

// model does random operations on a backend and on a map, and compares both.
func model(t *rapid.T, open state.Factory) {
	type saved struct {
		snapshot *state.Snapshot
		values   map[string]string
	}
	var (
		b      = begin(t, open)
		values = map[string]string{}
		kept   []saved
		n      uint64
		group  = rapid.Uint16Range(0, 3)
		key    = rapid.StringMatching(`[ab]{0,3}`)
	)
	defer func() {
		check(t, b.Close())
		for _, k := range kept {
			k.snapshot.Release()
		}
	}()
	t.Repeat(map[string]func(*rapid.T){
		"put": func(t *rapid.T) {
			for range rapid.IntRange(1, 5).Draw(t, "times") {
				g, k := group.Draw(t, "group"), key.Draw(t, "key")
				v := string(bytes.Repeat([]byte{'v'}, rapid.IntRange(0, 300).Draw(t, "length"))) + fmt.Sprint(len(values))
				put(t, b, g, k, v)
				values[fmt.Sprint(g, k)] = v
			}
		},
		"get": func(t *rapid.T) {
			g, k := group.Draw(t, "group"), key.Draw(t, "key")
			got, err := b.Get(g, []byte(k))
			check(t, err)
			v, ok := values[fmt.Sprint(g, k)]
			if ok != (got != nil) || string(got) != v {
				t.Fatalf("get %d %q: %q, want %q", g, k, got, v)
			}
		},
		"snapshot": func(t *rapid.T) {
			n++
			s, err := b.Snapshot(n)
			check(t, err)
			kept = append(kept, saved{s, maps.Clone(values)})
		},
		"release": func(t *rapid.T) {
			if len(kept) == 0 {
				t.Skip("nothing kept")
			}
			i := rapid.IntRange(0, len(kept)-1).Draw(t, "which")
			kept[i].snapshot.Release()
			kept = slices.Delete(kept, i, i+1)
		},
		"restore": func(t *rapid.T) {
			if len(kept) == 0 {
				t.Skip("nothing kept")
			}
			k := kept[rapid.IntRange(0, len(kept)-1).Draw(t, "which")]
			check(t, b.Close())
			b = openIn(t, open, everything, Fetch(t, k.snapshot, ""))
			values = maps.Clone(k.values)
		},
	})
}

func begin(t tb, open state.Factory) state.Backend {
	t.Helper()
	return openIn(t, open, everything, nil)
}

// openIn opens a backend, and closes it at the end of the test.
func openIn(t tb, open state.Factory, groups keygroup.Range, restore []state.RestoredFile) state.Backend {
	t.Helper()
	b, err := open(context.Background(), tempDir(t), groups, restore)
	check(t, err)
	t.Cleanup(func() { io.Closer(b).Close() })
	return b
}

func snapshot(t tb, b state.Backend, checkpoint uint64) *state.Snapshot {
	t.Helper()
	s, err := b.Snapshot(checkpoint)
	check(t, err)
	t.Cleanup(s.Release)
	return s
}

func put(t tb, b state.Backend, group uint16, key, value string) {
	t.Helper()
	check(t, b.Put(group, []byte(key), []byte(value)))
}

func want(t tb, b state.Backend, group uint16, key string, value []byte) {
	t.Helper()
	got, err := b.Get(group, []byte(key))
	check(t, err)
	if (got == nil) != (value == nil) || !bytes.Equal(got, value) {
		t.Errorf("get %d %q: %q, want %q", group, key, got, value)
	}
}

func check(t tb, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tempDir is like t.TempDir, without the test's name in the path. Tests call it in loops.
func tempDir(t tb) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ckptd-state-")
	check(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// tb is what testing.T and rapid.T have in common.
type tb interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
	Cleanup(f func())
}

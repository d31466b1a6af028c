package verify_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/file"
	"github.com/ckptd/ckptd/layout/storage/mem"
	"github.com/ckptd/ckptd/layout/verify"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

const (
	whole      = ckptdv1.VerifyVerdict_VERIFY_VERDICT_WHOLE
	damaged    = ckptdv1.VerifyVerdict_VERIFY_VERDICT_DAMAGED
	unreadable = ckptdv1.VerifyVerdict_VERIFY_VERDICT_UNREADABLE
	left       = ckptdv1.VerifyVerdict_VERIFY_VERDICT_LEFT
	part       = ckptdv1.VerifyVerdict_VERIFY_VERDICT_PART
)

func run(t *testing.T, s storage.Store, opts verify.Options) *ckptdv1.VerifyReport {
	t.Helper()
	r, err := verify.Run(t.Context(), s, opts)
	must(t, err)
	return r
}

// verdicts gives the verdict of each checkpoint of the one job.
func verdicts(r *ckptdv1.VerifyReport) map[uint64]ckptdv1.VerifyVerdict {
	out := map[uint64]ckptdv1.VerifyVerdict{}
	for _, j := range r.GetJobs() {
		for _, c := range j.GetCheckpoints() {
			out[c.GetCheckpointId()] = c.GetVerdict()
		}
	}
	return out
}

// counted counts the opens of each object.
type counted struct {
	storage.Store
	mu    sync.Mutex
	opens map[string]int
}

func (c *counted) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	c.mu.Lock()
	c.opens[key]++
	c.mu.Unlock()
	return c.Store.Open(ctx, key, offset, length)
}

// A whole root is whole. Each file is read once, although several checkpoints name it.
func TestWhole(t *testing.T) {
	s := &counted{Store: mem.New(), opens: map[string]int{}}
	w := newWorld(t, s, 1, 9<<20, 1, 2, 3)
	r := run(t, s, verify.Options{})
	if r.GetVerdict() != whole || r.GetFilesRead() != 0 {
		t.Errorf("%v", r)
	}
	var p verify.Progress
	r = run(t, s, verify.Options{ReadData: true, Progress: &p})
	files, size := uint64(0), uint64(0)
	for key, b := range w.keys {
		if strings.HasSuffix(key, layout.MetadataName) {
			continue
		}
		files, size = files+1, size+uint64(len(b))
		if n := s.opens[key]; n > 1 || n == 0 && len(b) > 0 {
			t.Errorf("%s was read %d times, want once", key, n)
		}
	}
	if r.GetVerdict() != whole || r.GetFiles() != files || r.GetFilesRead() != files || r.GetBytesRead() != size || r.GetBytes() != size {
		t.Errorf("%v; want %d files of %d bytes", r, files, size)
	}
	if p.TotalBytes.Load() != size || p.Bytes.Load() != size || p.Files.Load() != files {
		t.Errorf("progress %d of %d bytes, %d files; want %d, %d", p.Bytes.Load(), p.TotalBytes.Load(), p.Files.Load(), size, files)
	}
	if want := map[uint64]ckptdv1.VerifyVerdict{1: whole, 2: whole, 3: whole}; fmt.Sprint(verdicts(r)) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", verdicts(r), want)
	}
}

// Every flipped byte of a state file is found when the bytes are read, and every missing or shorter file without. The
// blame is on exactly the checkpoints that name the file.
func TestEveryDamageIsFound(t *testing.T) {
	dir := t.TempDir()
	opened, err := file.Open(t.Context(), dir, nil)
	must(t, err)
	defer func() { must(t, opened.Close()) }()
	for name, s := range map[string]storage.Store{"mem": mem.New(), "file": opened.Store} {
		w := newWorld(t, s, 2, 5<<20, 1, 2, 3)
		rounds := 60
		if name == "file" {
			rounds = 10
		}
		for i := range rounds {
			key := w.someFile()
			good := w.keys[key]
			at := w.rng.IntN(len(good))
			broken := bytes.Clone(good)
			kind, opts := "flip", verify.Options{ReadData: true}
			switch i % 3 {
			case 0:
				broken[at] ^= 1 << w.rng.IntN(8)
			case 1:
				kind, broken, opts.ReadData = "cut", broken[:at], w.rng.IntN(2) == 0
			case 2:
				kind, opts.ReadData = "missing", w.rng.IntN(2) == 0
			}
			if kind == "missing" {
				s.Delete(t.Context(), []string{key})
			} else {
				w.put(key, broken)
			}
			r := run(t, s, opts)
			var want []uint64
			for id, v := range verdicts(r) {
				if v == damaged {
					want = append(want, id)
				}
			}
			slices.Sort(want)
			if named := w.named(key); r.GetVerdict() != damaged || !slices.Equal(want, named) {
				t.Fatalf("%s: %s of %s at %d: %v, damaged %v; want %v", name, kind, key, at, r.GetVerdict(), want, named)
			}
			for _, c := range r.GetJobs()[0].GetCheckpoints() {
				checkBlame(t, c, key, at, kind, len(good))
			}
			w.put(key, good)
		}
		if r := run(t, s, verify.Options{ReadData: true}); r.GetVerdict() != whole {
			t.Errorf("%s: after mending: %v", name, r)
		}
	}
}

// checkBlame looks at the report of a checkpoint of which one file was damaged at an offset.
func checkBlame(t *testing.T, c *ckptdv1.VerifiedCheckpoint, key string, at int, kind string, length int) {
	t.Helper()
	if c.GetVerdict() != damaged {
		if len(c.GetDamages()) > 0 {
			t.Errorf("%s is %v, and has damages", c.GetPath(), c.GetVerdict())
		}
		return
	}
	want := map[string]ckptdv1.DamageKind{
		"flip": ckptdv1.DamageKind_DAMAGE_KIND_WRONG_BYTES, "cut": ckptdv1.DamageKind_DAMAGE_KIND_WRONG_SIZE, "missing": ckptdv1.DamageKind_DAMAGE_KIND_MISSING,
	}
	d := c.GetDamages()[0]
	if len(c.GetDamages()) != 1 || d.GetKey() != key || d.GetKind() != want[kind] || d.GetStates()[0].GetOperatorUid() != "sum of clicks" {
		t.Errorf("%s of %s: %v", kind, key, c)
	}
	if kind != "flip" {
		return
	}
	if at := uint64(at); at < d.GetOffset() || at >= d.GetOffset()+d.GetLength() || length > layout.BlockSize && d.GetLength() > layout.BlockSize {
		t.Errorf("the flip is at %d, and the report says [%d:%d]", at, d.GetOffset(), d.GetOffset()+d.GetLength())
	}
	hit := at >= length-5 || length <= layout.BlockSize || at/layout.BlockSize == (length-1)/layout.BlockSize
	wantStates := uint32(1)
	if length > 10 && hit {
		wantStates = 2
	}
	if d.GetStatesTotal() != wantStates {
		t.Errorf("flip at %d of %d hits %d pieces of state, want %d: %v", at, length, d.GetStatesTotal(), wantStates, d)
	}
}

// Every flipped byte of a _metadata is found, without reading any file.
func TestEveryDamageOfMetadataIsFound(t *testing.T) {
	s := mem.New()
	w := newWorld(t, s, 3, 0, 1, 2)
	key := layout.MetadataKey("j", 2)
	good := w.keys[key]
	for at := range good {
		broken := bytes.Clone(good)
		broken[at] ^= 4
		w.put(key, broken)
		r := run(t, s, verify.Options{})
		if v := verdicts(r); r.GetVerdict() != damaged || v[1] != whole || v[2] != damaged {
			t.Fatalf("byte %d: %v", at, r)
		}
		if older := r.GetJobs()[0].GetCheckpoints()[1].GetOlderWholeCheckpointId(); older != 1 {
			t.Fatalf("the older checkpoint that is whole is %d, want 1", older)
		}
	}
}

func TestMetadataKinds(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(w *world)
		want ckptdv1.DamageKind
	}{
		"missing": {func(w *world) { w.store.Delete(w.t.Context(), []string{layout.MetadataKey("j", 2)}) }, ckptdv1.DamageKind_DAMAGE_KIND_METADATA_MISSING},
		"another": {func(w *world) { w.put(layout.MetadataKey("j", 2), metadata(w.t, "j", 2, "other", w.files[2])) }, ckptdv1.DamageKind_DAMAGE_KIND_METADATA_OTHER},
		"the same but for a sum in it": {func(w *world) {
			files := slices.Clone(w.files[2])
			files[0].CRC32C ^= 1
			nonce, _ := w.head.Checkpoint(2)
			w.put(layout.MetadataKey("j", 2), metadata(w.t, "j", 2, nonce.Nonce.String(), files))
		}, ckptdv1.DamageKind_DAMAGE_KIND_METADATA_OTHER},
		"of another checkpoint": {func(w *world) {
			w.put(layout.MetadataKey("j", 2), w.keys[layout.MetadataKey("j", 1)])
		}, ckptdv1.DamageKind_DAMAGE_KIND_METADATA_OTHER},
		"cut": {func(w *world) {
			b := w.keys[layout.MetadataKey("j", 2)]
			w.put(layout.MetadataKey("j", 2), b[:len(b)-3])
		}, ckptdv1.DamageKind_DAMAGE_KIND_METADATA_CORRUPT},
	} {
		s := mem.New()
		w := newWorld(t, s, 4, 0, 1, 2)
		c.do(w)
		for _, opts := range []verify.Options{{}, {Job: "j"}, {Job: "j", Checkpoint: 2}} {
			r, err := verify.Run(t.Context(), s, opts)
			must(t, err)
			cs := r.GetJobs()[0].GetCheckpoints()
			last := cs[len(cs)-1]
			if r.GetVerdict() != damaged || last.GetDamages()[0].GetKind() != c.want || last.GetOlderWholeCheckpointId() != 1 {
				t.Errorf("%s, %+v: %v, want %v", name, opts, r, c.want)
			}
		}
	}
}

// hooked runs a function once, before the n-th list of the shared files.
type hooked struct {
	storage.Store
	lists atomic.Int32
	at    int32
	hook  func()
}

func (h *hooked) List(ctx context.Context, prefix string) iter.Seq2[storage.Info, error] {
	if strings.HasSuffix(prefix, "shared/") && h.lists.Add(1) == h.at {
		h.hook()
	}
	return h.Store.List(ctx, prefix)
}

// A running job drops checkpoints while they are looked at: no damage. If its newest one is dropped, the newer ones are
// looked at instead.
func TestWhatLeftIsNoDamage(t *testing.T) {
	inner := mem.New()
	h := &hooked{Store: inner, at: 1}
	w := newWorld(t, h, 5, 0, 1, 2)
	h.hook = func() { // as a commit of 3 that subsumes both
		w.head.Retained = nil
		w.commit(3, []layout.File{w.file(layout.PlaceExclusive, 3, 100)})
		for key := range w.keys {
			if !strings.Contains(key, "chk-3/") {
				inner.Delete(t.Context(), []string{key})
			}
		}
	}
	r := run(t, h, verify.Options{ReadData: true})
	if v := verdicts(r); r.GetVerdict() != whole || v[1] != left || v[2] != left || v[3] != whole {
		t.Errorf("%v", r)
	}
}

// A job that drops everything in every round could not be looked at.
func TestEverythingLeft(t *testing.T) {
	inner := mem.New()
	h := &hooked{Store: inner, at: -1}
	w := newWorld(t, inner, 5, 0, 1)
	id := uint64(1)
	drop := func() {
		id++
		w.head.Retained = nil
		w.commit(id, []layout.File{w.file(layout.PlaceShared, id, 100)})
		for key := range w.keys {
			if strings.Contains(key, "shared/") && !strings.HasSuffix(key, fmt.Sprint(w.seq)) {
				inner.Delete(t.Context(), []string{key})
			}
		}
	}
	always := &everyList{hooked: h, hook: drop}
	r := run(t, always, verify.Options{})
	if r.GetVerdict() != part || len(r.GetJobs()[0].GetText()) == 0 {
		t.Errorf("%v", r)
	}
}

type everyList struct {
	*hooked
	hook func()
}

func (e *everyList) List(ctx context.Context, prefix string) iter.Seq2[storage.Info, error] {
	if strings.HasSuffix(prefix, "shared/") {
		e.hook()
	}
	return e.Store.List(ctx, prefix)
}

// failing fails reads of some objects.
type failing struct {
	storage.Store
	err  error
	fail func(key string) bool
}

func (f *failing) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if f.fail(key) {
		return nil, &storage.Error{Op: "open", Key: key, Err: f.err}
	}
	return f.Store.Open(ctx, key, offset, length)
}

func (f *failing) List(ctx context.Context, prefix string) iter.Seq2[storage.Info, error] {
	if f.fail(prefix) {
		return func(yield func(storage.Info, error) bool) {
			yield(storage.Info{}, &storage.Error{Op: "list", Key: prefix, Err: f.err})
		}
	}
	return f.Store.List(ctx, prefix)
}

// What cannot be read is not damaged.
func TestUnreadableIsNotDamaged(t *testing.T) {
	s := mem.New()
	w := newWorld(t, s, 6, 0, 1, 2)
	some := w.someFile()
	for name, fail := range map[string]func(key string) bool{
		"one file":       func(key string) bool { return key == some },
		"the shared":     func(key string) bool { return key == "j/shared/" },
		"one _metadata":  func(key string) bool { return key == layout.MetadataKey("j", 2) },
		"one checkpoint": func(key string) bool { return key == "j/chk-1/" },
	} {
		f := &failing{s, errors.New("disk on fire"), fail}
		r := run(t, f, verify.Options{ReadData: true})
		text := ""
		for _, c := range r.GetJobs()[0].GetCheckpoints() {
			for _, d := range c.GetDamages() {
				text += d.GetText()
				if d.GetKind() != ckptdv1.DamageKind_DAMAGE_KIND_UNREADABLE {
					t.Errorf("%s: %v", name, d)
				}
			}
		}
		if r.GetVerdict() != unreadable || !strings.Contains(text, "disk on fire") {
			t.Errorf("%s: %v", name, r)
		}
	}
	_, err := verify.Run(t.Context(), &failing{s, errors.New("disk on fire"), func(key string) bool { return strings.HasSuffix(key, layout.MetadataName) }}, verify.Options{})
	if err != nil {
		t.Errorf("two _metadata that cannot be read: %v, want a report", err)
	}
}

// A store that fails altogether ends the run soon, with the cause.
func TestAStoreThatFails(t *testing.T) {
	s := mem.New()
	w := newWorld(t, s, 7, 0, 1)
	var files []layout.File
	for range 3 * verify.MaxUnreadable {
		files = append(files, w.file(layout.PlaceExclusive, 2, 10))
	}
	w.commit(2, files)
	_, err := verify.Run(t.Context(), &failing{s, errors.New("disk on fire"), func(key string) bool {
		return strings.Contains(key, "chk-2/") && !strings.HasSuffix(key, layout.MetadataName) && key != "j/chk-2/"
	}}, verify.Options{ReadData: true})
	if err == nil || !strings.Contains(err.Error(), "the store fails") || !strings.Contains(err.Error(), "disk on fire") {
		t.Errorf("%v, want the store's cause", err)
	}
}

// Seven sevenths are everything, each once; a percentage is about that share.
func TestSubsets(t *testing.T) {
	s := mem.New()
	w := newWorld(t, s, 8, 0, 1)
	var files []layout.File
	for range 300 {
		files = append(files, w.file(layout.PlaceExclusive, 2, 10))
	}
	w.commit(2, files)
	all := run(t, s, verify.Options{ReadData: true}).GetFilesRead()
	sum := uint64(0)
	for i := range 7 {
		sub, err := verify.ParseSubset(fmt.Sprintf("%d/7", i+1), 0)
		must(t, err)
		r := run(t, s, verify.Options{ReadData: true, Subset: sub})
		if sum += r.GetFilesRead(); r.GetFilesRead() == 0 || r.GetReadDataSubset() == "" {
			t.Errorf("part %d: %v", i+1, r)
		}
	}
	if sum != all {
		t.Errorf("seven sevenths are %d files, want %d", sum, all)
	}
	half, err := verify.ParseSubset("50%", 1)
	must(t, err)
	if n := run(t, s, verify.Options{ReadData: true, Subset: half}).GetFilesRead(); n < all/4 || n > all*3/4 {
		t.Errorf("50%% are %d of %d files", n, all)
	}
	for _, bad := range []string{"", "%", "0%", "101%", "NaN%", "-1%", "0/7", "8/7", "7", "1/0", "a/b"} {
		if _, err := verify.ParseSubset(bad, 0); err == nil {
			t.Errorf("%q was parsed", bad)
		}
	}
}

func TestBadArguments(t *testing.T) {
	s := mem.New()
	newWorld(t, s, 9, 0, 1)
	for _, c := range []struct {
		opts verify.Options
		want error
	}{
		{verify.Options{Job: "nobody"}, catalog.ErrNoJob},
		{verify.Options{Job: "../etc"}, layout.ErrName},
		{verify.Options{Job: "j", Checkpoint: 7}, catalog.ErrNoCheckpoint},
	} {
		if _, err := verify.Run(t.Context(), s, c.opts); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v, want %v", c.opts, err, c.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := verify.Run(ctx, s, verify.Options{ReadData: true}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

// A drill fetches every handle; a flipped byte is found where a handle's blocks hold it.
func TestDrill(t *testing.T) {
	s := mem.New()
	w := newWorld(t, s, 10, 9<<20, 1, 2)
	drill := func(id uint64) *ckptdv1.DrillReport {
		r, err := verify.Drill(t.Context(), s, verify.Options{Job: "j", Checkpoint: id}, verify.FromStore(s))
		must(t, err)
		return r
	}
	handles := uint64(1)
	for _, f := range w.files[1] {
		handles++
		if f.Length > 10 {
			handles++
		}
	}
	if r := drill(1); r.GetVerdict() != whole || r.GetHandles() != handles || r.GetSubtasks() != 2 {
		t.Errorf("%v, want %d handles", r, handles)
	}
	for range 20 {
		key := w.someFile()
		good := w.keys[key]
		broken := bytes.Clone(good)
		broken[w.rng.IntN(len(broken))] ^= 1
		w.put(key, broken)
		for _, id := range []uint64{1, 2} {
			want := whole
			if slices.Contains(w.named(key), id) {
				want = damaged
			}
			if r := drill(id); r.GetVerdict() != want {
				t.Errorf("flip in %s: chk-%d: %v, want %v", key, id, r, want)
			}
		}
		w.put(key, good)
	}
	key := "j/" + w.files[2][0].Key
	w.store.Delete(t.Context(), []string{key})
	if r := drill(2); r.GetVerdict() != damaged || r.GetDamages()[0].GetKind() != ckptdv1.DamageKind_DAMAGE_KIND_MISSING {
		t.Errorf("without %s: %v", key, r)
	}
}

// Uses names the checkpoints and the state; what nobody names is unneeded since the entry that dropped the last one.
func TestUses(t *testing.T) {
	s := mem.New()
	w := newWorld(t, s, 11, 0, 1, 2)
	for _, c := range w.head.Retained {
		for _, f := range w.files[c.ID] {
			key := "j/" + f.Key
			n, err := verify.Uses(t.Context(), s, "j", key)
			must(t, err)
			var got []uint64
			for _, u := range n.Uses {
				got = append(got, u.GetCheckpointId())
			}
			if !slices.Equal(got, w.named(key)) || n.Uses[0].GetStates()[0].GetState().GetName() != "counts" {
				t.Errorf("%s is used by %v, want %v", key, n.Uses, w.named(key))
			}
		}
	}
	gone := "j/" + w.files[1][0].Key // exclusive
	w.head.Retained = w.head.Retained[1:]
	w.entry()
	w.commit(5, nil)
	n, err := verify.Uses(t.Context(), s, "j", gone)
	must(t, err)
	if len(n.Uses) != 0 || n.Since.UnixMilli() != 2000 {
		t.Errorf("%v since %v, want none since 2 s", n.Uses, n.Since.UTC())
	}
	w.put(layout.MetadataKey("j", 2), []byte("rotten"))
	if n, err = verify.Uses(t.Context(), s, "j", gone); err != nil || n.Unread == nil {
		t.Errorf("%v, %v; want that a _metadata is unread", n, err)
	}
}

// A report stays small, however many files are missing.
func TestManyDamages(t *testing.T) {
	s := mem.New()
	w := newWorld(t, s, 12, 0, 1)
	var files []layout.File
	for range 500 {
		files = append(files, w.file(layout.PlaceExclusive, 2, 20))
	}
	w.commit(2, files)
	for _, f := range files {
		s.Delete(t.Context(), []string{"j/" + f.Key})
	}
	c := run(t, s, verify.Options{ReadData: true}).GetJobs()[0].GetCheckpoints()[1]
	if len(c.GetDamages()) != 100 || c.GetDamagesTotal() != 500 || c.GetOlderWholeCheckpointId() != 1 {
		t.Errorf("%d of %d damages, older %d", len(c.GetDamages()), c.GetDamagesTotal(), c.GetOlderWholeCheckpointId())
	}
	r, err := verify.Drill(t.Context(), s, verify.Options{Job: "j", Checkpoint: 2}, verify.FromStore(s))
	must(t, err)
	if len(r.GetDamages()) != 100 || r.GetDamagesTotal() != 1000 || r.GetVerdict() != damaged {
		t.Errorf("%d of %d damages", len(r.GetDamages()), r.GetDamagesTotal())
	}
}

// A checkpoint that its journal does not retain any more goes at any time: what is missing of it is no damage. A damaged checkpoint
// that the journal retains is.
func TestWhatIsNotRetainedIsNoDamage(t *testing.T) {
	for _, retained := range []bool{false, true} {
		inner := mem.New()
		h := &hooked{Store: inner, at: 1}
		w := newWorld(t, h, 5, 0, 1, 2)
		if !retained {
			w.head.Retained = w.head.Retained[1:]
			w.entry()
		}
		h.hook = func() {
			for key := range w.keys {
				if strings.Contains(key, "shared/") {
					inner.Delete(t.Context(), []string{key})
				}
			}
		}
		want := left
		if retained {
			want = damaged
		}
		r := run(t, h, verify.Options{Job: "j", Checkpoint: 1})
		if v := verdicts(r); v[1] != want {
			t.Errorf("retained %t: %v, want %v", retained, r, want)
		}
	}
}

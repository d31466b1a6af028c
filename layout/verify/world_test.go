package verify_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/keygroup"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/proto/data"
)

const nonceText = "aaaaaaaaaaaaaaaaaaaaaaaaa4"

// world is a root with one job, whose checkpoints share files.
type world struct {
	t     testing.TB
	store storage.Store
	head  journal.Entry
	// files are those of each checkpoint, with their keys in the root.
	files map[uint64][]layout.File
	keys  map[string][]byte
	rng   *rand.Rand
	seq   uint64
}

// newWorld makes the root with the given checkpoints. Every checkpoint names the shared files of the one before, some
// shared files of its own, and exclusive ones. big is the length of the largest file.
func newWorld(t testing.TB, s storage.Store, seed uint64, big int, ids ...uint64) *world {
	t.Helper()
	w := &world{t: t, store: s, files: map[uint64][]layout.File{}, keys: map[string][]byte{}, rng: rand.New(rand.NewPCG(seed, 1))}
	if _, err := layout.OpenRoot(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	w.head = journal.Entry{
		Epoch: 1, Kind: journal.KindAttach, LeastReader: 1, LeastWriter: 1, Status: journal.StatusRunning, Reserved: 1000, Owner: journal.Nonce{Count: 1},
		Plan: journal.NewPlan(nil), Config: journal.NewConfig(nil), About: &journal.About{Job: "j"},
	}
	var shared []layout.File
	for _, id := range ids {
		var own []layout.File
		for range 1 + w.rng.IntN(3) {
			shared = append(shared, w.file(layout.PlaceShared, id, w.rng.IntN(5000)))
			own = append(own, w.file(layout.PlaceExclusive, id, w.rng.IntN(3000)))
		}
		if big > 0 {
			own, big = append(own, w.file(layout.PlaceExclusive, id, big)), 0
		}
		w.commit(id, append(own, shared...))
	}
	return w
}

// file writes a state file of random bytes.
func (w *world) file(place layout.Place, id uint64, size int) layout.File {
	w.seq++
	name := layout.FileName{Epoch: 1, Checkpoint: id, Nonce: nonceText, Sequence: w.seq}
	key := layout.JobKey{Place: place, Checkpoint: id, File: name}
	if place == layout.PlaceShared {
		key.Checkpoint = 0
	}
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(w.rng.Uint32())
	}
	var sums data.Sums
	_, _ = sums.Write(b)
	h := sums.Handle(key.String())
	w.put("j/"+key.String(), b)
	return layout.File{Key: h.GetKey(), Length: h.GetLength(), CRC32C: h.GetCrc32C(), Blocks: h.GetBlockCrc32C()}
}

// put writes an object, and replaces one that is there.
func (w *world) put(key string, b []byte) {
	w.t.Helper()
	w.keys[key] = b
	w.store.Delete(w.t.Context(), []string{key})
	if err := w.store.Publish(w.t.Context(), key, b); err != nil {
		w.t.Fatal(err)
	}
}

// commit writes a _metadata that names the files, and an entry that retains it. Each file is a whole handle of subtask 0
// of operator "sum"; files of some length are also a segment of subtask 1.
func (w *world) commit(id uint64, files []layout.File) {
	w.t.Helper()
	w.files[id] = files
	nonce := journal.Nonce{Process: journal.Process{7}, Count: uint32(id)}
	meta := metadata(w.t, "j", id, nonce.String(), files)
	w.put(layout.MetadataKey("j", id), meta)
	w.head.Kind = journal.KindCommit
	w.head.Retained = append(w.head.Retained[:len(w.head.Retained):len(w.head.Retained)], journal.Checkpoint{
		ID: id, Nonce: nonce, Size: uint64(len(meta)), CRC: data.CRC32C(0, meta), CompletedAt: 1000 * id,
	})
	w.entry()
}

// entry publishes the head in the next slot.
func (w *world) entry() {
	w.t.Helper()
	w.head.Slot++
	w.head.Nonce = journal.Nonce{Process: journal.Process{8}, Count: uint32(w.head.Slot)}
	w.head.Ring = append(w.head.Ring[:len(w.head.Ring):len(w.head.Ring)], w.head.Nonce)
	b, err := journal.Encode(&w.head)
	if err == nil {
		err = w.store.Publish(w.t.Context(), layout.SlotKey("j", w.head.Slot), b)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func metadata(t testing.TB, job string, id uint64, nonce string, files []layout.File) []byte {
	t.Helper()
	var b bytes.Buffer
	m := layout.NewMetadataWriter(&b, layout.Header{JobID: job, Checkpoint: id, Epoch: 1, Attempt: 1, Nonce: nonce})
	must(t, m.WriteJob(layout.Job{}))
	must(t, m.WriteOperator(layout.Operator{ID: "sum", UID: "sum of clicks", Parallelism: 2, MaxParallelism: 8}))
	var whole, parts []layout.Handle
	for _, f := range files {
		ref, err := m.WriteFile(f)
		must(t, err)
		whole = append(whole, layout.Handle{File: ref, KeyGroups: &keygroup.Range{Start: 0, End: 3}, State: layout.State{Kind: layout.StateManagedKeyed, Name: "counts"}})
		if f.Length > 10 {
			parts = append(parts, layout.Handle{File: ref, Segment: &layout.Segment{Offset: f.Length - 5, Length: 5}, State: layout.State{Kind: layout.StateList, Name: "tail"}})
		}
	}
	whole = append(whole, layout.Handle{Inline: []byte("inline")})
	must(t, m.WriteSubtask(layout.Subtask{OperatorID: "sum", Handles: whole}))
	must(t, m.WriteSubtask(layout.Subtask{OperatorID: "sum", Index: 1, Handles: parts}))
	must(t, m.Close())
	return b.Bytes()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// named tells which checkpoints name a key.
func (w *world) named(key string) (ids []uint64) {
	for _, c := range w.head.Retained {
		for _, f := range w.files[c.ID] {
			if "j/"+f.Key == key {
				ids = append(ids, c.ID)
			}
		}
	}
	return ids
}

// someFile picks a state file that is not empty.
func (w *world) someFile() string {
	var all []string
	for _, c := range w.head.Retained {
		for _, f := range w.files[c.ID] {
			if f.Length > 0 {
				all = append(all, "j/"+f.Key)
			}
		}
	}
	if len(all) == 0 {
		w.t.Fatal(fmt.Errorf("no file with bytes"))
	}
	return all[w.rng.IntN(len(all))]
}

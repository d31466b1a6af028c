package service_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/mem"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// troubled is a store whose lists and deletes fail when a test wants it. It counts sweeps. Whenever the owner of job
// "j" releases it for good, it checks that no file is left over.
type troubled struct {
	storage.Store
	t     testing.TB
	under storage.Opened

	mu sync.Mutex
	// failDelete returns the error of a delete; nil: the delete succeeds.
	failDelete func(key string) error
	// failList is the error of a list of the job's folder, after it has shown some objects; nil: the list succeeds.
	failList error
	shown    int
	sweeps   int
}

// inTrouble makes a troubled store over a new root.
func inTrouble(t testing.TB) (way, under storage.Opened, s *troubled) {
	under = newRoot()
	s = &troubled{Store: under.Store, t: t, under: under}
	way = under
	way.Store = s
	return way, under, s
}

// set changes which calls fail.
func (s *troubled) set(failDelete func(key string) error, failList error, shown int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failDelete, s.failList, s.shown = failDelete, failList, shown
}

// swept returns how many sweeps have begun.
func (s *troubled) swept() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sweeps
}

func (s *troubled) AbortUnfinished(ctx context.Context, prefix string, dead func(string) bool) (int, error) {
	s.mu.Lock()
	s.sweeps++
	s.mu.Unlock()
	return s.Store.AbortUnfinished(ctx, prefix, dead)
}

func (s *troubled) List(ctx context.Context, prefix string) iter.Seq2[storage.Info, error] {
	s.mu.Lock()
	fail, shown := s.failList, s.shown
	s.mu.Unlock()
	if fail == nil || prefix != layout.JobPrefix("j") {
		return s.Store.List(ctx, prefix)
	}
	return func(yield func(storage.Info, error) bool) {
		n := 0
		for info, err := range s.Store.List(ctx, prefix) {
			if n == shown {
				break
			}
			if n++; !yield(info, err) {
				return
			}
		}
		yield(storage.Info{}, fail)
	}
}

func (s *troubled) Delete(ctx context.Context, keys []string) []error {
	s.mu.Lock()
	fail := s.failDelete
	s.mu.Unlock()
	if fail == nil {
		return s.Store.Delete(ctx, keys)
	}
	errs := make([]error, len(keys))
	for i, key := range keys {
		if errs[i] = fail(key); errs[i] == nil {
			errs[i] = errors.Join(s.Store.Delete(ctx, []string{key})...)
		}
	}
	return errs
}

func (s *troubled) Publish(ctx context.Context, key string, data []byte) error {
	if e, err := journal.Decode(data); err == nil && e.Kind == journal.KindRelease && e.Status.Terminal() {
		atRest(s.t, s.under, "j")
	}
	return s.Store.Publish(ctx, key, data)
}

// hold begins an upload for a checkpoint and does not end it.
func (w *worker) hold(ctx context.Context, scope ckptdv1.Scope, checkpoint uint64) *connect.ClientStreamForClientSimple[ckptdv1.PutStateRequest, ckptdv1.PutStateResponse] {
	w.t.Helper()
	stream, err := w.d.state().PutState(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, m := range []*ckptdv1.PutStateRequest{
		{Part: &ckptdv1.PutStateRequest_Header{Header: &ckptdv1.PutStateHeader{
			JobId: w.job, Epoch: w.epoch, Attempt: w.attempt, CheckpointId: checkpoint, Scope: scope,
		}}},
		{Part: &ckptdv1.PutStateRequest_Chunk{Chunk: []byte("an orphan")}},
	} {
		if err := stream.Send(m); err != nil {
			w.t.Fatal(err)
		}
	}
	return stream
}

// wantOwned checks that the ended job is still owned and has not been swept.
func (s *troubled) wantOwned(d *daemon, sweeps int, why string) {
	s.t.Helper()
	if head(s.t, s.under, "j").Owner.IsZero() {
		s.t.Errorf("the job was released while %s, want it owned", why)
	}
	if n := s.swept(); n != sweeps {
		s.t.Errorf("%d sweeps have begun while %s, want %d", n, why, sweeps)
	}
}

// The last sweep and the release wait for an upload that was open at the cancel, however the upload ends. Nothing of it
// is left then.
func TestLastSweepWaitsForUploads(t *testing.T) {
	for name, commit := range map[string]mem.Outcome{
		"that are stored": mem.Done(), "that the store refuses": mem.Failed(), "whose reply is lost": mem.DoneButError(),
	} {
		for _, scope := range []ckptdv1.Scope{shared, exclusive} {
			t.Run(fmt.Sprintf("%s, %v", name, scope), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { holdOverCancel(t, commit, scope, false) })
			})
		}
	}
	t.Run("whose sender goes away", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { holdOverCancel(t, mem.Done(), shared, true) })
	})
}

// holdOverCancel holds two uploads open, cancels the job, and ends them one after the other.
func holdOverCancel(t *testing.T, commit mem.Outcome, scope ckptdv1.Scope, leave bool) {
	way, _, store := inTrouble(t)
	ending := false
	way.Store = mem.NewFaults(store, func(m mem.Mutation) mem.Outcome {
		if ending && m.Op == mem.OpCommit {
			return commit
		}
		return mem.Done()
	})
	d := startDaemon(t, way, inMemory)
	w := oneWorker(t, d, "j", nil)
	w.checkpoint(inlineState)
	id := w.open()
	ctx, goAway := context.WithCancel(t.Context())
	defer goAway()
	first, second := w.hold(ctx, scope, id), w.hold(ctx, scope, id)
	synctest.Wait()
	ending = true
	d.cancel(t, "j")
	w.ended()
	w.leave()
	sweeps := store.swept()
	time.Sleep(30 * time.Second) // the workers have left, and were given up
	store.wantOwned(d, sweeps, "two uploads were open")
	_, _ = first.CloseAndReceive()
	time.Sleep(30 * time.Second)
	store.wantOwned(d, sweeps, "one upload was open")
	if _, err := w.putAt(d, scope, id, "late"); err == nil {
		t.Error("a new upload for the ended job was taken, want a refusal")
	}
	if leave {
		goAway()
	}
	_, _ = second.CloseAndReceive()
	d.waitReleased(t)
	atRest(t, store.under, "j")
}

// strewn puts n files that nothing names into the job's folder, some shared and some exclusive. It returns their keys.
func strewn(t testing.TB, s storage.Store, id uint64, n int) (keys []string) {
	t.Helper()
	nonce := layout.NewNonce()
	for i := range n {
		k := layout.JobKey{Place: layout.PlaceShared, Checkpoint: id, File: layout.FileName{Epoch: 1, Checkpoint: id, Nonce: nonce, Sequence: uint64(i)}}
		if i%2 == 1 {
			k.Place = layout.PlaceExclusive
		}
		key := layout.JobPrefix("j") + k.String()
		if err := s.Publish(t.Context(), key, nil); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// there returns how many of the keys are in the store.
func there(t testing.TB, s storage.Store, keys []string) (n int) {
	t.Helper()
	for _, key := range keys {
		if _, err := s.Stat(t.Context(), key); err == nil {
			n++
		}
	}
	return n
}

// When deletes of the last sweep fail for longer than they are retried, they are tried again later. The job is released
// after they have succeeded.
func TestLastSweepWhileDeletesFail(t *testing.T) {
	const many = 2500 // several pages of a list, and several batches of a delete
	kinds := map[string]error{
		"an error": errors.New("503"), "a lost reply": fmt.Errorf("reset: %w", storage.ErrUnknown), "a refusal": fs.ErrPermission,
	}
	for what, stuck := range map[string]func(keys []string) []string{
		"of all files":   func(keys []string) []string { return keys },
		"of some":        func(keys []string) []string { return []string{keys[3], keys[len(keys)/2], keys[len(keys)-1]} },
		"of a _metadata": func([]string) []string { return []string{layout.MetadataKey("j", 1)} },
	} {
		for kind, err := range kinds {
			t.Run(what+" fail with "+kind, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					way, under, store := inTrouble(t)
					d := startDaemon(t, way, inMemory)
					w := oneWorker(t, d, "j", nil)
					w.checkpoint(inlineState)
					last := w.checkpoint(inlineState)
					time.Sleep(5 * time.Second) // the first sweep is over
					keys := strewn(t, under.Store, last, many)
					if err := under.Store.Publish(t.Context(), layout.MetadataKey("j", 1), nil); err != nil {
						t.Fatal(err)
					}
					kept, fail := stuck(keys), map[string]error{}
					for _, key := range kept {
						fail[key] = err
					}
					store.set(func(key string) error { return fail[key] }, nil, 0)
					d.cancel(t, "j")
					w.ended()
					time.Sleep(15 * time.Second)
					if n := there(t, under.Store, kept); n != len(kept) {
						t.Fatalf("%d of the files are there, want all %d: no delete failed, so the test proves nothing", n, len(kept))
					}
					if head(t, under, "j").Owner.IsZero() {
						t.Errorf("the job was released while %d deletes failed, want it owned", len(kept))
					}
					store.set(nil, nil, 0)
					time.Sleep(time.Minute)
					d.waitReleased(t)
					atRest(t, under, "j")
				})
			})
		}
	}
}

// A file whose delete fails for longer than it is retried stays condemned while the job runs. BeginSnapshot does not
// answer it as known any more. It is deleted as soon as the store allows it, without a sweep.
func TestDeletesThatFailAreTriedAgain(t *testing.T) {
	for what, prefix := range map[string]string{"a file": layout.SharedPrefix("j"), "a _metadata": layout.CheckpointPrefix("j", 1)} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				way, under, store := inTrouble(t)
				d := startDaemon(t, way, inMemory)
				w := oneWorker(t, d, "j", nil)
				time.Sleep(5 * time.Second) // the first sweep is over, the next one is an hour away
				w.checkpoint(func(id uint64) []*ckptdv1.SnapshotHandle {
					return []*ckptdv1.SnapshotHandle{uploaded("i", "a", w.put(shared, id, "abc")), uploaded("i", "b", w.put(shared, id, "abc"))}
				})
				var stuck string
				for key := range contents(t, under.Store, prefix) {
					stuck = key
				}
				store.set(func(key string) error {
					if key == stuck {
						return errors.New("503")
					}
					return nil
				}, nil, 0)
				w.checkpoint(inlineState) // nothing needs the files any more
				time.Sleep(time.Minute)
				if there(t, under.Store, []string{stuck}) != 1 {
					t.Fatal("the delete did not fail, so the test proves nothing")
				}
				if n := d.status(t, "j").GetCondemnedFiles(); n == 0 {
					t.Error("no file is condemned while a delete fails, want the file that was not deleted")
				}
				w.checkpoint(func(id uint64) []*ckptdv1.SnapshotHandle {
					for _, name := range []string{"a", "b"} {
						if n, err := w.ask(id, "i", name, "abc"); n != 0 || err != nil {
							t.Errorf("condemned file %s is known as %d, %v; want it missing", name, n, err)
						}
					}
					return inlineState(id)
				})
				store.set(nil, nil, 0)
				time.Sleep(time.Minute)
				if there(t, under.Store, []string{stuck}) != 0 || d.status(t, "j").GetCondemnedFiles() != 0 {
					t.Errorf("%s is still there, want it deleted after the store allows it", stuck)
				}
			})
		})
	}
}

// A list of the last sweep that fails is begun again, wherever it fails. No file is overlooked, and the job is released
// afterwards.
func TestLastSweepWhileListsFail(t *testing.T) {
	const many = 2500
	for name, shown := range map[string]int{"at once": 0, "in its first page": 10, "after a page": 1500, "at its end": many + 1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				way, under, store := inTrouble(t)
				d := startDaemon(t, way, inMemory)
				w := oneWorker(t, d, "j", nil)
				last := w.checkpoint(inlineState)
				time.Sleep(5 * time.Second)
				strewn(t, under.Store, last, many)
				store.set(nil, errors.New("503"), shown)
				d.cancel(t, "j")
				w.ended()
				time.Sleep(time.Minute)
				if head(t, under, "j").Owner.IsZero() {
					t.Error("the job was released while every list failed, want it owned")
				}
				store.set(nil, nil, 0)
				time.Sleep(time.Minute)
				d.waitReleased(t)
				if e := atRest(t, under, "j"); len(e.Retained) != 1 || e.Retained[0].ID != last {
					t.Errorf("retained %v, want checkpoint %d", e.Retained, last)
				}
			})
		})
	}
}

// halfWritten is a store with unfinished writes. It knows them by their target keys.
type halfWritten struct {
	storage.Store
	mu      sync.Mutex
	targets map[string]bool
}

func (s *halfWritten) AbortUnfinished(_ context.Context, prefix string, dead func(string) bool) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.targets {
		if strings.HasPrefix(key, prefix) && dead(key) {
			delete(s.targets, key)
			n++
		}
	}
	return n, nil
}

// half is an unfinished write, and whether a sweep must spare it.
type half struct {
	what, key string
	spared    bool
}

// leave puts the unfinished writes into the store.
func (s *halfWritten) leave(all []half) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.targets = map[string]bool{}
	for _, h := range all {
		s.targets[h.key] = true
	}
}

// wantSpared checks which unfinished writes a sweep has spared.
func (s *halfWritten) wantSpared(t *testing.T, all []half) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range all {
		if s.targets[h.key] != h.spared {
			t.Errorf("unfinished %s (%s): spared: %v, want %v", h.what, h.key, s.targets[h.key], h.spared)
		}
	}
}

// stateKey returns the key of a state file of job "j".
func stateKey(place layout.Place, epoch, checkpoint uint64) string {
	return layout.JobPrefix("j") + layout.JobKey{
		Place: place, Checkpoint: checkpoint, File: layout.FileName{Epoch: epoch, Checkpoint: checkpoint, Nonce: layout.NewNonce(), Sequence: 1},
	}.String()
}

// halves returns unfinished files and _metadata: some are dead, and some may still be finished.
func halves(dead, alive uint64) (all []half) {
	for place, name := range map[layout.Place]string{layout.PlaceShared: "shared file", layout.PlaceExclusive: "exclusive file"} {
		all = append(all,
			half{"older " + name + " of this epoch", stateKey(place, 2, dead), false},
			half{name + " of an open checkpoint", stateKey(place, 2, alive), true},
			half{name + " of the next checkpoint", stateKey(place, 2, alive+1), true},
			half{name + " of the epoch before", stateKey(place, 1, dead), false},
			half{name + " of the epoch before, for a late checkpoint", stateKey(place, 1, alive+1), false},
			half{name + " of the next owner", stateKey(place, 3, dead), true},
		)
	}
	return append(all,
		half{"older _metadata", layout.MetadataKey("j", dead), false},
		half{"_metadata of an open checkpoint", layout.MetadataKey("j", alive), true},
		half{"_metadata of the next checkpoint", layout.MetadataKey("j", alive+1), true},
		half{"foreign object", "j/notes.txt", true},
		half{"task-owned file", "j/taskowned/x", true},
		half{"file of another job", "jj/" + layout.CheckpointDir(dead) + "/_metadata", true},
	)
}

// slotHalves returns unfinished journal entries around a head.
func slotHalves(head uint64) []half {
	return []half{
		{"slot before the head", layout.SlotKey("j", head-1), false},
		{"slot of the head", layout.SlotKey("j", head), false},
		{"slot after the head", layout.SlotKey("j", head+1), true},
		{"slot after that", layout.SlotKey("j", head+2), true},
	}
}

// A sweep aborts unfinished writes that nobody can need any more. It spares writes that this owner or the next one may
// be making.
func TestSweepsSpareWhatMayBeFinished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := newRoot()
		store := &halfWritten{Store: root.Store}
		root.Store = store
		d := startDaemon(t, root, inMemory)
		w := oneWorker(t, d, "j", nil)
		w.checkpoint(inlineState)
		d.kill()
		d = startDaemon(t, root, inMemory)
		d.attach(t, "j", onePlan(), nil)
		w = d.register(t, "j", "w-j", w.attempt, w.subtasks...)
		w.report(ckptdv1.ReportRequest_KIND_RUNNING, nil)
		done := w.checkpoint(inlineState)
		open := w.open()

		slot := head(t, root, "j").Slot
		running := slices.Concat(halves(done, open), slotHalves(slot))
		store.leave(running)
		time.Sleep(5 * time.Second)
		store.wantSpared(t, running)

		// No checkpoint of an ended job can be acknowledged, whatever ids were reserved.
		ended := slices.Concat(halves(open, head(t, root, "j").Reserved+1), slotHalves(slot+1))
		store.leave(ended)
		d.cancel(t, "j")
		w.ended()
		d.waitReleased(t)
		store.wantSpared(t, ended)
	})
}

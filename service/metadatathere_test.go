package service_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// replacing is a store that replaces an existing object, as S3 does, unless a create says IfAbsent. It records each
// _metadata that is written.
type replacing struct {
	storage.Store
	mu sync.Mutex
	// written are the bytes of each _metadata that was committed, whatever the outcome. replaced are the keys of
	// objects that a write replaced.
	written  []string
	replaced []string
	// commit replaces the commit of a _metadata; nil: the store commits it.
	commit func(w *replacingWriter) error
}

func (s *replacing) Create(ctx context.Context, key string, opts storage.CreateOptions) (storage.Writer, error) {
	w, err := s.Store.Create(ctx, key, opts)
	return &replacingWriter{Writer: w, s: s, key: key, opts: opts}, err
}

type replacingWriter struct {
	storage.Writer
	s     *replacing
	key   string
	opts  storage.CreateOptions
	bytes []byte
}

func (w *replacingWriter) Write(p []byte) (int, error) {
	w.bytes = append(w.bytes, p...)
	return w.Writer.Write(p)
}

func (w *replacingWriter) Commit() error {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	ctx := context.Background()
	if _, err := w.s.Stat(ctx, w.key); err == nil && !w.opts.IfAbsent {
		w.s.replaced = append(w.s.replaced, w.key)
		w.s.Delete(ctx, []string{w.key})
	}
	if strings.HasSuffix(w.key, layout.MetadataName) {
		w.s.written = append(w.s.written, string(w.bytes))
		if w.s.commit != nil {
			return w.s.commit(w)
		}
	}
	return w.Writer.Commit()
}

// rewritten returns a _metadata with another header and the same records.
func rewritten(t testing.TB, metadata string, change func(*layout.Header)) string {
	t.Helper()
	r, err := layout.NewMetadataReader(strings.NewReader(metadata))
	if err != nil {
		t.Fatal(err)
	}
	h := r.Header()
	change(&h)
	var b bytes.Buffer
	w := layout.NewMetadataWriter(&b, h)
	for {
		record, err := r.Next()
		switch record := record.(type) {
		case *layout.Job:
			err = w.WriteJob(*record)
		case *layout.Operator:
			err = w.WriteOperator(*record)
		case *layout.File:
			_, err = w.WriteFile(*record)
		case *layout.Subtask:
			err = w.WriteSubtask(*record)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// otherHeaders are headers that the _metadata of a checkpoint cannot have.
var otherHeaders = map[string]func(*layout.Header){
	"another job":            func(h *layout.Header) { h.JobID = "k" },
	"another checkpoint":     func(h *layout.Header) { h.Checkpoint++ },
	"another writer's nonce": func(h *layout.Header) { h.Nonce = strings.Repeat("0", 24) + "-1" },
}

// A _metadata that exists already is not this checkpoint's. It stays as it is, and the checkpoint is
// aborted.
func TestForeignMetadataIsNeverReplaced(t *testing.T) {
	cases := map[string]func(t *testing.T, before string) string{
		"of no checkpoint":         func(*testing.T, string) string { return "hello" },
		"empty":                    func(*testing.T, string) string { return "" },
		"rotten":                   func(_ *testing.T, before string) string { return string(flip([]byte(before))) },
		"of the checkpoint before": func(_ *testing.T, before string) string { return before },
		"of the same checkpoint by another writer": func(t *testing.T, before string) string {
			return rewritten(t, before, func(h *layout.Header) { h.Checkpoint++; otherHeaders["another writer's nonce"](h) })
		},
	}
	for name, foreignOf := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				root := newRoot()
				store := &replacing{Store: root.Store}
				way := root
				way.Store = store
				d := startDaemon(t, way, inMemory)
				w := oneWorker(t, d, "j", patientFor20s)
				before := w.checkpoint(inlineState)
				time.Sleep(5 * time.Second) // the first sweep is over, the next one is an hour away
				id := before + 1
				foreign := foreignOf(t, read(t, root.Store, layout.MetadataKey("j", before)))
				if err := root.Store.Publish(t.Context(), layout.MetadataKey("j", id), []byte(foreign)); err != nil {
					t.Fatal(err)
				}
				wantAborted(t, d, w, id)
				if len(store.replaced) > 0 {
					t.Errorf("replaced: %v, want nothing", store.replaced)
				}
				e := head(t, root, "j")
				if _, ok := e.Checkpoint(id); ok || e.Newest() != before {
					t.Errorf("the journal retains %v, want checkpoint %d", e.Retained, before)
				}
				after := w.checkpoint(inlineState)
				if after <= id {
					t.Errorf("the next checkpoint is %d, want one above %d, which was aborted", after, id)
				}
				d.cancel(t, "j")
				w.ended()
				d.waitReleased(t)
				atRest(t, root, "j")
			})
		})
	}
}

// patientFor20s configures a checkpoint timeout of 20 s, and tolerates failures.
func patientFor20s(c *ckptdv1.JobConfig) {
	c.Timeout, c.TolerableFailedCheckpoints = durationpb.New(20*time.Second), 10
}

// wantAborted acknowledges the next checkpoint, which must be id, and checks that it is aborted.
func wantAborted(t *testing.T, d *daemon, w *worker, id uint64) {
	t.Helper()
	answer := make(chan error, 1)
	go func() { answer <- d.trigger(t.Context(), "j") }()
	if got := w.triggered(); got != id {
		t.Fatalf("checkpoint %d is triggered, want %d", got, id)
	}
	w.mustAck(id, inlineState(id)...)
	// The store answers that the _metadata exists. If it cannot be read, it is read again until the checkpoint times
	// out.
	for {
		select {
		case m := <-w.commands:
			if c := m.GetComplete(); c.GetCheckpointId() == id {
				t.Fatalf("checkpoint %d is complete, want it aborted", id)
			}
			if a := m.GetAbort(); a.GetCheckpointId() != id {
				continue
			}
		case <-time.After(time.Hour):
			t.Fatalf("checkpoint %d is not aborted", id)
		}
		break
	}
	if err := <-answer; err == nil {
		t.Errorf("the trigger of checkpoint %d was answered as a success", id)
	}
}

// After a commit with an unknown outcome, a _metadata with the nonce that was written counts only if its whole header
// is the checkpoint's.
func TestMetadataAfterALostReply(t *testing.T) {
	for name, change := range otherHeaders {
		t.Run("of "+name+" is not taken for ours", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				root := newRoot()
				store := &replacing{Store: root.Store}
				way := root
				way.Store = store
				d := startDaemon(t, way, inMemory)
				w := oneWorker(t, d, "j", patientFor20s)
				w.checkpoint(inlineState)
				id := w.checkpoint(inlineState) + 1
				store.mu.Lock()
				store.commit = func(w *replacingWriter) error {
					other := rewritten(t, string(w.bytes), change)
					if err := root.Store.Publish(t.Context(), w.key, []byte(other)); err != nil && !errors.Is(err, storage.ErrExists) {
						t.Error(err)
					}
					store.commit = nil
					w.Abort()
					return fmt.Errorf("reset: %w", storage.ErrUnknown)
				}
				store.mu.Unlock()
				wantAborted(t, d, w, id)
				if e := head(t, root, "j"); e.Newest() != id-1 {
					t.Errorf("the journal's newest checkpoint is %d, want %d", e.Newest(), id-1)
				}
			})
		})
	}
}

// While the outcome of a _metadata is unknown, the same bytes are written again, only if the object is absent. The
// journal describes the object that is stored.
func TestMetadataIsWrittenAgainWithTheSameBytes(t *testing.T) {
	for name, landed := range map[string]bool{"never stored": false, "stored": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				root := newRoot()
				store := &replacing{Store: root.Store}
				way := root
				way.Store = store
				d := startDaemon(t, way, inMemory)
				w := threeSubtasks(t, d)
				id := w.open()
				tries := 0
				store.mu.Lock()
				store.commit = func(w *replacingWriter) error {
					if !w.opts.IfAbsent {
						t.Errorf("%s is written without IfAbsent, want it written only if absent", w.key)
					}
					tries++
					if tries == 4 && landed {
						_ = w.Writer.Commit()
					}
					if tries <= 4 {
						w.Abort()
						return fmt.Errorf("reset: %w", storage.ErrUnknown)
					}
					return w.Writer.Commit()
				}
				store.mu.Unlock()
				var all []*ckptdv1.SubtaskSnapshot
				for i, s := range w.subtasks {
					st := &ckptdv1.SubtaskSnapshot{Subtask: s}
					for n := range 5 {
						text := fmt.Sprint(i, n)
						st.Handles = append(st.Handles, inline(text, text), uploaded("i", text, w.put(shared, id, text)), uploaded("i", text, w.put(exclusive, id, text)))
					}
					all = append(all, st)
				}
				w.mustAckAll(id, all...)
				expect[complete](w)
				if len(store.written) != 5 {
					t.Errorf("%d writes, want 5", len(store.written))
				}
				stored := read(t, root.Store, layout.MetadataKey("j", id))
				if slices.ContainsFunc(store.written, func(b string) bool { return b != stored }) {
					t.Errorf("not all writes have the same bytes as the stored object, want the same bytes each time")
				}
				if c, _ := head(t, root, "j").Checkpoint(id); c.Size != uint64(len(stored)) || c.CRC != crcOf(stored) {
					t.Errorf("the journal says %d bytes, sum %08x; want %d, %08x, which are stored", c.Size, c.CRC, len(stored), crcOf(stored))
				}
				time.Sleep(time.Minute)
				if now := read(t, root.Store, layout.MetadataKey("j", id)); now != stored {
					t.Errorf("the _metadata changed after the checkpoint was complete, want it unchanged")
				}
			})
		})
	}
}

// A new owner that finds another _metadata in place of a retained checkpoint's is degraded and deletes nothing.
func TestOwnerDoesNotTrustAForeignMetadata(t *testing.T) {
	for name, change := range otherHeaders {
		t.Run("of "+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				root := newRoot()
				d := startDaemon(t, root, inMemory)
				w := oneWorker(t, d, "j", nil)
				w.checkpoint(inlineState)
				var orphan string
				id := w.checkpoint(func(id uint64) []*ckptdv1.SnapshotHandle {
					orphan = w.put(shared, id, "nobody's").GetKey()
					return []*ckptdv1.SnapshotHandle{uploaded("i", "a", w.put(shared, id, "abc"))}
				})
				d.kill()
				overwrite(t, root.Store, layout.MetadataKey("j", id), func(b []byte) []byte { return []byte(rewritten(t, string(b), change)) })
				before := contents(t, root.Store, "j/")
				d = startDaemon(t, root, inMemory)
				d.attach(t, "j", onePlan(), nil)
				time.Sleep(time.Minute)
				if s := d.status(t, "j").GetDegraded(); !strings.Contains(s, fmt.Sprint(id)) {
					t.Errorf("degraded: %q, want one that names checkpoint %d", s, id)
				}
				after := contents(t, root.Store, "j/")
				for key, was := range before {
					if !strings.HasPrefix(key, layout.JournalPrefix("j")) && after[key] != was {
						t.Errorf("%s changed while the owner is degraded (%s is an orphan)", key, orphan)
					}
				}
			})
		})
	}
}

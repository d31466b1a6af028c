package service

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/mem"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/shell"
)

// A caller that comes while a read runs does not get that read's result, which may be older than the call. All such
// callers share the next read.
func TestHeadsAreReadAfterTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h headReads
		var wg sync.WaitGroup
		var reads uint64
		ask := func(at time.Duration, want uint64) {
			wg.Go(func() {
				time.Sleep(at)
				head, err := h.after("job", func() (*journal.Entry, error) {
					reads++
					n := reads
					time.Sleep(10 * time.Second)
					return &journal.Entry{Slot: n}, nil
				})
				if err != nil || head.Slot != want {
					t.Errorf("a call after %v got read %v, %v; want read %d", at, head, err, want)
				}
			})
		}
		ask(0, 1)
		ask(time.Second, 2)
		ask(2*time.Second, 2)
		ask(9*time.Second, 2)
		ask(11*time.Second, 3)
		ask(15*time.Second, 3)
		ask(40*time.Second, 4)
		wg.Wait()
		if reads != 4 || len(h.lines) != 0 {
			t.Errorf("%d reads, %d journals remembered; want 4 reads and none", reads, len(h.lines))
		}
	})
}

// server returns a server over the root. It ends with the test.
func server(t *testing.T, root storage.Opened, url string) *Server {
	t.Helper()
	return serverWith(t, root, Options{URLs: []string{url}})
}

func serverWith(t *testing.T, root storage.Opened, opts Options) *Server {
	t.Helper()
	s, err := New(root, &opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// attached makes the server own a job of one subtask.
func attached(t *testing.T, s *Server, id string) *shell.Job {
	t.Helper()
	plan := &ckptdv1.Plan{Operators: []*ckptdv1.Operator{{Id: "count", Parallelism: 1, MaxParallelism: 128, Triggered: true}}}
	if _, err := (engineService{s}).AttachJob(t.Context(), &ckptdv1.AttachJobRequest{JobId: id, Plan: plan}); err != nil {
		t.Fatal(err)
	}
	j, err := s.job(id)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// An upload begins while its daemon attaches the job, and the attach fails. The job's owner does not wait for that
// upload. So the daemon deletes the file if the job has ended.
func TestUploadBesideAnAttachInVain(t *testing.T) {
	root := mem.Open()
	owner, other := server(t, root, "http://owner.invalid"), server(t, root, "http://other.invalid")
	j := attached(t, owner, "j")
	inVain := shell.New(&other.env, "j")
	other.jobs["j"] = inVain
	key := layout.JobPrefix("j") + layout.JobKey{
		Place: layout.PlaceShared, File: layout.FileName{Epoch: 1, Checkpoint: 1, Nonce: other.nonce, Sequence: 1},
	}.String()
	w, err := countedStore{other.stores.restore, other.stores.upload, other}.Create(t.Context(), key, storage.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	other.forget(inVain)
	if _, err := (jobService{owner}).CancelJob(t.Context(), &ckptdv1.CancelJobRequest{JobId: "j"}); err != nil {
		t.Fatal(err)
	}
	<-j.Done()
	if err := w.Commit(); err == nil {
		t.Error("a file for a job that has ended was taken, want a refusal")
	}
	if _, err := root.Store.Stat(t.Context(), key); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("the file: %v, want none", err)
	}
}

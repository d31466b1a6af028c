package service

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/api"
	"github.com/ckptd/ckptd/service/shell"
)

// This file handles uploads for jobs that other daemons own.
//
// Such a job may end while an upload is under way. Its owner counts only the uploads that pass through the owner
// itself. It sweeps, releases the job, and nobody sweeps the job again. So a daemon that has written a file reads the
// journal afterwards. If the job has not ended, its last sweep is still to come and finds the file. If the job has
// ended, no acknowledgement can name the file any more, and the daemon deletes it.

// unownedRights is a bounded cache of the rights of jobs that other daemons own, as the heads of their journals state
// them.
type unownedRights struct {
	mu   sync.Mutex
	jobs map[string]*shell.Rights
}

// unownedJobs is how many jobs the cache holds. A full cache is emptied.
const unownedJobs = 1000

func (f *unownedRights) get(id string) (*shell.Rights, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, ok := f.jobs[id]
	return r, ok
}

func (f *unownedRights) put(id string, r *shell.Rights) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.jobs == nil || len(f.jobs) >= unownedJobs {
		f.jobs = map[string]*shell.Rights{}
	}
	f.jobs[id] = r
}

func (f *unownedRights) forget(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.jobs, id)
}

// unownedWriter writes a file for a job that this daemon did not own when the upload began.
type unownedWriter struct {
	storage.Writer
	s       *Server
	id, key string
}

// deleteTime limits each of two steps: reading whether the job has ended, and deleting the file.
const deleteTime = 10 * time.Second

// Commit implements storage.Writer. It deletes the file if the job has ended meanwhile.
func (w *unownedWriter) Commit() error {
	return w.s.deleteIfEnded(w.id, w.key, w.Writer.Commit())
}

// deleteIfEnded deletes a committed file if its job has ended, and returns the error for the file's writer. committed
// is the result of the commit. A file whose commit has an unknown outcome is deleted as well.
func (s *Server) deleteIfEnded(id, key string, committed error) error {
	if committed != nil && !errors.Is(committed, storage.ErrUnknown) {
		return committed
	}
	head, err := s.heads.after(id, func() (*journal.Entry, error) {
		ctx, cancel := s.deleteContext() // shared by all callers of this read; the time runs from the start of the read
		defer cancel()
		return s.headOf(ctx, id)
	})
	if err != nil || !head.Status.Terminal() {
		return committed // the file stays; if the journal could not be read, the next owner's sweep decides
	}
	s.unowned.forget(id)
	ctx, cancel := s.deleteContext()
	defer cancel()
	if err := errors.Join(s.storeOf(id, s.stores.collect).Delete(ctx, []string{key})...); err != nil {
		s.log.Warn("cannot delete a file that was uploaded for an ended job", "key", key, "error", err)
	}
	return api.Refused(&ckptdv1.Refused{Reason: ckptdv1.Refused_REASON_JOB_TERMINAL, Status: catalog.Status(head.Status)},
		"job %s is %s: begin a new job id", id, api.StatusWord(head.Status))
}

// deleteContext is derived from the server's context. The file must be deleted even if the caller has disconnected.
func (s *Server) deleteContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(s.ctx, deleteTime)
}

var _ storage.Writer = (*unownedWriter)(nil)

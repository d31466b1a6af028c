package service

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/api"
	"github.com/ckptd/ckptd/service/owner"
	"github.com/ckptd/ckptd/service/shell"
	"github.com/ckptd/ckptd/service/stream"
)

// authorizer decides which uploads are taken. If this daemon owns the job, the owner machine's state counts. Otherwise
// the head of the journal counts.
type authorizer struct{ s *Server }

var _ stream.Authorizer = authorizer{}

// AuthorizePut refuses an upload that no acknowledgement could name any more. Only the owner knows which checkpoints
// are open. Another daemon takes files for each checkpoint id that the journal has reserved.
func (a authorizer) AuthorizePut(ctx context.Context, u stream.Upload) error {
	r, err := a.s.rightsOf(ctx, u)
	if err != nil {
		return err
	}
	detail := &ckptdv1.Refused{Epoch: r.Epoch, Attempt: r.Attempt}
	say := func(reason ckptdv1.Refused_Reason, format string, args ...any) error {
		detail.Reason = reason
		return api.Refused(detail, "put state of job %s, checkpoint %d: %s", u.Job, u.Checkpoint, fmt.Sprintf(format, args...))
	}
	switch {
	case r.Epoch != u.Epoch:
		return say(ckptdv1.Refused_REASON_STALE_EPOCH, "epoch %d is not the journal's, %d: attach again", u.Epoch, r.Epoch)
	case r.Attempt != u.Attempt:
		return say(ckptdv1.Refused_REASON_STALE_ATTEMPT, "attempt %d is not the journal's, %d: follow the newest Start", u.Attempt, r.Attempt)
	case u.Checkpoint > r.Reserved:
		return say(ckptdv1.Refused_REASON_NOT_OPEN, "the checkpoint has not been triggered: wait for its Trigger or its barriers")
	case r.Owned && !slices.Contains(r.Open, u.Checkpoint):
		return say(ckptdv1.Refused_REASON_NOT_OPEN,
			"the checkpoint is not open: it has not been triggered, has all its acknowledgements, or was aborted: drop it and wait for the next")
	}
	return nil
}

// AuthorizeGet refuses files of a job that has lent nothing to the reader.
func (a authorizer) AuthorizeGet(ctx context.Context, job, lender string) error {
	if r, ok := a.s.unowned.get(job); ok && r.Borrows(lender) {
		return nil
	}
	if j, err := a.s.job(job); err == nil {
		if r := j.Uploads().Rights(); r != nil && r.Borrows(lender) {
			return nil
		}
	}
	head, err := a.s.headOf(ctx, job)
	if err != nil {
		return api.Error(fmt.Errorf("get state of job %s: %w", job, err))
	}
	r := &shell.Rights{Epoch: head.Epoch, Attempt: head.Attempt, Reserved: head.Reserved, Borrowed: head.Borrowed}
	if !r.Borrows(lender) {
		return connect.NewError(connect.CodePermissionDenied,
			fmt.Errorf("get state of job %s: the file lies in the folder of job %s, which has lent it nothing", job, lender))
	}
	if !head.Status.Terminal() { // the cache also admits uploads
		a.s.unowned.put(job, r)
	}
	return nil
}

// Stored remembers the handle that PutState returns.
func (a authorizer) Stored(u stream.Upload, f *ckptdv1.FileHandle) {
	if j, err := a.s.job(u.Job); err == nil {
		j.Uploads().Stored(u, f)
	}
}

// rightsOf returns the rights for an upload. A daemon that does not own the job reads the head of the journal once and
// caches its rights. It reads the head again if the upload names another epoch or attempt, or a checkpoint above the
// reserved ids.
func (s *Server) rightsOf(ctx context.Context, u stream.Upload) (*shell.Rights, error) {
	id := u.Job
	if j, err := s.job(id); err == nil {
		if r := j.Uploads().Rights(); r != nil {
			return r, nil
		}
	} else if connect.CodeOf(err) == connect.CodeUnavailable {
		return nil, err
	}
	if r, ok := s.unowned.get(id); ok && r.Epoch == u.Epoch && r.Attempt == u.Attempt && u.Checkpoint <= r.Reserved {
		return r, nil
	}
	head, how, err := s.readHead(ctx, id)
	switch {
	case err != nil:
		return nil, api.Error(err)
	case how == journal.ReadEmpty:
		return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("put state of job %s: it has no journal: call AttachJob first", id))
	case how != journal.ReadDone:
		return nil, connect.NewError(connect.CodeNotFound,
			fmt.Errorf("put state of job %s: its journal cannot be read: `ckptd journal show` says why; nothing was written", id))
	case head.LeastWriter > journal.DefaultSettings().Version:
		return nil, connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf("job %s: %s", id, api.ReasonText(owner.ReasonNewer)))
	case head.Status.Terminal():
		return nil, api.Refused(&ckptdv1.Refused{Reason: ckptdv1.Refused_REASON_JOB_TERMINAL, Status: catalog.Status(head.Status)},
			"job %s is %s: begin a new job id", id, api.StatusWord(head.Status))
	}
	r := &shell.Rights{Epoch: head.Epoch, Attempt: head.Attempt, Reserved: head.Reserved, Borrowed: head.Borrowed}
	s.unowned.put(id, r)
	return r, nil
}

// countedStore is the data plane's store. It counts the files that are being written for each job, and refuses new
// files for a job that has ended here.
type countedStore struct {
	storage.Store // for all calls but Create, of jobs below the root
	uploads       storage.Store
	s             *Server
}

// Create implements storage.Store.
func (c countedStore) Create(ctx context.Context, key string, opts storage.CreateOptions) (storage.Writer, error) {
	id, _, _ := strings.Cut(key, "/")
	c.s.mu.Lock()
	j := c.s.jobs[id]
	c.s.mu.Unlock()
	uploads := c.s.storeOf(id, c.uploads)
	if j == nil {
		w, err := uploads.Create(ctx, key, opts)
		if err != nil {
			return nil, err
		}
		return &unownedWriter{Writer: w, s: c.s, id: id, key: key}, nil
	}
	if !j.Uploads().Begin() {
		return nil, api.Refused(&ckptdv1.Refused{Reason: ckptdv1.Refused_REASON_JOB_TERMINAL}, "job %s has ended: begin a new job id", id)
	}
	w, err := limited(ctx, uploads, j, key, opts)
	if err != nil {
		j.Uploads().Ended(err)
		j.Uploads().End()
		return nil, err
	}
	return &countedWriter{Writer: w, s: c.s, j: j, key: key}, nil
}

// limited creates a file. It is refused if it is larger than the job's storage takes.
func limited(ctx context.Context, store storage.Store, j *shell.Job, key string, opts storage.CreateOptions) (storage.Writer, error) {
	r := j.Uploads().Rights()
	if r == nil || r.MaxState == 0 {
		return store.Create(ctx, key, opts)
	}
	if opts.HasSize && uint64(opts.Size) > r.MaxState {
		return nil, tooLarge(j.ID(), uint64(opts.Size), r.MaxState)
	}
	w, err := store.Create(ctx, key, opts)
	if err != nil {
		return nil, err
	}
	return &limitedWriter{Writer: w, id: j.ID(), limit: r.MaxState}, nil
}

// Open implements storage.Store.
func (c countedStore) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	id, _, _ := strings.Cut(key, "/")
	return c.s.storeOf(id, c.Store).Open(ctx, key, offset, length)
}

// countedWriter writes one file and counts as an upload until it ends.
type countedWriter struct {
	storage.Writer
	s    *Server
	j    *shell.Job
	key  string
	once sync.Once
}

// Write implements storage.Writer.
func (w *countedWriter) Write(b []byte) (int, error) {
	n, err := w.Writer.Write(b)
	if err != nil {
		w.j.Uploads().Ended(err)
	}
	return n, err
}

// Commit implements storage.Writer.
//
// If this daemon owns the job, its last sweep waits for uploads. If another daemon owns the job, since an attach here
// failed or the job was released meanwhile, that daemon's sweep does not know of this upload. So Commit deletes the
// file if the job has ended.
func (w *countedWriter) Commit() error {
	defer w.once.Do(w.j.Uploads().End)
	committed := w.Writer.Commit()
	w.j.Uploads().Ended(committed)
	if w.j.Uploads().Rights() != nil {
		return committed
	}
	return w.s.deleteIfEnded(w.j.ID(), w.key, committed)
}

// Abort implements storage.Writer.
func (w *countedWriter) Abort() {
	defer w.once.Do(w.j.Uploads().End)
	w.Writer.Abort()
}

var _ storage.Store = countedStore{}

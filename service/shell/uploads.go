package shell

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/stream"
)

// Uploads are the uploads into one job's folder at this daemon, and the rules for them. It is safe for concurrent use.
type Uploads struct {
	// rights are the rules; nil: this daemon does not own the job, or the job has ended.
	rights atomic.Pointer[Rights]

	mu     sync.Mutex
	writes int  // uploads that run; the last sweep of an ended job waits for them
	shut   bool // new uploads are refused
	// stored are the handles that PutState has returned, by open checkpoint and key. The owner compares
	// acknowledgements with them.
	stored map[uint64]map[string]*ckptdv1.FileHandle
	failed error // of the store, for the last upload; nil: the last upload was stored
}

// Rights are the rules for uploads to one job.
type Rights struct {
	Epoch, Attempt, Reserved uint64
	// Owned is set when this daemon owns the job. Only then is Open known. Without it, the rights come from the
	// journal.
	Owned bool
	// Open are the ids of the open checkpoints.
	Open []uint64
	// Borrowed are the job's pins in other jobs, whose files it may read.
	Borrowed []journal.Borrowed
	// MaxState is the largest file in bytes; 0: there is no limit.
	MaxState uint64
}

// Borrows tells whether the job may read files in the folder of another one.
func (r *Rights) Borrows(lender string) bool {
	return slices.ContainsFunc(r.Borrowed, func(b journal.Borrowed) bool { return b.Job == lender })
}

func (r *Rights) equal(o *Rights) bool {
	return r.Epoch == o.Epoch && r.Attempt == o.Attempt && r.Reserved == o.Reserved && r.Owned == o.Owned && slices.Equal(r.Open, o.Open) &&
		slices.Equal(r.Borrowed, o.Borrowed) && r.MaxState == o.MaxState
}

// Rights are the current rules; nil: this daemon does not own the job, or the job has ended.
func (u *Uploads) Rights() *Rights { return u.rights.Load() }

// allow publishes the rules; nil: the job is not owned here, or has ended.
func (u *Uploads) allow(now *Rights) {
	if r := u.rights.Load(); now == nil || r == nil || !r.equal(now) {
		u.rights.Store(now)
	}
}

// Begin counts an upload until End. It reports false if the job has ended here: no upload begins any more.
func (u *Uploads) Begin() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.shut {
		return false
	}
	u.writes++
	return true
}

// End notes the end of an upload.
func (u *Uploads) End() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.writes--
}

// Ended notes how the store answered an upload.
func (u *Uploads) Ended(err error) {
	if err != nil && !ofStore(err) {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.failed = err
}

// lastError returns the store's error for the last upload; nil: the last upload was stored.
func (u *Uploads) lastError() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.failed
}

// close refuses new uploads. Uploads that run end by themselves.
func (u *Uploads) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.shut = true
}

// running returns how many uploads run.
func (u *Uploads) running() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.writes
}

// Stored keeps the handle of a stored file while its checkpoint is open.
func (u *Uploads) Stored(up stream.Upload, f *ckptdv1.FileHandle) {
	u.mu.Lock()
	defer u.mu.Unlock()
	r := u.rights.Load()
	if r == nil || r.Epoch != up.Epoch || !slices.Contains(r.Open, up.Checkpoint) {
		return // no acknowledgement can name the file any more
	}
	if u.stored == nil {
		u.stored = map[uint64]map[string]*ckptdv1.FileHandle{}
	}
	if u.stored[up.Checkpoint] == nil {
		u.stored[up.Checkpoint] = map[string]*ckptdv1.FileHandle{}
	}
	u.stored[up.Checkpoint][f.GetKey()] = f
}

// storedAs returns the handle that PutState returned for a key; nil: this daemon did not store the file.
func (u *Uploads) storedAs(checkpoint uint64, key string) *ckptdv1.FileHandle {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.stored[checkpoint][key]
}

// forget drops the handles of a checkpoint that is not pending any more. allow must have run before, so that Stored
// adds none again.
func (u *Uploads) forget(checkpoint uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.stored, checkpoint)
}

// ofStore reports whether an upload failed because of the store. A sender that has gone, or sent other bytes than it
// announced, is not the store's fault.
func ofStore(err error) bool {
	return err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, storage.ErrMismatch)
}

package service

import (
	"slices"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/stream"
)

// storedFiles are the handles that PutState has answered here, by open checkpoint and key. The owner compares acknowledgements with them.
type storedFiles map[uint64]map[string]*ckptdv1.FileHandle

// remember keeps the handle of a stored file as long as its checkpoint is open.
func (j *job) remember(u stream.Upload, f *ckptdv1.FileHandle) {
	j.uploads.Lock()
	defer j.uploads.Unlock()
	r := j.rights.Load()
	if r == nil || r.epoch != u.Epoch || !slices.Contains(r.open, u.Checkpoint) {
		return // no acknowledgement can name the file any more
	}
	if j.stored == nil {
		j.stored = storedFiles{}
	}
	if j.stored[u.Checkpoint] == nil {
		j.stored[u.Checkpoint] = map[string]*ckptdv1.FileHandle{}
	}
	j.stored[u.Checkpoint][f.GetKey()] = f
}

// storedAs is what PutState answered here for a key; nil: nothing.
func (j *job) storedAs(checkpoint uint64, key string) *ckptdv1.FileHandle {
	j.uploads.Lock()
	defer j.uploads.Unlock()
	return j.stored[checkpoint][key]
}

// forgetStored drops the handles of a checkpoint that is not pending any more. Its rights were published before.
func (j *job) forgetStored(checkpoint uint64) {
	j.uploads.Lock()
	defer j.uploads.Unlock()
	delete(j.stored, checkpoint)
}

// acceptedKept is of how many checkpoints an owner remembers the accepted acknowledgements.
const acceptedKept = 16

// acceptedAcks are the acknowledgements that the owner has accepted, by checkpoint. A caller who lost the answer repeats the call under
// the same request id, also when the checkpoint is complete meanwhile, and is answered as before.
type acceptedAcks struct {
	calls map[uint64]map[ackCall]incremental.Set // the subtasks acknowledged under a request id
	order []uint64                               // of their checkpoints
}

// ackCall is what a repeated acknowledgement is recognised by.
type ackCall struct {
	attempt uint64
	request journal.Request
}

// has tells whether the call was accepted for all of the subtasks.
func (a *acceptedAcks) has(checkpoint uint64, c ackCall, subtasks incremental.Set) bool {
	return !subtasks.IsEmpty() && subtasks.In(a.calls[checkpoint][c])
}

func (a *acceptedAcks) add(checkpoint uint64, c ackCall, subtasks incremental.Set) {
	if a.calls == nil {
		a.calls = map[uint64]map[ackCall]incremental.Set{}
	}
	if a.calls[checkpoint] == nil {
		a.calls[checkpoint] = map[ackCall]incremental.Set{}
		if a.order = append(a.order, checkpoint); len(a.order) > acceptedKept {
			delete(a.calls, a.order[0])
			a.order = slices.Clone(a.order[1:])
		}
	}
	a.calls[checkpoint][c] = a.calls[checkpoint][c].Or(subtasks)
}

// drop forgets a checkpoint that was aborted.
func (a *acceptedAcks) drop(checkpoint uint64) {
	delete(a.calls, checkpoint)
	a.order = slices.DeleteFunc(a.order, func(id uint64) bool { return id == checkpoint })
}

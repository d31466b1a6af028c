package verify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/journalio"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// Needs says which retained checkpoints need a file.
type Needs struct {
	// Head is the head of the job in whose folder the file lies.
	Head *journal.Entry
	// Uses are the checkpoints that name the file, of this job and then of the jobs that borrow from it.
	Uses []*ckptdv1.FileUse
	// Unread is why a _metadata or a journal could not be read that may name the file; nil: all were read.
	Unread error
	// Since is a time from which on no retained checkpoint has named the file; zero: not known. The file may have been
	// unneeded for longer: the journal keeps only its newest entries.
	Since time.Time
}

// Uses looks for the checkpoints that need a file of a job, by the heads of all journals and the _metadata that they
// retain. key is relative to the root.
func Uses(ctx context.Context, s storage.Store, jobID, key string) (*Needs, error) {
	head, err := catalog.Head(ctx, s, jobID)
	if err != nil {
		return nil, fmt.Errorf("verify: who needs %s: %w", key, err)
	}
	n := &Needs{Head: head}
	ids, err := catalog.New(s).JobIDs(ctx)
	if err != nil {
		return nil, fmt.Errorf("verify: who needs %s: %w", key, err)
	}
	for _, id := range ids {
		e := head
		if id != jobID {
			if e, err = catalog.Head(ctx, s, id); errors.Is(err, catalog.ErrNoJob) {
				continue
			}
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			n.Unread = fmt.Errorf("job %s: %w", id, err)
			continue
		}
		if id == jobID || len(e.Borrowed) > 0 {
			if err := n.add(ctx, s, e, key); err != nil {
				return nil, err
			}
		}
	}
	if len(n.Uses) == 0 && n.Unread == nil {
		n.Since = unneededSince(ctx, s, head)
	}
	return n, nil
}

// add looks into the checkpoints of one job.
func (n *Needs) add(ctx context.Context, s storage.Store, head *journal.Entry, key string) error {
	job := head.About.Job
	for i := range head.Retained {
		c := &head.Retained[i]
		u, err := useOf(ctx, s, job, c.ID, key)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			if again, e := catalog.Head(ctx, s, job); e == nil {
				if now, ok := again.Checkpoint(c.ID); !ok || now.Nonce != c.Nonce {
					continue // it has left meanwhile
				}
			}
			n.Unread = fmt.Errorf("%s/%s: %w", job, layout.CheckpointDir(c.ID), err)
		}
		if u != nil {
			u.State = catalog.CheckpointState(c.State)
			n.Uses = append(n.Uses, u)
		}
	}
	return nil
}

// useOf says how a checkpoint uses a file; nil: it does not.
func useOf(ctx context.Context, s storage.Store, job string, id uint64, key string) (*ckptdv1.FileUse, error) {
	if key == layout.MetadataKey(job, id) {
		return &ckptdv1.FileUse{JobId: job, CheckpointId: id}, nil
	}
	var u *ckptdv1.FileUse
	var op *layout.Operator
	var count, ref layout.FileRef
	_, _, err := records(ctx, s, layout.MetadataKey(job, id), func(_ *layout.MetadataReader, rec layout.Record) error {
		switch rec := rec.(type) {
		case *layout.Operator:
			op = rec
		case *layout.File:
			if count++; catalog.Key(job, id, rec.Key, rec.Job) == key {
				ref, u = count, &ckptdv1.FileUse{JobId: job, CheckpointId: id}
			}
		case *layout.Subtask:
			for i := range rec.Handles {
				h := &rec.Handles[i]
				if u == nil || h.File != ref {
					continue
				}
				u.StatesTotal++
				if len(u.GetStates()) < maxStates {
					u.States = append(u.States, use(op, rec, h))
				}
			}
		}
		return nil
	})
	return u, err
}

// unneededSince looks for the oldest journal entry since which every checkpoint that was retained is retained now: what
// these do not name was not needed then either.
func unneededSince(ctx context.Context, s storage.Store, head *journal.Entry) (since time.Time) {
	for e := head; ; {
		for _, c := range e.Retained {
			if _, ok := head.Checkpoint(c.ID); !ok {
				return since
			}
		}
		if at := timeOf(e); !at.IsZero() {
			since = at
		}
		if e.Slot == 1 {
			return since
		}
		before, err := journalio.Read(ctx, s, head.About.Job, e.Slot-1)
		if err != nil {
			return since // trimmed, or unreadable: this is the oldest that is known
		}
		e = before
	}
}

// timeOf is the newest time that an entry tells of; zero: none.
func timeOf(e *journal.Entry) time.Time {
	at := e.Ended.At
	for _, c := range e.Retained {
		at = max(at, c.CompletedAt)
	}
	if at == 0 {
		return time.Time{}
	}
	return time.UnixMilli(saturated(at))
}

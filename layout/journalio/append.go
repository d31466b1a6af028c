package journalio

import (
	"context"
	"fmt"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/storage"
)

// An Appending is one entry that a tool puts into the journal of a job.
type Appending struct {
	// Base is the head that Next follows; nil: the journal is empty.
	Base  *journal.Entry
	Next  journal.Entry
	Nonce journal.Nonce
	Role  journal.Role
	// Effect tells whether a head shows the purpose of the entry, whoever appended it.
	Effect func(*journal.Entry) bool
}

// Append appends an entry the way an owner does, and returns the verdict with the head. After an entry that counts it
// trims old slots. It gives up when the store fails several times in a row, or when ctx ends. Then nobody knows whether
// the entry counts: the caller acts on nothing, and begins again from the head.
func Append(ctx context.Context, store storage.Store, facts storage.Facts, job string, a Appending) (*journal.Entry, journal.Verdict, error) {
	set := journal.DefaultSettings()
	set.TrustList = facts.ListShowsPublished
	var m journal.Append
	op, failures := m.Begin(&set, a.Base, a.Next, a.Nonce, a.Role), 0
	for range maxRounds {
		if !Sleep(ctx, Delay(op.Wait)) {
			return nil, journal.Open, fmt.Errorf("journalio: append to the journal of job %s: %w", job, context.Cause(ctx))
		}
		res, err := Execute(ctx, store, facts, job, op)
		if failures++; res.Outcome != journal.Unknown && res.Outcome != journal.NotDone {
			failures = 0
		}
		if failures == maxFailures {
			return nil, journal.Open, fmt.Errorf("journalio: append to the journal of job %s: %w", job, err)
		}
		next, verdict, head, old := m.Step(&set, res, a.Effect)
		if verdict == journal.Won {
			trim(ctx, store, job, old)
		}
		if verdict != journal.Open {
			return head, verdict, nil
		}
		op = next
	}
	return nil, journal.Open, fmt.Errorf("journalio: the journal of job %s changes faster than it can be appended to", job)
}

// trim deletes slots that are history. Errors are ignored: the next append tries the same slots again.
func trim(ctx context.Context, store storage.Store, job string, slots []uint64) {
	if len(slots) == 0 {
		return
	}
	keys := make([]string, len(slots))
	for i, slot := range slots {
		keys[i] = layout.SlotKey(job, slot)
	}
	store.Delete(ctx, keys)
}

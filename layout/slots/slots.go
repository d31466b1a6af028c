// Package slots executes the operations of the journal's machines on a store, and reads the head of a job's journal with them.
//
// It owns the way between journal.Op and storage.Store: keys, bytes, the tables from errors to outcomes, how long a repetition
// waits. It must not know what an owner, a tool or anybody else does with what it reads.
package slots

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/storage"
)

// ReadHead reads the head of a job's journal. It repeats what fails until ctx ends; the error is then the context's. The head is nil unless the
// journal.Reading is ReadDone.
func ReadHead(ctx context.Context, store storage.Store, facts storage.Facts, job string) (*journal.Entry, journal.Reading, error) {
	set := journal.DefaultSettings()
	var r journal.ReadHead
	op, how := r.Begin(0), journal.ReadMore
	for how == journal.ReadMore {
		if !Sleep(ctx, Delay(op.Wait)) {
			break
		}
		op, how = r.Step(&set, Execute(ctx, store, facts, job, op))
	}
	if how == journal.ReadMore {
		return nil, how, fmt.Errorf("slots: read the head of job %s: %w", job, context.Cause(ctx))
	}
	return r.Head(), how, nil
}

// Execute carries out one operation of the journal's machines on a store. Op.Wait is the caller's to wait.
func Execute(ctx context.Context, store storage.Store, facts storage.Facts, job string, op journal.Op) journal.Result {
	switch op.Kind {
	case journal.OpList:
		return listSlots(ctx, store, job)
	case journal.OpGet:
		return getSlot(ctx, store, facts, job, op.Slot)
	case journal.OpPublish:
		b, err := journal.Encode(op.Entry)
		if err == nil {
			err = store.Publish(ctx, layout.SlotKey(job, op.Entry.Slot), b)
		}
		return journal.Result{Outcome: WriteOutcome(err)}
	}
	return journal.Result{Outcome: journal.Unknown}
}

// listSlots lists the journal; if it has no slots it looks for anything else in the job's folder.
func listSlots(ctx context.Context, store storage.Store, job string) journal.Result {
	var r journal.Result
	for info, err := range store.List(ctx, layout.JournalPrefix(job)) {
		if err != nil {
			return journal.Result{Outcome: journal.Unknown}
		}
		if slot, err := layout.ParseSlotKey(job, info.Key); err == nil {
			r.Slots = append(r.Slots, slot)
		}
	}
	r.Outcome = journal.Done
	if len(r.Slots) > 0 {
		return r
	}
	for info, err := range store.List(ctx, layout.JobPrefix(job)) {
		if err != nil {
			return journal.Result{Outcome: journal.Unknown}
		}
		if layout.ParseJobKey(strings.TrimPrefix(info.Key, layout.JobPrefix(job))).Place != layout.PlaceTemp {
			r.Foreign = true
			break
		}
	}
	return r
}

// getSlot reads an entry, and makes sure that what it read cannot vanish: nobody may act on an entry that a power cut could
// take away.
func getSlot(ctx context.Context, store storage.Store, facts storage.Facts, job string, slot uint64) journal.Result {
	if facts.Settle != nil {
		if err := facts.Settle(ctx, layout.JournalPrefix(job)); err != nil {
			return journal.Result{Outcome: journal.Unknown}
		}
	}
	e, err := readSlot(ctx, store, job, slot)
	return journal.Result{Outcome: ReadOutcome(err), Entry: e}
}

func readSlot(ctx context.Context, store storage.Store, job string, slot uint64) (*journal.Entry, error) {
	body, err := store.Open(ctx, layout.SlotKey(job, slot), 0, -1)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	b, err := io.ReadAll(io.LimitReader(body, journal.MaxBytes+1))
	if err != nil {
		return nil, err
	}
	e, err := journal.Decode(b)
	if err == nil && (e.Slot != slot || e.About.Job != job) {
		return nil, fmt.Errorf("slots: journal slot %d of %s says it is slot %d of %s: %w", slot, job, e.Slot, e.About.Job, journal.ErrCorrupt)
	}
	return e, err
}

// Delay is how long an operation waits before it starts: longer the more is wrong, and at random, so that two do not race again.
func Delay(w journal.Wait) time.Duration {
	switch w {
	case journal.WaitBackoff:
		return 50*time.Millisecond + rand.N(150*time.Millisecond)
	case journal.WaitJitter:
		return 200*time.Millisecond + rand.N(1800*time.Millisecond)
	}
	return 0
}

// Sleep waits, unless ctx ends before.
func Sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// ReadOutcome is the one table from a failed read to what the machines are told.
func ReadOutcome(err error) journal.Outcome {
	switch {
	case err == nil:
		return journal.Done
	case errors.Is(err, storage.ErrNotFound):
		return journal.NotFound
	case errors.Is(err, layout.ErrNewerFormat), errors.Is(err, layout.ErrUnknownKind), errors.Is(err, journal.ErrNewer):
		return journal.Newer
	case errors.Is(err, layout.ErrCorrupt), errors.Is(err, journal.ErrCorrupt):
		return journal.Corrupt
	default:
		return journal.Unknown
	}
}

// WriteOutcome is the one table from a mutation's error to what the machines are told.
func WriteOutcome(err error) journal.Outcome {
	switch {
	case err == nil:
		return journal.Done
	case errors.Is(err, storage.ErrUnknown):
		return journal.Unknown
	case errors.Is(err, storage.ErrExists):
		return journal.Exists
	default:
		return journal.NotDone
	}
}

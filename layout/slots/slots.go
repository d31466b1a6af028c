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

// How long ReadHead tries: rounds of a journal that changes meanwhile, and reads that fail one after the other.
const (
	patience = 100
	tries    = 5
)

// ReadHead reads the head of a job's journal the way an owner does. The head is nil unless the Reading is ReadDone. The error says
// why the journal could not be read (ReadMore: the store, or ctx), or what is wrong with its head (ReadCorrupt, ReadNewer); it is
// nil for ReadDone, ReadEmpty and ReadForeign.
func ReadHead(ctx context.Context, store storage.Store, facts storage.Facts, job string) (*journal.Entry, journal.Reading, error) {
	set := journal.DefaultSettings()
	var r journal.ReadHead
	op, failed := r.Begin(0), 0
	var cause error
	for range patience {
		if !Sleep(ctx, Delay(op.Wait)) {
			return nil, journal.ReadMore, fmt.Errorf("slots: read the head of job %s: %w", job, context.Cause(ctx))
		}
		res, err := Execute(ctx, store, facts, job, op)
		if err != nil {
			cause = fmt.Errorf("slots: read the head of job %s: %w", job, err)
		}
		if failed++; res.Outcome != journal.Unknown {
			failed = 0
		}
		if failed == tries {
			return nil, journal.ReadMore, cause
		}
		var how journal.Reading
		switch op, how = r.Step(&set, res); how {
		case journal.ReadMore:
		case journal.ReadCorrupt, journal.ReadNewer:
			return nil, how, cause
		default:
			return r.Head(), how, nil
		}
	}
	return nil, journal.ReadMore, fmt.Errorf("slots: the journal of job %s changes faster than it can be read", job)
}

// Execute carries out one operation of the journal's machines on a store. Op.Wait is the caller's to wait. The error says why the
// outcome is not Done.
func Execute(ctx context.Context, store storage.Store, facts storage.Facts, job string, op journal.Op) (journal.Result, error) {
	switch op.Kind {
	case journal.OpList:
		r, err := list(ctx, store, job)
		r.Outcome = ReadOutcome(err)
		return r, err
	case journal.OpGet:
		e, err := get(ctx, store, facts, job, op.Slot)
		return journal.Result{Outcome: ReadOutcome(err), Entry: e}, err
	case journal.OpPublish:
		b, err := journal.Encode(op.Entry)
		if err == nil {
			err = store.Publish(ctx, layout.SlotKey(job, op.Entry.Slot), b)
		}
		return journal.Result{Outcome: WriteOutcome(err)}, err
	}
	return journal.Result{}, fmt.Errorf("slots: job %s: operation %d", job, op.Kind)
}

// List answers the slots of a job's journal, in any order.
func List(ctx context.Context, store storage.Store, job string) ([]uint64, error) {
	var slots []uint64
	for info, err := range store.List(ctx, layout.JournalPrefix(job)) {
		if err != nil {
			return nil, err
		}
		if slot, err := layout.ParseSlotKey(job, info.Key); err == nil {
			slots = append(slots, slot)
		}
	}
	return slots, nil
}

// list lists the journal; if it has no slots it looks for anything else in the job's folder. What it finds there may belong to a job
// that somebody began meanwhile, so the journal is listed once more before it is called foreign.
func list(ctx context.Context, store storage.Store, job string) (journal.Result, error) {
	slots, err := List(ctx, store, job)
	if err != nil || len(slots) > 0 {
		return journal.Result{Slots: slots}, err
	}
	foreign, err := holdsObjects(ctx, store, job)
	if err != nil || !foreign {
		return journal.Result{}, err
	}
	slots, err = List(ctx, store, job)
	return journal.Result{Slots: slots, Foreign: len(slots) == 0}, err
}

// holdsObjects tells whether there is anything but temporaries in a job's folder.
func holdsObjects(ctx context.Context, store storage.Store, job string) (bool, error) {
	prefix := layout.JobPrefix(job)
	for info, err := range store.List(ctx, prefix) {
		if err != nil {
			return false, err
		}
		if layout.ParseJobKey(strings.TrimPrefix(info.Key, prefix)).Place != layout.PlaceTemp {
			return true, nil
		}
	}
	return false, nil
}

// get reads an entry, and makes sure that what it read cannot vanish: nobody may act on an entry that a power cut could
// take away.
func get(ctx context.Context, store storage.Store, facts storage.Facts, job string, slot uint64) (*journal.Entry, error) {
	if facts.Settle != nil {
		if err := facts.Settle(ctx, layout.JournalPrefix(job)); err != nil {
			return nil, err
		}
	}
	return Read(ctx, store, job, slot)
}

// Read reads one entry, to look at it.
func Read(ctx context.Context, store storage.Store, job string, slot uint64) (*journal.Entry, error) {
	key := layout.SlotKey(job, slot)
	body, err := store.Open(ctx, key, 0, -1)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	b, err := io.ReadAll(io.LimitReader(body, journal.MaxBytes+1))
	if err != nil {
		return nil, err
	}
	e, err := journal.Decode(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	if e.Slot != slot || e.About.Job != job {
		return nil, fmt.Errorf("%s: says that it is slot %d of job %s: %w", key, e.Slot, e.About.Job, journal.ErrCorrupt)
	}
	return e, nil
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

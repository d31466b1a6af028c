// Package journalio executes the operations of the journal's machines on a store, and reads the head of a job's
// journal.
//
// It owns the way between journal.Op and storage.Store: keys, bytes, the delay before a repetition, and the tables
// that turn errors into outcomes. It must not know what an owner or a tool does with an entry that it reads.
//
// A slot is the place of one entry in a job's journal.
package journalio

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

// maxRounds and maxFailures bound ReadHead: how often it begins again because the journal changes while it reads, and
// how many operations may fail in a row.
const (
	maxRounds   = 100
	maxFailures = 5
)

// ReadHead reads the head of a job's journal the way an owner does. The head is nil unless the Reading is ReadDone.
//
// The error is nil for ReadDone, ReadEmpty and ReadForeign. For ReadMore it says why the store could not be read, or
// that ctx ended. For ReadCorrupt and ReadNewer it says what is wrong with the head.
func ReadHead(ctx context.Context, store storage.Store, facts storage.Facts, job string) (*journal.Entry, journal.Reading, error) {
	set := journal.DefaultSettings()
	var r journal.ReadHead
	op, failures := r.Begin(0), 0
	var cause error
	for range maxRounds {
		if !Sleep(ctx, Delay(op.Wait)) {
			return nil, journal.ReadMore, fmt.Errorf("journalio: read the head of job %s: %w", job, context.Cause(ctx))
		}
		res, err := Execute(ctx, store, facts, job, op)
		if err != nil {
			cause = fmt.Errorf("journalio: read the head of job %s: %w", job, err)
		}
		if failures++; res.Outcome != journal.Unknown {
			failures = 0
		}
		if failures == maxFailures {
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
	return nil, journal.ReadMore, fmt.Errorf("journalio: the journal of job %s changes faster than it can be read", job)
}

// Execute carries out one operation of the journal's machines on a store. It does not wait for Op.Wait; the caller
// does. The error says why the outcome is not Done.
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
	return journal.Result{}, fmt.Errorf("journalio: job %s: unknown kind of operation: %d", job, op.Kind)
}

// List returns the slots of a job's journal, in any order.
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

// list lists the journal. If the journal has no slots, list looks for other objects in the job's folder. Such an
// object may belong to a job that was begun just now, so list reads the journal once more before it reports Foreign.
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

// holdsObjects reports whether a job's folder holds anything but temporaries.
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

// get makes the journal durable where List cannot (Facts.Settle), and reads one entry. Nobody may act on an entry
// that a power cut could take away.
func get(ctx context.Context, store storage.Store, facts storage.Facts, job string, slot uint64) (*journal.Entry, error) {
	if facts.Settle != nil {
		if err := facts.Settle(ctx, layout.JournalPrefix(job)); err != nil {
			return nil, err
		}
	}
	return Read(ctx, store, job, slot)
}

// Read reads the entry in one slot, for display. It does not make the journal durable first.
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
		return nil, fmt.Errorf("%s: the entry says that it is slot %d of job %s: %w", key, e.Slot, e.About.Job, journal.ErrCorrupt)
	}
	return e, nil
}

// Delay returns the time to wait before an operation starts. It is random, so that two callers do not collide again.
func Delay(w journal.Wait) time.Duration {
	switch w {
	case journal.WaitBackoff:
		return 50*time.Millisecond + rand.N(150*time.Millisecond)
	case journal.WaitJitter:
		return 200*time.Millisecond + rand.N(1800*time.Millisecond)
	}
	return 0
}

// Sleep waits for d and reports true; it reports false as soon as ctx ends.
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

// ReadOutcome returns the outcome that the machines are given for the error of a read.
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

// WriteOutcome returns the outcome that the machines are given for the error of a mutation.
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

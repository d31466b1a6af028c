package catalog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/storage"
)

// head reads the head of a job's journal the way an owner does, but acts on nothing.
func (c *Catalog) head(ctx context.Context, job string) (*journal.Entry, error) {
	if err := layout.ValidateJobID(job); err != nil {
		return nil, err
	}
	// A slot that is trimmed, or written, while we look sends the machine back to the start.
	const patience = 100
	set := journal.DefaultSettings()
	var m journal.ReadHead
	op := m.Begin(0)
	var cause error
	for range patience {
		res, err := c.do(ctx, job, op)
		if res.Outcome == journal.Unknown {
			return nil, err
		}
		if err != nil {
			cause = err
		}
		var reading journal.Reading
		switch op, reading = m.Step(&set, res); reading {
		case journal.ReadDone:
			return m.Head(), nil
		case journal.ReadEmpty:
			return nil, fmt.Errorf("%w: %s", ErrNoJob, job)
		case journal.ReadForeign:
			return nil, fmt.Errorf("%w: the folder of job %s is not empty, but has no journal", ErrDamaged, job)
		case journal.ReadCorrupt:
			return nil, fmt.Errorf("%w: %w", ErrDamaged, cause)
		case journal.ReadNewer:
			return nil, cause
		}
	}
	return nil, fmt.Errorf("the journal of job %s changes faster than it can be read", job)
}

// do executes an operation of ReadHead.
func (c *Catalog) do(ctx context.Context, job string, op journal.Op) (journal.Result, error) {
	if op.Kind == journal.OpList {
		slots, err := c.slots(ctx, job)
		if err != nil {
			return journal.Result{}, err
		}
		res := journal.Result{Outcome: journal.Done, Slots: slots}
		if len(slots) == 0 {
			res.Foreign, err = c.foreign(ctx, job)
		}
		if err != nil {
			return journal.Result{}, err
		}
		return res, nil
	}
	e, err := c.entry(ctx, job, op.Slot)
	switch {
	case err == nil:
		return journal.Result{Outcome: journal.Done, Entry: e}, nil
	case errors.Is(err, storage.ErrNotFound):
		return journal.Result{Outcome: journal.NotFound}, err
	case errors.Is(err, journal.ErrNewer):
		return journal.Result{Outcome: journal.Newer}, err
	case errors.Is(err, journal.ErrCorrupt):
		return journal.Result{Outcome: journal.Corrupt}, err
	}
	return journal.Result{}, err
}

func (c *Catalog) slots(ctx context.Context, job string) (slots []uint64, err error) {
	for info, err := range c.store.List(ctx, layout.JournalPrefix(job)) {
		if err != nil {
			return nil, err
		}
		if slot, err := layout.ParseSlotKey(job, info.Key); err == nil {
			slots = append(slots, slot)
		}
	}
	return slots, nil
}

// foreign tells whether a job's folder holds anything but temporaries.
func (c *Catalog) foreign(ctx context.Context, job string) (bool, error) {
	prefix := layout.JobPrefix(job)
	for info, err := range c.store.List(ctx, prefix) {
		if err != nil {
			return false, err
		}
		if layout.ParseJobKey(strings.TrimPrefix(info.Key, prefix)).Place != layout.PlaceTemp {
			return true, nil
		}
	}
	return false, nil
}

func (c *Catalog) entry(ctx context.Context, job string, slot uint64) (*journal.Entry, error) {
	key := layout.SlotKey(job, slot)
	r, err := c.store.Open(ctx, key, 0, -1)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(r, journal.MaxBytes+1))
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, err
	}
	e, err := journal.Decode(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	if e.Slot != slot || e.About.Job != job {
		return nil, fmt.Errorf("%s: says that it is slot %d of job %s: %w", key, e.Slot, e.About.Job, journal.ErrCorrupt)
	}
	return e, nil
}

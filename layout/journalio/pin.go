package journalio

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/storage"
)

// ErrNotKept: the job does not keep the checkpoint (any more), or the pin has expired and is gone.
var ErrNotKept = errors.New("journalio: the job does not keep the checkpoint")

// A Pin keeps a checkpoint of a job for a tool, until the tool returns it or its time is over by the store's clock. So a tool that dies
// leaves nothing behind for long. It is not safe for concurrent use.
type Pin struct {
	store storage.Store
	facts storage.Facts
	job   string
	id    uint64
	// tool names the holder for people. No job can have this name.
	tool string
	pin  journal.Nonce
	// entries counts the entries that were tried, for their nonces.
	entries uint32
}

// toolPrefix begins the holder of a tool's pin. The id of a job does not begin with a dot.
const toolPrefix = ".tool-"

// Hold pins a checkpoint for a tool, for a time. A caller that may not write goes on without a pin: a file
// that is missing then may be one of a checkpoint that was dropped meanwhile.
func Hold(ctx context.Context, store storage.Store, facts storage.Facts, job string, id uint64, tool string, window time.Duration) (*Pin, error) {
	p := &Pin{store: store, facts: facts, job: job, id: id, tool: toolPrefix + tool, pin: journal.Nonce{Process: journal.NewProcess(), Count: 1}}
	return p, p.lend(ctx, window, false)
}

// Renew lets the pin count for the whole time again, from now on. ErrNotKept: the pin has expired and was dropped meanwhile.
func (p *Pin) Renew(ctx context.Context, window time.Duration) error {
	return p.lend(ctx, window, true)
}

// Return gives the pin back. A pin that is gone already is no error.
func (p *Pin) Return(ctx context.Context) error {
	return p.append(ctx, func(e *journal.Entry) error {
		e.Kind = journal.KindReturn
		e.Lent = slices.DeleteFunc(slices.Clone(e.Lent), func(l journal.Lent) bool { return l.Pin == p.pin })
		return nil
	}, func(e *journal.Entry) bool { return !e.HasLent(p.pin) })
}

func (p *Pin) lend(ctx context.Context, window time.Duration, again bool) error {
	now, err := layout.StoreTime(ctx, p.store)
	if err != nil {
		return err
	}
	mine := journal.Lent{Pin: p.pin, Checkpoint: p.id, Holder: p.tool, Expires: uint64(now.Add(window).UnixMilli())}
	return p.append(ctx, func(e *journal.Entry) error {
		c, ok := e.Checkpoint(p.id)
		if !ok || c.State == journal.StateHidden && !e.IsLent(p.id) || again && !e.HasLent(p.pin) {
			return fmt.Errorf("%w: job %s, checkpoint %d", ErrNotKept, p.job, p.id)
		}
		e.Kind = journal.KindLend
		e.Lent = append(slices.DeleteFunc(slices.Clone(e.Lent), func(l journal.Lent) bool { return l.Pin == p.pin }), mine)
		return e.Fits()
	}, func(e *journal.Entry) bool { return slices.Contains(e.Lent, mine) })
}

// append appends an entry of a third party. change makes it from a head. It is called again for each newer head.
func (p *Pin) append(ctx context.Context, change func(*journal.Entry) error, done func(*journal.Entry) bool) error {
	head, how, err := ReadHead(ctx, p.store, p.facts, p.job)
	switch {
	case err != nil:
		return err
	case how != journal.ReadDone:
		return fmt.Errorf("%w: job %s has no journal", ErrNotKept, p.job)
	case head.LeastWriter > journal.FormatVersion:
		return fmt.Errorf("job %s: %w", p.job, journal.ErrNewer)
	}
	for !done(head) {
		next := *head
		if err := change(&next); err != nil {
			return err
		}
		p.entries++
		nonce := journal.Nonce{Process: p.pin.Process, Count: p.pin.Count + p.entries}
		newer, verdict, err := Append(ctx, p.store, p.facts, p.job, Appending{Base: head, Next: next, Nonce: nonce, Role: journal.RoleThird, Effect: done})
		switch {
		case err != nil:
			return err
		case verdict == journal.Won:
			return nil
		case verdict != journal.Lost:
			return fmt.Errorf("job %s: the journal cannot be read", p.job)
		case newer.LeastWriter > journal.FormatVersion:
			return fmt.Errorf("job %s: %w", p.job, journal.ErrNewer)
		}
		head = newer
	}
	return nil
}

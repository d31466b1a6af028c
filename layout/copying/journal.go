package copying

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/journalio"
)

var (
	// ErrOwned: a process that answers owns the copy.
	ErrOwned = errors.New("somebody else looks after the copy")
	// ErrFenced: another process took the copy over meanwhile.
	ErrFenced = errors.New("another process took the copy over")
)

// Claims are the jobs that this process owns, for the answer to other daemons. The zero value is empty.
type Claims struct {
	mu   sync.Mutex
	jobs map[string]journal.Nonce
}

// Owns reports whether this process owns the job under the nonce of an attach.
func (c *Claims) Owns(job string, nonce journal.Nonce) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !nonce.IsZero() && c.jobs[job] == nonce
}

func (c *Claims) set(job string, nonce journal.Nonce) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.jobs == nil {
		c.jobs = map[string]journal.Nonce{}
	}
	c.jobs[job] = nonce
}

// ownership is a job of the target that this run owns.
type ownership struct {
	run  *run
	job  string
	me   journal.Nonce
	head *journal.Entry
	// resumed: an earlier copy did not end.
	resumed bool
}

// attachTries is how often another owner is asked, and how often a lost race is run again.
const attachTries = 5

// read returns the head of a job in the target; nil: there is none.
func (r *run) read(ctx context.Context, job string) (*journal.Entry, error) {
	if r.to.Store == nil {
		return nil, nil
	}
	head, how, err := journalio.ReadHead(ctx, r.to.Store, r.to.Facts, job)
	switch {
	case how == journal.ReadDone && head.LeastWriter > journal.FormatVersion:
		return nil, fmt.Errorf("the journal of the copy: %w", journal.ErrNewer)
	case how == journal.ReadDone:
		return head, nil
	case how == journal.ReadEmpty:
		return nil, nil
	case how == journal.ReadForeign:
		return nil, fmt.Errorf("%w: the target's folder %s is not empty, but has no journal", catalog.ErrDamaged, job)
	}
	return nil, err
}

// attach makes this run the owner of the copy. base is the target's head; nil: the job is new there.
func (r *run) attach(ctx context.Context, source, base *journal.Entry) (*ownership, error) {
	job := source.About.Job
	for range attachTries {
		if base != nil && !base.Owner.IsZero() && r.opts.Owns(ctx, base.URLs, job, base.Owner.String()) {
			if !journalio.Sleep(ctx, journalio.Delay(journal.WaitJitter)) {
				return nil, context.Cause(ctx)
			}
			head, err := r.read(ctx, job)
			if err != nil {
				return nil, err
			}
			if base = head; base != nil && !base.Owner.IsZero() {
				continue
			}
		}
		if err := checkOrigin(source, base, r.from.Root.ID); err != nil {
			return nil, err
		}
		o := &ownership{run: r, job: job, me: r.nonce(), resumed: base != nil && base.CopiedFrom.Unfinished}
		next := r.attached(source, base)
		next.Owner = o.me
		r.opts.Claims.set(job, o.me) // before the entry is there: whoever reads it may ask at once
		head, verdict, err := journalio.Append(ctx, r.to.Store, r.to.Facts, job, journalio.Appending{Base: base, Next: next, Nonce: o.me, Role: journal.RoleAttach,
			Effect: func(e *journal.Entry) bool { return e.Owner == o.me }})
		if err != nil {
			return nil, err
		}
		if verdict == journal.Won {
			o.head = head
			return o, nil
		}
		if !journalio.Sleep(ctx, journalio.Delay(journal.WaitJitter)) {
			return nil, context.Cause(ctx)
		}
		if base, err = r.read(ctx, job); err != nil {
			return nil, err
		}
	}
	urls := []string(nil)
	if base != nil {
		urls = base.URLs
	}
	return nil, fmt.Errorf("%w, at %v: wait until it has ended, or stop it", ErrOwned, urls)
}

// attached is the entry by which a copy begins. Epoch and reserved ids are at least the source's, so that whoever owns the
// copy later counts on above every name in it.
func (r *run) attached(source, base *journal.Entry) journal.Entry {
	next := journal.Entry{Epoch: source.Epoch, Reserved: source.Reserved}
	if base != nil {
		next = *base
		next.Epoch, next.Reserved = max(base.Epoch+1, source.Epoch), max(base.Reserved, source.Reserved)
	}
	for _, c := range source.Retained {
		next.Reserved = max(next.Reserved, c.ID)
	}
	next.Kind, next.URLs, next.Status = journal.KindAttach, r.opts.URLs, journal.StatusCopied
	next.About, next.Plan, next.Config, next.Attempt, next.Restore = source.About, source.Plan, source.Config, source.Attempt, 0
	next.Import, next.Borrowed, next.Savepoints, next.PurgeWanted = source.Import, nil, nil, false
	if next.Import.State == journal.ImportWanted { // it has no checkpoint yet
		next.Import = journal.Import{}
	}
	next.Ended, next.ReleasedAt, next.Settled = journal.Ended{}, 0, false
	next.CopiedFrom = journal.Origin{RootID: r.from.Root.ID, Job: source.About.Job, Unfinished: true}
	return next
}

// edit appends an entry of this owner. change makes it from a head; it is called again for each newer head. done tells
// whether a head shows the purpose.
func (o *ownership) edit(ctx context.Context, change func(*journal.Entry), done func(*journal.Entry) bool) error {
	for {
		next := *o.head
		change(&next)
		if err := next.Fits(); err != nil {
			return err
		}
		head, verdict, err := journalio.Append(ctx, o.run.to.Store, o.run.to.Facts, o.job,
			journalio.Appending{Base: o.head, Next: next, Nonce: o.run.nonce(), Role: journal.RoleOwner, Effect: done})
		switch {
		case err != nil:
			return err
		case verdict == journal.Won:
			o.head = head
			return nil
		case verdict != journal.Lost:
			return fmt.Errorf("job %s: %w: run the same command again", o.job, ErrFenced)
		}
		o.head = head // another job took or returned a pin meanwhile
	}
}

// retain adds a checkpoint whose _metadata is durable.
func (o *ownership) retain(ctx context.Context, c journal.Checkpoint) error {
	err := o.edit(ctx, func(e *journal.Entry) {
		e.Kind = journal.KindCommit
		at, _ := slices.BinarySearchFunc(e.Retained, c.ID, func(c journal.Checkpoint, id uint64) int { return int(int64(c.ID) - int64(id)) })
		e.Retained = slices.Insert(slices.Clone(e.Retained), at, c)
		e.Reserved = max(e.Reserved, c.ID)
	}, func(e *journal.Entry) bool {
		have, ok := e.Checkpoint(c.ID)
		return ok && have.Nonce == c.Nonce
	})
	o.run.step(err, StepCommit)
	return err
}

// drop removes checkpoints from the copy, unless another job took a pin on one meanwhile. It returns those that left.
func (o *ownership) drop(ctx context.Context, ids []uint64) ([]uint64, error) {
	goes := func(e *journal.Entry, c journal.Checkpoint) bool {
		return slices.Contains(ids, c.ID) && !e.IsLent(c.ID)
	}
	before := o.head.Retained
	err := o.edit(ctx, func(e *journal.Entry) {
		e.Kind = journal.KindDiscard
		e.Retained = slices.DeleteFunc(slices.Clone(e.Retained), func(c journal.Checkpoint) bool { return goes(e, c) })
	}, func(e *journal.Entry) bool {
		return !slices.ContainsFunc(e.Retained, func(c journal.Checkpoint) bool { return goes(e, c) })
	})
	if err != nil {
		return nil, err
	}
	var left []uint64
	for _, c := range before {
		if _, still := o.head.Checkpoint(c.ID); !still {
			left = append(left, c.ID)
		}
	}
	return left, nil
}

// releaseTime bounds the release of a copy that was interrupted.
const releaseTime = 5 * time.Second

// release gives the job up. finished: nothing of what this copy wanted is missing. An interrupted copy is released, too,
// so that nobody asks for this process any more; if that fails, the next owner finds that nobody answers.
func (o *ownership) release(ctx context.Context, finished bool) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTime)
	defer cancel()
	defer o.run.opts.Claims.set(o.job, journal.Nonce{})
	err := o.edit(ctx, func(e *journal.Entry) {
		e.Kind, e.Owner, e.URLs = journal.KindRelease, journal.Nonce{}, nil
		e.CopiedFrom.Unfinished = !finished
	}, func(e *journal.Entry) bool { return e.Owner.IsZero() })
	o.run.step(err, StepRelease)
	return err
}

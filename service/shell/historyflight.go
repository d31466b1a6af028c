package shell

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/history"
	"github.com/ckptd/ckptd/layout/storage"
)

// flight is a part of a job's history on its way to the store. It is used by one goroutine.
type flight struct {
	job             string
	epoch, sequence uint64
	// known is the sequence number of the last write of this epoch that has succeeded.
	known uint64
	tail  history.Tail
	// last is the newest segment of this epoch; the zero name: the newest one has to be looked for.
	last layout.HistoryName
	// stale are segments whose records lie in others, or will: they are deleted after the write.
	stale []layout.HistoryName
	// limit is how many records are kept.
	limit uint64
	// tidy: a plan is made after the write.
	tidy bool
	// before is a write that may still run; nil: none does. This one waits for it. If it fails, its tail is written, too.
	before *flight
	// done is closed at the end, and err is set then.
	done    chan struct{}
	err     error
	tidyErr error // the write succeeded, and what followed did not
}

// write writes the tail, and tidies up.
func (f *flight) write(ctx context.Context, store storage.Store) {
	if b := f.before; b != nil {
		f.stale = b.stale
		if f.known = b.sequence; b.err != nil {
			f.known = b.known
			f.tail.Before(&b.tail)
		}
	}
	if f.tail.Empty() {
		return
	}
	base, err := f.base(ctx, store)
	if err != nil {
		f.err = fmt.Errorf("history of job %s: read the newest segment: %w", f.job, err)
		return
	}
	segments := f.tail.Segments(f.job, f.epoch, f.sequence, base)
	if f.err = f.put(ctx, store, segments); f.err != nil {
		return
	}
	if f.tidy {
		f.tidyErr = f.tidyUp(ctx, store, segments[len(segments)-1])
	}
	if len(f.stale) == 0 {
		return
	}
	keys := make([]string, len(f.stale))
	for i, name := range f.stale {
		keys[i] = layout.HistoryKey(f.job, name)
	}
	if err := errors.Join(store.Delete(ctx, keys)...); err != nil {
		f.tidyErr = errors.Join(f.tidyErr, err)
		return
	}
	f.stale = nil
}

// put writes segments under fresh names. If it fails, some may be there all the same. They are stale, since their records are written
// again, or lie elsewhere.
func (f *flight) put(ctx context.Context, store storage.Store, segments []*history.Segment) (err error) {
	var names []layout.HistoryName
	defer func() {
		if err != nil {
			f.stale = append(f.stale, names...)
		}
	}()
	for _, s := range segments {
		b, err := history.Encode(s)
		if err != nil {
			return err
		}
		name := s.Name()
		names = append(names, name)
		if err := f.create(ctx, store, layout.HistoryKey(f.job, name), b); err != nil {
			return fmt.Errorf("history of job %s: write %s: %w", f.job, layout.HistoryKey(f.job, name), err)
		}
		f.last = name
	}
	return nil
}

func (f *flight) create(ctx context.Context, store storage.Store, key string, b []byte) error {
	w, err := store.Create(ctx, key, storage.CreateOptions{Size: int64(len(b)), HasSize: true, IfAbsent: true})
	if err != nil {
		return err
	}
	defer w.Abort()
	if _, err := w.Write(b); err != nil {
		return err
	}
	return w.Commit()
}

// base are the totals before the tail: those of the newest segment that can be read.
func (f *flight) base(ctx context.Context, store storage.Store) (*history.Totals, error) {
	if f.last != (layout.HistoryName{}) {
		if got, _, err := catalog.ReadHistory(ctx, store, f.job, []layout.HistoryName{f.last}); err == nil && len(got) == 1 {
			return &got[0].Totals, nil
		}
	}
	listed, err := catalog.ListHistory(ctx, store, f.job)
	if err != nil {
		return nil, err
	}
	listed = slices.DeleteFunc(listed, func(l history.Listed) bool { // a write of this tail that seemed to fail
		return l.Name.Epoch == f.epoch && l.Name.Sequence > f.known && l.Name.Sequence < f.sequence
	})
	for len(listed) > 0 {
		i := history.NewestOf(listed)
		got, _, err := catalog.ReadHistory(ctx, store, f.job, []layout.HistoryName{listed[i].Name})
		if err != nil {
			return nil, err
		}
		if len(got) == 1 {
			return &got[0].Totals, nil
		}
		listed = append(listed[:i:i], listed[i+1:]...) // damaged, or dropped meanwhile
	}
	return &history.Totals{}, nil
}

// tidyUp merges small segments and drops the oldest. like is the segment that was written just now.
func (f *flight) tidyUp(ctx context.Context, store storage.Store, like *history.Segment) error {
	listed, err := catalog.ListHistory(ctx, store, f.job)
	if err != nil {
		return err
	}
	plan := history.Plan(f.epoch, listed, f.limit)
	f.stale = append(f.stale, plan.Drop...)
	if len(plan.Merge) > 0 {
		small, unreadable, err := catalog.ReadHistory(ctx, store, f.job, plan.Merge)
		if err != nil {
			return err
		}
		if len(unreadable) == 0 { // a damaged one stays, for people to see
			if err := f.put(ctx, store, history.Merged(small, like)); err != nil {
				return err
			}
			f.stale = append(f.stale, plan.Merge...)
		}
	}
	return nil
}

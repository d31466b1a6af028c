package shell

import (
	"context"
	"strings"
	"time"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/journalio"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/service/owner"
)

// unfinishedTries is how often AbortUnfinished is tried at a store that answers other requests.
const unfinishedTries = 4

// abortUnfinished aborts the unfinished writes in the job's folder.
//
// No later sweep makes up for a failure in the last sweep of an ended job, so a failed call is repeated. While the
// store answers no request at all, the calls continue. If the store answers a list and still refuses this call, the
// sweep goes on after unfinishedTries.
func (j *Job) abortUnfinished(ctx context.Context, op owner.Op) {
	prefix := layout.JobPrefix(j.id)
	dead := func(key string) bool {
		k := layout.ParseJobKey(strings.TrimPrefix(key, prefix))
		switch k.Place {
		case layout.PlaceSlot:
			return k.Slot <= op.Slot
		case layout.PlaceMetadata:
			return op.DeadTarget(op.Epoch, k.Checkpoint)
		case layout.PlaceHistory:
			return k.History.Epoch < op.Epoch
		case layout.PlaceExclusive, layout.PlaceShared:
			return op.DeadTarget(k.File.Epoch, k.File.Checkpoint)
		}
		return false
	}
	n, err := j.env.Collect.AbortUnfinished(ctx, prefix, dead)
	for try := 1; err != nil && try < unfinishedTries && journalio.Sleep(ctx, journalio.Delay(journal.WaitBackoff)<<try); {
		if lists(ctx, j.env.Collect, prefix) {
			try++
		}
		n, err = j.env.Collect.AbortUnfinished(ctx, prefix, dead)
	}
	if err != nil {
		j.warn(ctx, "cannot abort unfinished writes", "error", err)
	} else if n > 0 {
		j.log.Info("aborted unfinished writes", "count", n)
	}
	j.result(op.Result(journalio.WriteOutcome(err)))
}

// lists reports whether the store answers a list.
func lists(ctx context.Context, store storage.Store, prefix string) bool {
	for _, err := range store.List(ctx, prefix) {
		return err == nil
	}
	return true
}

// sweepPage is how many objects of a sweep's list go to the owner machine at a time. The job's goroutine is busy with
// a page for less than a millisecond.
const sweepPage = 250

// sweepList lists the job's folder for a sweep. Before it lists that of a job that is purged, it deletes the history: after the sweep
// comes the tombstone, and nobody lists the folder then.
func (j *Job) sweepList(op owner.Op) func(context.Context) {
	if head := j.told(); !head.PurgeWanted && head.Status != journal.StatusRemoved {
		return func(ctx context.Context) { j.list(ctx, op) }
	}
	purge := j.closeHistory()
	return func(ctx context.Context) {
		if err := purge(ctx); err != nil {
			j.warn(ctx, "cannot delete the history", "error", err)
			j.result(op.Result(journal.Unknown))
			return
		}
		j.list(ctx, op)
	}
}

// list lists the job's folder for a sweep, page by page. It goes on when the job has taken a page: pages in the job's
// queue would keep its checkpoints waiting behind them.
func (j *Job) list(ctx context.Context, op owner.Op) {
	prefix := layout.JobPrefix(j.id)
	page, began := make([]layout.JobKey, 0, 4), time.Now()
	for info, err := range j.env.Collect.List(ctx, prefix) {
		if err != nil {
			j.warn(ctx, "cannot list for a sweep", "error", err)
			j.result(op.Result(journal.Unknown))
			return
		}
		k := layout.ParseJobKey(strings.TrimPrefix(info.Key, prefix))
		switch k.Place {
		case layout.PlaceMetadata, layout.PlaceExclusive, layout.PlaceShared:
			page = append(page, k)
		}
		if len(page) == sweepPage {
			if !j.sweepFound(op, page, true) {
				return
			}
			j.leaveTurn(ctx, began)
			page, began = page[:0], time.Now()
		}
	}
	j.sweepFound(op, page, false)
}

// sweepFound passes one page of a sweep's list to the owner machine and waits until the machine has taken it. It reports
// false if the job's goroutine has ended.
func (j *Job) sweepFound(op owner.Op, page []layout.JobKey, more bool) bool {
	taken := make(chan struct{})
	if !j.do(func() { j.takePage(op, page, more); close(taken) }) {
		return false
	}
	select {
	case <-taken:
		return true
	case <-j.done:
		return false
	}
}

// takePage numbers the files of a page, and feeds the owner machine.
func (j *Job) takePage(op owner.Op, page []layout.JobKey, more bool) {
	r := op.Result(journal.Done)
	r.More = more
	for _, k := range page {
		if k.Place == layout.PlaceMetadata {
			r.IDs = append(r.IDs, k.Checkpoint)
			continue
		}
		n, err := j.names.Intern(incremental.Description{Key: k.String()})
		if err != nil {
			continue // a file without a number stays; the next owner's sweep judges it
		}
		r.Found = append(r.Found, owner.Found{File: n, Epoch: k.File.Epoch, Checkpoint: k.File.Checkpoint})
	}
	j.feed(owner.Event{Kind: owner.EventResult, Result: r})
}

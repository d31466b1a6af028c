package service

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/journalio"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/service/owner"
)

// The named steps of a commit. Options.Steps is called with one of them when the object that it names is durable.
const (
	StepMetadata = "metadata-written"
	StepCommit   = "commit-entry-written"
	StepEnd      = "end-entry-written"
)

// start begins a storage operation of the owner machine. It reads the job's fields now. The operation runs in another
// goroutine, and its result returns as an event.
func (j *job) start(op *owner.Op) {
	work := j.work(*op)
	if work == nil {
		return
	}
	wait, ctx := j.outage.backoff(journalio.Delay(op.Wait)), j.ops
	if op.Kind == owner.OpTrim { // trimming old slots is safe without owning the job, so it continues after release
		ctx = j.s.ctx
	}
	j.s.wg.Add(1)
	go func() {
		defer j.s.wg.Done()
		if journalio.Sleep(ctx, wait) {
			work(ctx)
		}
	}()
}

// work returns the function that carries out a storage operation. It runs outside the job's goroutine.
func (j *job) work(op owner.Op) func(context.Context) {
	switch op.Kind {
	case owner.OpJournal:
		return func(ctx context.Context) {
			r, began := op.Result(journal.Unknown), time.Now()
			res, err := journalio.Execute(ctx, j.s.stores.commit, j.s.facts, j.id, op.Journal)
			r.Result = res
			j.stepped(op, r.Outcome)
			j.do(func() {
				j.journalAnswered(began, res.Outcome, err)
				j.feed(owner.Event{Kind: owner.EventResult, Result: r})
			})
		}
	case owner.OpAsk:
		return func(ctx context.Context) {
			r := op.Result(journal.Done)
			r.Answered = j.s.probe.owns(ctx, op.URLs, j.id, op.Nonce.String())
			j.result(r)
		}
	case owner.OpReadMeta:
		return func(ctx context.Context) { j.readMeta(ctx, op) }
	case owner.OpCreateMeta:
		return j.createMeta(op)
	case owner.OpTrim:
		return func(ctx context.Context) { j.trim(ctx, op) }
	case owner.OpDeleteMetas:
		return func(ctx context.Context) { j.deleteMetas(ctx, op) }
	case owner.OpDeleteFiles:
		return j.deleteFiles(op)
	case owner.OpAbortUnfinished:
		return func(ctx context.Context) { j.abortUnfinished(ctx, op) }
	case owner.OpSweep:
		return func(ctx context.Context) { j.list(ctx, op) }
	}
	return nil
}

// stepped calls the hook of tests when a commit entry or an end entry is durable.
func (j *job) stepped(op owner.Op, outcome journal.Outcome) {
	if op.Journal.Kind != journal.OpPublish || outcome != journal.Done {
		return
	}
	switch op.Journal.Entry.Kind {
	case journal.KindCommit:
		j.s.opts.Steps(StepCommit)
	case journal.KindEnd:
		j.s.opts.Steps(StepEnd)
	}
}

// result passes the result of a storage operation to the job.
func (j *job) result(r owner.Result) {
	j.do(func() { j.feed(owner.Event{Kind: owner.EventResult, Result: r}) })
}

// readMeta reads the _metadata of a retained checkpoint and gives its files their numbers.
func (j *job) readMeta(ctx context.Context, op owner.Op) {
	m, outcome, err := readMetadata(ctx, j.s.stores.commit, j.id, op.ID)
	if err != nil {
		j.log.Warn("cannot read _metadata", "checkpoint", op.ID, "err", err)
	}
	j.do(func() {
		r := op.Result(outcome)
		var files incremental.Builder
		for i := range m.files {
			f := &m.files[i]
			n, err := j.names.Intern(incremental.Description{
				Key: f.Key, Instance: f.InstanceNonce, Name: f.LocalName, Size: f.Length, CRC: f.CRC32C, Blocks: f.Blocks,
				Compression: (*incremental.Compression)(f.Compression),
			})
			if err != nil {
				r.Outcome = journal.Unknown
				break
			}
			files.Add(n)
		}
		r.Files, r.Meta = files.Set(), m.entry
		if nonce, err := journal.ParseNonce(m.header.Nonce); err == nil {
			r.Nonce = nonce
		}
		j.feed(owner.Event{Kind: owner.EventResult, Result: r})
	})
}

// createMeta writes the _metadata of a checkpoint that all subtasks have acknowledged.
func (j *job) createMeta(op owner.Op) func(context.Context) {
	t, err := j.table(op.ID, op.Nonce)
	if err != nil {
		j.log.Error("cannot complete a checkpoint", "checkpoint", op.ID, "err", err)
		return func(context.Context) { j.result(op.Result(journal.NotDone)) }
	}
	return func(ctx context.Context) {
		meta, err := t.write(ctx, j.s.stores.commit)
		r := op.Result(journalio.WriteOutcome(err))
		if err != nil {
			j.log.Warn("cannot write _metadata", "checkpoint", op.ID, "err", err)
		}
		if r.Meta = meta; r.Outcome == journal.Done {
			j.s.opts.Steps(StepMetadata)
		}
		j.result(r)
	}
}

// trim deletes old slots of the journal.
func (j *job) trim(ctx context.Context, op owner.Op) {
	keys := make([]string, len(op.IDs))
	for i, slot := range op.IDs {
		keys[i] = layout.SlotKey(j.id, slot)
	}
	if err := errors.Join(j.s.stores.collect.Delete(ctx, keys)...); err != nil {
		j.log.Warn("cannot trim the journal", "err", err)
	}
}

// deleteMetas deletes the _metadata of checkpoints. The result names those that are certainly gone.
func (j *job) deleteMetas(ctx context.Context, op owner.Op) {
	keys := make([]string, len(op.IDs))
	for i, id := range op.IDs {
		keys[i] = layout.MetadataKey(j.id, id)
	}
	r := op.Result(journal.Done)
	for i, err := range j.s.stores.collect.Delete(ctx, keys) {
		if err == nil {
			r.IDs = append(r.IDs, op.IDs[i])
		} else {
			r.Outcome = journal.Unknown
			j.log.Warn("cannot delete", "key", keys[i], "err", err)
		}
	}
	j.result(r)
}

// deleteBatch is how many files one call of Delete names. deleters is how many such calls run at a time.
const (
	deleteBatch = 1000
	deleters    = 4
)

// deleteFiles deletes state files. The result names those that are certainly gone.
func (j *job) deleteFiles(op owner.Op) func(context.Context) {
	var numbers []incremental.File
	var keys []string
	for n := range op.Files.All() {
		if d, ok := j.names.Describe(n); ok {
			numbers, keys = append(numbers, n), append(keys, layout.JobPrefix(j.id)+d.Key)
		}
	}
	return func(ctx context.Context) {
		failed := j.deleteAll(ctx, keys)
		j.do(func() {
			r := op.Result(journal.Done)
			gone := op.Files
			if len(failed) > 0 {
				r.Outcome = journal.Unknown
				var kept incremental.Builder
				for i := range failed {
					kept.Add(numbers[i])
				}
				gone = gone.Minus(kept.Set())
			}
			r.Files = gone
			j.feed(owner.Event{Kind: owner.EventResult, Result: r})
			j.names.Forget(gone)
		})
	}
}

// deleteAll deletes objects in batches. It returns the errors of those that may still exist, by their positions in
// keys.
func (j *job) deleteAll(ctx context.Context, keys []string) map[int]error {
	var mu sync.Mutex
	failed := map[int]error{}
	var wg sync.WaitGroup
	turns := make(chan struct{}, deleters)
	for from := 0; from < len(keys); from += deleteBatch {
		batch := keys[from:min(from+deleteBatch, len(keys))]
		turns <- struct{}{}
		wg.Go(func() {
			defer func() { <-turns }()
			errs := j.s.stores.collect.Delete(ctx, batch)
			mu.Lock()
			defer mu.Unlock()
			for i, err := range errs {
				if err != nil {
					failed[from+i] = err
				}
			}
		})
	}
	wg.Wait()
	for i, err := range failed {
		j.log.Warn("cannot delete", "key", keys[i], "err", err)
		break
	}
	return failed
}

// unfinishedTries is how often AbortUnfinished is tried at a store that answers other requests.
const unfinishedTries = 4

// abortUnfinished aborts the unfinished writes in the job's folder.
//
// No later sweep makes up for a failure in the last sweep of an ended job, so a failed call is repeated. While the
// store answers no request at all, the calls continue. If the store answers a list and still refuses this call, the
// sweep goes on after unfinishedTries.
func (j *job) abortUnfinished(ctx context.Context, op owner.Op) {
	prefix := layout.JobPrefix(j.id)
	dead := func(key string) bool {
		k := layout.ParseJobKey(strings.TrimPrefix(key, prefix))
		switch k.Place {
		case layout.PlaceSlot:
			return k.Slot <= op.Slot
		case layout.PlaceMetadata:
			return op.DeadTarget(op.Epoch, k.Checkpoint)
		case layout.PlaceExclusive, layout.PlaceShared:
			return op.DeadTarget(k.File.Epoch, k.File.Checkpoint)
		}
		return false
	}
	n, err := j.s.stores.collect.AbortUnfinished(ctx, prefix, dead)
	for try := 1; err != nil && try < unfinishedTries && journalio.Sleep(ctx, journalio.Delay(journal.WaitBackoff)<<try); {
		if lists(ctx, j.s.stores.collect, prefix) {
			try++
		}
		n, err = j.s.stores.collect.AbortUnfinished(ctx, prefix, dead)
	}
	if err != nil {
		j.log.Warn("cannot abort unfinished writes", "err", err)
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

// sweepPage is how many objects of a sweep's list go to the owner machine at a time.
const sweepPage = 1000

// list lists the job's folder for a sweep, page by page.
func (j *job) list(ctx context.Context, op owner.Op) {
	prefix := layout.JobPrefix(j.id)
	var page []layout.JobKey
	for info, err := range j.s.stores.collect.List(ctx, prefix) {
		if err != nil {
			j.log.Warn("cannot list for a sweep", "err", err)
			j.result(op.Result(journal.Unknown))
			return
		}
		k := layout.ParseJobKey(strings.TrimPrefix(info.Key, prefix))
		switch k.Place {
		case layout.PlaceMetadata, layout.PlaceExclusive, layout.PlaceShared:
			page = append(page, k)
		}
		if len(page) == sweepPage {
			j.sweepFound(op, page, true)
			page = nil
		}
	}
	j.sweepFound(op, page, false)
}

// sweepFound passes one page of a sweep's list to the owner machine.
func (j *job) sweepFound(op owner.Op, page []layout.JobKey, more bool) {
	j.do(func() {
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
	})
}

package shell

import (
	"context"
	"time"

	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/journalio"
	"github.com/ckptd/ckptd/service/coordinator"
	"github.com/ckptd/ckptd/service/owner"
)

// start begins a storage operation of the owner machine. It reads the job's fields now. The operation runs in another
// goroutine, and its result returns as an event.
func (j *Job) start(op *owner.Op) {
	if op.Kind == owner.OpJournal {
		if res, ok := j.seen.Take(op.Journal); ok {
			r := op.Result(res.Outcome)
			r.Result = res
			j.feed(owner.Event{Kind: owner.EventResult, Result: r})
			return
		}
	}
	wait, ctx := j.outage.backoff(journalio.Delay(op.Wait)), j.ops
	if op.Kind == owner.OpTrim { // trimming old slots is safe without owning the job, so it continues after release
		if j.trimming { // the next check of an append names again what is left
			return
		}
		j.trimming, ctx = true, j.env.Context
	}
	work := j.work(*op)
	if work == nil {
		return
	}
	j.env.Background.Add(1)
	j.env.crew.run(j.env.Context, func() {
		defer j.env.Background.Done()
		if journalio.Sleep(ctx, wait) {
			work(ctx)
		}
	})
}

// work returns the function that carries out a storage operation. It runs outside the job's goroutine.
func (j *Job) work(op owner.Op) func(context.Context) {
	switch op.Kind {
	case owner.OpJournal:
		return func(ctx context.Context) {
			r, began := op.Result(journal.Unknown), time.Now()
			res, err := journalio.Execute(ctx, j.env.Commit, j.env.Facts, j.id, op.Journal)
			r.Result = res
			j.passed(op, r.Outcome)
			j.do(func() {
				if j.ops.Err() == nil { // otherwise the job was released, and the error says nothing about the store
					before := j.outage.cause
					j.outage.answered(j.log, j.eventf, began, res.Outcome, err)
					j.storeFailed(before)
				}
				j.feed(owner.Event{Kind: owner.EventResult, Result: r})
			})
		}
	case owner.OpAbroad:
		return func(ctx context.Context) { j.goAbroad(ctx, op) }
	case owner.OpReadSource:
		return func(ctx context.Context) { j.readSource(ctx, op) }
	case owner.OpAsk:
		return func(ctx context.Context) {
			r := op.Result(journal.Done)
			r.Answered = j.env.Owns(ctx, op.URLs, j.id, op.Nonce.String())
			j.result(r)
		}
	case owner.OpReadMeta:
		return func(ctx context.Context) { j.readMeta(ctx, op) }
	case owner.OpCreateMeta:
		if op.Source != nil && op.Source.Job == "" {
			return j.createElsewhere(op)
		}
		if op.Source != nil {
			return j.createImport(op)
		}
		return j.createMeta(op)
	case owner.OpSave:
		j.coordinate(coordinator.SavepointAcknowledged{Checkpoint: op.ID})
		return j.save(op)
	case owner.OpReadSaved:
		return j.readSaved(op)
	case owner.OpTombstone:
		return j.entomb(op)
	case owner.OpClean:
		return j.cleanFolder(op)
	case owner.OpTime:
		return func(ctx context.Context) { j.tellTime(ctx, op) }
	case owner.OpTrim:
		return func(ctx context.Context) { j.trim(ctx, op) }
	case owner.OpDeleteMetas:
		entries, left := j.metaEntries(op.IDs), j.leftCopy()
		return func(ctx context.Context) { j.deleteMetas(ctx, op, entries, left) }
	case owner.OpDeleteFiles:
		return j.deleteFiles(op)
	case owner.OpAbortUnfinished:
		return func(ctx context.Context) { j.abortUnfinished(ctx, op) }
	case owner.OpSweep:
		return j.sweepList(op)
	}
	return nil
}

// passed calls the hook of tests when a named entry is durable.
func (j *Job) passed(op owner.Op, outcome journal.Outcome) {
	if op.Journal.Kind != journal.OpPublish || outcome != journal.Done {
		return
	}
	switch op.Journal.Entry.Kind {
	case journal.KindCommit:
		j.env.Step(StepCommit)
	case journal.KindEnd:
		j.env.Step(StepEnd)
	case journal.KindRelease:
		j.env.Step(StepReleased)
	case journal.KindSavepoint:
		switch all := op.Journal.Entry.Savepoints; all[len(all)-1].Outcome {
		case journal.SavepointStarted:
			j.env.Step(StepSavepoint)
		case journal.SavepointDone:
			j.env.Step(StepSavepointDone)
		}
	case journal.KindImport:
		j.env.Step(StepImport)
	case journal.KindLend:
		j.env.Step(StepLend)
	case journal.KindReturn:
		if op.Kind == owner.OpAbroad {
			j.env.Step(StepReturn)
		}
	}
}

// goAbroad carries out an operation on the journal of another job. If the last pin there is returned and the job has
// ended, a janitor deletes what nobody needs any more.
func (j *Job) goAbroad(ctx context.Context, op owner.Op) {
	r := op.Result(journal.Unknown)
	res, err := journalio.Execute(ctx, j.env.Commit, j.env.Facts, op.Job, op.Journal)
	if err != nil && res.Outcome != journal.Exists && ctx.Err() == nil {
		j.log.Warn("cannot read or write the journal of another job", "other", op.Job, "error", err)
	}
	r.Result = res
	j.passed(op, res.Outcome)
	j.result(r)
	if e := op.Journal.Entry; e != nil && res.Outcome == journal.Done && e.Status.Terminal() && e.Owner.IsZero() && e.Due() {
		j.env.Due(op.Job)
	}
}

// readMeta reads the _metadata of a retained checkpoint and gives its files their numbers.
func (j *Job) readMeta(ctx context.Context, op owner.Op) {
	m, outcome, err := readMetadata(ctx, j.env.Commit, j.id, op.ID)
	if err != nil {
		j.warn(ctx, "cannot read _metadata", "checkpoint", op.ID, "error", err)
	}
	j.do(func() {
		r := op.Result(outcome)
		var err error
		if r.Files, err = j.number(m.files); err == nil {
			r.ForeignFiles, err = j.numberForeign(m.borrowed)
		}
		if err != nil {
			r.Outcome = journal.Unknown
		}
		r.Meta = m.entry
		if nonce, err := journal.ParseNonce(m.header.Nonce); err == nil {
			r.Nonce = nonce
		}
		j.feed(owner.Event{Kind: owner.EventResult, Result: r})
	})
}

// createMeta writes the _metadata of a checkpoint that all subtasks have acknowledged.
func (j *Job) createMeta(op owner.Op) func(context.Context) {
	t, err := j.table(op.ID, op.Nonce)
	if err != nil {
		if c := j.contents[op.ID]; c != nil {
			c.unwritten = err
		}
		return func(context.Context) { j.result(op.Result(journal.NotDone)) }
	}
	return func(ctx context.Context) {
		meta, err := t.write(ctx, j.env.Commit)
		r := op.Result(journalio.WriteOutcome(err))
		if err != nil {
			j.do(func() {
				j.log.Debug("cannot write _metadata", "checkpoint", op.ID, "error", err)
				if c := j.contents[op.ID]; c != nil {
					c.unwritten = err
				}
			})
		}
		if r.Meta = meta; r.Outcome == journal.Done {
			j.env.Step(StepMetadata)
		}
		j.result(r)
	}
}

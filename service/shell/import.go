package shell

import (
	"cmp"
	"context"
	"fmt"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/journalio"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/api"
	"github.com/ckptd/ckptd/service/owner"
)

// createImport writes the _metadata of an import. It reads the job's plan now.
func (j *Job) createImport(op owner.Op) func(context.Context) {
	plan := j.told().Plan
	return func(ctx context.Context) {
		r := op.Result(journal.Done)
		w := &importWriter{job: j.id, plan: plan, source: op.Source}
		meta, readErr, err := w.write(ctx, j.env.Restore, j.env.Commit, &op)
		switch r.Meta = meta; {
		case readErr != nil:
			r.Outcome = journalio.ReadOutcome(readErr)
			j.log.Warn("cannot read the checkpoint that the job begins from", "source", op.Source.Source, "error", readErr)
		case err != nil:
			r.Outcome = journalio.WriteOutcome(err)
			j.log.Warn("cannot write _metadata", "checkpoint", op.ID, "error", err)
		default:
			j.env.Step(StepImportMetadata)
		}
		j.do(func() {
			if r.ForeignFiles, err = j.numberForeign(w.named); err != nil {
				r.Outcome = journal.Unknown
			}
			j.feed(owner.Event{Kind: owner.EventResult, Result: r})
		})
	}
}

// importWriter writes a job's own _metadata from that of another job's checkpoint. It names the same files, in the
// folders of the jobs that hold them. It holds the operators of the plan, with the state that the source has for them.
type importWriter struct {
	job    string
	plan   *journal.Plan
	source *journal.Import
	out    *layout.MetadataWriter
	files  []layout.File
	// named are the files that were written.
	named []layout.File
	// refs are the numbers of the files written so far, by their numbers in the source.
	refs map[layout.FileRef]layout.FileRef
	// to is the plan's operator that gets the state of the source's operator being read; nil: none does. done are the
	// operators written.
	to   *journal.Operator
	next uint32
	done map[string]bool
	// place, if not nil, copies a file into the job's folder, and returns it with its place there. placed are those files.
	// settle waits until all are durable.
	place  func(layout.File) (layout.File, error)
	placed []layout.File
	settle func() error
}

// write creates the _metadata. readErr is set if the source cannot be read: then nothing was written.
func (w *importWriter) write(ctx context.Context, from, to storage.Store, op *owner.Op) (meta journal.Checkpoint, readErr, err error) {
	body, r, err := openSource(ctx, from, w.source)
	if err != nil {
		return meta, err, nil
	}
	defer body.Close()
	return w.writeFrom(ctx, r, to, op)
}

// writeFrom is write with the source's _metadata open.
func (w *importWriter) writeFrom(ctx context.Context, r *layout.MetadataReader, to storage.Store, op *owner.Op) (meta journal.Checkpoint, readErr, err error) {
	out, err := to.Create(ctx, layout.MetadataKey(w.job, op.ID), storage.CreateOptions{IfAbsent: true})
	if err != nil {
		return meta, nil, err
	}
	defer out.Abort()
	h := layout.Header{JobID: w.job, Checkpoint: op.ID, Epoch: op.Epoch, Nonce: op.Nonce.String(),
		TriggeredAt: r.Header().TriggeredAt, CompletedAt: r.Header().CompletedAt}
	w.out, w.refs, w.done = layout.NewMetadataWriter(out, h), map[layout.FileRef]layout.FileRef{}, map[string]bool{}
	var failed error
	if err := eachRecord(r, func(record layout.Record) error {
		failed = w.take(record)
		return failed
	}); err != nil && failed == nil {
		return meta, err, nil
	}
	if failed == nil {
		failed = w.rest()
	}
	if failed == nil && w.settle != nil {
		failed = w.settle()
	}
	if failed == nil {
		failed = out.Commit()
	}
	return entryOf(uint64(w.out.Size()), w.out.Sum(), h, w.out.Totals()), nil, failed
}

// take writes what a record of the source becomes.
func (w *importWriter) take(record layout.Record) error {
	switch record := record.(type) {
	case *layout.Job:
		return w.out.WriteJob(*record)
	case *layout.File:
		f := *record
		if f.Job == "" && w.place == nil {
			f.Job = w.source.Job
		}
		w.files = append(w.files, f)
	case *layout.Operator:
		if err := w.finish(); err != nil {
			return err
		}
		if w.to = w.plan.Receiver(record.ID, record.UID); w.to != nil {
			return w.begin(w.to)
		}
	case *layout.Subtask:
		if w.to != nil && uint32(record.Index) < w.to.Parallelism {
			return w.subtask(record)
		}
	}
	return nil
}

func (w *importWriter) begin(op *journal.Operator) error {
	w.done[op.ID], w.next = true, 0
	return w.out.WriteOperator(layout.Operator{
		ID: op.ID, UID: op.UID, Parallelism: int(op.Parallelism), MaxParallelism: int(op.MaxParallelism), Triggered: op.Triggered,
	})
}

// subtask writes one subtask's state, after the records of the files that it is the first to name.
func (w *importWriter) subtask(s *layout.Subtask) error {
	out := layout.Subtask{OperatorID: w.to.ID, Index: s.Index, Finished: s.Finished, Handles: make([]layout.Handle, len(s.Handles))}
	for i, h := range s.Handles {
		if h.File != 0 {
			ref, ok := w.refs[h.File]
			if !ok {
				var err error
				f := w.files[h.File-1]
				if w.place != nil {
					if f, err = w.place(f); err != nil {
						return err
					}
				}
				if ref, err = w.out.WriteFile(f); err != nil {
					return err
				}
				w.refs[h.File] = ref
				w.named = append(w.named, w.files[h.File-1])
			}
			h.File = ref
		}
		out.Handles[i] = h
	}
	w.next = uint32(s.Index) + 1
	return w.out.WriteSubtask(out)
}

// finish writes the subtasks of the operator that the source does not have.
func (w *importWriter) finish() error {
	if w.to == nil {
		return nil
	}
	for ; w.next < w.to.Parallelism; w.next++ {
		if err := w.out.WriteSubtask(layout.Subtask{OperatorID: w.to.ID, Index: int(w.next)}); err != nil {
			return err
		}
	}
	return nil
}

// rest writes the operators that the source has no state for, and ends the _metadata.
func (w *importWriter) rest() error {
	if err := w.finish(); err != nil {
		return err
	}
	for i := range w.plan.Operators {
		if w.to = &w.plan.Operators[i]; w.done[w.to.ID] {
			continue
		}
		if err := w.begin(w.to); err != nil {
			return err
		}
		if err := w.finish(); err != nil {
			return err
		}
	}
	return w.out.Close()
}

// tellImport handles the Tells about the import and about pins.
func (j *Job) tellImport(op *owner.Op) {
	switch op.Kind {
	case owner.TellImported:
		j.event(ckptdv1.JobEventKind_JOB_EVENT_KIND_IMPORTED, &ckptdv1.JobEvent{CheckpointId: op.ID, Text: "begins from " + j.told().Import.Source})
	case owner.TellImportFailed:
		j.feed(owner.Event{Kind: owner.EventEnd, Status: journal.StatusFailed, Ended: endedNow(fmt.Sprintf(
			"cannot begin from checkpoint %d of job %s: %s; begin a new job id from another one", op.ID, cmp.Or(op.Job, j.told().Import.Source), api.ReasonText(op.Reason)))})
	case owner.TellPinStuck:
		j.log.Warn("cannot return a pin; the next sweep tries again", "lender", op.Job, "why", api.ReasonText(op.Reason))
	}
}

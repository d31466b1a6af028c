package shell

import (
	"context"
	"time"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/service/api"
	"github.com/ckptd/ckptd/service/owner"
)

// whyRemoved is the audit log's reason for what a person's command deletes.
const whyRemoved = "a person removed the checkpoint"

// whyPurged is its reason for the segments of the history.
const whyPurged = "a person purged the job"

// Edit carries a person's command out, and returns the entry that did it. An edit with a request that was carried out before changes
// nothing. If the job is released or taken over meanwhile, the error does not tell whether the command was carried out: the same
// request finds out.
func (j *Job) Edit(ctx context.Context, request string, e *owner.Edit, by *Command) (*journal.Entry, error) {
	return ask(ctx, j, func(reply func(*journal.Entry, error)) {
		before := j.m.Head()
		if before == nil {
			reply(nil, api.NotAttached(j.id))
			return
		}
		files := j.filesOf(before, e)
		caller := j.wait(func(op *owner.Op) {
			if err := j.refusal(op); err != nil {
				reply(nil, err)
				return
			}
			j.auditEdit(files, by)
			if e.Kind == owner.EditPurge {
				j.audit.history = commanded{by, whyPurged}
			}
			if j.sweeps.last() && !j.env.Janitor {
				j.sweeps.soon(time.Now())
			}
			reply(j.told(), nil)
		})
		j.feed(owner.Event{Kind: owner.EventEdit, Edit: e, Caller: caller, Request: journal.RequestOf(request)})
	})
}

// filesOf is the files of the checkpoints that a command may drop, by checkpoint.
func (j *Job) filesOf(head *journal.Entry, e *owner.Edit) map[uint64]incremental.Files {
	ids := e.IDs
	switch e.Kind {
	case owner.EditPurge:
		for i := range head.Retained {
			ids = append(ids, head.Retained[i].ID)
		}
	case owner.EditRemove:
	default:
		return nil
	}
	out := map[uint64]incremental.Files{}
	for _, id := range ids {
		out[id], _ = j.m.Files(id)
	}
	return out
}

// auditEdit notes which objects a command has condemned. Their deletes have not begun yet.
func (j *Job) auditEdit(before map[uint64]incremental.Files, by *Command) {
	if by == nil || j.m.Head() == nil { // without ownership nobody here knows what is still needed, and nothing here deletes
		return
	}
	for id, files := range before {
		if _, kept := j.m.Head().Checkpoint(id); kept {
			continue
		}
		j.audit.meta(id, by, whyRemoved)
		for f := range files.All() {
			if j.m.NeededBy(f) == 0 {
				j.audit.file(f, by, whyRemoved)
			}
		}
	}
}

// tellTime asks the store for its time.
func (j *Job) tellTime(ctx context.Context, op owner.Op) {
	r := op.Result(journal.Unknown)
	at, err := layout.StoreTime(ctx, j.env.Commit)
	if err != nil {
		j.warn(ctx, "cannot learn the store's time", "error", err)
	} else {
		r.Outcome, r.Time = journal.Done, uint64(at.UnixMilli())
	}
	j.result(r)
}

package shell

import (
	"context"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/api"
	"github.com/ckptd/ckptd/service/collect"
	"github.com/ckptd/ckptd/service/owner"
)

// waitingAtMost bounds the objects of a collection that wait for their delete. Their names are in memory.
const waitingAtMost = 20_000

// Collect lists the job's folder, and passes what nothing needs any more to page. With req.Execute the owner deletes it, and
// Collect returns when that is done and a sweep has gone through. page is called by one goroutine.
func (j *Job) Collect(ctx context.Context, req *ckptdv1.CollectRequest, page func(*ckptdv1.CollectResponse) error) error {
	err := j.await(ctx, func() bool { why, _ := j.m.Degraded(); return why != owner.ReasonLoading })
	if err != nil {
		return err
	}
	head, err := ask(ctx, j, func(reply func(*ckptdv1.CollectResponse, error)) { j.beginCollect(reply) })
	if err != nil {
		return err
	}
	var by *Command
	if req.GetExecute() {
		by = &Command{Who: req.GetWho(), Command: req.GetCommand()}
	}
	prefix, began := layout.JobPrefix(j.id), time.Now()
	listed, looked, strangers := make([]storage.Info, 0, sweepPage), uint64(0), uint64(0)
	pass := func() error {
		res, err := j.collectPage(ctx, listed, by)
		if err != nil || len(res.GetItems()) == 0 && looked%(40*sweepPage) != 0 {
			return err
		}
		res.LookedAt = looked
		return page(res)
	}
	for info, err := range j.env.Collect.List(ctx, prefix) {
		if err != nil {
			return err
		}
		looked++
		if layout.ParseJobKey(strings.TrimPrefix(info.Key, prefix)).Place == layout.PlaceUnknown {
			strangers++
		}
		if listed = append(listed, info); len(listed) < sweepPage {
			continue
		}
		if err := pass(); err != nil {
			return err
		}
		j.leaveTurn(ctx, began)
		listed, began = listed[:0], time.Now()
	}
	if err := pass(); err != nil {
		return err
	}
	if by != nil {
		if err := j.finishCollect(ctx); err != nil {
			return err
		}
	}
	return page(&ckptdv1.CollectResponse{LookedAt: looked, Due: head.GetDue(), Unfinished: head.GetUnfinished(), Strangers: strangers, Done: true})
}

// beginCollect answers what is due beside the job's objects. While a retained _metadata is unreadable, nothing may go.
func (j *Job) beginCollect(reply func(*ckptdv1.CollectResponse, error)) {
	head := j.m.Head()
	if why, id := j.m.Degraded(); head == nil || why != owner.ReasonNone {
		reply(nil, j.notCollected(why, id))
		return
	}
	epoch, ctx := head.Epoch, j.ops
	floor := j.m.Floor()
	j.env.Background.Add(1)
	go func() {
		defer j.env.Background.Done()
		res := &ckptdv1.CollectResponse{Due: collect.Due(ctx, j.env.Restore, head, time.Now())}
		res.Unfinished = collect.Unfinished(ctx, j.env.Collect, j.id, owner.View{Epoch: epoch, Floor: floor})
		reply(res, nil)
	}()
}

// collectPage judges one page of a list, and has the owner machine condemn what is dead if by is not nil. While too much
// waits for its delete, it waits.
func (j *Job) collectPage(ctx context.Context, listed []storage.Info, by *Command) (*ckptdv1.CollectResponse, error) {
	if by != nil {
		if err := j.await(ctx, func() bool { return j.audit.waiting() <= waitingAtMost }); err != nil {
			return nil, err
		}
	}
	return ask(ctx, j, func(reply func(*ckptdv1.CollectResponse, error)) {
		if why, id := j.m.Degraded(); j.m.Head() == nil || why != owner.ReasonNone {
			reply(nil, j.notCollected(why, id))
			return
		}
		res := &ckptdv1.CollectResponse{}
		ev := owner.Event{Kind: owner.EventCollect}
		for _, info := range listed {
			if v := j.collected(info.Key, by, &ev); v.Dead() {
				res.Items = append(res.Items, &ckptdv1.CollectItem{Key: info.Key, Bytes: uint64(max(info.Size, 0)), Reason: collect.Reason(v)})
			}
		}
		if by != nil && len(res.Items) > 0 {
			j.feed(ev)
		}
		reply(res, nil)
	})
}

// collected gives the verdict on an object. If it is dead and by is not nil, the object is noted for the audit log, and in
// the event.
func (j *Job) collected(key string, by *Command, ev *owner.Event) owner.Verdict {
	k := layout.ParseJobKey(strings.TrimPrefix(key, layout.JobPrefix(j.id)))
	switch k.Place {
	case layout.PlaceMetadata:
		v := j.m.JudgeMetadata(k.Checkpoint)
		if v.Dead() && by != nil {
			j.audit.meta(k.Checkpoint, by, v.String())
			ev.IDs = append(ev.IDs, k.Checkpoint)
		}
		return v
	case layout.PlaceExclusive, layout.PlaceShared:
		f := owner.Found{File: unnumbered, Epoch: k.File.Epoch, Checkpoint: k.File.Checkpoint}
		if n, ok := j.names.ByKey(k.String()); ok {
			f.File = n
		}
		v := j.m.Judge(f)
		if !v.Dead() || by == nil {
			return v
		}
		n, err := j.names.Intern(incremental.Description{Key: k.String()})
		if err != nil {
			return owner.VerdictOpen // a file without a number stays; the next owner's collection judges it
		}
		f.File = n
		j.audit.file(n, by, v.String())
		ev.Uploads = append(ev.Uploads, f)
		return v
	}
	return owner.VerdictNeeded
}

// unnumbered is a number that incremental.Names gives to no file.
const unnumbered = ^incremental.File(0)

// finishCollect waits until all that was collected is deleted, and sweeps: the sweep aborts unfinished uploads, and drops
// leaked pins and hidden checkpoints.
func (j *Job) finishCollect(ctx context.Context) error {
	if err := j.Sweep(ctx); err != nil {
		return err
	}
	return j.unlessReleased(j.await(ctx, func() bool { return j.audit.waiting() == 0 }))
}

// notCollected is the error while nothing of the job may be deleted.
func (j *Job) notCollected(why owner.Reason, id uint64) error {
	if j.m.Head() == nil {
		return api.NotAttached(j.id)
	}
	text := fmt.Errorf("job %s: checkpoint %d: %s", j.id, id, api.ReasonText(why))
	if why == owner.ReasonLoading {
		return connect.NewError(connect.CodeUnavailable, text)
	}
	return connect.NewError(connect.CodeFailedPrecondition, text)
}

package shell

import (
	"context"
	"time"

	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/journalio"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/api"
	"github.com/ckptd/ckptd/service/config"
	"github.com/ckptd/ckptd/service/owner"
)

// Attach makes this daemon the job's owner, or returns the URLs of the daemon that is. After a request that was refused
// before it reached the owner machine, the job's goroutine ends, unless the job has other callers.
func (j *Job) Attach(ctx context.Context, req *ckptdv1.AttachJobRequest) (*ckptdv1.AttachJobResponse, error) {
	res, err := j.attachAs(ctx, req)
	if err != nil {
		j.do(func() { j.over = j.over || j.m.Phase() == owner.PhaseIdle && len(j.waiters) == 0 })
	}
	return res, err
}

// attachAs checks a request, and attaches the job as it wants.
func (j *Job) attachAs(ctx context.Context, req *ckptdv1.AttachJobRequest) (*ckptdv1.AttachJobResponse, error) {
	req, source, warnings, err := j.sourced(ctx, req)
	if err != nil {
		return nil, err
	}
	res, err := j.attachFrom(ctx, req, source)
	if err != nil {
		return nil, err
	}
	for _, w := range warnings {
		j.log.Warn("state is found by the id of an operator", "source", source.Source, "why", w)
	}
	res.Warnings = append(warnings, res.Warnings...)
	return res, nil
}

// attachFrom attaches the job with a request whose plan is complete.
func (j *Job) attachFrom(ctx context.Context, req *ckptdv1.AttachJobRequest, source journal.Import) (*ckptdv1.AttachJobResponse, error) {
	create, err := api.CreationIn(req, j.env.JobDefaults, j.env.URLs)
	if err != nil {
		return nil, err
	}
	if create != nil {
		j.numberLife(create, req.GetHeardNumber())
	}
	if create != nil && !source.Nonce.IsZero() {
		create.Import = source
		if create.Above, err = j.pinnedEpoch(ctx, source); err != nil {
			return nil, err
		}
	}
	plan, wanted, err := api.WantedIn(req)
	if err != nil {
		return nil, err
	}
	if wanted != nil && j.env.JobDefaults != nil {
		// The keys that the caller leaves out stay as they are in effect, which only an attached job knows.
		res, err := j.attach(ctx, source, req.GetHeardNumber(), owner.Event{Create: create})
		if err != nil {
			return nil, err
		}
		if wanted, err = api.ConfigIn(config.KeepDefaulted(req.GetConfig(), j.env.JobDefaults, res.GetConfig())); err != nil {
			return nil, err
		}
	}
	return j.attach(ctx, source, req.GetHeardNumber(), owner.Event{Create: create, Plan: plan, Config: wanted})
}

// attach feeds the machine one attach and waits for its answer. heard is the largest number of the job that the caller has heard
// of.
func (j *Job) attach(ctx context.Context, source journal.Import, heard uint64, ev owner.Event) (*ckptdv1.AttachJobResponse, error) {
	return ask(ctx, j, func(reply func(*ckptdv1.AttachJobResponse, error)) {
		caller := j.wait(func(op *owner.Op) {
			if op.Kind != owner.TellAttached {
				reply(nil, j.refusal(op))
				return
			}
			head := j.told()
			if err := sameSource(j.id, head, source); err != nil {
				reply(nil, err)
				return
			}
			var warnings []string
			if j.env.InMemory {
				j.heardOf(heard)
				warnings = j.life.warnings()
			}
			reply(&ckptdv1.AttachJobResponse{
				Warnings: warnings,
				Epoch:    head.Epoch, Attempt: head.Attempt, Status: catalog.Status(head.Status),
				InlineThreshold: uint32(j.env.InlineThreshold), InlineCap: uint32(j.env.InlineCap), Config: api.ConfigOut(head.Config),
			}, nil)
		})
		ev.Kind, ev.Caller = owner.EventAttach, caller
		j.feed(ev)
	})
}

// TakeBack begins an attach that nobody waits for: of a job that this daemon's predecessor owned, or of one that has
// ended and is to be finished. due: one of the job's pins has leaked. seen is what the caller has read of the journal.
func (j *Job) TakeBack(finish, due bool, seen journalio.Glance) {
	j.do(func() {
		began := time.Now()
		if j.m.Phase() == owner.PhaseIdle { // otherwise another caller's attach is reading the journal already
			j.seen = seen
		}
		ev := owner.Event{Kind: owner.EventAttach}
		if finish {
			ev.Kind, ev.Due = owner.EventFinish, due
		}
		j.env.taking.Add(1)
		ev.Caller = j.wait(func(op *owner.Op) {
			j.env.taking.Add(-1)
			if op.Kind != owner.TellAttached {
				j.log.Info("did not attach a job", "why", j.refusal(op), "after", time.Since(began).Round(time.Millisecond))
			}
		})
		j.feed(ev)
	})
}

// Owns answers another daemon whether this one owns the job under the nonce.
func (j *Job) Owns(ctx context.Context, nonce journal.Nonce) (bool, error) {
	return ask(ctx, j, func(reply func(bool, error)) { reply(j.m.Owns(nonce), nil) })
}

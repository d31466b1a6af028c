package copying

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// job is one job of a run.
type job struct {
	run    *run
	id     string
	out    *ckptdv1.CopiedJob
	source *journal.Entry
	// owned is this run's ownership of the copy; nil in a dry run.
	owned *ownership
	// untidy: files may lie in the copy that no checkpoint names.
	untidy bool

	mu sync.Mutex
	// have has the size of each file in the job's folder in the target, those included that are being written.
	have map[fileID]int64
}

// fileID is the beginning of the SHA-256 of a file's key in the target.
type fileID [16]byte

func idOf(key string) fileID {
	sum := sha256.Sum256([]byte(key))
	return fileID(sum[:16])
}

func (j *job) copy(ctx context.Context) error {
	r := j.run
	source, err := catalog.Head(ctx, r.from.Store, j.id)
	if errors.Is(err, catalog.ErrNoJob) && r.opts.Job == "" {
		return errNothing // an empty folder
	}
	if err != nil {
		return err
	}
	j.source = source
	target, err := r.read(ctx, j.id)
	if err != nil {
		return err
	}
	plan, err := Choose(source, target, r.from.Root.ID, r.opts.Wish)
	if err != nil {
		return err
	}
	if len(plan.Choices) == 0 {
		j.out.Text = "it keeps no checkpoint"
		return nil
	}
	// A copy that did not end is ended, even if no checkpoint is missing.
	if plan.Idle() && (target == nil || !target.CopiedFrom.Unfinished) || r.opts.DryRun {
		return j.carryOut(ctx, &plan)
	}
	if j.owned, err = r.attach(ctx, source, target); err != nil {
		return err
	}
	r.step(nil, StepAttach)
	if plan, err = Choose(source, j.owned.head, r.from.Root.ID, r.opts.Wish); err != nil { // the head has changed meanwhile
		return errors.Join(err, j.owned.release(ctx, !j.owned.resumed))
	}
	j.untidy = j.owned.resumed
	_, _ = r.to.Store.AbortUnfinished(ctx, layout.JobPrefix(j.id), isState(j.id)) // of an earlier copy; the store removes the rest some day
	err = j.carryOut(ctx, &plan)
	if err == nil {
		err = j.tidy(ctx)
	}
	finished := err == nil && !slices.ContainsFunc(j.out.GetCheckpoints(), func(c *ckptdv1.CopiedCheckpoint) bool {
		return c.GetOutcome() == ckptdv1.CopyOutcome_COPY_OUTCOME_FAILED
	})
	if errors.Is(err, ErrFenced) {
		return err
	}
	return errors.Join(err, j.owned.release(ctx, finished))
}

// isState tells whether a key is that of a state file or a _metadata of the job.
func isState(job string) func(key string) bool {
	return func(key string) bool {
		switch layout.ParseJobKey(strings.TrimPrefix(key, layout.JobPrefix(job))).Place {
		case layout.PlaceShared, layout.PlaceExclusive, layout.PlaceMetadata:
			return true
		}
		return false
	}
}

// carryOut copies the checkpoints of the plan, and drops those that it drops.
func (j *job) carryOut(ctx context.Context, plan *Plan) error {
	for i := range plan.Choices {
		choice := &plan.Choices[i]
		out := &ckptdv1.CopiedCheckpoint{
			CheckpointId: choice.Checkpoint.ID, Path: j.id + "/" + layout.CheckpointDir(choice.Checkpoint.ID), Outcome: choice.Outcome, Text: choice.Why,
		}
		j.out.Checkpoints = append(j.out.Checkpoints, out)
		if choice.Outcome != ckptdv1.CopyOutcome_COPY_OUTCOME_PLANNED {
			continue
		}
		if err := j.list(ctx); err != nil {
			return err
		}
		err := j.held(ctx, choice.Checkpoint, func() error { return j.checkpoint(ctx, choice.Checkpoint, out) })
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if errors.Is(err, ErrFenced) {
			return err
		}
		if err != nil {
			j.fail(ctx, choice.Checkpoint, out, err)
		}
	}
	if len(plan.Drop) == 0 || j.owned == nil || !j.hasNewest() {
		return nil
	}
	dropped, err := j.owned.drop(ctx, plan.Drop)
	j.out.DroppedCheckpointIds, j.untidy = dropped, true
	return err
}

// held calls do while the source is held back from dropping the checkpoint.
func (j *job) held(ctx context.Context, c journal.Checkpoint, do func() error) error {
	if hold := j.run.opts.Hold; hold != nil && j.owned != nil && !j.source.Status.Terminal() {
		defer hold(ctx, j.id, c.ID)()
	}
	return do()
}

// hasNewest tells whether the copy has the newest checkpoint of the source.
func (j *job) hasNewest() bool {
	_, ok := j.owned.head.Checkpoint(j.source.Newest())
	return ok
}

// fail notes why a checkpoint was not copied. If the source has dropped it meanwhile, nothing is wrong.
func (j *job) fail(ctx context.Context, c journal.Checkpoint, out *ckptdv1.CopiedCheckpoint, err error) {
	j.untidy = true
	out.Outcome, out.Text = outcomeOf(err), err.Error()
	head, headErr := catalog.Head(ctx, j.run.from.Store, j.id)
	if headErr != nil {
		return
	}
	if now, ok := head.Checkpoint(c.ID); !ok || now.Nonce != c.Nonce {
		out.Outcome, out.Text = ckptdv1.CopyOutcome_COPY_OUTCOME_LEFT, "the source dropped it meanwhile"
	} else if errors.Is(err, storage.ErrNotFound) {
		out.Outcome = ckptdv1.CopyOutcome_COPY_OUTCOME_DAMAGED
	}
}

// list finds out which files the copy has, once.
func (j *job) list(ctx context.Context) error {
	if j.have != nil {
		return nil
	}
	have := map[fileID]int64{}
	if j.run.to.Store == nil { // a dry run into a root that is not there
		j.have = have
		return nil
	}
	isState := isState(j.id)
	for info, err := range j.run.to.Store.List(ctx, layout.JobPrefix(j.id)) {
		if err != nil {
			return err
		}
		if isState(info.Key) {
			have[idOf(info.Key)] = info.Size
		}
	}
	j.have = have
	return nil
}

// claim tells whether the copy lacks a file. If so, the caller writes it. found is the size of the one that is there.
func (j *job) claim(id fileID, size int64) (found int64, lacks bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if found, ok := j.have[id]; ok {
		return found, false
	}
	j.have[id] = size
	return size, true
}

// unclaim gives back a file that could not be written.
func (j *job) unclaim(id fileID) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.have, id)
}

package shell

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/journalio"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/api"
	"github.com/ckptd/ckptd/service/owner"
)

// sourced returns the request with a plan that is complete, and the checkpoint that the job begins from. It reads the
// checkpoint only if the job does not exist: later the checkpoint may be gone.
func (j *Job) sourced(ctx context.Context, req *ckptdv1.AttachJobRequest) (_ *ckptdv1.AttachJobRequest, _ journal.Import, warnings []string, _ error) {
	if api.ASavepoint(req, j.env.Facts.Location) || j.env.Elsewhere != nil && api.FromElsewhere(req, j.env.Facts.Location) {
		return j.sourcedElsewhere(ctx, req)
	}
	source, err := api.SourceIn(req, j.env.Facts.Location)
	if err != nil || source.Request == "" {
		return req, source, nil, err
	}
	req = proto.CloneOf(req)
	head, how, err := journalio.ReadHead(ctx, j.env.Commit, j.env.Facts, j.id)
	switch {
	case err != nil && how == journal.ReadMore:
		return nil, source, nil, api.Error(err)
	case how == journal.ReadDone:
		api.KeepMax(req.GetPlan(), head.Plan)
		return req, source, nil, nil
	case how != journal.ReadEmpty: // the attach says what is wrong
		api.KeepMax(req.GetPlan(), journal.NewPlan(nil))
		return req, source, nil, nil
	}
	if source.Job == "" {
		jobs, err := catalog.New(j.env.Restore).Jobs(ctx)
		if err != nil {
			return nil, source, nil, api.Error(err)
		}
		if source, err = api.Resolve(req, j.env.Facts.Location, jobs.GetJobs()); err != nil {
			return nil, source, nil, err
		}
	}
	if source.Nonce, err = retainedAs(ctx, j.env, source); err != nil {
		return nil, source, nil, err
	}
	if err := undamaged(ctx, j.env.Restore, j.id, source); err != nil {
		return nil, source, nil, err
	}
	operators, err := operatorsOf(ctx, j.env.Restore, source)
	if err != nil {
		return nil, source, nil, api.Error(fmt.Errorf("job %s: restore from %s: %w", j.id, source.Source, err))
	}
	diff, err := api.Match(req.GetPlan(), operators, req.GetAllowNonRestoredState())
	return req, source, diff.GetWarnings(), err
}

// retainedAs returns the nonce of the source's _metadata, as the journal of its job names it.
func retainedAs(ctx context.Context, env *Env, source journal.Import) (journal.Nonce, error) {
	head, how, err := journalio.ReadHead(ctx, env.Commit, env.Facts, source.Job)
	switch {
	case err != nil:
		return journal.Nonce{}, api.Error(err)
	case how != journal.ReadDone:
		return journal.Nonce{}, connect.NewError(connect.CodeNotFound, fmt.Errorf("restore from %s: there is no job %s", source.Source, source.Job))
	}
	c, ok := head.Checkpoint(source.Checkpoint)
	if !ok || c.State == journal.StateHidden && !head.IsLent(c.ID) {
		return journal.Nonce{}, connect.NewError(connect.CodeNotFound, fmt.Errorf("restore from %s: job %s does not retain checkpoint %d: `ckptd ls %s` lists what it does",
			source.Source, source.Job, source.Checkpoint, source.Job))
	}
	return c.Nonce, claimable(head, source)
}

// pinnedEpoch is the largest epoch of this job that a pin names in the journals of the jobs that lend it the source; 0: there is none.
func (j *Job) pinnedEpoch(ctx context.Context, source journal.Import) (epoch uint64, err error) {
	if source.Job == "" { // the files are copied
		return 0, nil
	}
	jobs := []string{source.Job}
	for i := 0; i < len(jobs); i++ {
		head, how, err := journalio.ReadHead(ctx, j.env.Commit, j.env.Facts, jobs[i])
		switch {
		case err != nil && how == journal.ReadMore:
			return 0, api.Error(err)
		case how != journal.ReadDone: // the import fails on it, or does not need it
			continue
		}
		for _, l := range head.Lent {
			if l.Holder == j.id {
				epoch = max(epoch, l.HolderEpoch)
			}
		}
		if i == 0 {
			for _, b := range head.Borrowed {
				jobs = append(jobs, b.Job)
			}
		}
	}
	return epoch, nil
}

// claimable refuses the claim of a checkpoint whose job runs, or that another job has claimed.
func claimable(head *journal.Entry, source journal.Import) error {
	if source.Mode != journal.Claim {
		return nil
	}
	refuse := func(format string, args ...any) error {
		return connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf("restore from %s with CLAIM: %s", source.Source, fmt.Sprintf(format, args...)))
	}
	if !head.Status.Terminal() {
		return refuse("job %s has not ended, and may need the checkpoint: cancel the job first, or use NO_CLAIM", source.Job)
	}
	for _, l := range head.Lent {
		if l.Mode == journal.Claim && l.Checkpoint == source.Checkpoint {
			return refuse("job %s has claimed the checkpoint: use NO_CLAIM, or name another checkpoint", l.Holder)
		}
	}
	return nil
}

// sameSource refuses a caller that wants the job to begin from another checkpoint than it did.
func sameSource(job string, head *journal.Entry, source journal.Import) error {
	same := head.Import.Job == source.Job && head.Import.Checkpoint == source.Checkpoint
	if source.Job == "" { // by a label, or the latest of a job: it may mean another checkpoint by now
		same = source.Request == "" || head.Import.Request == source.Request
	}
	if same && source.Request != "" && head.Import.Mode != source.Mode {
		return connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf(
			"job %s exists and began from %s in another claim mode: give it the same one, or take a new job id", job, head.Import.Source))
	}
	if same {
		return nil
	}
	from := "without state"
	if head.Import.Job != "" {
		from = "from " + head.Import.Source
	}
	return connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf(
		"job %s exists and began %s: a job that begins from %s needs a new job id", job, from, cmp.Or(source.Source, source.Request)))
}

// operatorsOf reads what a source holds of each operator.
func operatorsOf(ctx context.Context, store storage.Store, source journal.Import) (all []api.SourceOperator, err error) {
	body, r, err := openSource(ctx, store, &source)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return operatorsIn(r)
}

// readSource finds the jobs in whose folders the files of a source lie, beside its own.
func (j *Job) readSource(ctx context.Context, op owner.Op) {
	res := op.Result(journal.Done)
	body, r, err := openSource(ctx, j.env.Restore, op.Source)
	if err == nil {
		defer body.Close()
		err = eachRecord(r, func(record layout.Record) error {
			if f, ok := record.(*layout.File); ok && f.Job != "" && !slices.Contains(res.Jobs, f.Job) {
				res.Jobs = append(res.Jobs, f.Job)
			}
			return nil
		})
	}
	if err != nil {
		j.log.Warn("cannot read the checkpoint that the job begins from", "source", op.Source.Source, "error", err)
	}
	res.Outcome, res.Nonce = journalio.ReadOutcome(err), op.Source.Nonce // openSource has compared the nonces
	j.result(res)
}

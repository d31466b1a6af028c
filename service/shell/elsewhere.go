package shell

import (
	"context"
	"errors"
	"fmt"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/copying"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/journalio"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/api"
	"github.com/ckptd/ckptd/service/owner"
)

// Elsewhere is a checkpoint outside of the daemon's root.
type Elsewhere struct {
	// From is where it lies, and URL the URL of its folder.
	From copying.Place
	URL  string
	// Metadata is the key of its _metadata.
	Metadata string
	// Locate gives the key of a file; "": the place does not have it.
	Locate func(f *layout.File, h layout.Header) string
	Close  func() error
}

// OpenElsewhere opens a checkpoint outside of the daemon's root, by the text of a request or by its URL. It refuses a
// place that the daemon's operator has not allowed.
type OpenElsewhere func(ctx context.Context, text string) (*Elsewhere, error)

// copiesAtOnce is how many files an import copies at a time.
const copiesAtOnce = 8

// open opens the _metadata. The caller closes the body. nonce zero: any.
func (e *Elsewhere) open(ctx context.Context, nonce journal.Nonce) (body interface{ Close() error }, r *layout.MetadataReader, err error) {
	stream, err := e.From.Store.Open(ctx, e.Metadata, 0, -1)
	if err != nil {
		return nil, nil, err
	}
	r, err = layout.NewMetadataReader(stream)
	if err == nil && !nonce.IsZero() && r.Header().Nonce != nonce.String() {
		err = fmt.Errorf("shell: %s has the nonce %s, the job wants %s: %w", e.Metadata, r.Header().Nonce, nonce, layout.ErrCorrupt)
	}
	if err != nil {
		stream.Close()
		return nil, nil, err
	}
	return stream, r, nil
}

// sourcedElsewhere is sourced for a checkpoint outside of the daemon's root.
func (j *Job) sourcedElsewhere(ctx context.Context, req *ckptdv1.AttachJobRequest) (_ *ckptdv1.AttachJobRequest, source journal.Import, warnings []string, err error) {
	text := req.GetRestoreFrom()
	source = journal.Import{State: journal.ImportWanted, Request: text}
	if req.GetClaimMode() == ckptdv1.ClaimMode_CLAIM_MODE_CLAIM {
		source.Mode = journal.Claim
	}
	switch {
	case len(text) > journal.MaxPath:
		return nil, source, nil, api.Invalidf("job %s: restore from %.200q: more than %d bytes", j.id, text, journal.MaxPath)
	case req.GetPlan() == nil:
		return nil, source, nil, api.Invalidf("job %s: restore from %.200q: a job that begins from a checkpoint needs a plan", j.id, text)
	}
	req = proto.CloneOf(req)
	head, how, err := journalio.ReadHead(ctx, j.env.Commit, j.env.Facts, j.id)
	switch {
	case err != nil && how == journal.ReadMore:
		return nil, source, nil, api.Error(err)
	case how != journal.ReadEmpty: // the job exists, or the attach says what is wrong
		plan := journal.NewPlan(nil)
		if how == journal.ReadDone {
			plan = head.Plan
		}
		api.KeepMax(req.GetPlan(), plan)
		return req, source, nil, nil
	}
	e, err := j.env.OpenElsewhere(ctx, text)
	if err != nil {
		return nil, source, nil, connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf("job %s: restore from %.200q: %w", j.id, text, err))
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	body, r, err := e.open(ctx, journal.Nonce{})
	if err != nil {
		return nil, source, nil, api.Error(fmt.Errorf("job %s: restore from %s: %w", j.id, e.URL, err))
	}
	defer body.Close()
	operators, err := operatorsIn(r)
	if err == nil {
		source.Nonce, err = journal.ParseNonce(r.Header().Nonce)
	}
	if err != nil {
		return nil, source, nil, api.Error(fmt.Errorf("job %s: restore from %s: %w", j.id, e.URL, err))
	}
	source.Source, source.Checkpoint = e.URL, r.Header().Checkpoint
	diff, err := api.Match(req.GetPlan(), operators, req.GetAllowNonRestoredState())
	if source.Mode == journal.Claim && err == nil {
		if r.Header().Kind != layout.KindSavepoint {
			return nil, source, nil, api.Invalidf("job %s: restore from %.200q: its files are copied, so nothing there can be claimed: use NO_CLAIM", j.id, text)
		}
		if _, err = api.CreationIn(req, j.env.JobDefaults, j.env.URLs); err == nil { // a job that cannot begin claims nothing
			err = j.claimSavepoint(ctx, source)
		}
	}
	return req, source, diff.GetWarnings(), err
}

// createElsewhere copies the files of an import from elsewhere, and writes the _metadata that names the copies. The last
// sweep of an ended job waits until the copies have ended.
func (j *Job) createElsewhere(op owner.Op) func(context.Context) {
	plan := j.told().Plan
	return func(ctx context.Context) {
		r := op.Result(journal.NotDone)
		if !j.uploads.Begin() {
			j.result(r)
			return
		}
		w := &importWriter{job: j.id, plan: plan, source: op.Source}
		meta, readErr, err := w.fromElsewhere(ctx, j.env, &op)
		j.uploads.End()
		switch r.Meta = meta; {
		case readErr != nil:
			r.Outcome = journalio.ReadOutcome(readErr)
			j.warn(ctx, "cannot copy the checkpoint that the job begins from", "source", op.Source.Source, "error", readErr)
		case err != nil:
			r.Outcome = journalio.WriteOutcome(err)
			j.warn(ctx, "cannot write the copy of the checkpoint that the job begins from", "checkpoint", op.ID, "error", err)
		default:
			r.Outcome = journal.Done
			j.env.Step(StepImportMetadata)
		}
		j.do(func() {
			var err error
			if r.Files, err = j.number(w.placed); err != nil {
				r.Outcome = journal.Unknown
			}
			j.feed(owner.Event{Kind: owner.EventResult, Result: r})
		})
	}
}

// fromElsewhere is write for a source outside of the root. Its files are copied while the _metadata is written, and are
// durable before it is.
func (w *importWriter) fromElsewhere(ctx context.Context, env *Env, op *owner.Op) (meta journal.Checkpoint, readErr, err error) {
	e, err := env.OpenElsewhere(ctx, w.source.Source)
	if err != nil {
		return meta, err, nil
	}
	defer func() { _ = e.Close() }() // only read
	body, r, err := e.open(ctx, w.source.Nonce)
	if err != nil {
		return meta, err, nil
	}
	defer body.Close()
	mover := copying.Mover{From: &e.From, To: &copying.Place{Store: env.Upload, Opened: env.Root, Facts: env.Facts}}
	g, groupCtx := errgroup.WithContext(ctx)
	g.SetLimit(copiesAtOnce)
	nonce := layout.NewNonce() // each try has names of its own
	w.place = func(f layout.File) (layout.File, error) {
		from := e.Locate(&f, r.Header())
		if from == "" {
			return f, fmt.Errorf("%w: %s lies in the folder of job %s, which is not there", layout.ErrCorrupt, f.Key, f.Job)
		}
		to, sequence := f, uint64(len(w.placed)+1)
		to.Job = ""
		to.Key = layout.JobKey{Place: layout.PlaceShared, File: layout.FileName{Epoch: op.Epoch, Checkpoint: op.ID, Nonce: nonce, Sequence: sequence}}.String()
		w.placed = append(w.placed, to)
		g.Go(func() error {
			_, err := mover.File(groupCtx, from, &f, layout.JobPrefix(w.job)+to.Key)
			return err
		})
		return to, nil
	}
	w.settle = g.Wait
	defer func() { _ = g.Wait() }()
	meta, readErr, err = w.writeFrom(ctx, r, env.Commit, op)
	if cause := g.Wait(); cause != nil { // why writeFrom has failed, too
		readErr, err = nil, cause
		if damaged(cause) {
			readErr = fmt.Errorf("%w: %w", layout.ErrCorrupt, cause)
		}
	}
	return meta, readErr, err
}

// damaged tells whether a copy failed because the source is not what its _metadata says.
func damaged(err error) bool {
	return errors.Is(err, catalog.ErrDamaged) || errors.Is(err, storage.ErrMismatch) || errors.Is(err, storage.ErrNotFound)
}

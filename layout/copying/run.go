package copying

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/verify"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// Parallel is the number of files that are copied at once by default.
const Parallel = 32

// The steps at which tests stop a copier.
const (
	StepAttach   = "copy-attached"
	StepFile     = "copy-file"
	StepMetadata = "copy-metadata"
	StepCommit   = "copy-entry"
	StepDelete   = "copy-delete"
	StepRelease  = "copy-released"
)

// Place is a root, to copy from or to.
type Place struct {
	// Store repeats what may be repeated. Of the target it need not repeat creations: this package does. Nil: a dry run, and
	// nothing is there.
	Store storage.Store
	// Opened is the driver below Store, for copies within one store.
	Opened storage.Opened
	Facts  storage.Facts
	Root   layout.Root
}

// Options say what is copied.
type Options struct {
	Wish
	// Job to copy; empty: all jobs of the root.
	Job string
	// DryRun writes nothing.
	DryRun bool
	// Parallel is the number of files that are copied at once; 0: the default.
	Parallel int
	// URLs are where this process answers for Claims, as written into the target's journals.
	URLs   []string
	Claims *Claims
	// Owns asks another owner at its URLs whether it still owns a job under a nonce.
	Owns func(ctx context.Context, urls []string, job, nonce string) bool
	// Hold, if not nil, keeps a checkpoint of a job that has not ended in the source, until release is called. It may be unable to: then the
	// job may drop the checkpoint, which counts as left.
	Hold func(ctx context.Context, job string, checkpoint uint64) (release func())
	// Progress, if not nil, is updated while the run goes on.
	Progress *verify.Progress
	// Step, if not nil, is called at each of the steps above.
	Step func(step string)
}

// run is one copy.
type run struct {
	from, to *Place
	mover    Mover
	opts     *Options
	process  journal.Process

	mu     sync.Mutex
	count  uint32
	report *ckptdv1.CopyReport
}

// Run copies. An error is not about single jobs or checkpoints: those are in the report.
func Run(ctx context.Context, from, to *Place, opts Options) (*ckptdv1.CopyReport, error) {
	began := time.Now()
	if from.Root.ID == to.Root.ID && to.Root.ID != "" {
		return nil, errors.New("copy: source and target are the same root")
	}
	opts.Parallel = cmp.Or(opts.Parallel, Parallel)
	if opts.Progress == nil {
		opts.Progress = &verify.Progress{}
	}
	if opts.Claims == nil {
		opts.Claims = &Claims{}
	}
	r := &run{from: from, to: to, mover: Mover{from, to, opts.Progress}, opts: &opts, process: journal.NewProcess(), report: &ckptdv1.CopyReport{DryRun: opts.DryRun}}
	ids := []string{opts.Job}
	if opts.Job == "" {
		var err error
		if ids, err = catalog.New(from.Store).JobIDs(ctx); err != nil {
			return nil, fmt.Errorf("copy: list jobs: %w", err)
		}
	}
	for _, id := range ids {
		if err := r.copyJob(ctx, id); err != nil {
			return r.report, fmt.Errorf("copy: job %s: %w", id, err)
		}
	}
	r.report.Took = durationpb.New(time.Since(began))
	return r.report, nil
}

func (r *run) nonce() journal.Nonce {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count++
	return journal.Nonce{Process: r.process, Count: r.count}
}

func (r *run) step(err error, name string) {
	if err == nil && r.opts.Step != nil {
		r.opts.Step(name)
	}
}

// copyJob copies one job. Its error ends the run; others are in the report.
func (r *run) copyJob(ctx context.Context, id string) error {
	j := &job{run: r, id: id, out: &ckptdv1.CopiedJob{JobId: id}}
	err := j.copy(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, errNothing) {
		return nil
	}
	single := r.opts.Job != ""
	if err != nil && single && (errors.Is(err, catalog.ErrNoJob) || errors.Is(err, catalog.ErrNoCheckpoint) || errors.Is(err, layout.ErrName)) {
		return err
	}
	for _, c := range j.out.GetCheckpoints() {
		j.out.Outcome = max(j.out.GetOutcome(), c.GetOutcome())
	}
	if err != nil {
		j.out.Outcome, j.out.Text = max(j.out.GetOutcome(), outcomeOf(err)), err.Error()
	}
	r.report.Jobs = append(r.report.Jobs, j.out)
	return nil
}

// errNothing: the root's folder holds no job.
var errNothing = errors.New("no job")

// outcomeOf judges an error about a job or a checkpoint.
func outcomeOf(err error) ckptdv1.CopyOutcome {
	for _, damage := range []error{catalog.ErrDamaged, layout.ErrCorrupt, journal.ErrCorrupt, layout.ErrNewerFormat, layout.ErrUnknownKind, journal.ErrNewer, storage.ErrMismatch} {
		if errors.Is(err, damage) {
			return ckptdv1.CopyOutcome_COPY_OUTCOME_DAMAGED
		}
	}
	for _, refused := range []error{ErrOrigin, ErrFull, ErrOwned} {
		if errors.Is(err, refused) {
			return ckptdv1.CopyOutcome_COPY_OUTCOME_REFUSED
		}
	}
	return ckptdv1.CopyOutcome_COPY_OUTCOME_FAILED
}

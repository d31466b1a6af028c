package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// maxRounds bounds how often a run follows a running job to its newer checkpoints.
const maxRounds = 3

// run is one verification.
type run struct {
	store  storage.Store
	opts   *Options
	table  *table
	report *ckptdv1.VerifyReport
	jobs   map[string]*job

	mu sync.Mutex
	// folders are those of the files of this round; unlisted are those that could not be listed, with the reason.
	folders  map[string]struct{}
	unlisted map[string]error
	// unreadable counts what the store did not give; last is the newest reason.
	unreadable int
	last       error
}

// job is one job of a run.
type job struct {
	id  string
	out *ckptdv1.VerifiedJob
	// head is the head when the job was looked at last; nil: it cannot be read, or there is none.
	head    *journal.Entry
	targets []*target
}

// target is one checkpoint of a run.
type target struct {
	out *ckptdv1.VerifiedCheckpoint
	// key of the _metadata.
	key string
	// job and id are what the _metadata must say of itself; job "": any.
	job string
	id  uint64
	// entry is what the journal says of the checkpoint; nil: it does not name the checkpoint.
	entry *journal.Checkpoint
	// locate gives the key of a file; "": the store cannot have it.
	locate func(f *layout.File) string
	// read is true once the whole _metadata was read and is the right one.
	read bool
}

// Run verifies checkpoints of the root in s. Its error is not about checkpoints: a wrong argument, a list of jobs that
// cannot be read, or the context's end.
func Run(ctx context.Context, s storage.Store, opts Options) (*ckptdv1.VerifyReport, error) {
	began := time.Now()
	r := newRun(s, &opts)
	ids := []string{opts.Job}
	if opts.Job == "" {
		var err error
		if ids, err = catalog.New(s).JobIDs(ctx); err != nil {
			return nil, fmt.Errorf("verify: list jobs: %w", err)
		}
	}
	for range maxRounds {
		targets, err := r.heads(ctx, ids)
		if err == nil {
			err = r.round(ctx, targets)
		}
		if err != nil {
			return nil, fmt.Errorf("verify: %w", err)
		}
		if ids = r.followed(); len(ids) == 0 {
			break
		}
	}
	if opts.Checkpoint != 0 {
		if err := r.lookForOlder(ctx, opts.Job); err != nil {
			return nil, fmt.Errorf("verify: %w", err)
		}
	}
	r.finish(began)
	return r.report, nil
}

// Folder verifies the checkpoint whose _metadata lies in the given folder of s, outside of any root. It does not look
// for files in the folders of other jobs. path is its name in the report.
func Folder(ctx context.Context, s storage.Store, folder, path string, opts Options) (*ckptdv1.VerifyReport, error) {
	began := time.Now()
	r := newRun(s, &opts)
	t := folderTarget(folder, path)
	if _, err := s.Stat(ctx, t.key); errors.Is(err, storage.ErrNotFound) {
		return nil, fmt.Errorf("verify: checkpoint %s: %w", path, err)
	}
	r.jobs[""] = &job{out: &ckptdv1.VerifiedJob{}, targets: []*target{t}}
	if err := r.round(ctx, []*target{t}); err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	r.finish(began)
	return r.report, nil
}

func folderTarget(folder, path string) *target {
	t := &target{out: &ckptdv1.VerifiedCheckpoint{Path: path}, key: folder + "/" + layout.MetadataName}
	t.locate = func(f *layout.File) string { return catalog.LooseKey(folder, t.out.GetCheckpointId(), f.Key, f.Job) }
	return t
}

func newRun(s storage.Store, opts *Options) *run {
	if opts.Parallel <= 0 {
		opts.Parallel = Parallel
	}
	if opts.Progress == nil {
		opts.Progress = &Progress{}
	}
	report := &ckptdv1.VerifyReport{ReadData: opts.ReadData, ReadDataSubset: opts.Subset.String()}
	return &run{store: s, opts: opts, table: newTable(), report: report, jobs: map[string]*job{}, folders: map[string]struct{}{}}
}

// heads reads the heads of jobs, and returns their checkpoints that no round has looked at yet.
func (r *run) heads(ctx context.Context, ids []string) ([]*target, error) {
	heads, errs := make([]*journal.Entry, len(ids)), make([]error, len(ids))
	var g errgroup.Group
	g.SetLimit(r.opts.Parallel)
	for i, id := range ids {
		g.Go(func() error {
			heads[i], errs[i] = catalog.Head(ctx, r.store, id)
			return nil
		})
	}
	_ = g.Wait() // errs has the errors
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var all []*target
	for i, id := range ids {
		if errors.Is(errs[i], catalog.ErrNoJob) && r.opts.Job == "" {
			continue // an empty folder
		}
		if errors.Is(errs[i], catalog.ErrNoJob) || errors.Is(errs[i], layout.ErrName) {
			return nil, errs[i]
		}
		targets, err := r.jobOf(id).begin(ctx, r, heads[i], errs[i])
		if err != nil {
			return nil, err
		}
		all = append(all, targets...)
	}
	return all, nil
}

func (r *run) jobOf(id string) *job {
	if r.jobs[id] == nil {
		r.jobs[id] = &job{id: id, out: &ckptdv1.VerifiedJob{JobId: id}}
	}
	return r.jobs[id]
}

// begin takes a head, or why there is none, and returns the checkpoints to look at.
func (j *job) begin(ctx context.Context, r *run, head *journal.Entry, err error) ([]*target, error) {
	j.head = head
	id := r.opts.Checkpoint
	if err != nil {
		j.out.Text = err.Error()
		j.out.Verdict = ckptdv1.VerifyVerdict_VERIFY_VERDICT_UNREADABLE
		if kind := kindOf(err); kind != ckptdv1.DamageKind_DAMAGE_KIND_UNREADABLE {
			j.out.Verdict = ckptdv1.VerifyVerdict_VERIFY_VERDICT_DAMAGED
		}
		if id == 0 {
			return nil, nil
		}
	}
	if id != 0 {
		return j.beginOne(ctx, r, id)
	}
	var targets []*target
	for i := range head.Retained {
		if t := j.add(&head.Retained[i]); t != nil {
			targets = append(targets, t)
		}
	}
	return targets, nil
}

// beginOne returns the one checkpoint that was asked for. The journal need not retain it, but its _metadata must exist.
func (j *job) beginOne(ctx context.Context, r *run, id uint64) ([]*target, error) {
	if j.head != nil {
		if c, ok := j.head.Checkpoint(id); ok {
			return []*target{j.add(&c)}, nil
		}
	}
	if _, err := r.store.Stat(ctx, layout.MetadataKey(j.id, id)); errors.Is(err, storage.ErrNotFound) {
		if _, err = catalog.New(r.store).Show(ctx, j.id, id); err != nil {
			return nil, err
		}
	}
	t := j.target(id)
	if j.head != nil {
		t.out.State, t.out.Text = ckptdv1.CheckpointState_CHECKPOINT_STATE_NOT_RETAINED, "the journal does not retain it: its files may go at any time"
	}
	j.targets = append(j.targets, t)
	return []*target{t}, nil
}

// add adds a checkpoint that the journal names; nil: it was added before.
func (j *job) add(c *journal.Checkpoint) *target {
	if slices.ContainsFunc(j.targets, func(t *target) bool { return t.id == c.ID && t.entry != nil && t.entry.Nonce == c.Nonce }) {
		return nil
	}
	t := j.target(c.ID)
	t.entry, t.out.State = c, catalog.CheckpointState(c.State)
	j.targets = append(j.targets, t)
	return t
}

func (j *job) target(id uint64) *target {
	return &target{
		out: &ckptdv1.VerifiedCheckpoint{CheckpointId: id, Path: j.id + "/" + layout.CheckpointDir(id)},
		key: layout.MetadataKey(j.id, id), job: j.id, id: id,
		locate: func(f *layout.File) string { return catalog.Key(j.id, id, f.Key, f.Job) },
	}
}

// round looks at checkpoints in the four passes of the package comment.
func (r *run) round(ctx context.Context, targets []*target) error {
	r.folders, r.unlisted = map[string]struct{}{}, map[string]error{}
	if err := r.names(ctx, targets); err != nil {
		return err
	}
	if err := r.sizes(ctx); err != nil {
		return err
	}
	if r.opts.ReadData {
		if err := r.bytes(ctx, targets); err != nil {
			return err
		}
	}
	if err := r.blame(ctx, targets); err != nil {
		return err
	}
	return r.forgive(ctx, targets)
}

// forgive reads the heads of jobs again in which something is wrong. A checkpoint that its head does not name any more
// has left, and is not damaged.
func (r *run) forgive(ctx context.Context, targets []*target) error {
	for _, j := range r.jobs {
		wrong := slices.DeleteFunc(slices.Clone(j.targets), func(t *target) bool {
			unknown := t.entry == nil && t.out.GetState() != ckptdv1.CheckpointState_CHECKPOINT_STATE_NOT_RETAINED
			return unknown || !slices.Contains(targets, t) || t.out.GetVerdict() == ckptdv1.VerifyVerdict_VERIFY_VERDICT_WHOLE
		})
		if len(wrong) == 0 {
			continue
		}
		head, err := catalog.Head(ctx, r.store, j.id)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			continue // the findings stand
		}
		for _, t := range wrong {
			if c, ok := head.Checkpoint(t.id); !ok || t.entry != nil && c.Nonce != t.entry.Nonce {
				t.out.Verdict, t.out.Damages, t.out.DamagesTotal = ckptdv1.VerifyVerdict_VERIFY_VERDICT_LEFT, nil, 0
				t.out.Text = "the journal dropped it meanwhile"
			}
		}
	}
	return nil
}

// followed returns the jobs whose newest checkpoint has left: by now they have newer ones.
func (r *run) followed() (ids []string) {
	if r.opts.Checkpoint != 0 {
		return nil
	}
	for id, j := range r.jobs {
		if n := len(j.targets); n > 0 && j.targets[n-1].out.GetVerdict() == ckptdv1.VerifyVerdict_VERIFY_VERDICT_LEFT {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// lookForOlder looks at the older checkpoints of the job, from the newest on, until one is whole, if the one that was
// asked for is not.
func (r *run) lookForOlder(ctx context.Context, id string) error {
	j := r.jobs[id]
	if j == nil || j.head == nil || len(j.targets) == 0 || j.targets[0].out.GetVerdict() != ckptdv1.VerifyVerdict_VERIFY_VERDICT_DAMAGED {
		return nil
	}
	asked := j.targets[0].id
	for i := len(j.head.Retained) - 1; i >= 0; i-- {
		c := &j.head.Retained[i]
		if c.ID >= asked || c.State != journal.StateKept {
			continue
		}
		t := j.add(c)
		if err := r.round(ctx, []*target{t}); err != nil {
			return err
		}
		if t.out.GetVerdict() == ckptdv1.VerifyVerdict_VERIFY_VERDICT_WHOLE {
			return nil
		}
	}
	return nil
}

// finish fills in the report.
func (r *run) finish(began time.Time) {
	for _, j := range r.jobs {
		slices.SortStableFunc(j.targets, func(a, b *target) int { return cmp.Compare(a.id, b.id) })
		j.finish()
		r.report.Jobs = append(r.report.Jobs, j.out)
		r.report.Verdict = worse(r.report.GetVerdict(), j.out.GetVerdict())
	}
	slices.SortFunc(r.report.GetJobs(), func(a, b *ckptdv1.VerifiedJob) int { return cmp.Compare(a.GetJobId(), b.GetJobId()) })
	r.report.Verdict = worse(r.report.GetVerdict(), ckptdv1.VerifyVerdict_VERIFY_VERDICT_WHOLE)
	r.report.Files, r.report.Bytes = r.table.counts()
	r.report.Took = durationpb.New(time.Since(began))
}

// finish gives the job its verdict, and each damaged checkpoint the older one that is whole.
func (j *job) finish() {
	left, older := 0, uint64(0)
	for _, t := range j.targets {
		j.out.Checkpoints = append(j.out.Checkpoints, t.out)
		switch v := t.out.GetVerdict(); v {
		case ckptdv1.VerifyVerdict_VERIFY_VERDICT_LEFT:
			left++
		case ckptdv1.VerifyVerdict_VERIFY_VERDICT_WHOLE:
			if t.entry != nil && t.entry.State == journal.StateKept {
				older = t.id
			}
		default:
			if v == ckptdv1.VerifyVerdict_VERIFY_VERDICT_DAMAGED {
				t.out.OlderWholeCheckpointId = older
			}
			j.out.Verdict = worse(j.out.GetVerdict(), v)
		}
	}
	if left > 0 && left == len(j.targets) {
		j.out.Verdict = worse(j.out.GetVerdict(), ckptdv1.VerifyVerdict_VERIFY_VERDICT_PART)
		j.out.Text = "the job dropped every checkpoint while it was looked at: retain more of them, or verify without --read-data"
	}
	j.out.Verdict = worse(j.out.GetVerdict(), ckptdv1.VerifyVerdict_VERIFY_VERDICT_WHOLE)
}

// severity orders verdicts from harmless to bad.
var severity = map[ckptdv1.VerifyVerdict]int{
	ckptdv1.VerifyVerdict_VERIFY_VERDICT_WHOLE:      1,
	ckptdv1.VerifyVerdict_VERIFY_VERDICT_LEFT:       2,
	ckptdv1.VerifyVerdict_VERIFY_VERDICT_PART:       3,
	ckptdv1.VerifyVerdict_VERIFY_VERDICT_UNREADABLE: 4,
	ckptdv1.VerifyVerdict_VERIFY_VERDICT_DAMAGED:    5,
}

func worse(a, b ckptdv1.VerifyVerdict) ckptdv1.VerifyVerdict {
	if severity[b] > severity[a] {
		return b
	}
	return a
}

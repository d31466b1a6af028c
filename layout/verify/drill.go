package verify

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// A Fetcher fetches the state of a handle that lies in a file, and throws it away. segment nil: the whole file. key is
// that of the file in the store. The damage is what is wrong with the checkpoint; the error is why nothing is known of
// it.
type Fetcher func(ctx context.Context, key string, f *layout.File, segment *layout.Segment) (*ckptdv1.Damage, error)

// FromStore fetches straight from a store. Like a worker it reads whole blocks, because only these have sums.
func FromStore(s storage.Store) Fetcher {
	return func(ctx context.Context, key string, f *layout.File, segment *layout.Segment) (*ckptdv1.Damage, error) {
		from, to := uint64(0), f.Length
		if segment != nil {
			from = segment.Offset - segment.Offset%layout.BlockSize
			to = min(f.Length, (segment.Offset+segment.Length+layout.BlockSize-1)/layout.BlockSize*layout.BlockSize)
		}
		if segment != nil && segment.Length == 0 {
			from, to = 0, 0
		}
		sums := newSums(f, from)
		err := stream(ctx, s, key, from, to, func(p []byte) error {
			sums.add(p)
			return nil
		})
		switch {
		case errors.Is(err, storage.ErrNotFound):
			return &ckptdv1.Damage{Kind: ckptdv1.DamageKind_DAMAGE_KIND_MISSING, Text: "missing"}, nil
		case errors.Is(err, errShort):
			return &ckptdv1.Damage{Kind: ckptdv1.DamageKind_DAMAGE_KIND_WRONG_SIZE, Text: fmt.Sprintf("%v, want %d", err, f.Length)}, nil
		case err != nil:
			return nil, err
		}
		if what := sums.finish(); what != nil && from < to {
			return &ckptdv1.Damage{Kind: ckptdv1.DamageKind_DAMAGE_KIND_WRONG_BYTES, Text: what.text, Offset: what.offset, Length: what.length}, nil
		}
		return nil, nil
	}
}

// driller restores one checkpoint into nothing.
type driller struct {
	run    *run
	target *target
	fetch  Fetcher
	report *ckptdv1.DrillReport

	files []*layout.File
	op    *layout.Operator
	// index is that of op's last subtask; -1: none yet. out is op's part of the report.
	index int
	out   *ckptdv1.DrilledOperator
	mu    sync.Mutex // for the report
}

// Drill tries to restore the checkpoint opts.Checkpoint of job opts.Job: it fetches every handle of every subtask, as
// the workers of a new attempt would.
func Drill(ctx context.Context, s storage.Store, opts Options, fetch Fetcher) (*ckptdv1.DrillReport, error) {
	r := newRun(s, &opts)
	targets, err := r.heads(ctx, []string{opts.Job})
	if err != nil {
		return nil, fmt.Errorf("drill: %w", err)
	}
	return r.drill(ctx, targets[0], fetch)
}

// DrillFolder is Drill for the checkpoint whose _metadata lies in the given folder of s, outside of any root. path is
// its name in the report.
func DrillFolder(ctx context.Context, s storage.Store, folder, path string, opts Options) (*ckptdv1.DrillReport, error) {
	r := newRun(s, &opts)
	t := folderTarget(folder, path)
	if _, err := s.Stat(ctx, t.key); errors.Is(err, storage.ErrNotFound) {
		return nil, fmt.Errorf("drill: checkpoint %s: %w", path, err)
	}
	return r.drill(ctx, t, FromStore(s))
}

func (r *run) drill(ctx context.Context, t *target, fetch Fetcher) (*ckptdv1.DrillReport, error) {
	began := time.Now()
	d := &driller{run: r, target: t, fetch: fetch, report: &ckptdv1.DrillReport{JobId: t.job, Path: t.out.GetPath()}}
	err := r.names(ctx, []*target{t}) // as an owner does: the whole _metadata, before anything acts on it
	if err == nil && t.read {
		r.opts.Progress.TotalFiles.Store(t.out.GetFiles())
		r.opts.Progress.TotalBytes.Store(t.out.GetBytes())
		err = d.restore(ctx)
	}
	if err == nil {
		err = r.forgive(ctx, []*target{t})
	}
	if err != nil {
		return nil, fmt.Errorf("drill %s: %w", t.out.GetPath(), err)
	}
	d.report.Verdict, d.report.CheckpointId = t.out.GetVerdict(), t.out.GetCheckpointId()
	d.report.Damages, d.report.DamagesTotal = t.out.GetDamages(), t.out.GetDamagesTotal()
	d.report.Took = durationpb.New(time.Since(began))
	return d.report, nil
}

// restore reads the _metadata once more and fetches the handles of each subtask.
func (d *driller) restore(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(d.run.opts.Parallel)
	_, _, err := records(ctx, d.run.store, d.target.key, func(_ *layout.MetadataReader, rec layout.Record) error {
		switch rec := rec.(type) {
		case *layout.Operator:
			d.begin(rec)
		case *layout.File:
			d.files = append(d.files, rec)
		case *layout.Subtask:
			if rec.Index != d.index { // else one more record of the same subtask
				d.report.Subtasks++
				d.index = rec.Index
			}
			for i := range rec.Handles {
				d.handle(ctx, g, rec, &rec.Handles[i])
			}
		}
		return ctx.Err()
	})
	if failed := g.Wait(); failed != nil {
		return failed
	}
	switch {
	case ctx.Err() != nil && err != nil:
		return err
	case err != nil:
		return d.run.accuse(d.target, err)
	}
	return nil
}

func (d *driller) begin(op *layout.Operator) {
	d.op, d.index = op, -1
	d.out = &ckptdv1.DrilledOperator{Operator: &ckptdv1.Operator{
		Id: op.ID, Uid: op.UID, Parallelism: uint32(op.Parallelism), MaxParallelism: uint32(op.MaxParallelism), Triggered: op.Triggered,
	}}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.report.Operators = append(d.report.Operators, d.out)
}

// handle fetches a handle in the group. Inline state came with the _metadata, and was checked with it.
func (d *driller) handle(ctx context.Context, g *errgroup.Group, s *layout.Subtask, h *layout.Handle) {
	op, out := d.op, d.out
	if h.File == 0 {
		d.count(out, uint64(len(h.Inline)))
		return
	}
	f := d.files[h.File-1]
	length := f.Length
	if h.Segment != nil {
		length = h.Segment.Length
	}
	key := d.target.locate(f)
	if key == "" {
		d.note(out, &ckptdv1.Damage{Kind: ckptdv1.DamageKind_DAMAGE_KIND_UNREADABLE, Key: f.Job + "/" + f.Key,
			Text: "it lies in the folder of another job, where this command does not look: try the checkpoint in its root"}, op, s, h)
		return
	}
	g.Go(func() error {
		damage, err := d.fetch(ctx, key, f, h.Segment)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			d.note(out, &ckptdv1.Damage{Kind: ckptdv1.DamageKind_DAMAGE_KIND_UNREADABLE, Key: key, Text: err.Error()}, op, s, h)
			return d.run.failed(err)
		case damage != nil:
			damage.Key = key
			d.note(out, damage, op, s, h)
			return nil
		}
		d.count(out, length)
		d.run.opts.Progress.Bytes.Add(length)
		return nil
	})
}

func (d *driller) count(out *ckptdv1.DrilledOperator, length uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	out.Handles++
	out.Bytes += length
	d.report.Handles++
	d.report.Bytes += length
}

// note reports a handle that could not be fetched whole.
func (d *driller) note(out *ckptdv1.DrilledOperator, damage *ckptdv1.Damage, op *layout.Operator, s *layout.Subtask, h *layout.Handle) {
	damage.States, damage.StatesTotal = []*ckptdv1.StateUse{use(op, s, h)}, 1
	d.mu.Lock()
	defer d.mu.Unlock()
	out.Failed++
	t := d.target.out
	v := ckptdv1.VerifyVerdict_VERIFY_VERDICT_DAMAGED
	if damage.GetKind() == ckptdv1.DamageKind_DAMAGE_KIND_UNREADABLE {
		v = ckptdv1.VerifyVerdict_VERIFY_VERDICT_UNREADABLE
	}
	t.Verdict = worse(t.GetVerdict(), v)
	if t.DamagesTotal++; len(t.GetDamages()) < maxDamages {
		t.Damages = append(t.Damages, damage)
	}
}

package runtime

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sync/errgroup"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/layout/keygroup"
	"github.com/ckptd/ckptd/runtime/aligner"
	"github.com/ckptd/ckptd/runtime/exchange"
	"github.com/ckptd/ckptd/runtime/state"
)

// restoreParallel bounds the number of subtasks that are restored at a time.
const restoreParallel = 4

// restore makes this worker's tasks with the state of the checkpoint that the attempt restores. The caller closes the
// returned tasks, even after an error.
func (a *attempt) restore() ([]*task, error) {
	w := a.worker
	mine := w.Job.subtasksOf(w.Number, w.Workers)
	answers, err := w.Coordinator.Assignment(a.ctx, a.start.Attempt, mine)
	if err != nil {
		return nil, fmt.Errorf("runtime: assignment of attempt %d: %w", a.start.Attempt, err)
	}
	handles := make(map[client.Subtask][]client.Handle, len(answers))
	for _, s := range answers {
		handles[s.Subtask] = append(handles[s.Subtask], s.Handles...)
	}
	var tasks []*task
	group, ctx := errgroup.WithContext(a.ctx)
	group.SetLimit(restoreParallel)
	for i := range w.Job.Tasks {
		spec := &w.Job.Tasks[i]
		for index := range spec.Parallelism {
			if workerOf(index, w.Workers) != w.Number {
				continue
			}
			t := &task{spec: spec, index: index, subtasks: spec.subtasks(index), mail: newMailbox(), callbacks: a.callbacks(), end: ending{finishes: w.Job.Finishes}}
			tasks = append(tasks, t)
			group.Go(func() error {
				if err := a.restoreTask(ctx, t, handles); err != nil {
					return fmt.Errorf("runtime: restore task %s: %w", t.name(), err)
				}
				return nil
			})
		}
	}
	return tasks, group.Wait()
}

func (a *attempt) restoreTask(ctx context.Context, t *task, handles map[client.Subtask][]client.Handle) error {
	chain := map[string]any{}
	for i := range t.spec.Operators {
		o := &operator{spec: &t.spec.Operators[i], subtask: t.subtasks[i]}
		o.groups = keygroup.RangeOf(t.spec.maxParallelism(), t.spec.Parallelism, t.index)
		t.chain = append(t.chain, o)
		r := restorer{
			attempt: a,
			dir:     filepath.Join(a.dir, t.spec.Name+"-"+strconv.Itoa(t.index), strconv.Itoa(i)),
			handles: handles[o.subtask],
			chain:   chain,
		}
		if err := r.operator(ctx, o, t); err != nil {
			return o.failed(err)
		}
	}
	return nil
}

// restorer restores one operator.
type restorer struct {
	attempt *attempt
	dir     string
	handles []client.Handle
	// chain is Subtask.Chain of all operators of the chain.
	chain map[string]any
}

func (r *restorer) operator(ctx context.Context, o *operator, t *task) error {
	start := &r.attempt.start
	own := filepath.Join(r.dir, "own")
	if err := os.MkdirAll(own, 0o777); err != nil {
		return err
	}
	sub := Subtask{
		Job: r.attempt.worker.JobID, Operator: o.spec.ID, Index: t.index, Parallelism: t.spec.Parallelism, Attempt: start.Attempt,
		Restored: start.Restore, Dir: own, Chain: r.chain, operator: o,
	}
	var err error
	switch {
	case o.spec.Source != nil:
		if o.source, err = o.spec.Source(sub); err != nil {
			return err
		}
		o.interruptible(r.attempt.ctx, o.source)
		return r.seek(ctx, o.source)
	case o.spec.Process != nil:
		o.process, err = o.spec.Process(sub)
		return err
	case o.spec.Keyed != nil:
		if o.keyed, err = o.spec.Keyed(sub); err != nil {
			return err
		}
		o.backend, err = r.backend(ctx, o)
		return err
	default:
		if o.sink, err = o.spec.Sink(sub); err != nil {
			return err
		}
		o.interruptible(r.attempt.ctx, o.sink)
		var pending []byte
		if h, ok := r.find(pieceTransactions); ok {
			if pending, err = r.read(ctx, h); err != nil {
				return err
			}
		}
		return o.sink.Restore(start.Attempt, start.Restore, pending)
	}
}

func (r *restorer) seek(ctx context.Context, s state.Source) error {
	if r.attempt.start.Restore == 0 {
		return nil
	}
	h, ok := r.find(piecePosition)
	if !ok {
		return fmt.Errorf("checkpoint %d holds no position for this source", r.attempt.start.Restore)
	}
	position, err := r.read(ctx, h)
	if err != nil {
		return err
	}
	return s.Seek(position)
}

// backend fetches the files of a keyed operator and opens its state with them.
func (r *restorer) backend(ctx context.Context, o *operator) (state.Backend, error) {
	if r.attempt.start.Restore != 0 && len(r.handles) == 0 {
		return nil, fmt.Errorf("checkpoint %d holds no state for this operator", r.attempt.start.Restore)
	}
	fetched := filepath.Join(r.dir, "fetched")
	if err := os.MkdirAll(fetched, 0o777); err != nil {
		return nil, err
	}
	defer os.RemoveAll(fetched)
	files := make([]state.RestoredFile, len(r.handles))
	for i, h := range r.handles {
		path := filepath.Join(fetched, strconv.Itoa(i))
		files[i] = state.RestoredFile{Name: h.Name, Path: path, RestoredKey: h.Key()}
		if err := r.fetch(ctx, h, path); err != nil {
			return nil, err
		}
	}
	return o.spec.Backend(ctx, filepath.Join(r.dir, "state"), o.groups, files)
}

func (r *restorer) fetch(ctx context.Context, h client.Handle, path string) error {
	if h.File == nil {
		return os.WriteFile(path, h.Inline, 0o666)
	}
	return r.attempt.worker.Coordinator.Fetch(ctx, h, path)
}

func (r *restorer) find(name string) (client.Handle, bool) {
	for _, h := range r.handles {
		if h.Name == name {
			return h, true
		}
	}
	return client.Handle{}, false
}

// read returns a small piece. The piece may be a file, if the checkpoint had no room for inline bytes.
func (r *restorer) read(ctx context.Context, h client.Handle) ([]byte, error) {
	if h.File == nil {
		return h.Inline, nil
	}
	path := filepath.Join(r.dir, "piece")
	defer os.Remove(path)
	if err := r.attempt.worker.Coordinator.Fetch(ctx, h, path); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// newInput makes a task's gate and aligner.
func (t *task) newInput(channels int) {
	if channels > 0 {
		t.gate = exchange.NewGate(channels)
	}
	t.machine = aligner.New(channels)
}

package runtime

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/ckptd/ckptd/client"
)

// reasonAsync is Flink's name for a failed asynchronous part.
const reasonAsync = "CHECKPOINT_ASYNC_EXCEPTION"

// taskSnapshot is the result of one task's synchronous part.
type taskSnapshot struct {
	checkpoint, epoch uint64
	snapshots         []client.SubtaskSnapshot
	releases          []func()
}

func (p taskSnapshot) release() {
	for _, r := range p.releases {
		r()
	}
}

// uploads sends the snapshots of a worker's tasks. Snapshots of one checkpoint that arrive during a call are sent
// together in the next call. All methods are safe for concurrent use.
type uploads struct {
	ctx       context.Context
	attempt   uint64
	snapshot  func(context.Context, client.Snapshot) error
	callbacks callbacks
	wg        sync.WaitGroup

	mu      sync.Mutex
	running map[uint64]*upload
	// aborted are the newest aborted ids: a task may take its snapshot before it learns of the abort.
	aborted []uint64
	stopped bool
}

// rememberedAborts bounds uploads.aborted. A snapshot of a forgotten id is sent in vain, which does no harm.
const rememberedAborts = 16

type upload struct {
	cancel  context.CancelFunc
	waiting []taskSnapshot
}

// add takes over a task's snapshot.
func (u *uploads) add(p taskSnapshot) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.stopped || slices.Contains(u.aborted, p.checkpoint) {
		p.release()
		return
	}
	up := u.running[p.checkpoint]
	if up == nil {
		ctx, cancel := context.WithCancel(u.ctx)
		up = &upload{cancel: cancel}
		u.running[p.checkpoint] = up
		u.wg.Go(func() { u.run(ctx, up, p.checkpoint) })
	}
	up.waiting = append(up.waiting, p)
}

// abort ends the upload of a checkpoint that will not complete.
func (u *uploads) abort(checkpoint uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.aborted = append(u.aborted, checkpoint)
	u.aborted = u.aborted[max(len(u.aborted)-rememberedAborts, 0):]
	if up := u.running[checkpoint]; up != nil {
		up.cancel()
	}
}

// stop ends all uploads and waits until every snapshot is released.
func (u *uploads) stop() {
	u.mu.Lock()
	u.stopped = true
	for _, up := range u.running {
		up.cancel()
	}
	u.mu.Unlock()
	u.wg.Wait()
}

func (u *uploads) run(ctx context.Context, up *upload, checkpoint uint64) {
	defer up.cancel()
	for {
		u.mu.Lock()
		parts := up.waiting
		up.waiting = nil
		if len(parts) == 0 {
			delete(u.running, checkpoint)
			u.mu.Unlock()
			return
		}
		u.mu.Unlock()
		u.send(ctx, parts)
		for _, p := range parts {
			p.release()
		}
	}
}

// send sends several task snapshots in one call.
func (u *uploads) send(ctx context.Context, parts []taskSnapshot) {
	s := client.Snapshot{Attempt: u.attempt, Epoch: parts[0].epoch, Checkpoint: parts[0].checkpoint}
	var subtasks []client.Subtask
	for _, p := range parts {
		for _, snapshot := range p.snapshots {
			s.Subtasks = append(s.Subtasks, snapshot)
			subtasks = append(subtasks, snapshot.Subtask)
		}
	}
	u.callbacks.step(StepUploading)
	err := u.snapshot(ctx, s)
	switch {
	case err == nil:
		u.callbacks.step(StepAcknowledged)
	case ctx.Err() != nil || overtaken(err):
		// The checkpoint was aborted, or its owner or attempt has been replaced: the coordinator knows more than this
		// worker.
	default:
		u.callbacks.decline(s.Checkpoint, s.Epoch, subtasks, reasonAsync, fmt.Sprintf("runtime: send checkpoint %d: %v", s.Checkpoint, err))
	}
}

// overtaken reports whether an error only says that the job has gone on without this worker's message.
func overtaken(err error) bool {
	for _, e := range []error{client.ErrStaleAttempt, client.ErrStaleEpoch, client.ErrNotOpen, client.ErrJobTerminal, client.ErrReplaced} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

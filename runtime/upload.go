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

// part is the result of one task's synchronous part.
type part struct {
	checkpoint, epoch uint64
	snapshots         []client.SubtaskSnapshot
	releases          []func()
}

func (p part) release() {
	for _, r := range p.releases {
		r()
	}
}

// uploads sends the parts of a worker's tasks. Parts of one checkpoint that come while another is being sent go out together in
// the next call. All methods are safe for concurrent use.
type uploads struct {
	ctx      context.Context
	attempt  uint64
	snapshot func(context.Context, client.Snapshot) error
	around   surroundings
	wg       sync.WaitGroup

	mu      sync.Mutex
	running map[uint64]*upload
	// aborted are the newest ids of which that was said: a task may take its part before it hears so.
	aborted []uint64
	stopped bool
}

// rememberedAborts bounds uploads.aborted. What is forgotten is sent in vain, no more.
const rememberedAborts = 16

type upload struct {
	cancel  context.CancelFunc
	waiting []part
}

// add takes over a part.
func (u *uploads) add(p part) {
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

// abort ends the sending of a checkpoint that will not complete.
func (u *uploads) abort(checkpoint uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.aborted = append(u.aborted, checkpoint)
	u.aborted = u.aborted[max(len(u.aborted)-rememberedAborts, 0):]
	if up := u.running[checkpoint]; up != nil {
		up.cancel()
	}
}

// stop ends all sending and waits until every snapshot is released.
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

// send makes one call of some parts.
func (u *uploads) send(ctx context.Context, parts []part) {
	s := client.Snapshot{Attempt: u.attempt, Epoch: parts[0].epoch, Checkpoint: parts[0].checkpoint}
	var subtasks []client.Subtask
	for _, p := range parts {
		for _, snapshot := range p.snapshots {
			s.Subtasks = append(s.Subtasks, snapshot)
			subtasks = append(subtasks, snapshot.Subtask)
		}
	}
	u.around.step(StepUploading)
	err := u.snapshot(ctx, s)
	switch {
	case err == nil:
		u.around.step(StepAcknowledged)
	case ctx.Err() != nil || overtaken(err):
		// Aborted, or of an owner or attempt that is gone: the coordinator knows more than this worker.
	default:
		u.around.decline(s.Checkpoint, s.Epoch, subtasks, reasonAsync, fmt.Sprintf("runtime: send checkpoint %d: %v", s.Checkpoint, err))
	}
}

// overtaken says whether an error only tells that the job has gone on without this worker's message.
func overtaken(err error) bool {
	for _, e := range []error{client.ErrStaleAttempt, client.ErrStaleEpoch, client.ErrNotOpen, client.ErrJobTerminal, client.ErrReplaced} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

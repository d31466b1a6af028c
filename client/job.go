package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// callTimeout bounds one try of a call. After it the client looks for the owner again.
const callTimeout = 15 * time.Second

// Job is an attached job.
type Job struct {
	standing standing

	client *Client
	spec   JobSpec
	// attaching admits one caller at a time to look for the owner.
	attaching *semaphore.Weighted

	mu    sync.Mutex
	owner *endpoint
	// generation counts the owners found. If many callers lose the same owner, only one of them looks for the next
	// owner.
	generation uint64
	epoch      uint64
	attempt    uint64
	// number is the largest epoch, attempt or checkpoint id that this process has heard of in the job's commands. A job that begins
	// anew, as its state was in the memory of a daemon that is gone, counts above it.
	number    uint64
	threshold int
	inlineCap int
	config    *JobConfig
	nonce     string
	// session is the last registration of this process; nil: none.
	session *Session
	// over: this process was told Cancel. A call that is still under way must not begin a suspended job again.
	over bool
}

// ID is the job's id.
func (j *Job) ID() string { return j.spec.ID }

// Epoch is the newest epoch of the job's ownership that this process has heard of.
func (j *Job) Epoch() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.epoch
}

// Attempt is the journal's attempt when the job was last attached; 0: none yet.
func (j *Job) Attempt() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.attempt
}

// Config is the configuration that was in effect when the job was last attached, with every default filled in. Each
// Start brings the configuration of its attempt.
func (j *Job) Config() *JobConfig {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.config
}

// Assignment returns the state that each of the attempt's subtasks has to restore, in the order of the arguments.
func (j *Job) Assignment(ctx context.Context, attempt uint64, subtasks []Subtask) ([]SubtaskState, error) {
	states := make([]SubtaskState, len(subtasks))
	index := make(map[Subtask]int, len(subtasks))
	for i, s := range subtasks {
		states[i].Subtask = s
		index[s] = i
	}
	for page := ""; ; {
		res, err := call(ctx, j, func(ctx context.Context, e *endpoint) (*ckptdv1.AssignmentResponse, error) {
			return e.engine.Assignment(ctx, &ckptdv1.AssignmentRequest{
				JobId: j.spec.ID, Epoch: j.Epoch(), Attempt: attempt, Subtasks: toSubtasks(subtasks), PageToken: page,
			})
		})
		if err != nil {
			return nil, j.wrap("assignment", err)
		}
		for _, s := range res.GetStates() {
			i, ok := index[fromSubtask(s.GetSubtask())]
			if !ok {
				return nil, j.wrap("assignment", fmt.Errorf("%w: state of %v, which was not asked for", ErrInvalid, s.GetSubtask()))
			}
			states[i].Finished = states[i].Finished || s.GetFinished()
			for _, h := range s.GetHandles() {
				states[i].Handles = append(states[i].Handles, fromHandle(h))
			}
		}
		if page = res.GetNextPageToken(); page == "" {
			return states, nil
		}
	}
}

// Report tells the owner the state of subtasks. The session tells reports that still hold to every owner with which it
// registers.
func (j *Job) Report(ctx context.Context, r Report) error {
	j.standing.note(r)
	j.mu.Lock()
	session := j.session
	j.mu.Unlock()
	if session != nil {
		session.reported(r)
	}
	_, err := call(ctx, j, func(ctx context.Context, e *endpoint) (*ckptdv1.ReportResponse, error) {
		return e.engine.Report(ctx, j.report(r))
	})
	return j.wrap("report", err)
}

// Decline says that subtasks could not take part in a checkpoint; the checkpoint is aborted.
func (j *Job) Decline(ctx context.Context, d Decline) error {
	req := &ckptdv1.DeclineRequest{
		JobId: j.spec.ID, Epoch: d.Epoch, Attempt: d.Attempt, CheckpointId: d.Checkpoint, Subtasks: toSubtasks(d.Subtasks),
		Reason: d.Reason, Cause: d.Cause, RequestId: newID(),
	}
	_, err := callAs(ctx, j, d.Epoch, func(ctx context.Context, e *endpoint) (*ckptdv1.DeclineResponse, error) {
		return e.engine.Decline(ctx, req)
	})
	return j.wrap("decline", err)
}

// NewAttempt ends the given attempt and begins the next one. It is for engines that schedule by themselves. It returns
// the attempt in the journal; if the given attempt is not the current one, it returns at once and begins none.
func (j *Job) NewAttempt(ctx context.Context, attempt uint64, reason string) (uint64, error) {
	req := &ckptdv1.NewAttemptRequest{JobId: j.spec.ID, Attempt: attempt, Reason: reason, RequestId: newID()}
	res, err := call(ctx, j, func(ctx context.Context, e *endpoint) (*ckptdv1.NewAttemptResponse, error) {
		return e.engine.NewAttempt(ctx, req)
	})
	return res.GetAttempt(), j.wrap("new attempt", err)
}

// call calls f with the job's owner and the newest epoch known, until the owner accepts or refuses. Each try has its
// own time-out.
func call[T any](ctx context.Context, j *Job, f func(ctx context.Context, e *endpoint) (T, error)) (T, error) {
	return callAs(ctx, j, 0, f)
}

// callAs is call for a request that belongs to one epoch (0: to none). If the owner of another epoch refuses it, the
// refusal is final.
func callAs[T any](ctx context.Context, j *Job, epoch uint64, f func(ctx context.Context, e *endpoint) (T, error)) (T, error) {
	return search(ctx, j, epoch, func(ctx context.Context, e *endpoint) (T, error) {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		return f(ctx, e)
	})
}

// search calls f with the owner. If that owner is lost, it calls f with the next one.
func search[T any](ctx context.Context, j *Job, epoch uint64, f func(ctx context.Context, e *endpoint) (T, error)) (T, error) {
	return retry(ctx, j.client, j.client.options.patience, func() (T, error) {
		var followed hops
		for {
			e, generation := j.current()
			v, err := f(ctx, e)
			if err == nil {
				return v, nil
			}
			ce := classify(ctx, err)
			if errors.Is(ce, ErrStaleEpoch) && epoch == 0 {
				ce.retry = true
			}
			if !ce.retry {
				return v, ce
			}
			if followed.may(ce) && j.redirect(generation, ce.notOwner) {
				continue
			}
			if lost := j.attach(ctx, generation, ce.silent); lost != nil {
				return v, lost
			}
			return v, ce
		}
	})
}

// current is the last known owner, with its generation.
func (j *Job) current() (*endpoint, uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.owner, j.generation
}

// attach finds the owner after the one of the given generation, by asking daemons to attach the job. silent says that
// the old owner did not answer in its time.
func (j *Job) attach(ctx context.Context, generation uint64, silent bool) error {
	if j.attaching.Acquire(ctx, 1) != nil {
		return context.Cause(ctx)
	}
	defer j.attaching.Release(1)
	if j.isOver() {
		return &callError{kind: ErrJobTerminal, cause: errors.New("this process was told to end: attach the job again")}
	}
	last, now := j.current()
	if now != generation {
		return nil // somebody else has found it
	}
	candidates := slices.Clone(j.client.urls)
	if last != nil {
		// The last owner is asked first: if it is back already, no other daemon has to take the job over. A silent one
		// is asked last, because it would hold us up. The other daemons ask it themselves before they take the job
		// over.
		candidates = slices.DeleteFunc(candidates, func(u string) bool { return u == last.url })
		at := 0
		if silent {
			at = len(candidates)
		}
		candidates = slices.Insert(candidates, at, last.url)
	}
	req := &ckptdv1.AttachJobRequest{
		JobId: j.spec.ID, Plan: toPlan(j.spec.Plan), Config: toConfig(j.spec.Config), Labels: j.spec.Labels, RequestId: newID(),
		RestoreFrom: j.spec.RestoreFrom, ClaimMode: ckptdv1.ClaimMode(j.spec.ClaimMode) + 1, AllowNonRestoredState: j.spec.AllowNonRestoredState, AllowRunning: j.spec.AllowRunning,
		HeardNumber: j.heardNumber(),
	}
	var errs []error
	for r := (route{ahead: candidates}); ; {
		url, ok := r.next()
		if !ok {
			return &callError{retry: true, kind: ErrUnavailable, cause: errors.Join(errs...)}
		}
		err := j.attachAt(ctx, url, req)
		if err == nil {
			return nil
		}
		ce := classify(ctx, err)
		if !ce.retry {
			return ce
		}
		errs = append(errs, fmt.Errorf("%s: %w", url, ce))
		r.follow(ce)
	}
}

func (j *Job) attachAt(ctx context.Context, url string, req *ckptdv1.AttachJobRequest) error {
	e, err := j.client.endpoint(url)
	if err != nil {
		return &callError{kind: ErrInvalid, cause: err}
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	res, err := e.engine.AttachJob(ctx, req)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.owner = e
	j.generation++
	j.epoch = max(j.epoch, res.GetEpoch())
	j.number = max(j.number, res.GetEpoch())
	j.attempt = res.GetAttempt()
	j.threshold = int(res.GetInlineThreshold())
	j.inlineCap = int(res.GetInlineCap())
	j.config = ConfigFrom(res.GetConfig())
	return nil
}

// end notes that this process was told Cancel.
func (j *Job) end() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.over = true
}

func (j *Job) isOver() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.over
}

// heardNumber is the largest number of the job that this process has heard of; 0: none.
func (j *Job) heardNumber() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.number
}

// heard notes the epoch, the attempt and the checkpoint of a command.
func (j *Job) heard(epoch, attempt, checkpoint uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.number = max(j.number, epoch, attempt, checkpoint)
	j.epoch = max(j.epoch, epoch)
	j.attempt = max(j.attempt, attempt)
}

func (j *Job) report(r Report) *ckptdv1.ReportRequest {
	j.mu.Lock()
	defer j.mu.Unlock()
	return &ckptdv1.ReportRequest{
		JobId: j.spec.ID, Epoch: j.epoch, Attempt: r.Attempt, Nonce: j.nonce, Kind: reportKinds[r.Kind],
		Subtasks: toSubtasks(r.Subtasks), Cause: r.Cause, CheckpointId: r.Checkpoint, Backlog: r.Backlog,
	}
}

// wrap adds the operation and the job to an error that does not name them yet.
func (j *Job) wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("client: %s %s: %w", op, j.spec.ID, err)
}

// newID makes a unique id: a request id, or the nonce of a process.
func newID() string { return rand.Text() }

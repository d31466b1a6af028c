package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/config"
	"github.com/ckptd/ckptd/service/coordinator"
	"github.com/ckptd/ckptd/service/owner"
)

// job is one job at this daemon, from its attach to its release. It executes the owner machine and the coordinator. Its
// goroutine (run) owns every field below calls. Other goroutines pass a function to do.
type job struct {
	s    *Server
	id   string
	log  *slog.Logger
	done chan struct{} // closed when the goroutine has ended

	// uploads guards the next three fields.
	uploads sync.Mutex
	writing int  // uploads into the job's folder; the last sweep of an ended job waits for them
	shut    bool // new uploads are refused
	stored  storedFiles
	// rights are the rules for uploads; nil: this daemon does not own the job, or the job has ended.
	rights atomic.Pointer[rights]
	// vitals are read by metrics; nil: this daemon does not own the job, or the job has ended.
	vitals atomic.Pointer[vitals]

	calls *inbox[func()]

	m        owner.Machine
	cfg      *owner.Config
	coord    *coordinator.Machine // nil: not attached
	queue    []input              // events for both machines; empty unless stepping
	stepping bool                 // step is on the stack
	names    *incremental.Names
	contents map[uint64]*content // by id of a pending checkpoint
	accepted acceptedAcks

	workers    map[uint32]*session                 // by worker number: the sessions whose streams have not ended
	numbers    map[string]uint32                   // worker numbers, by the nonce of the process
	waiters    map[uint64]func(*owner.Op)          // by caller number: calls that wait for the owner machine
	requests   map[uint64]func(coordinator.Answer) // by caller number: calls that wait for the coordinator
	nextCaller uint64
	triggers   []*triggerCall // the last calls of TriggerCheckpoint

	progress progress
	events   eventLog
	sweep    sweepState
	outage   outage          // of the journal's store
	ops      context.Context // of storage operations; it ends with the job's goroutine
	stopOps  context.CancelFunc
	over     error // why the goroutine ends; nil: it goes on
}

// rights are the rules for uploads to one job.
type rights struct {
	epoch, attempt, reserved uint64
	// owned is set when this daemon owns the job. Only then is open known. Without it, the rights come from the
	// journal.
	owned bool
	open  []uint64 // ids of the open checkpoints
}

func (r *rights) equal(o *rights) bool {
	return r.epoch == o.epoch && r.attempt == o.attempt && r.reserved == o.reserved && r.owned == o.owned && slices.Equal(r.open, o.open)
}

func newJob(s *Server, id string) *job {
	j := &job{
		s: s, id: id, log: s.log.With("job", id), done: make(chan struct{}), calls: newInbox[func()](),
		cfg: owner.DefaultConfig(journal.NewProcess(), s.opts.URLs, config.Policy), names: incremental.NewNames(),
		contents: map[uint64]*content{},
		workers:  map[uint32]*session{}, numbers: map[string]uint32{},
		waiters: map[uint64]func(*owner.Op){}, requests: map[uint64]func(coordinator.Answer){},
	}
	j.cfg.Journal.TrustList = s.facts.ListShowsPublished
	j.cfg.Same = func(a, b *journal.Config) bool {
		keys, err := config.Differences(a, b)
		return err == nil && len(keys) == 0
	}
	j.ops, j.stopOps = context.WithCancel(s.ctx)
	return j
}

// errLetGo means that this daemon does not own the job, or not any more. The caller looks for the owner again.
var errLetGo = errors.New("the job is not attached here")

// run is the job's goroutine.
func (j *job) run() {
	defer close(j.done)
	defer j.s.forget(j)
	defer j.stopOps()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for j.over == nil {
		j.arm(timer)
		select {
		case <-j.s.ctx.Done():
			j.over = errClosing
		case <-timer.C:
			j.tick()
		case <-j.calls.ready():
			calls, _ := j.calls.take()
			for _, f := range calls {
				f()
			}
		}
	}
	j.calls.close()
	for _, w := range j.workers {
		w.out.close()
	}
}

// arm sets the timer to the next deadline of the sweep or the coordinator. While a sweep runs, the next sweep has no
// deadline.
func (j *job) arm(timer *time.Timer) {
	var next time.Time
	if !j.sweep.running {
		next = j.sweep.due
	}
	if j.coord != nil {
		if at, ok := j.coord.NextDeadline(); ok && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	wait := time.Hour
	if !next.IsZero() {
		wait = max(0, time.Until(next))
	}
	timer.Reset(wait)
}

// tick does what has become due.
func (j *job) tick() {
	j.coordinate(coordinator.Tick{})
	j.sweepIfDue()
}

// do passes f to the job's goroutine. It reports false if the goroutine has ended and f will not run.
func (j *job) do(f func()) bool { return j.calls.put(f) }

// ask passes f to the job's goroutine and waits until reply is called, by f or later. If ctx ends first, the error is
// the context's. If the job's goroutine ends first, the error is notAttached's.
func ask[T any](ctx context.Context, j *job, f func(reply func(T, error))) (T, error) {
	type answer struct {
		v   T
		err error
	}
	ch := make(chan answer, 1)
	reply := func(v T, err error) {
		select {
		case ch <- answer{v, err}:
		default:
		}
	}
	var zero T
	if !j.do(func() { f(reply) }) {
		return zero, notAttached(j.id)
	}
	select {
	case a := <-ch:
		return a.v, a.err
	case <-ctx.Done():
		return zero, rpcError(context.Cause(ctx))
	case <-j.done:
		select {
		case a := <-ch:
			return a.v, a.err
		default:
			return zero, notAttached(j.id)
		}
	}
}

// publishRights shows the current rights to the data plane.
func (j *job) publishRights() {
	head := j.m.Head()
	if head == nil || head.Status.Terminal() {
		j.rights.Store(nil)
		return
	}
	now := rights{epoch: head.Epoch, attempt: head.Attempt, reserved: head.Reserved, owned: true}
	for _, p := range j.m.Pending() {
		if p.State == owner.PendingOpen {
			now.open = append(now.open, p.ID)
		}
	}
	if r := j.rights.Load(); r == nil || !r.equal(&now) {
		j.rights.Store(&now)
	}
}

// wait registers f for the one Tell that answers a caller, and returns the caller's number.
func (j *job) wait(f func(*owner.Op)) uint64 {
	j.nextCaller++
	j.waiters[j.nextCaller] = f
	return j.nextCaller
}

// answer passes a Tell to the caller that waits for it.
func (j *job) answer(op *owner.Op) {
	if f := j.waiters[op.Caller]; f != nil {
		delete(j.waiters, op.Caller)
		f(op)
	}
}

// answerAll tells all waiting callers of the owner machine that the job was released.
func (j *job) answerAll(op *owner.Op) {
	waiters := j.waiters
	j.waiters = map[uint64]func(*owner.Op){}
	for _, f := range waiters {
		f(op)
	}
}

// refuseRequests answers the callers that still wait for a checkpoint when the job is over.
func (j *job) refuseRequests() {
	requests := j.requests
	j.requests = map[uint64]func(coordinator.Answer){}
	for n, f := range requests {
		f(coordinator.Answer{Caller: n, Reason: coordinator.ReasonSuspend, Cause: errLetGo.Error()})
	}
}

// release asks the owner machine to release the job.
func (j *job) release() { j.do(func() { j.feed(owner.Event{Kind: owner.EventStop}) }) }

// event adds an event to the job's events and to the log. Without an attempt, it gets the journal's.
func (j *job) event(kind ckptdv1.JobEventKind, e *ckptdv1.JobEvent) {
	e.Kind = kind
	if e.Attempt == 0 {
		if head := j.m.Head(); head != nil {
			e.Attempt = head.Attempt
		}
	}
	j.events.add(time.Now(), e)
	j.log.Info(eventWord(kind), "checkpoint", e.GetCheckpointId(), "attempt", e.GetAttempt(), "text", e.GetText())
}

// eventf adds an event that has only a text.
func (j *job) eventf(kind ckptdv1.JobEventKind, format string, args ...any) {
	j.event(kind, &ckptdv1.JobEvent{Text: fmt.Sprintf(format, args...)})
}

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

// job is one job at this daemon, for one owner's life: the shell that executes the owner machine and the coordinator. Its
// goroutine (run) owns every field below calls; everyone else hands in a function by do.
type job struct {
	s    *Server
	id   string
	log  *slog.Logger
	done chan struct{} // closed when the goroutine has ended

	// uploads counts data streams into the job's folder, and shut refuses new ones: a terminal job's last sweep comes after them.
	uploads sync.Mutex
	writing int
	shut    bool
	stored  storedFiles
	// rights are what uploads are judged by.
	rights atomic.Pointer[rights]
	// vitals are for metrics; nil: the job is not run from here.
	vitals atomic.Pointer[vitals]

	calls *inbox[func()]

	m        owner.Machine
	cfg      *owner.Config
	queue    []owner.Event // not yet fed; only while feeding
	feeding  bool
	coord    *coordinator.Machine // nil unless attached
	happened []coordinator.Event  // not yet told to it; only while deciding
	deciding bool
	names    *incremental.Names
	contents map[uint64]*content // by pending checkpoint
	accepted acceptedAcks

	workers    map[uint32]*session // whose streams are open, or were when they were last heard of
	numbers    map[string]uint32   // of worker processes, by nonce
	waiters    map[uint64]func(*owner.Op)
	requests   map[uint64]func(coordinator.Answer)
	nextCaller uint64
	attaching  []attacher
	adjusting  []func()       // callers with another plan or configuration, until it is known whether workers are there
	triggers   []*triggerCall // the last ones asked for by people

	progress progress
	events   eventLog
	sweep    sweepState
	outage   outage          // of the store
	ops      context.Context // of the storage operations; ends with the job
	stopOps  context.CancelFunc
	over     error // why the job's goroutine ends; nil: it does not
}

// rights are what an upload is judged by.
type rights struct {
	epoch, attempt, reserved uint64
	// owned: they are the owner's, who also knows which checkpoints are open. Else they are the journal's.
	owned bool
	open  []uint64
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
	j.ops, j.stopOps = context.WithCancel(s.ctx)
	return j
}

// errLetGo: the job is not owned here, or not any more; the caller looks for its owner again.
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

// arm sets the timer to the next thing that is due by time. A sweep that is due while another one runs is not: that one's end is waited for.
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

func (j *job) tick() {
	j.coordinate(coordinator.Tick{})
	j.sweepIfDue()
}

// do has the job's goroutine run f, and reports whether it still will.
func (j *job) do(f func()) bool { return j.calls.put(f) }

// ask has the job's goroutine run f and waits until something, in f or later, calls reply. The error is the caller's context's,
// or errLetGo's RPC form when the job ends first.
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

// feed gives the machine an event and carries out what it wants, in order. What that brings about is fed after it.
func (j *job) feed(ev owner.Event) {
	j.queue = append(j.queue, ev)
	if j.feeding {
		return
	}
	j.feeding = true
	defer func() { j.feeding = false; j.showVitals() }()
	for len(j.queue) > 0 && j.over == nil {
		ev := j.queue[0]
		j.queue = j.queue[1:]
		ops := j.m.Step(j.cfg, &ev, nil)
		j.publishRights()
		for i := range ops {
			if op := &ops[i]; op.Kind.IsTell() {
				j.tell(op)
			} else {
				j.start(op)
			}
		}
		j.adjustAgain()
	}
}

// publishRights makes what uploads are judged by visible to the data plane.
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

// wait gives a caller a number; f gets the one Tell that answers it.
func (j *job) wait(f func(*owner.Op)) uint64 {
	j.nextCaller++
	j.waiters[j.nextCaller] = f
	return j.nextCaller
}

// answer ends a caller's wait.
func (j *job) answer(op *owner.Op) {
	if f := j.waiters[op.Caller]; f != nil {
		delete(j.waiters, op.Caller)
		f(op)
	}
}

// answerAll tells everyone who waits that the job was let go.
func (j *job) answerAll(op *owner.Op) {
	waiters := j.waiters
	j.waiters = map[uint64]func(*owner.Op){}
	for _, f := range waiters {
		f(op)
	}
	requests := j.requests
	j.requests = map[uint64]func(coordinator.Answer){}
	for n, f := range requests {
		f(coordinator.Answer{Caller: n, Reason: coordinator.ReasonSuspend, Cause: errLetGo.Error()})
	}
}

// attacher is a caller that waits for the attach, and what it would begin the job with; nil: it did not say. finish: it only wants to
// finish a job that has ended.
type attacher struct {
	caller uint64
	create *owner.Creation
	finish bool
}

// attach asks the machine to own the job; several callers wait for one answer.
func (j *job) attach(caller uint64, create *owner.Creation) {
	j.attaching = append(j.attaching, attacher{caller: caller, create: create})
	j.feed(owner.Event{Kind: owner.EventAttach, Caller: caller, Create: create})
}

// answerAttach gives all who wait for the attach its answer. But where there is no job yet, those who would begin it are not refused
// because another caller, who would not, came first; nor those who would finish a job that has ended, because a caller came first whom that
// refuses: again tells that it is tried once more, for them.
func (j *job) answerAttach(op *owner.Op) (again bool) {
	waiting := j.attaching
	j.attaching = nil
	for _, a := range waiting {
		if op.Reason == owner.ReasonNoJob && a.create != nil && a.caller != op.Caller {
			j.attach(a.caller, a.create)
			again = true
			continue
		}
		if op.Reason == owner.ReasonTerminal && a.finish { // that is no answer to it
			j.attaching = append(j.attaching, a)
			j.feed(owner.Event{Kind: owner.EventFinish, Caller: a.caller})
			again = true
			continue
		}
		o := *op
		o.Caller = a.caller
		j.answer(&o)
	}
	return again
}

// release gives the job up, gracefully.
func (j *job) release() { j.do(func() { j.feed(owner.Event{Kind: owner.EventStop}) }) }

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

func (j *job) eventf(kind ckptdv1.JobEventKind, format string, args ...any) {
	j.event(kind, &ckptdv1.JobEvent{Text: fmt.Sprintf(format, args...)})
}

package service

import (
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/coordinator"
	"github.com/ckptd/ckptd/service/owner"
)

// registration is a Register call, checked.
type registration struct {
	session *session
	plan    *journal.Plan
	set     incremental.Set
}

// register begins a worker's session. The same process may have had one before: its stream ends, the process stays.
func (j *job) register(r registration) {
	w := r.session
	n, known := j.numbers[w.nonce]
	if !known {
		n = uint32(len(j.numbers) + 1)
		j.numbers[w.nonce] = n
	}
	if old := j.workers[n]; old != nil {
		old.out.close()
	}
	w.number, w.heard = n, time.Now()
	j.workers[n] = w
	// The answer to this first ping brings what the process has reported to an owner before this one.
	w.out.put(&ckptdv1.RegisterResponse{Command: &ckptdv1.RegisterResponse_Ping{Ping: &ckptdv1.Ping{}}})
	j.coordinate(coordinator.WorkerUp{Worker: w.nonce})
	j.feed(owner.Event{Kind: owner.EventRegister, Worker: n, Subtasks: r.set, Attempt: w.attempt, Plan: r.plan})
}

// left notes that a session's stream has ended.
func (j *job) left(w *session) {
	if j.workers[w.number] != w {
		return // another stream of the same process has replaced it
	}
	delete(j.workers, w.number)
	j.coordinate(coordinator.WorkerGone{Worker: w.nonce})
	j.feed(owner.Event{Kind: owner.EventWorkerGone, Worker: w.number})
	if !j.sweep.leaveBy.IsZero() {
		j.sweepIfDue()
	}
}

// report takes what a worker says of its subtasks.
func (j *job) report(req *ckptdv1.ReportRequest) error {
	n, ok := j.numbers[req.GetNonce()]
	w, head := j.workers[n], j.m.Head()
	if head == nil {
		return notAttached(j.id)
	}
	if !ok || w == nil { // its stream is gone; it registers again and says it again, but for a failure
		if req.GetKind() == ckptdv1.ReportRequest_KIND_FAILED && req.GetAttempt() == head.Attempt && !head.Status.Terminal() {
			return connect.NewError(connect.CodeUnavailable, fmt.Errorf("job %s: worker %q is not registered here", j.id, req.GetNonce()))
		}
		return nil
	}
	w.heard = time.Now()
	j.coordinate(coordinator.Alive{Worker: w.nonce})
	j.reported(req, head, w)
	return nil
}

// reported takes what a registered worker says.
func (j *job) reported(req *ckptdv1.ReportRequest, head *journal.Entry, w *session) {
	subtasks := req.GetSubtasks()
	if len(subtasks) == 0 {
		subtasks = w.subtasks
	}
	set, err := numbersIn(head.Plan, subtasks)
	if err != nil {
		return // of another plan: of another attempt
	}
	switch req.GetKind() {
	case ckptdv1.ReportRequest_KIND_ALIVE:
		if req.GetAttempt() == head.Attempt {
			w.records = req.GetRecords()
		}
	case ckptdv1.ReportRequest_KIND_RUNNING:
		w.running = w.running || req.GetAttempt() == w.attempt
		j.feed(owner.Event{Kind: owner.EventRunning, Worker: w.number, Subtasks: set, Attempt: req.GetAttempt()})
	case ckptdv1.ReportRequest_KIND_FAILED:
		j.event(ckptdv1.JobEventKind_JOB_EVENT_KIND_TASK_FAILED, &ckptdv1.JobEvent{Attempt: req.GetAttempt(), Text: req.GetCause()})
		j.coordinate(coordinator.WorkerFailed{Worker: w.nonce, Attempt: req.GetAttempt(), Cause: req.GetCause()})
	case ckptdv1.ReportRequest_KIND_END_OF_DATA:
		j.progress.atEnd(req.GetAttempt(), set)
		j.allAtEnd()
	case ckptdv1.ReportRequest_KIND_COMMITTED:
		j.progress.commit(req.GetAttempt(), set, req.GetCheckpointId())
		j.announceCommitted()
	}
}

// allAtEnd tells the coordinator, once an attempt, that all sources have read all their input.
func (j *job) allAtEnd() {
	head := j.m.Head()
	if head == nil || j.progress.told || !j.m.AllRunning() {
		return
	}
	if end, all := j.progress.sources(head.Plan); all > 0 && end == all {
		j.progress.told = true
		j.eventf(ckptdv1.JobEventKind_JOB_EVENT_KIND_END_OF_DATA, "all sources have read all their input")
		j.coordinate(coordinator.AllAtEnd{Attempt: head.Attempt})
	}
}

// announceCommitted notes when every sink has committed a newer checkpoint.
func (j *job) announceCommitted() {
	head := j.m.Head()
	if head == nil {
		return
	}
	if id := j.progress.committed(head.Plan); id > j.progress.announced {
		j.progress.announced = id
		j.event(ckptdv1.JobEventKind_JOB_EVENT_KIND_COMMITTED, &ckptdv1.JobEvent{CheckpointId: id, Text: "every sink has committed it"})
	}
}

// progress is what workers have reported of the running attempt, for people and the coordinator; never for safety.
type progress struct {
	attempt uint64
	ended   incremental.Set // subtasks
	told    bool
	commits map[uint32]uint64 // by subtask, the newest checkpoint committed
	// announced is the newest checkpoint that all sinks have committed, as last told.
	announced uint64
}

func (p *progress) begin(attempt uint64) {
	*p = progress{attempt: attempt, commits: map[uint32]uint64{}, announced: p.announced}
}

func (p *progress) atEnd(attempt uint64, subtasks incremental.Set) {
	if attempt == p.attempt {
		p.ended = p.ended.Or(subtasks)
	}
}

func (p *progress) commit(attempt uint64, subtasks incremental.Set, id uint64) {
	if attempt != p.attempt || attempt == 0 { // 0: none has begun here yet, and who runs none has committed nothing
		return
	}
	for n := range subtasks.All() {
		p.commits[uint32(n)] = max(p.commits[uint32(n)], id)
	}
}

// sources counts the triggered subtasks, and those at the end of their input.
func (p *progress) sources(plan *journal.Plan) (end, all int) {
	for n := range plan.Subtasks() {
		if op, _ := plan.Subtask(n); op.Triggered {
			all++
			if p.ended.Has(incremental.File(n)) {
				end++
			}
		}
	}
	return end, all
}

// committed is the newest checkpoint that every sink has committed; 0: none. A sink is an operator of which a subtask has ever reported
// a commit.
func (p *progress) committed(plan *journal.Plan) uint64 {
	var least uint64
	first := uint32(0)
	for _, op := range plan.Operators {
		lowest, any := ^uint64(0), false
		for i := range op.Parallelism {
			id, ok := p.commits[first+i]
			any = any || ok
			lowest = min(lowest, id)
		}
		if any && (least == 0 || lowest < least) {
			least = lowest
		}
		if any && lowest == 0 {
			return 0
		}
		first += op.Parallelism
	}
	return least
}

// Register announces a worker process and streams its commands.
func (e engineService) Register(ctx context.Context, req *ckptdv1.RegisterRequest, stream *connect.ServerStream[ckptdv1.RegisterResponse]) error {
	j, err := e.s.job(req.GetJobId())
	if err != nil {
		return err
	}
	w := &session{
		nonce: req.GetNonce(), address: req.GetExchangeAddress(), subtasks: req.GetSubtasks(), attempt: req.GetAttempt(),
		out: newInbox[*ckptdv1.RegisterResponse](),
	}
	// Also of a caller that goes while it waits to be registered: it may be registered all the same, and nobody would answer for it.
	defer j.do(func() { j.left(w) })
	_, err = ask(ctx, j, func(reply func(struct{}, error)) {
		if ctx.Err() != nil { // a process that is gone must not take over from the one that was started in its place
			return
		}
		r, err := j.checkRegistration(req, w)
		if err == nil {
			j.register(r)
		}
		reply(struct{}{}, err)
	})
	if err != nil {
		return err
	}
	// The headers go out now: the worker knows that it is registered before its first command.
	if err := stream.Send(nil); err != nil {
		return err
	}
	if err := w.pump(ctx, stream.Send); err != nil {
		return err
	}
	return w.err
}

func (j *job) checkRegistration(req *ckptdv1.RegisterRequest, w *session) (registration, error) {
	if w.nonce == "" || len(req.GetSubtasks()) == 0 {
		return registration{}, invalidf("register with job %s: a nonce and at least one subtask are needed", j.id)
	}
	head := j.m.Head()
	if head == nil {
		return registration{}, notAttached(j.id)
	}
	plan := head.Plan
	if req.GetPlan() != nil {
		p, err := planIn(req.GetPlan())
		if err != nil {
			return registration{}, err
		}
		plan = p
	}
	set, err := numbersIn(plan, req.GetSubtasks())
	if err != nil {
		return registration{}, err
	}
	return registration{session: w, plan: plan, set: set}, nil
}

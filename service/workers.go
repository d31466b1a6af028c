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

// registration is a checked call of Register.
type registration struct {
	session *session
	plan    *journal.Plan
	set     incremental.Set // numbers of the worker's subtasks
}

// register begins a worker's session. If the same process had a session before, its stream ends.
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
	// With the answer to this first ping, the process repeats what it has reported to earlier owners.
	w.out.put(&ckptdv1.RegisterResponse{Command: &ckptdv1.RegisterResponse_Ping{Ping: &ckptdv1.Ping{}}})
	j.coordinate(coordinator.WorkerUp{Worker: w.nonce})
	j.feed(owner.Event{Kind: owner.EventRegister, Worker: n, Subtasks: r.set, Attempt: w.attempt, Plan: r.plan})
}

// left notes that a session's stream has ended.
func (j *job) left(w *session) {
	if j.workers[w.number] != w {
		return // another session of the same process has replaced this one
	}
	delete(j.workers, w.number)
	j.coordinate(coordinator.WorkerGone{Worker: w.nonce})
	j.feed(owner.Event{Kind: owner.EventWorkerGone, Worker: w.number})
	if !j.sweep.leaveBy.IsZero() {
		j.sweepIfDue()
	}
}

// report handles a call of Report.
func (j *job) report(req *ckptdv1.ReportRequest) error {
	n, ok := j.numbers[req.GetNonce()]
	w, head := j.workers[n], j.m.Head()
	if head == nil {
		return notAttached(j.id)
	}
	if !ok || w == nil { // the worker's stream has ended; it registers again and repeats its reports, except failures
		if req.GetKind() == ckptdv1.ReportRequest_KIND_FAILED && req.GetAttempt() == head.Attempt && !head.Status.Terminal() {
			return connect.NewError(connect.CodeUnavailable, fmt.Errorf("job %s: worker %q is not registered here: register, then report again", j.id, req.GetNonce()))
		}
		return nil
	}
	w.heard = time.Now()
	j.coordinate(coordinator.Alive{Worker: w.nonce})
	j.reported(req, head, w)
	return nil
}

// reported handles the report of a registered worker.
func (j *job) reported(req *ckptdv1.ReportRequest, head *journal.Entry, w *session) {
	subtasks := req.GetSubtasks()
	if len(subtasks) == 0 {
		subtasks = w.subtasks
	}
	set, err := numbersIn(head.Plan, subtasks)
	if err != nil {
		return // the report belongs to another plan, and therefore to another attempt
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

// allAtEnd tells the coordinator, once in each attempt, that all sources have read all their input.
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

// announceCommitted adds an event when every sink has committed a newer checkpoint.
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

// progress holds the workers' reports about the running attempt. The status and the coordinator use it. No decision
// about safety does.
type progress struct {
	attempt uint64
	ended   incremental.Set   // subtasks at the end of their input
	told    bool              // the coordinator knows that all sources are at the end of their input
	commits map[uint32]uint64 // by subtask: the newest checkpoint that it has committed
	// announced is the newest checkpoint that all sinks have committed, as the last event said.
	announced uint64
}

// begin clears the reports for a new attempt.
func (p *progress) begin(attempt uint64) {
	*p = progress{attempt: attempt, commits: map[uint32]uint64{}, announced: p.announced}
}

// atEnd notes that subtasks have reached the end of their input.
func (p *progress) atEnd(attempt uint64, subtasks incremental.Set) {
	if attempt == p.attempt {
		p.ended = p.ended.Or(subtasks)
	}
}

// commit notes that subtasks have committed a checkpoint.
func (p *progress) commit(attempt uint64, subtasks incremental.Set, id uint64) {
	if attempt != p.attempt || attempt == 0 { // attempt 0 means that no attempt has begun, so nothing was committed
		return
	}
	for n := range subtasks.All() {
		p.commits[uint32(n)] = max(p.commits[uint32(n)], id)
	}
}

// sources counts the subtasks of sources, and those of them at the end of their input.
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

// committed returns the newest checkpoint that every sink has committed; 0: none. An operator counts as a sink if one
// of its subtasks has reported a commit in this attempt.
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

// Register registers a worker process and streams its commands.
func (e engineService) Register(ctx context.Context, req *ckptdv1.RegisterRequest, stream *connect.ServerStream[ckptdv1.RegisterResponse]) error {
	j, err := e.s.job(req.GetJobId())
	if err != nil {
		return err
	}
	w := &session{
		nonce: req.GetNonce(), address: req.GetExchangeAddress(), subtasks: req.GetSubtasks(), attempt: req.GetAttempt(),
		out: newInbox[*ckptdv1.RegisterResponse](),
	}
	// A caller can leave while its registration waits in the queue. It may be registered afterwards, so left is called
	// in every case.
	defer j.do(func() { j.left(w) })
	_, err = ask(ctx, j, func(reply func(struct{}, error)) {
		if ctx.Err() != nil { // a process that has left must not replace the process that was started in its place
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
	// The headers are sent now, so that the worker knows before its first command that it is registered.
	if err := stream.Send(nil); err != nil {
		return err
	}
	if err := w.pump(ctx, stream.Send); err != nil {
		return err
	}
	return w.err
}

// checkRegistration checks a call of Register. Subtasks are numbered by the worker's plan, or else by the journal's.
func (j *job) checkRegistration(req *ckptdv1.RegisterRequest, w *session) (registration, error) {
	if w.nonce == "" || len(req.GetSubtasks()) == 0 {
		return registration{}, invalidf("register with job %s: want a nonce and at least one subtask", j.id)
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

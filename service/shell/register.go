package shell

import (
	"context"
	"slices"
	"time"

	"github.com/ckptd/ckptd/layout/journal"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/api"
	"github.com/ckptd/ckptd/service/coordinator"
	"github.com/ckptd/ckptd/service/owner"
)

// registration is a checked call of Register.
type registration struct {
	session *session
	plan    *journal.Plan
	set     owner.Subtasks // numbers of the worker's subtasks
	reports []*ckptdv1.StandingReport
	backlog owner.Subtasks
}

// Register registers a worker process and sends its commands, until the worker leaves or its session ends.
func (j *Job) Register(ctx context.Context, req *ckptdv1.RegisterRequest, send func(*ckptdv1.RegisterResponse) error) error {
	w := &session{
		nonce: req.GetNonce(), address: req.GetExchangeAddress(), subtasks: req.GetSubtasks(), attempt: req.GetAttempt(),
		begun: req.GetBegunCheckpointIds(), out: newInbox[*ckptdv1.RegisterResponse](),
	}
	// A caller can leave while its registration waits in the queue. It may be registered afterwards, so left is called
	// in every case.
	defer j.do(func() { j.left(w) })
	_, err := ask(ctx, j, func(reply func(struct{}, error)) {
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
	if err := send(nil); err != nil {
		return err
	}
	if err := w.pump(ctx, send); err != nil {
		return err
	}
	return w.err
}

// checkRegistration checks a call of Register. Subtasks are numbered by the worker's plan, or else by the journal's.
func (j *Job) checkRegistration(req *ckptdv1.RegisterRequest, w *session) (registration, error) {
	if w.nonce == "" || len(req.GetSubtasks()) == 0 {
		return registration{}, api.Invalidf("register with job %s: want a nonce and at least one subtask", j.id)
	}
	head := j.m.Head()
	if head == nil {
		return registration{}, api.NotAttached(j.id)
	}
	plan := head.Plan
	if req.GetPlan() != nil {
		p, err := api.PlanIn(req.GetPlan())
		if err != nil {
			return registration{}, err
		}
		plan = p
	}
	set, err := api.NumbersIn(plan, req.GetSubtasks())
	if err != nil {
		return registration{}, err
	}
	backlog, err := api.NumbersIn(plan, req.GetBacklog())
	if err != nil {
		return registration{}, err
	}
	for _, r := range req.GetReports() {
		switch _, err := api.NumbersIn(plan, r.GetSubtasks()); {
		case err != nil:
			return registration{}, err
		case req.GetAttempt() == 0:
			return registration{}, api.Invalidf("register with job %s: report %v without an attempt: name the attempt that the process runs", j.id, r.GetKind())
		case !slices.Contains(standingKinds, r.GetKind()):
			return registration{}, api.Invalidf("register with job %s: %v is no report that still holds: want one of %v", j.id, r.GetKind(), standingKinds)
		}
	}
	return registration{session: w, plan: plan, set: set, reports: req.GetReports(), backlog: backlog}, nil
}

// standingKinds are the reports that a registration can carry.
var standingKinds = []ckptdv1.ReportRequest_Kind{
	ckptdv1.ReportRequest_KIND_RUNNING, ckptdv1.ReportRequest_KIND_END_OF_DATA, ckptdv1.ReportRequest_KIND_COMMITTED,
	ckptdv1.ReportRequest_KIND_FINISHED,
}

// register begins a worker's session. If the same process had a session before, its stream ends.
func (j *Job) register(r registration) {
	w := r.session
	w.heard = time.Now()
	j.workers.begin(w)
	if j.suspending {
		w.out.put(suspendCommand())
		w.out.close()
		return
	}
	// With the answer to this first ping, an older SDK repeats what it has reported to earlier owners.
	w.out.put(&ckptdv1.RegisterResponse{Command: &ckptdv1.RegisterResponse_Ping{Ping: &ckptdv1.Ping{}}})
	j.coordinate(coordinator.WorkerUp{Worker: w.nonce})
	attempt := w.attempt // feed may set w.attempt, and the reports are about this one
	j.feed(owner.Event{Kind: owner.EventRegister, Worker: w.number, Subtasks: r.set, Attempt: attempt, Plan: r.plan})
	for _, s := range r.reports {
		j.reported(&ckptdv1.ReportRequest{Kind: s.GetKind(), Attempt: attempt, Subtasks: s.GetSubtasks(), CheckpointId: s.GetCheckpointId()}, w)
	}
	j.backlog(attempt, r.set.Minus(r.backlog), false)
	j.backlog(attempt, r.backlog, true)
}

// left notes that a session's stream has ended.
func (j *Job) left(w *session) {
	if !j.workers.end(w) {
		return // another session of the same process has replaced this one
	}
	j.coordinate(coordinator.WorkerGone{Worker: w.nonce})
	j.feed(owner.Event{Kind: owner.EventWorkerGone, Worker: w.number})
	j.workerLeft()
}

package shell

import (
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/api"
	"github.com/ckptd/ckptd/service/coordinator"
	"github.com/ckptd/ckptd/service/owner"
)

// tellWorker sends a worker its command. All commands but Start end the worker's stream.
func (j *Job) tellWorker(op *owner.Op) {
	w := j.workers.numbered(op.Worker)
	if w == nil {
		if op.Kind == owner.TellReplaced { // the worker's stream has broken before; the coordinator still waits for the worker
			j.replaced(j.workers.nonce(op.Worker))
		}
		return
	}
	switch op.Kind {
	case owner.TellStart:
		w.attempt, w.running = op.Attempt, false
		w.out.put(&ckptdv1.RegisterResponse{Command: &ckptdv1.RegisterResponse_Start{Start: &ckptdv1.Start{
			Attempt: op.Attempt, Epoch: j.epoch(), RestoreCheckpointId: op.ID, Roster: j.roster(), Config: api.ConfigOut(j.told().Config),
			Ends: j.endsWith(op.ID),
		}}})
		return
	case owner.TellReplaced:
		w.out.put(&ckptdv1.RegisterResponse{Command: &ckptdv1.RegisterResponse_Replaced{Replaced: &ckptdv1.Replaced{}}})
		j.replaced(w.nonce)
	case owner.TellReregister:
		w.out.put(&ckptdv1.RegisterResponse{Command: &ckptdv1.RegisterResponse_Reregister{Reregister: &ckptdv1.Reregister{}}})
	case owner.TellPlanRefused:
		j.eventf(ckptdv1.JobEventKind_JOB_EVENT_KIND_REFUSED, "worker %s: its plan is not the journal's, and other workers run the journal's plan", w.nonce)
		w.err = api.Refused(&ckptdv1.Refused{Reason: ckptdv1.Refused_REASON_PLAN_MISMATCH, Epoch: j.epoch(), Attempt: op.Attempt},
			"job %s: this worker's plan is not the plan of the running attempt: deploy the same code everywhere, or begin a new job id", j.id)
	}
	w.out.close()
}

// replaced notes that another process runs the subtasks of the process with this nonce.
func (j *Job) replaced(nonce string) {
	j.eventf(ckptdv1.JobEventKind_JOB_EVENT_KIND_REPLACED, "worker %s: another process runs its subtasks", nonce)
	j.coordinate(coordinator.WorkerDead{Worker: nonce, Cause: "replaced by another process"})
}

// roster lists where each subtask of the attempt runs.
func (j *Job) roster() []*ckptdv1.RosterEntry {
	plan := j.told().Plan
	var entries []*ckptdv1.RosterEntry
	for _, r := range j.m.Registrations() {
		w := j.workers.numbered(r.Worker)
		if w == nil || r.Gone {
			continue
		}
		for n := range r.Subtasks.All() {
			entries = append(entries, &ckptdv1.RosterEntry{
				Subtask: api.SubtaskOut(plan, uint32(n)), ExchangeAddress: w.address, Nonce: w.nonce,
			})
		}
	}
	return entries
}

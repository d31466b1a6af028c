package service

import (
	"fmt"
	"strings"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/layout/journal"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/config"
	"github.com/ckptd/ckptd/service/coordinator"
	"github.com/ckptd/ckptd/service/owner"
)

// This file applies the plan and the configuration of an AttachJob to a job that exists already. Both change only with
// a new attempt. If no worker is registered, they come with the next attempt. If a worker is registered, the caller is
// refused, and the error names each difference.

// asked holds the plan and the configuration that a caller of AttachJob named; nil: the caller named none.
type asked struct {
	plan   *journal.Plan
	config *journal.Config
}

// adjustTries is how often a caller's plan and configuration are applied when other callers change them meanwhile.
const adjustTries = 3

// askedIn checks the plan and the configuration of a request and converts them.
func askedIn(req *ckptdv1.AttachJobRequest) (a asked, err error) {
	if req.GetPlan() != nil {
		if a.plan, err = planIn(req.GetPlan()); err != nil {
			return asked{}, err
		}
	}
	if req.GetConfig() != nil {
		if a.config, err = configIn(req.GetConfig()); err != nil {
			return asked{}, err
		}
	}
	if err := journal.Fits(a.plan, a.config, nil, nil); err != nil {
		return asked{}, invalidf("job %s: %v", req.GetJobId(), err)
	}
	return a, nil
}

// adjust answers a caller that has attached. It first brings the plan and the configuration that the caller asked for
// into effect.
func (j *job) adjust(a asked, tries int, reply func(*ckptdv1.AttachJobResponse, error)) {
	head := j.m.Head()
	if head == nil {
		reply(nil, notAttached(j.id))
		return
	}
	plan := planDifferences(head.Plan, a.plan)
	keys, err := configDifferences(head.Config, a.config)
	switch {
	case err != nil:
		reply(nil, invalidf("job %s: %v", j.id, err))
	case len(plan) == 0 && len(keys) == 0:
		reply(j.attachedOut(), nil)
	case tries == 0:
		reply(nil, connect.NewError(connect.CodeUnavailable, fmt.Errorf("job %s: other callers are changing its plan or configuration: try again", j.id)))
	case j.someoneRegistered():
		reply(nil, j.refuseChange(plan, keys, "workers are registered with it: stop all workers first, or attach with what is in effect"))
	case !j.m.AttemptKnown():
		// Workers of the attempt that this owner found in the journal may still run. The caller waits until they have
		// registered or their time is over.
		j.adjusting = append(j.adjusting, func() { j.adjust(a, tries, reply) })
	case j.stateInTheWay(head, a.plan):
		reply(nil, j.refuseChange(plan, keys, "a checkpoint holds state of these operators, and rescaling is not supported: "+
			"attach with the plan in effect, or begin a new job id"))
	default:
		caller := j.wait(func(op *owner.Op) {
			if err := j.refusal(op); err != nil {
				reply(nil, err)
				return
			}
			j.adjust(a, tries-1, reply)
		})
		j.eventf(ckptdv1.JobEventKind_JOB_EVENT_KIND_CHANGED, "the next attempt has another plan or configuration: %s", differencesText(append(plan, keys...)))
		j.feed(owner.Event{Kind: owner.EventNewAttempt, Caller: caller, Attempt: head.Attempt, Plan: a.plan, Config: a.config})
		j.coordinate(coordinator.NewAttempt{Attempt: head.Attempt, Cause: "another plan or configuration"})
	}
}

// adjustAgain calls adjust for the callers that wait, one after the other. A call may begin an attempt; then the next
// caller waits for that attempt.
func (j *job) adjustAgain() {
	for len(j.adjusting) > 0 && len(j.queue) == 0 && (j.m.AttemptKnown() || j.someoneRegistered()) {
		next := j.adjusting[0]
		j.adjusting = j.adjusting[1:]
		next()
	}
}

// someoneRegistered reports whether a worker is registered. A worker that does not run yet counts, since it registered
// for the plan and configuration in effect. If it did not count, two workers with different configurations would begin
// attempts in turn for ever.
func (j *job) someoneRegistered() bool {
	for _, r := range j.m.Registrations() {
		if !r.Gone {
			return true
		}
	}
	return false
}

// stateInTheWay reports whether a checkpoint may hold state that a job with this plan could not restore.
func (j *job) stateInTheWay(head *journal.Entry, plan *journal.Plan) bool {
	if plan == nil || head.Newest() == 0 && len(j.m.Pending()) == 0 {
		return false
	}
	for i := range head.Plan.Operators {
		was := &head.Plan.Operators[i]
		is := operatorOf(plan, was.ID)
		if is == nil || is.Parallelism != was.Parallelism || is.MaxParallelism != was.MaxParallelism {
			return true
		}
	}
	return false
}

// refuseChange makes the error for a plan or configuration that cannot be applied. It names each difference.
func (j *job) refuseChange(plan, keys []*ckptdv1.Difference, why string) error {
	head := j.m.Head()
	detail := &ckptdv1.Refused{
		Reason: ckptdv1.Refused_REASON_CONFIG_MISMATCH, Epoch: head.Epoch, Attempt: head.Attempt, Differences: append(plan, keys...),
	}
	what := "configuration"
	if len(plan) > 0 {
		detail.Reason, what = ckptdv1.Refused_REASON_PLAN_MISMATCH, "plan"
	}
	return refused(detail, "job %s has another %s (%s), and %s", j.id, what, differencesText(detail.Differences), why)
}

func differencesText(all []*ckptdv1.Difference) string {
	texts := make([]string, 0, len(all))
	for _, d := range all {
		texts = append(texts, fmt.Sprintf("%s: %s is in effect, %s is asked for", d.GetKey(), orNone(d.GetInEffect()), orNone(d.GetAsked())))
	}
	return strings.Join(texts, "; ")
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// configDifferences compares two configurations key by key. If asked is nil, nothing differs.
func configDifferences(inEffect, asked *journal.Config) ([]*ckptdv1.Difference, error) {
	if asked == nil {
		return nil, nil
	}
	keys, err := config.Differences(inEffect, asked)
	if err != nil {
		return nil, err
	}
	var out []*ckptdv1.Difference
	for _, d := range keys {
		out = append(out, &ckptdv1.Difference{Key: d.Key, InEffect: d.InEffect, Asked: d.Asked})
	}
	return out, nil
}

// planDifferences compares two plans operator by operator. If asked is nil, nothing differs.
func planDifferences(inEffect, asked *journal.Plan) []*ckptdv1.Difference {
	if asked == nil || inEffect.Hash() == asked.Hash() {
		return nil
	}
	var out []*ckptdv1.Difference
	add := func(key, a, b string) {
		if a != b {
			out = append(out, &ckptdv1.Difference{Key: key, InEffect: a, Asked: b})
		}
	}
	for i := range inEffect.Operators {
		a := &inEffect.Operators[i]
		key := "plan: operator " + a.ID
		b := operatorOf(asked, a.ID)
		if b == nil {
			add(key, operatorText(a), "")
			continue
		}
		add(key+": parallelism", fmt.Sprint(a.Parallelism), fmt.Sprint(b.Parallelism))
		add(key+": max parallelism", fmt.Sprint(a.MaxParallelism), fmt.Sprint(b.MaxParallelism))
		add(key+": triggered", fmt.Sprint(a.Triggered), fmt.Sprint(b.Triggered))
		add(key+": uid", a.UID, b.UID)
	}
	for i := range asked.Operators {
		if b := &asked.Operators[i]; operatorOf(inEffect, b.ID) == nil {
			add("plan: operator "+b.ID, "", operatorText(b))
		}
	}
	if len(out) == 0 { // the order of the operators determines the hash and the numbers of the subtasks
		add("plan: order of the operators", orderText(inEffect), orderText(asked))
	}
	return out
}

// operatorOf returns the operator with this id; nil: the plan has none.
func operatorOf(p *journal.Plan, id string) *journal.Operator {
	for i := range p.Operators {
		if p.Operators[i].ID == id {
			return &p.Operators[i]
		}
	}
	return nil
}

func operatorText(o *journal.Operator) string {
	return fmt.Sprintf("parallelism %d of %d", o.Parallelism, o.MaxParallelism)
}

func orderText(p *journal.Plan) string {
	ids := make([]string, 0, len(p.Operators))
	for i := range p.Operators {
		ids = append(ids, p.Operators[i].ID)
	}
	return strings.Join(ids, ", ")
}

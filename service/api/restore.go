package api

import (
	"fmt"
	"strings"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/keygroup"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// SourceIn returns the checkpoint that a request begins its job from; zero: the job begins without state. root is the
// URL of the daemon's root. The nonce of the source's _metadata is missing still.
func SourceIn(req *ckptdv1.AttachJobRequest, root string) (journal.Import, error) {
	text := req.GetRestoreFrom()
	if text == "" {
		return journal.Import{}, nil
	}
	say := func(format string, args ...any) (journal.Import, error) {
		return journal.Import{}, Invalidf("job %s: restore from %.200q: %s", req.GetJobId(), text, fmt.Sprintf(format, args...))
	}
	switch {
	case len(text) > journal.MaxPath:
		return say("more than %d bytes", journal.MaxPath)
	case req.GetClaimMode() < 0 || req.GetClaimMode() > ckptdv1.ClaimMode_CLAIM_MODE_CLAIM:
		return say("claim mode %d is unknown: use NO_CLAIM or CLAIM", req.GetClaimMode())
	case req.GetPlan() == nil:
		return say("a job that begins from a checkpoint needs a plan")
	}
	if _, _, ok := ByLabel(text); ok || strings.HasSuffix(base(text), latest) {
		return journal.Import{State: journal.ImportWanted, Request: text, Mode: modeIn(req)}, nil
	}
	job, folder, ok := strings.Cut(belowRoot(text, root), "/")
	id, err := layout.ParseCheckpointDir(folder)
	switch {
	case !ok || err != nil || layout.ValidateJobID(job) != nil:
		return say("want <job id>/chk-<number>, <job id>/latest, <label>=<value>, or the path or URL of such a folder or of its _metadata, under this daemon's root, %s; "+
			"copy a checkpoint of another root there first", root)
	case job == req.GetJobId():
		return say("a job goes on from its own newest checkpoint by itself; an older one is the beginning of a new job id")
	}
	return journal.Import{
		State: journal.ImportWanted, Request: text, Source: base(root) + "/" + job + "/" + layout.CheckpointDir(id),
		Job: job, Checkpoint: id, Mode: modeIn(req),
	}, nil
}

func modeIn(req *ckptdv1.AttachJobRequest) journal.Mode {
	if req.GetClaimMode() == ckptdv1.ClaimMode_CLAIM_MODE_CLAIM {
		return journal.Claim
	}
	return journal.NoClaim
}

// latest is the last element of a request for a job's newest checkpoint.
const latest = "/latest"

// ByLabel takes a request for the newest checkpoint of the jobs with a label apart: name=clicks.
func ByLabel(text string) (key, value string, ok bool) {
	key, value, ok = strings.Cut(text, "=")
	return key, value, ok && key != "" && !strings.ContainsAny(key, "/:?")
}

// Resolve makes a request by label, or for a job's newest checkpoint, a request for one checkpoint. jobs are all jobs of
// the root. A label is refused while a job with it runs: its newest checkpoint would soon be another one. The request may allow it.
func Resolve(req *ckptdv1.AttachJobRequest, root string, jobs []*ckptdv1.JobSummary) (journal.Import, error) {
	text := req.GetRestoreFrom()
	found := func(j *ckptdv1.JobSummary) (journal.Import, error) {
		req.RestoreFrom = j.GetJobId() + "/" + layout.CheckpointDir(j.GetLatestCheckpointId())
		source, err := SourceIn(req, root)
		source.Request = text
		return source, err
	}
	if key, value, ok := ByLabel(text); ok {
		if j := catalog.Running(jobs, key, value); j != nil && !req.GetAllowRunning() {
			return journal.Import{}, connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf(
				"job %s: restore from %s: job %s with that label runs: cancel it first, name a checkpoint, or allow it (--allow-running)", req.GetJobId(), text, j.GetJobId()))
		}
		j, err := catalog.Latest(jobs, key, value)
		if err != nil {
			return journal.Import{}, connect.NewError(connect.CodeNotFound, fmt.Errorf("job %s: restore from %s: %w", req.GetJobId(), text, err))
		}
		return found(j)
	}
	id := strings.TrimSuffix(belowRoot(text, root), latest)
	for _, j := range jobs {
		if j.GetJobId() == id && j.GetLatestCheckpointId() != 0 {
			return found(j)
		}
	}
	return journal.Import{}, connect.NewError(connect.CodeNotFound, fmt.Errorf("job %s: restore from %s: no job %s keeps a checkpoint", req.GetJobId(), text, id))
}

// BelowRoot is the part of a normal URL below the root.
func BelowRoot(at, root string) (string, bool) {
	rel := belowRoot(at, root)
	return rel, rel != base(at)
}

// Below is the URL of what lies below a root.
func Below(root, rel string) string { return base(root) + "/" + rel }

// belowRoot is the part of a path or URL below the root, without _metadata. A text outside the root stays as it is.
func belowRoot(text, root string) string {
	text = strings.TrimSuffix(base(text), "/"+layout.MetadataName)
	for _, prefix := range []string{base(root), strings.TrimPrefix(base(root), "file://")} {
		if rest, ok := strings.CutPrefix(text, prefix+"/"); ok {
			return rest
		}
	}
	return text
}

// base is a path or URL without its parameters and without a slash at its end.
func base(place string) string {
	place, _, _ = strings.Cut(place, "?")
	return strings.TrimRight(place, "/")
}

// SourceOperator is what a checkpoint holds of one operator.
type SourceOperator struct {
	layout.Operator
	// HasState: a subtask has a piece of state. Keyed: a piece has key groups.
	HasState, Keyed bool
}

// Match compares a plan with what a checkpoint holds, and fills in the plan's missing max parallelisms: they are the checkpoint's.
// The error refuses a plan that the checkpoint does not fit, and names each operator in the way. The comparison is complete in any
// case.
func Match(plan *ckptdv1.Plan, source []SourceOperator, allow bool) (*ckptdv1.PlanDiff, error) {
	diff := &ckptdv1.PlanDiff{Plan: plan}
	var texts []string
	problem := func(key, was, is, text string) {
		diff.Differences = append(diff.Differences, &ckptdv1.Difference{Key: "plan: operator " + key, InEffect: was, Asked: is})
		texts = append(texts, "operator "+text)
		diff.Operators[len(diff.Operators)-1].Refused = true
	}
	taken := map[string]string{}
	for i := range source {
		s := &source[i]
		op, by := receiver(plan, s)
		diff.Operators = append(diff.Operators, &ckptdv1.OperatorMatch{Checkpoint: s.message(), Plan: op, HasState: s.HasState, MatchedBy: by})
		if op == nil {
			if s.HasState && !allow {
				problem(nameOf(s), "state", "", nameOf(s)+" has state and is not in the plan")
			}
			continue
		}
		if first, twice := taken[op.GetId()]; twice {
			problem(op.GetId(), first, nameOf(s), fmt.Sprintf("%s would get the state of both %s and %s", op.GetId(), first, nameOf(s)))
			continue
		}
		taken[op.GetId()] = nameOf(s)
		if by == ckptdv1.MatchedBy_MATCHED_BY_ID && s.HasState {
			diff.Warnings = append(diff.Warnings, withoutUID(op, s))
		}
		if op.GetMaxParallelism() == 0 {
			op.MaxParallelism = uint32(s.MaxParallelism)
		}
		differs := func(what string, was int, is uint32) {
			if was != int(is) {
				key := nameOf(s) + ": " + what
				problem(key, fmt.Sprint(was), fmt.Sprint(is), fmt.Sprintf("%s was %d, the plan has %d", key, was, is))
			}
		}
		if s.HasState {
			differs("parallelism", s.Parallelism, op.GetParallelism())
		}
		if s.Keyed {
			differs("max parallelism", s.MaxParallelism, op.GetMaxParallelism())
		}
	}
	for _, op := range plan.GetOperators() {
		if op.GetMaxParallelism() == 0 {
			op.MaxParallelism = uint32(keygroup.DefaultMaxParallelism(int(op.GetParallelism())))
		}
		if _, ok := taken[op.GetId()]; !ok {
			diff.Operators = append(diff.Operators, &ckptdv1.OperatorMatch{Plan: op})
		}
	}
	if len(texts) == 0 {
		return diff, nil
	}
	diff.Refused, diff.Why = true, strings.Join(texts, "; ")
	return diff, Refused(&ckptdv1.Refused{Reason: ckptdv1.Refused_REASON_PLAN_MISMATCH, Differences: diff.GetDifferences()},
		"the checkpoint does not fit the plan: %s: give operators their uid, their id and their parallelism back (rescaling is not supported), "+
			"or allow state that is not restored", diff.GetWhy())
}

func (s *SourceOperator) message() *ckptdv1.Operator {
	return &ckptdv1.Operator{Id: s.ID, Uid: s.UID, Parallelism: uint32(s.Parallelism), MaxParallelism: uint32(s.MaxParallelism), Triggered: s.Triggered}
}

func withoutUID(op *ckptdv1.Operator, s *SourceOperator) string {
	whose := "the plan gives operator " + op.GetId()
	if op.GetUid() != "" {
		whose = "the checkpoint gives operator " + s.ID
	}
	return whose + " no uid, so its state is found by its id: if the id is generated, a change of the job can lose the state; give the operator a uid"
}

func nameOf(s *SourceOperator) string {
	if s.UID != "" && s.UID != s.ID {
		return s.ID + " (" + s.UID + ")"
	}
	return s.ID
}

// receiver is the operator of a plan that gets an operator's state; nil: none does.
func receiver(plan *ckptdv1.Plan, s *SourceOperator) (*ckptdv1.Operator, ckptdv1.MatchedBy) {
	names := func(i int) (id, uid string) { return plan.GetOperators()[i].GetId(), plan.GetOperators()[i].GetUid() }
	switch i, byUID := journal.Receiver(len(plan.GetOperators()), names, s.ID, s.UID); {
	case i < 0:
		return nil, ckptdv1.MatchedBy_MATCHED_BY_UNSPECIFIED
	case byUID:
		return plan.GetOperators()[i], ckptdv1.MatchedBy_MATCHED_BY_UID
	default:
		return plan.GetOperators()[i], ckptdv1.MatchedBy_MATCHED_BY_ID
	}
}

// KeepMax fills in the plan's missing max parallelisms from the plan of a job that exists.
func KeepMax(plan *ckptdv1.Plan, inEffect *journal.Plan) {
	for _, op := range plan.GetOperators() {
		if op.GetMaxParallelism() != 0 {
			continue
		}
		if was := inEffect.Operator(op.GetId()); was != nil {
			op.MaxParallelism = was.MaxParallelism
		} else {
			op.MaxParallelism = uint32(keygroup.DefaultMaxParallelism(int(op.GetParallelism())))
		}
	}
}

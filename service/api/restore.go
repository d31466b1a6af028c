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
// the root. A label is refused while a job with it runs: its newest checkpoint would soon be another one.
func Resolve(req *ckptdv1.AttachJobRequest, root string, jobs []*ckptdv1.JobSummary) (journal.Import, error) {
	text := req.GetRestoreFrom()
	found := func(j *ckptdv1.JobSummary) (journal.Import, error) {
		req.RestoreFrom = j.GetJobId() + "/" + layout.CheckpointDir(j.GetLatestCheckpointId())
		source, err := SourceIn(req, root)
		source.Request = text
		return source, err
	}
	if key, value, ok := ByLabel(text); ok {
		if j := catalog.Running(jobs, key, value); j != nil {
			return journal.Import{}, connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf(
				"job %s: restore from %s: job %s with that label runs: cancel it first, or name a checkpoint", req.GetJobId(), text, j.GetJobId()))
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

// Match fills in the plan's missing max parallelisms: they are the checkpoint's. State is matched by the operator's id.
// Match refuses a plan that the checkpoint does not fit, and names each operator in the way.
func Match(plan *ckptdv1.Plan, source []SourceOperator, allow bool) error {
	var problems []*ckptdv1.Difference
	problem := func(key, was, is string) {
		problems = append(problems, &ckptdv1.Difference{Key: "plan: operator " + key, InEffect: was, Asked: is})
	}
	for i := range source {
		s := &source[i]
		op := operatorFor(plan, s.ID)
		if op == nil {
			if s.HasState && !allow {
				problem(nameOf(s), "state", "")
			}
			continue
		}
		if op.GetMaxParallelism() == 0 {
			op.MaxParallelism = uint32(s.MaxParallelism)
		}
		if s.HasState && int(op.GetParallelism()) != s.Parallelism {
			problem(nameOf(s)+": parallelism", fmt.Sprint(s.Parallelism), fmt.Sprint(op.GetParallelism()))
		}
		if s.Keyed && int(op.GetMaxParallelism()) != s.MaxParallelism {
			problem(nameOf(s)+": max parallelism", fmt.Sprint(s.MaxParallelism), fmt.Sprint(op.GetMaxParallelism()))
		}
	}
	for _, op := range plan.GetOperators() {
		if op.GetMaxParallelism() == 0 {
			op.MaxParallelism = uint32(keygroup.DefaultMaxParallelism(int(op.GetParallelism())))
		}
	}
	if len(problems) == 0 {
		return nil
	}
	texts := make([]string, 0, len(problems))
	for _, d := range problems {
		if d.GetAsked() == "" {
			texts = append(texts, strings.TrimPrefix(d.GetKey(), "plan: ")+" has state and is not in the plan")
		} else {
			texts = append(texts, fmt.Sprintf("%s was %s, the plan has %s", strings.TrimPrefix(d.GetKey(), "plan: "), d.GetInEffect(), d.GetAsked()))
		}
	}
	return Refused(&ckptdv1.Refused{Reason: ckptdv1.Refused_REASON_PLAN_MISMATCH, Differences: problems},
		"the checkpoint does not fit the plan: %s: give operators their id and their parallelism back (rescaling is not supported), "+
			"or allow state that is not restored", strings.Join(texts, "; "))
}

func nameOf(s *SourceOperator) string {
	if s.UID != "" && s.UID != s.ID {
		return s.ID + " (" + s.UID + ")"
	}
	return s.ID
}

// operatorFor is the operator of a plan with an id; nil: the plan has none.
func operatorFor(plan *ckptdv1.Plan, id string) *ckptdv1.Operator {
	for _, op := range plan.GetOperators() {
		if op.GetId() == id {
			return op
		}
	}
	return nil
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

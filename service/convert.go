package service

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/keygroup"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/config"
	"github.com/ckptd/ckptd/service/coordinator"
	"github.com/ckptd/ckptd/service/owner"
)

// This file alone converts between the API's messages and the domain's types. Names with In convert a message; names
// with Out make one.

// invalidf makes the error for a request that can never succeed.
func invalidf(format string, args ...any) error {
	return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf(format, args...))
}

// planIn checks and converts a plan.
func planIn(p *ckptdv1.Plan) (*journal.Plan, error) {
	if len(p.GetOperators()) == 0 {
		return nil, invalidf("plan: no operators: want at least one")
	}
	seen := map[string]bool{}
	operators := make([]journal.Operator, 0, len(p.GetOperators()))
	subtasks := uint64(0)
	for _, op := range p.GetOperators() {
		if err := layout.ValidateOperatorID(op.GetId()); err != nil {
			return nil, connect.NewError(connect.CodeInvalidArgument, err)
		}
		switch {
		case seen[op.GetId()]:
			return nil, invalidf("plan: operator %s twice", op.GetId())
		case op.GetParallelism() == 0 || op.GetParallelism() > op.GetMaxParallelism() || op.GetMaxParallelism() > keygroup.MaxParallelism:
			return nil, invalidf("plan: operator %s: parallelism %d, max parallelism %d: want 1 <= parallelism <= max parallelism <= %d",
				op.GetId(), op.GetParallelism(), op.GetMaxParallelism(), keygroup.MaxParallelism)
		}
		seen[op.GetId()] = true
		subtasks += uint64(op.GetParallelism())
		operators = append(operators, journal.Operator{
			ID: op.GetId(), UID: op.GetUid(), Parallelism: op.GetParallelism(), MaxParallelism: op.GetMaxParallelism(), Triggered: op.GetTriggered(),
		})
	}
	if subtasks > 1<<20 {
		return nil, invalidf("plan: %d subtasks: at most %d are allowed", subtasks, 1<<20)
	}
	return journal.NewPlan(operators), nil
}

// numbersIn returns the numbers of subtasks in a plan.
func numbersIn(plan *journal.Plan, subtasks []*ckptdv1.Subtask) (incremental.Set, error) {
	var b incremental.Builder
	for _, s := range subtasks {
		n, ok := plan.Number(s.GetOperatorId(), s.GetIndex())
		if !ok {
			return incremental.Set{}, invalidf("subtask %s[%d] is not in the plan", s.GetOperatorId(), s.GetIndex())
		}
		b.Add(incremental.File(n))
	}
	return b.Set(), nil
}

func subtaskOut(plan *journal.Plan, number uint32) *ckptdv1.Subtask {
	op, index := plan.Subtask(number)
	if op == nil {
		return &ckptdv1.Subtask{}
	}
	return &ckptdv1.Subtask{OperatorId: op.ID, Index: index}
}

func subtasksOut(plan *journal.Plan, set incremental.Set) []*ckptdv1.Subtask {
	out := make([]*ckptdv1.Subtask, 0, set.Len())
	for n := range set.All() {
		out = append(out, subtaskOut(plan, uint32(n)))
	}
	return out
}

// configIn checks a job's configuration, fills in Flink's defaults and converts it to the journal's form.
func configIn(c *ckptdv1.JobConfig) (*journal.Config, error) {
	out, err := config.Encode(c)
	if err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	return out, nil
}

// policyOf returns the coordinator's policy for a configuration.
func policyOf(c *journal.Config) coordinator.Policy {
	j, _ := config.Interpret(c) // never fails here: the owner machine refuses to attach a job if it would
	return j.Policy
}

// configOut returns the configuration in effect, with every default filled in.
func configOut(c *journal.Config) *ckptdv1.JobConfig {
	out, _ := config.InEffect(c) // never fails here, as in policyOf
	return out
}

// aboutIn returns a job's id and labels in the journal's form. The labels are sorted by key.
func aboutIn(id string, labels map[string]string) *journal.About {
	a := &journal.About{Job: id}
	for k, v := range labels {
		a.Labels = append(a.Labels, journal.Label{Key: k, Value: v})
	}
	slices.SortFunc(a.Labels, func(x, y journal.Label) int { return strings.Compare(x.Key, y.Key) })
	return a
}

// statusWord returns the name of a status for messages, such as "canceled".
func statusWord(s journal.Status) string {
	return strings.ToLower(strings.TrimPrefix(catalog.Status(s).String(), "JOB_STATUS_"))
}

// endedText describes when and why a job ended. Messages append it to the status. It is empty if the journal does not
// say.
func endedText(e journal.Ended) string {
	if e.At == 0 {
		return ""
	}
	text := " since " + time.UnixMilli(int64(e.At)).UTC().Format(time.RFC3339)
	if e.Why != "" {
		text += " (" + e.Why + ")"
	}
	return text
}

// retainedOut lists the retained checkpoints.
func retainedOut(e *journal.Entry) []*ckptdv1.CheckpointSummary {
	var out []*ckptdv1.CheckpointSummary
	for _, c := range e.Retained {
		if c.State == journal.StateKept {
			out = append(out, catalog.Checkpoint(e.About.Job, &c))
		}
	}
	return out
}

// groupsIn checks and converts a range of key groups. nil stays nil.
func groupsIn(r *ckptdv1.KeyGroupRange) (*keygroup.Range, error) {
	if r == nil {
		return nil, nil
	}
	if r.GetStart() > r.GetEnd() || r.GetEnd() >= keygroup.MaxParallelism {
		return nil, invalidf("key groups %d to %d: want start <= end < %d", r.GetStart(), r.GetEnd(), keygroup.MaxParallelism)
	}
	return &keygroup.Range{Start: uint16(r.GetStart()), End: uint16(r.GetEnd())}, nil
}

func groupsOut(r *keygroup.Range) *ckptdv1.KeyGroupRange {
	if r == nil {
		return nil
	}
	return &ckptdv1.KeyGroupRange{Start: uint32(r.Start), End: uint32(r.End)}
}

// stateIn converts the description of a piece of state. It checks nothing. A missing kind follows from the key groups.
func stateIn(s *ckptdv1.State, groups *keygroup.Range) layout.State {
	out := layout.State{
		Kind: layout.StateKind(s.GetKind()) - 1, Name: s.GetName(), Serializer: s.GetSerializer(), SchemaVersion: s.GetSchemaVersion(),
	}
	if s.GetKind() == ckptdv1.StateKind_STATE_KIND_UNSPECIFIED {
		out.Kind = layout.StateOpaque
		if groups != nil {
			out.Kind = layout.StateManagedKeyed
		}
	}
	if o := s.GetOffsets(); o != nil {
		out.Offsets = &layout.Offsets{Mode: layout.Mode(o.GetMode()), Positions: o.GetPositions()}
	}
	if c := s.GetChannel(); c != nil {
		out.Channel = &layout.Channel{Gate: c.GetGate(), Channel: c.GetChannel(), Partition: c.GetPartition(), Subpartition: c.GetSubpartition()}
	}
	return out
}

func segmentIn(s *ckptdv1.Segment) *layout.Segment {
	if s == nil {
		return nil
	}
	return &layout.Segment{Offset: s.GetOffset(), Length: s.GetLength()}
}

// describeUpload converts and checks a worker's description of an uploaded file. name and instance are the piece's.
func describeUpload(f *ckptdv1.FileHandle, name, instance string) (incremental.Description, error) {
	d := incremental.Description{
		Key: f.GetKey(), Instance: instance, Name: name, Size: f.GetLength(), CRC: f.GetCrc32C(), Blocks: f.GetBlockCrc32C(),
	}
	if c := f.GetCompression(); c != nil {
		d.Compression = &incremental.Compression{Codec: c.GetCodec(), Stored: c.GetStored(), Plain: c.GetPlain()}
	}
	return d, layout.CheckFile(&layout.File{
		Length: d.Size, Blocks: d.Blocks, LocalName: d.Name, InstanceNonce: d.Instance, Compression: (*layout.Compression)(d.Compression),
	})
}

// uploadIn checks that a handle names a file of this job and checkpoint, and parses the file's name.
func uploadIn(f *ckptdv1.FileHandle, job string, checkpoint uint64) (layout.FileName, error) {
	if id := f.GetJobId(); id != "" && id != job {
		return layout.FileName{}, refused(&ckptdv1.Refused{Reason: ckptdv1.Refused_REASON_UNKNOWN_HANDLE},
			"%q lies in the folder of job %q: a worker uploads files of its own job, %s", f.GetKey(), id, job)
	}
	k := layout.ParseJobKey(f.GetKey())
	if k.Place != layout.PlaceShared && (k.Place != layout.PlaceExclusive || k.Checkpoint != checkpoint) {
		return layout.FileName{}, refused(&ckptdv1.Refused{Reason: ckptdv1.Refused_REASON_UNKNOWN_HANDLE},
			"acknowledge checkpoint %d: %.200q is not the key of one of its files: name files as PutState answered them", checkpoint, f.GetKey())
	}
	return k.File, nil
}

// scopeOf returns the scope of a state file. Its key must have been checked.
func scopeOf(key string) ckptdv1.Scope {
	if layout.IsShared(key) {
		return ckptdv1.Scope_SCOPE_SHARED
	}
	return ckptdv1.Scope_SCOPE_EXCLUSIVE
}

// reasons is the only table of the owner machine's reasons. flink is Flink's name for the failure of a checkpoint. api
// is the API's reason of a refused call. text is the message for people.
var reasons = map[owner.Reason]struct {
	flink coordinator.Reason
	api   ckptdv1.Refused_Reason
	text  string
}{
	owner.ReasonNoJob:        {coordinator.ReasonTriggerFailed, 0, "there is no such job"},
	owner.ReasonForeign:      {coordinator.ReasonTriggerFailed, 0, "the job's folder is not empty but has no journal: it may have been lost; `ckptd journal show` looks at it, nothing is changed"},
	owner.ReasonCorrupt:      {coordinator.ReasonTriggerFailed, 0, "the head of the journal is corrupt; nothing is changed"},
	owner.ReasonNewer:        {coordinator.ReasonTriggerFailed, 0, "the journal asks for a newer ckptd; nothing is changed"},
	owner.ReasonTerminal:     {coordinator.ReasonShutdown, ckptdv1.Refused_REASON_JOB_TERMINAL, "the job has ended: begin a new job id"},
	owner.ReasonNotTerminal:  {coordinator.ReasonShutdown, 0, "the job has not ended"},
	owner.ReasonReleased:     {coordinator.ReasonShutdown, 0, "nothing is left to do for this job"},
	owner.ReasonNotOwner:     {coordinator.ReasonSuspend, 0, "this daemon does not own the job"},
	owner.ReasonEpoch:        {coordinator.ReasonSuspend, ckptdv1.Refused_REASON_STALE_EPOCH, "the epoch is not the owner's: attach again"},
	owner.ReasonAttempt:      {coordinator.ReasonFailover, ckptdv1.Refused_REASON_STALE_ATTEMPT, "the attempt is not the journal's: follow the newest Start"},
	owner.ReasonNotOpen:      {coordinator.ReasonSubsumed, ckptdv1.Refused_REASON_NOT_OPEN, "the checkpoint is not open: it has not been triggered, has all its acknowledgements, or was aborted: drop it and wait for the next"},
	owner.ReasonNotPromised:  {coordinator.ReasonTriggerFailed, ckptdv1.Refused_REASON_UNKNOWN_HANDLE, "a file named by its number was not promised to this checkpoint: ask BeginSnapshot, or send the file"},
	owner.ReasonNotNamed:     {coordinator.ReasonTriggerFailed, ckptdv1.Refused_REASON_UNKNOWN_HANDLE, "an uploaded file is not named for this epoch and checkpoint: send it for this one"},
	owner.ReasonSubtasks:     {coordinator.ReasonTriggerFailed, ckptdv1.Refused_REASON_UNKNOWN_HANDLE, "the subtasks are not of the plan, or were acknowledged with others"},
	owner.ReasonNotRunning:   {coordinator.ReasonNotAllRunning, 0, "not all subtasks run"},
	owner.ReasonLoading:      {coordinator.ReasonNotAllRunning, 0, "the retained checkpoints are still being read"},
	owner.ReasonBusy:         {coordinator.ReasonTooManyRequests, 0, "a call like it is waiting already"},
	owner.ReasonFull:         {coordinator.ReasonTriggerFailed, 0, "the journal has no room for another retained checkpoint"},
	owner.ReasonStopping:     {coordinator.ReasonShutdown, 0, "the job is being released or ends"},
	owner.ReasonDegraded:     {coordinator.ReasonTriggerFailed, 0, "a retained _metadata is unreadable: nothing is deleted"},
	owner.ReasonPlan:         {coordinator.ReasonTriggerFailed, ckptdv1.Refused_REASON_PLAN_MISMATCH, "the plan is not the journal's"},
	owner.ReasonRegistered:   {coordinator.ReasonTriggerFailed, ckptdv1.Refused_REASON_CONFIG_MISMATCH, "workers are registered with it: stop all workers first, or attach with what is in effect"},
	owner.ReasonState:        {coordinator.ReasonTriggerFailed, ckptdv1.Refused_REASON_PLAN_MISMATCH, "a checkpoint holds state of these operators, and rescaling is not supported: attach with the plan in effect, or begin a new job id"},
	owner.ReasonSubsumed:     {coordinator.ReasonSubsumed, 0, "a newer checkpoint completed first"},
	owner.ReasonMetadata:     {coordinator.ReasonFinalize, 0, "its _metadata could not be written"},
	owner.ReasonAttemptEnded: {coordinator.ReasonFailover, 0, "a new attempt begins"},
	owner.ReasonExpired:      {coordinator.ReasonExpired, 0, "it took longer than the checkpoint timeout"},
	owner.ReasonDeclined:     {coordinator.ReasonDeclined, 0, "a subtask declined it"},
	owner.ReasonFailover:     {coordinator.ReasonFailover, 0, "the job fails over"},
	owner.ReasonOther:        {coordinator.ReasonDeclined, 0, "the checkpoint was given up"},
}

// reasonOut returns Flink's name for a reason.
func reasonOut(r owner.Reason) coordinator.Reason { return reasons[r].flink }

// reasonText returns the message for a reason.
func reasonText(r owner.Reason) string { return reasons[r].text }

// reasonIn converts a reason of the coordinator to the owner machine's, which has fewer. The checkpoint's content keeps
// the exact reason.
func reasonIn(r coordinator.Reason) owner.Reason {
	switch r {
	case coordinator.ReasonExpired:
		return owner.ReasonExpired
	case coordinator.ReasonDeclined:
		return owner.ReasonDeclined
	case coordinator.ReasonFailover:
		return owner.ReasonFailover
	}
	return owner.ReasonOther
}

// refusal returns the error of a call that the owner machine refused; nil: it did not refuse the call.
func (j *job) refusal(op *owner.Op) error {
	switch op.Kind {
	case owner.TellFenced, owner.TellReleased:
		return notAttached(j.id)
	case owner.TellRedirect:
		return notOwner(j.id, op.URLs, op.Epoch)
	case owner.TellChangeRefused:
		return j.changeRefused(op)
	}
	if op.Reason == owner.ReasonNone {
		return nil
	}
	detail := &ckptdv1.Refused{Reason: reasons[op.Reason].api}
	if head := j.m.Head(); head != nil {
		detail.Epoch, detail.Attempt, detail.Status = head.Epoch, head.Attempt, catalog.Status(head.Status)
	}
	text := fmt.Sprintf("job %s: %s", j.id, reasonText(op.Reason))
	switch op.Kind {
	case owner.TellBegun:
		text = fmt.Sprintf("begin snapshot of checkpoint %d of job %s: %s", op.ID, j.id, reasonText(op.Reason))
	case owner.TellAcked:
		text = fmt.Sprintf("%s: %s", j.acknowledging(op.ID), reasonText(op.Reason))
	}
	switch op.Reason {
	case owner.ReasonNoJob:
		return connect.NewError(connect.CodeNotFound, errors.New(text))
	case owner.ReasonCorrupt, owner.ReasonForeign:
		return connect.NewError(connect.CodeDataLoss, errors.New(text))
	case owner.ReasonLoading, owner.ReasonBusy, owner.ReasonStopping:
		return connect.NewError(connect.CodeUnavailable, errors.New(text))
	case owner.ReasonNotOwner:
		return notAttached(j.id)
	}
	return refused(detail, "%s", text)
}

package api

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

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

// Invalidf makes the error for a request that can never succeed.
func Invalidf(format string, args ...any) error {
	return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf(format, args...))
}

// PlanIn checks and converts a plan.
func PlanIn(p *ckptdv1.Plan) (*journal.Plan, error) {
	if len(p.GetOperators()) == 0 {
		return nil, Invalidf("plan: no operators: want at least one")
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
			return nil, Invalidf("plan: operator %s twice", op.GetId())
		case op.GetParallelism() == 0 || op.GetParallelism() > op.GetMaxParallelism() || op.GetMaxParallelism() > keygroup.MaxParallelism:
			return nil, Invalidf("plan: operator %s: parallelism %d, max parallelism %d: want 1 <= parallelism <= max parallelism <= %d",
				op.GetId(), op.GetParallelism(), op.GetMaxParallelism(), keygroup.MaxParallelism)
		}
		seen[op.GetId()] = true
		subtasks += uint64(op.GetParallelism())
		operators = append(operators, journal.Operator{
			ID: op.GetId(), UID: op.GetUid(), Parallelism: op.GetParallelism(), MaxParallelism: op.GetMaxParallelism(), Triggered: op.GetTriggered(),
		})
	}
	if subtasks > 1<<20 {
		return nil, Invalidf("plan: %d subtasks: at most %d are allowed", subtasks, 1<<20)
	}
	return journal.NewPlan(operators), nil
}

// NumbersIn returns the numbers of subtasks in a plan.
func NumbersIn(plan *journal.Plan, subtasks []*ckptdv1.Subtask) (owner.Subtasks, error) {
	var b incremental.Builder[owner.Subtask]
	for _, s := range subtasks {
		n, ok := plan.Number(s.GetOperatorId(), s.GetIndex())
		if !ok {
			return owner.Subtasks{}, Invalidf("subtask %s[%d] is not in the plan", s.GetOperatorId(), s.GetIndex())
		}
		b.Add(owner.Subtask(n))
	}
	return b.Set(), nil
}

// SubtaskOut names the subtask with this number in a plan.
func SubtaskOut(plan *journal.Plan, number uint32) *ckptdv1.Subtask {
	op, index := plan.Subtask(number)
	if op == nil {
		return &ckptdv1.Subtask{}
	}
	return &ckptdv1.Subtask{OperatorId: op.ID, Index: index}
}

// SubtasksOut names the subtasks with these numbers in a plan.
func SubtasksOut(plan *journal.Plan, set owner.Subtasks) []*ckptdv1.Subtask {
	out := make([]*ckptdv1.Subtask, 0, set.Len())
	for n := range set.All() {
		out = append(out, SubtaskOut(plan, uint32(n)))
	}
	return out
}

// ConfigIn checks a job's configuration, fills in Flink's defaults and converts it to the journal's form.
func ConfigIn(c *ckptdv1.JobConfig) (*journal.Config, error) {
	out, err := config.Encode(c)
	if err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	return out, nil
}

// PolicyOf returns the coordinator's policy for a configuration.
func PolicyOf(c *journal.Config) coordinator.Policy {
	j, _ := config.Interpret(c) // never fails here: the owner machine refuses to attach a job if it would
	return j.Policy
}

// ConfigOut returns the configuration in effect, with every default filled in.
func ConfigOut(c *journal.Config) *ckptdv1.JobConfig {
	out, _ := config.InEffect(c) // never fails here, as in PolicyOf
	return out
}

// AboutIn returns a job's id and labels in the journal's form. The labels are sorted by key.
func AboutIn(id string, labels map[string]string) *journal.About {
	a := &journal.About{Job: id}
	for k, v := range labels {
		a.Labels = append(a.Labels, journal.Label{Key: k, Value: v})
	}
	slices.SortFunc(a.Labels, func(x, y journal.Label) int { return strings.Compare(x.Key, y.Key) })
	return a
}

// StatusWord returns the name of a status for messages, such as "canceled".
func StatusWord(s journal.Status) string {
	return strings.ToLower(strings.TrimPrefix(catalog.Status(s).String(), "JOB_STATUS_"))
}

// HeadWord is StatusWord for the head of a job that nobody owns: the job may be suspended.
func HeadWord(e *journal.Entry) string {
	return strings.ToLower(strings.TrimPrefix(catalog.HeadStatus(e).String(), "JOB_STATUS_"))
}

// EndedText describes when and why a job ended. Messages append it to the status. It is empty if the journal does not
// say.
func EndedText(e journal.Ended) string {
	if e.At == 0 {
		return ""
	}
	text := " since " + time.UnixMilli(int64(e.At)).UTC().Format(time.RFC3339)
	if e.Why != "" {
		text += " (" + e.Why + ")"
	}
	return text
}

// RetainedOut lists the retained checkpoints.
func RetainedOut(e *journal.Entry) []*ckptdv1.CheckpointSummary {
	var out []*ckptdv1.CheckpointSummary
	for _, c := range e.Retained {
		if c.State == journal.StateKept {
			out = append(out, catalog.Checkpoint(e.About.Job, &c))
		}
	}
	return out
}

// GroupsIn checks and converts a range of key groups. nil stays nil.
func GroupsIn(r *ckptdv1.KeyGroupRange) (*keygroup.Range, error) {
	if r == nil {
		return nil, nil
	}
	if r.GetStart() > r.GetEnd() || r.GetEnd() >= keygroup.MaxParallelism {
		return nil, Invalidf("key groups %d to %d: want start <= end < %d", r.GetStart(), r.GetEnd(), keygroup.MaxParallelism)
	}
	return &keygroup.Range{Start: uint16(r.GetStart()), End: uint16(r.GetEnd())}, nil
}

// GroupsOut converts a range of key groups. nil stays nil.
func GroupsOut(r *keygroup.Range) *ckptdv1.KeyGroupRange {
	if r == nil {
		return nil
	}
	return &ckptdv1.KeyGroupRange{Start: uint32(r.Start), End: uint32(r.End)}
}

// StateIn converts the description of a piece of state. It checks nothing. A missing kind follows from the key groups.
func StateIn(s *ckptdv1.State, groups *keygroup.Range) layout.State {
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

// SegmentIn converts a segment. nil stays nil.
func SegmentIn(s *ckptdv1.Segment) *layout.Segment {
	if s == nil {
		return nil
	}
	return &layout.Segment{Offset: s.GetOffset(), Length: s.GetLength()}
}

// DescribeUpload converts and checks a worker's description of an uploaded file. name and instance are the piece's.
func DescribeUpload(f *ckptdv1.FileHandle, name, instance string) (incremental.Description, error) {
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

// UploadIn checks that a handle names a file of this job and checkpoint, and parses the file's name.
func UploadIn(f *ckptdv1.FileHandle, job string, checkpoint uint64) (layout.FileName, error) {
	if id := f.GetJobId(); id != "" && id != job {
		return layout.FileName{}, Refused(&ckptdv1.Refused{Reason: ckptdv1.Refused_REASON_UNKNOWN_HANDLE},
			"%q lies in the folder of job %q: a worker uploads files of its own job, %s", f.GetKey(), id, job)
	}
	k := layout.ParseJobKey(f.GetKey())
	if k.Place != layout.PlaceShared && (k.Place != layout.PlaceExclusive || k.Checkpoint != checkpoint) {
		return layout.FileName{}, Refused(&ckptdv1.Refused{Reason: ckptdv1.Refused_REASON_UNKNOWN_HANDLE},
			"acknowledge checkpoint %d: %.200q is not the key of one of its files: name files as PutState answered them", checkpoint, f.GetKey())
	}
	return k.File, nil
}

// ScopeOf returns the scope of a state file. Its key must have been checked.
func ScopeOf(key string) ckptdv1.Scope {
	if layout.IsShared(key) {
		return ckptdv1.Scope_SCOPE_SHARED
	}
	return ckptdv1.Scope_SCOPE_EXCLUSIVE
}

// EventWord returns the name of a kind of event for the log, such as "worker-lost".
func EventWord(k ckptdv1.JobEventKind) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(k.String(), "JOB_EVENT_KIND_")), "_", "-")
}

// EndKind returns the kind of event for a job that ends with the status.
func EndKind(s journal.Status) ckptdv1.JobEventKind {
	switch s {
	case journal.StatusCanceled:
		return ckptdv1.JobEventKind_JOB_EVENT_KIND_CANCELED
	case journal.StatusFailed:
		return ckptdv1.JobEventKind_JOB_EVENT_KIND_FAILED
	}
	return ckptdv1.JobEventKind_JOB_EVENT_KIND_FINISHED
}

// TriggerOut makes the Trigger command for workers.
func TriggerOut(op *owner.Op, at time.Time, stop journal.Stop) *ckptdv1.RegisterResponse {
	return &ckptdv1.RegisterResponse{Command: &ckptdv1.RegisterResponse_Trigger{Trigger: &ckptdv1.Trigger{
		Attempt: op.Attempt, Epoch: op.Epoch, CheckpointId: op.ID, Timestamp: timestamppb.New(at), Stops: stop != journal.StopNone, Drains: stop == journal.StopDrain, Savepoint: op.Savepoint != nil,
		Kind: ckptdv1.CheckpointKind_CHECKPOINT_KIND_CONFIGURED + ckptdv1.CheckpointKind(op.Checkpoint),
	}}}
}

// PendingOut returns the state of a pending checkpoint.
func PendingOut(s owner.PendingState) ckptdv1.PendingState {
	switch s {
	case owner.PendingOpen:
		return ckptdv1.PendingState_PENDING_STATE_OPEN
	case owner.PendingUnresolved:
		return ckptdv1.PendingState_PENDING_STATE_UNRESOLVED
	}
	return ckptdv1.PendingState_PENDING_STATE_WRITING
}

// CreationIn returns how to create the job if it does not exist; nil: the caller gave no plan, so the job is not
// created.
func CreationIn(req *ckptdv1.AttachJobRequest, defaults *ckptdv1.JobConfig, urls []string) (*owner.Creation, error) {
	if err := layout.ValidateJobID(req.GetJobId()); err != nil {
		return nil, Invalidf("%v", err)
	}
	if req.GetPlan() == nil {
		return nil, nil
	}
	plan, err := PlanIn(req.GetPlan())
	if err != nil {
		return nil, err
	}
	cfg, err := ConfigIn(config.WithDefaults(req.GetConfig(), defaults))
	if err != nil {
		return nil, err
	}
	c := &owner.Creation{Plan: plan, Config: cfg, About: AboutIn(req.GetJobId(), req.GetLabels())}
	if err := journal.Fits(plan, cfg, c.About, urls); err != nil {
		return nil, Invalidf("job %s: %v", req.GetJobId(), err)
	}
	return c, nil
}

// WantedIn checks the plan and the configuration of a request and converts them; nil: the caller named none.
func WantedIn(req *ckptdv1.AttachJobRequest) (plan *journal.Plan, cfg *journal.Config, err error) {
	if req.GetPlan() != nil {
		if plan, err = PlanIn(req.GetPlan()); err != nil {
			return nil, nil, err
		}
	}
	if req.GetConfig() != nil {
		if cfg, err = ConfigIn(req.GetConfig()); err != nil {
			return nil, nil, err
		}
	}
	if err := journal.Fits(plan, cfg, nil, nil); err != nil {
		return nil, nil, Invalidf("job %s: %v", req.GetJobId(), err)
	}
	return plan, cfg, nil
}

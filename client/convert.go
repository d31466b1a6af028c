package client

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

var reportKinds = map[ReportKind]ckptdv1.ReportRequest_Kind{
	ReportRunning:   ckptdv1.ReportRequest_KIND_RUNNING,
	ReportFailed:    ckptdv1.ReportRequest_KIND_FAILED,
	ReportEndOfData: ckptdv1.ReportRequest_KIND_END_OF_DATA,
	ReportCommitted: ckptdv1.ReportRequest_KIND_COMMITTED,
	ReportFinished:  ckptdv1.ReportRequest_KIND_FINISHED,
	ReportBacklog:   ckptdv1.ReportRequest_KIND_BACKLOG,
}

func toPlan(p *Plan) *ckptdv1.Plan {
	if p == nil {
		return nil
	}
	out := &ckptdv1.Plan{Operators: make([]*ckptdv1.Operator, len(p.Operators))}
	for i, o := range p.Operators {
		out.Operators[i] = &ckptdv1.Operator{
			Id: o.ID, Uid: o.Name, Parallelism: o.Parallelism, MaxParallelism: o.MaxParallelism, Triggered: o.Triggered,
		}
	}
	return out
}

func toConfig(c *JobConfig) *ckptdv1.JobConfig {
	if c == nil {
		return nil
	}
	out := &ckptdv1.JobConfig{
		Mode: ckptdv1.CheckpointingMode(c.Mode), Interval: toDuration(c.Interval), Timeout: toDuration(c.Timeout), MinPause: toDuration(c.MinPause),
		TolerableFailedCheckpoints: c.TolerableFailedCheckpoints, Retention: ckptdv1.Retention(c.Retention), NumRetained: c.NumRetained, Trash: toDelay(c.Trash), SavepointDir: c.SavepointDir,
		SavepointInterval: toDuration(c.SavepointInterval), SavepointKeep: c.SavepointKeep,
		IntervalDuringBacklog: toDelay(c.IntervalDuringBacklog), MaxConcurrentCheckpoints: c.MaxConcurrentCheckpoints,
		CheckpointsAfterTasksFinish: c.CheckpointsAfterTasksFinish,
		Storage:                     ckptdv1.Storage(c.Storage), MaxStateSize: c.MaxStateSize,
	}
	if r := c.RestartStrategy; r != (RestartStrategy{}) {
		out.RestartStrategy = &ckptdv1.RestartStrategy{Type: ckptdv1.RestartStrategy_Type(r.Type), Attempts: r.Attempts, Delay: toDelay(r.Delay)}
		if f := r.FailureRate; f != (FailureRate{}) {
			out.RestartStrategy.FailureRate = &ckptdv1.FailureRate{
				MaxFailuresPerInterval: f.MaxFailures, FailureRateInterval: toDuration(f.Interval), Delay: toDelay(f.Delay),
			}
		}
		if e := r.ExponentialDelay; e != (ExponentialDelay{}) {
			out.RestartStrategy.ExponentialDelay = &ckptdv1.ExponentialDelay{
				InitialBackoff: toDuration(e.InitialBackoff), MaxBackoff: toDuration(e.MaxBackoff), BackoffMultiplier: e.Multiplier,
				ResetBackoffThreshold: toDuration(e.ResetAfter), AttemptsBeforeResetBackoff: e.AttemptsBeforeReset,
			}
			if e.Jitter != 0 {
				jitter := max(0, e.Jitter)
				out.RestartStrategy.ExponentialDelay.JitterFactor = &jitter
			}
		}
	}
	return out
}

// ConfigFrom makes a configuration of the API's message, for programs that read Flink's keys or talk to the API
// themselves.
func ConfigFrom(c *ckptdv1.JobConfig) *JobConfig {
	if c == nil {
		return nil
	}
	r := c.GetRestartStrategy()
	return &JobConfig{
		Mode: CheckpointingMode(c.GetMode()), Interval: fromDuration(c.GetInterval()), Timeout: fromDuration(c.GetTimeout()),
		MinPause: fromDuration(c.GetMinPause()), TolerableFailedCheckpoints: c.GetTolerableFailedCheckpoints(),
		Retention: Retention(c.GetRetention()), NumRetained: c.GetNumRetained(), Trash: fromDelay(c.Trash), SavepointDir: c.GetSavepointDir(),
		SavepointInterval: fromDuration(c.GetSavepointInterval()), SavepointKeep: c.GetSavepointKeep(),
		IntervalDuringBacklog: fromDelay(c.IntervalDuringBacklog), MaxConcurrentCheckpoints: c.GetMaxConcurrentCheckpoints(),
		CheckpointsAfterTasksFinish: c.CheckpointsAfterTasksFinish,
		Storage:                     Storage(c.GetStorage()), MaxStateSize: c.GetMaxStateSize(),
		RestartStrategy: RestartStrategy{
			Type: RestartType(r.GetType()), Attempts: r.GetAttempts(), Delay: fromDelay(r.GetDelay()),
			FailureRate: failureRateFrom(r.GetFailureRate()), ExponentialDelay: exponentialDelayFrom(r.GetExponentialDelay()),
		},
	}
}

func failureRateFrom(f *ckptdv1.FailureRate) FailureRate {
	return FailureRate{
		MaxFailures: f.GetMaxFailuresPerInterval(), Interval: fromDuration(f.GetFailureRateInterval()), Delay: fromDelay(f.GetDelay()),
	}
}

func exponentialDelayFrom(e *ckptdv1.ExponentialDelay) ExponentialDelay {
	out := ExponentialDelay{
		InitialBackoff: fromDuration(e.GetInitialBackoff()), MaxBackoff: fromDuration(e.GetMaxBackoff()), Multiplier: e.GetBackoffMultiplier(),
		ResetAfter: fromDuration(e.GetResetBackoffThreshold()), Jitter: e.GetJitterFactor(), AttemptsBeforeReset: e.GetAttemptsBeforeResetBackoff(),
	}
	if e != nil && e.JitterFactor != nil && out.Jitter == 0 {
		out.Jitter = NoJitter
	}
	return out
}

// toDelay is toDuration for a delay, which can also be NoDelay.
func toDelay(d time.Duration) *durationpb.Duration {
	if d < 0 {
		return durationpb.New(0)
	}
	return toDuration(d)
}

func fromDelay(d *durationpb.Duration) time.Duration {
	if d != nil && d.AsDuration() == 0 {
		return NoDelay
	}
	return d.AsDuration()
}

// toDuration leaves 0 out: the daemon then takes its default.
func toDuration(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}

func fromDuration(d *durationpb.Duration) time.Duration { return d.AsDuration() }

func toSubtask(s Subtask) *ckptdv1.Subtask {
	return &ckptdv1.Subtask{OperatorId: s.Operator, Index: s.Index}
}

func toSubtasks(ss []Subtask) []*ckptdv1.Subtask {
	out := make([]*ckptdv1.Subtask, len(ss))
	for i, s := range ss {
		out[i] = toSubtask(s)
	}
	return out
}

func fromSubtask(s *ckptdv1.Subtask) Subtask {
	return Subtask{Operator: s.GetOperatorId(), Index: s.GetIndex()}
}

func toKeyGroups(k *KeyGroups) *ckptdv1.KeyGroupRange {
	if k == nil {
		return nil
	}
	return &ckptdv1.KeyGroupRange{Start: k.Start, End: k.End}
}

func fromHandle(h *ckptdv1.StateHandle) Handle {
	out := Handle{Name: h.GetName(), InstanceNonce: h.GetInstanceNonce(), Inline: h.GetInline(), File: fromFile(h.GetFile()), State: fromState(h.GetState())}
	if h.GetScope() == ckptdv1.Scope_SCOPE_SHARED {
		out.Scope = Shared
	}
	if k := h.GetKeyGroups(); k != nil {
		out.KeyGroups = &KeyGroups{Start: k.GetStart(), End: k.GetEnd()}
	}
	return out
}

func fromFile(f *ckptdv1.FileHandle) *File {
	if f == nil {
		return nil
	}
	out := &File{Key: f.GetKey(), Length: f.GetLength(), CRC32C: f.GetCrc32C(), BlockCRC32C: f.GetBlockCrc32C(), Job: f.GetJobId()}
	out.Segment = fromSegment(f.GetSegment())
	if c := f.GetCompression(); c != nil {
		out.Compression = &Compression{Codec: c.GetCodec(), Stored: c.GetStored(), Plain: c.GetPlain()}
	}
	return out
}

func fromSegment(s *ckptdv1.Segment) *Segment {
	if s == nil {
		return nil
	}
	return &Segment{Offset: s.GetOffset(), Length: s.GetLength()}
}

func toSegment(s *Segment) *ckptdv1.Segment {
	if s == nil {
		return nil
	}
	return &ckptdv1.Segment{Offset: s.Offset, Length: s.Length}
}

func toCompression(c *Compression) *ckptdv1.Compression {
	if c == nil {
		return nil
	}
	return &ckptdv1.Compression{Codec: c.Codec, Stored: c.Stored, Plain: c.Plain}
}

func toState(s *State) *ckptdv1.State {
	if s == nil {
		return nil
	}
	out := &ckptdv1.State{
		Kind: ckptdv1.StateKind(s.Kind), Name: s.Name, Serializer: s.Serializer, SchemaVersion: s.SchemaVersion,
	}
	if o := s.Offsets; o != nil {
		out.Offsets = &ckptdv1.Offsets{Mode: ckptdv1.DistributionMode(o.Mode), Positions: o.Positions}
	}
	if c := s.Channel; c != nil {
		out.Channel = &ckptdv1.Channel{Gate: c.Gate, Channel: c.Channel, Partition: c.Partition, Subpartition: c.Subpartition}
	}
	return out
}

func fromState(s *ckptdv1.State) *State {
	if s == nil {
		return nil
	}
	out := &State{
		Kind: StateKind(s.GetKind()), Name: s.GetName(), Serializer: s.GetSerializer(), SchemaVersion: s.GetSchemaVersion(),
	}
	if o := s.GetOffsets(); o != nil {
		out.Offsets = &Offsets{Mode: DistributionMode(o.GetMode()), Positions: o.GetPositions()}
	}
	if c := s.GetChannel(); c != nil {
		out.Channel = &Channel{Gate: c.GetGate(), Channel: c.GetChannel(), Partition: c.GetPartition(), Subpartition: c.GetSubpartition()}
	}
	return out
}

func toScope(s Scope) ckptdv1.Scope {
	if s == Shared {
		return ckptdv1.Scope_SCOPE_SHARED
	}
	return ckptdv1.Scope_SCOPE_EXCLUSIVE
}

// fromCommand gives a command for the engine, or nil for a command that the session handles by itself.
func fromCommand(m *ckptdv1.RegisterResponse) Command {
	switch c := m.GetCommand().(type) {
	case *ckptdv1.RegisterResponse_Start:
		return fromStart(c.Start)
	case *ckptdv1.RegisterResponse_Trigger:
		t := c.Trigger
		return Trigger{Attempt: t.GetAttempt(), Epoch: t.GetEpoch(), Checkpoint: t.GetCheckpointId(), Time: t.GetTimestamp().AsTime(), Stops: t.GetStops(), Drains: t.GetDrains(),
			Kind: max(CheckpointKind(t.GetKind()), ConfiguredCheckpoint), Savepoint: t.GetSavepoint()}
	case *ckptdv1.RegisterResponse_Complete:
		return Complete{Attempt: c.Complete.GetAttempt(), Epoch: c.Complete.GetEpoch(), Checkpoint: c.Complete.GetCheckpointId(), Ends: c.Complete.GetEnds()}
	case *ckptdv1.RegisterResponse_Abort:
		a := c.Abort
		return Abort{
			Attempt: a.GetAttempt(), Epoch: a.GetEpoch(), Checkpoint: a.GetCheckpointId(),
			Reason: a.GetReason(), LatestComplete: a.GetLatestCompleteId(),
		}
	case *ckptdv1.RegisterResponse_Cancel:
		return Cancel{Status: JobStatus(c.Cancel.GetStatus()), Reason: c.Cancel.GetReason()}
	case *ckptdv1.RegisterResponse_Replaced:
		return Replaced{}
	}
	return nil
}

func fromStart(s *ckptdv1.Start) Start {
	out := Start{Attempt: s.GetAttempt(), Epoch: s.GetEpoch(), Restore: s.GetRestoreCheckpointId(), Config: ConfigFrom(s.GetConfig()), Ends: s.GetEnds()}
	for _, r := range s.GetRoster() {
		out.Roster = append(out.Roster, RosterEntry{
			Subtask: fromSubtask(r.GetSubtask()), ExchangeAddress: r.GetExchangeAddress(), Nonce: r.GetNonce(),
		})
	}
	return out
}

// numbersOf are the numbers that a command names: epoch, attempt and the largest checkpoint id. Epoch 0: the command names
// none.
func numbersOf(c Command) (epoch, attempt, checkpoint uint64) {
	switch c := c.(type) {
	case Start:
		return c.Epoch, c.Attempt, c.Restore
	case Trigger:
		return c.Epoch, c.Attempt, c.Checkpoint
	case Complete:
		return c.Epoch, c.Attempt, c.Checkpoint
	case Abort:
		return c.Epoch, c.Attempt, c.Checkpoint
	}
	return 0, 0, 0
}

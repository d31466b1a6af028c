package client

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/testing/protocmp"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"google.golang.org/protobuf/types/known/durationpb"
)

// fill sets every field of a message, and those of the messages in it.
func fill(m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		one := func() protoreflect.Value {
			switch f.Kind() {
			case protoreflect.MessageKind:
				if f.IsMap() {
					entries := m.NewField(f)
					entries.Map().Set(protoreflect.ValueOfString("key").MapKey(), protoreflect.ValueOfString("value"))
					return entries
				}
				sub := m.NewField(f)
				if f.IsList() {
					sub = m.NewField(f).List().NewElement()
				}
				fill(sub.Message())
				return sub
			case protoreflect.StringKind:
				return protoreflect.ValueOfString(string(f.Name()))
			case protoreflect.BoolKind:
				return protoreflect.ValueOfBool(true)
			case protoreflect.EnumKind:
				return protoreflect.ValueOfEnum(2)
			case protoreflect.DoubleKind:
				return protoreflect.ValueOfFloat64(1.5)
			case protoreflect.Int32Kind:
				return protoreflect.ValueOfInt32(int32(i + 1))
			case protoreflect.Int64Kind:
				return protoreflect.ValueOfInt64(int64(i + 1))
			case protoreflect.Uint64Kind:
				return protoreflect.ValueOfUint64(uint64(i + 1))
			default:
				return protoreflect.ValueOfUint32(uint32(i + 1))
			}
		}
		if f.IsList() {
			list := m.Mutable(f).List()
			list.Append(one())
			continue
		}
		m.Set(f, one())
	}
}

// Every field of the API's messages has its place in the Go types: what was filled comes back the same.
func TestConversionsAreWhole(t *testing.T) {
	for name, c := range map[string]struct {
		message proto.Message
		back    func(proto.Message) proto.Message
	}{
		"configuration": {&ckptdv1.JobConfig{}, func(m proto.Message) proto.Message { return toConfig(ConfigFrom(m.(*ckptdv1.JobConfig))) }},
		"state":         {&ckptdv1.State{}, func(m proto.Message) proto.Message { return toState(fromState(m.(*ckptdv1.State))) }},
		"file": {&ckptdv1.FileHandle{}, func(m proto.Message) proto.Message {
			f := fromFile(m.(*ckptdv1.FileHandle))
			return &ckptdv1.FileHandle{
				Key: f.Key, Length: f.Length, Crc32C: f.CRC32C, BlockCrc32C: f.BlockCRC32C, JobId: f.Job,
				Segment: toSegment(f.Segment), Compression: toCompression(f.Compression),
			}
		}},
		"plan": {&ckptdv1.Plan{}, func(m proto.Message) proto.Message {
			return toPlan(&Plan{Operators: all(m.(*ckptdv1.Plan).GetOperators(), fromOperator)})
		}},
	} {
		fill(c.message.ProtoReflect())
		if d := cmp.Diff(c.message, c.back(c.message), protocmp.Transform()); d != "" {
			t.Errorf("%s: -want +got:\n%s", name, d)
		}
	}
}

// Every value of the API's enumerations has a constant, and prints as Flink's name.
func TestConstantsAreWhole(t *testing.T) {
	has := map[protoreflect.Enum][]interface{ String() string }{
		ckptdv1.CheckpointingMode(0):    {ExactlyOnce, AtLeastOnce},
		ckptdv1.Retention(0):            {NoExternalizedCheckpoints, DeleteOnCancellation, RetainOnCancellation},
		ckptdv1.RestartStrategy_Type(0): {NoRestart, FixedDelay, FailureRateRestart, ExponentialDelayRestart},
		ckptdv1.JobStatus(0):            {StatusRunning, StatusCanceled, StatusFailed, StatusFinished, StatusStopping, StatusCopied, StatusRemoved, StatusSuspended},
		ckptdv1.StateKind(0): {Opaque, ManagedKeyed, RawKeyed, List, Union, Broadcast, InputChannel, ResultSubpartition, SourceReader,
			SinkTransactions},
		ckptdv1.DistributionMode(0): {ModeSplit, ModeUnion, ModeBroadcast},
		ckptdv1.JobPhase(0): {PhaseAttaching, PhaseWaitingForWorkers, PhaseWaitingForAttempt, PhaseStarting, PhaseRunning, PhaseClearingUp,
			PhaseImporting},
		ckptdv1.PendingState(0):      {PendingOpen, PendingWriting, PendingUnresolved},
		ckptdv1.CheckpointState(0):   {CheckpointKept, CheckpointTrashed, CheckpointHidden, CheckpointNotRetained},
		ckptdv1.RecordKind(0):        {KindCheckpoint, KindManual, KindSavepoint, KindStop},
		ckptdv1.CheckpointOutcome(0): {OutcomeInProgress, OutcomeCompleted, OutcomeFailed},
		ckptdv1.FilePresence(0):      {FilePresent, FileMissing, FileWrongSize},
		ckptdv1.SavepointOutcome(0):  {SavepointStarted, SavepointDone, SavepointCleaned},
		ckptdv1.SavepointStop(0):     {StopSuspend, StopDrain},
		ckptdv1.JobEventKind(0): {EventAttached, EventAttempt, EventRunning, EventTriggered, EventCompleted, EventAborted, EventNotBegun,
			EventCommitted, EventTaskFailed, EventFailover, EventWorkerLost, EventReplaced, EventRefused, EventExpired, EventEndOfData, EventDegraded,
			EventRecovered, EventStoreAway, EventStoreBack, EventCanceled, EventFailed, EventFinished, EventChanged, EventGoodbye, EventImported, EventSavepoint, EventSuspended, EventInMemory, EventBeginsAnew},
	}
	for enum, constants := range has {
		d := enum.Descriptor()
		if want := d.Values().Len() - 1; len(constants) != want {
			t.Errorf("%s has %d constants, want %d", d.Name(), len(constants), want)
		}
		for i, c := range constants {
			name := string(d.Values().Get(i + 1).Name())
			if got := c.String(); len(got) < 3 || name[len(name)-len(got):] != got || name == got {
				t.Errorf("%s prints as %q, want its name without the prefix", name, got)
			}
		}
	}
}

// "No delay" and "no jitter" are told, because an absent value is the default.
func TestNoDelayIsTold(t *testing.T) {
	zero := 0.0
	for _, c := range []*ckptdv1.RestartStrategy{
		{Type: ckptdv1.RestartStrategy_TYPE_FIXED_DELAY, Attempts: 3},
		{Type: ckptdv1.RestartStrategy_TYPE_FIXED_DELAY, Attempts: 3, Delay: durationpb.New(0)},
		{Type: ckptdv1.RestartStrategy_TYPE_FAILURE_RATE, FailureRate: &ckptdv1.FailureRate{Delay: durationpb.New(0)}},
		{Type: ckptdv1.RestartStrategy_TYPE_EXPONENTIAL_DELAY, ExponentialDelay: &ckptdv1.ExponentialDelay{JitterFactor: &zero}},
	} {
		want := &ckptdv1.JobConfig{RestartStrategy: c}
		if d := cmp.Diff(want, toConfig(ConfigFrom(want)), protocmp.Transform()); d != "" {
			t.Errorf("%v: -want +got:\n%s", c, d)
		}
	}
}

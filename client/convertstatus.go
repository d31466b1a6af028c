package client

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// all converts a list. An empty list becomes nil.
func all[M, T any](list []M, convert func(M) T) []T {
	var out []T
	for _, m := range list {
		out = append(out, convert(m))
	}
	return out
}

// fromTime converts a time. An absent one becomes the zero time.
func fromTime(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

func fromStatus(m *ckptdv1.GetStatusResponse) DaemonStatus {
	return DaemonStatus{
		Version: m.GetVersion(), Root: m.GetRoot(), URLs: m.GetUrls(), StartedAt: fromTime(m.GetStartedAt()), Jobs: all(m.GetJobs(), fromJobState),
		MemoryUsed: m.GetMemoryUsed(), MemoryLimit: m.GetMemoryLimit(),
	}
}

func fromJobState(m *ckptdv1.JobState) JobState {
	return JobState{
		Summary: fromJob(m.GetSummary()), Phase: JobPhase(m.GetPhase()), Degraded: m.GetDegraded(),
		Pending: all(m.GetPending(), fromPending), Workers: all(m.GetWorkers(), fromWorker), Events: all(m.GetEvents(), fromEvent),
		Records: m.GetRecords(), SourcesAtEnd: m.GetSourcesAtEnd(), Sources: m.GetSources(),
		CommittedCheckpoint: m.GetCommittedCheckpointId(), ConsecutiveFailures: m.GetConsecutiveFailures(),
		CondemnedFiles: m.GetCondemnedFiles(), OwnerNonce: m.GetOwnerNonce(), WaitingForStore: m.GetWaitingForStore(),
		Subtasks: m.GetSubtasks(), SubtasksMissing: m.GetSubtasksMissing(), BeganAnew: m.GetBeganAnew(),
	}
}

func fromJob(m *ckptdv1.JobSummary) JobSummary {
	return JobSummary{
		ID: m.GetJobId(), Status: JobStatus(m.GetStatus()), Labels: m.GetLabels(), Epoch: m.GetEpoch(), Attempt: m.GetAttempt(),
		OwnerURLs: m.GetOwnerUrls(), Retained: m.GetRetained(), LatestCheckpoint: m.GetLatestCheckpointId(),
		LatestCompletedAt: fromTime(m.GetLatestCompletedAt()), Error: m.GetError(), Checkpoints: all(m.GetCheckpoints(), fromCheckpoint),
		EndedAt: fromTime(m.GetEndedAt()), EndReason: m.GetEndReason(), RestoredFrom: m.GetRestoredFrom(), InMemory: m.GetInMemory(),
	}
}

func fromCheckpoint(m *ckptdv1.CheckpointSummary) CheckpointSummary {
	return CheckpointSummary{
		ID: m.GetCheckpointId(), Path: m.GetPath(), CompletedAt: fromTime(m.GetCompletedAt()),
		StateBytes: m.GetStateBytes(), NewBytes: m.GetNewBytes(), ReusedBytes: m.GetReusedBytes(),
		Duration: fromDuration(m.GetDuration()), Savepoint: m.GetSavepoint(),
	}
}

func fromDetails(m *ckptdv1.ShowCheckpointResponse) CheckpointDetails {
	return CheckpointDetails{
		Summary: fromCheckpoint(m.GetSummary()), FormatVersion: m.GetFormatVersion(), Epoch: m.GetEpoch(), Attempt: m.GetAttempt(),
		Operators: all(m.GetOperators(), fromOperatorSummary), Files: all(m.GetFiles(), fromFileSummary),
		Job: m.GetJobId(), Labels: m.GetLabels(), TriggeredAt: fromTime(m.GetTriggeredAt()),
		Nonce: m.GetNonce(), MetadataBytes: m.GetMetadataBytes(), MetadataCRC32C: m.GetMetadataCrc32C(), State: CheckpointState(m.GetState()),
	}
}

func fromOperatorSummary(m *ckptdv1.OperatorSummary) OperatorSummary {
	return OperatorSummary{
		Operator: fromOperator(m.GetOperator()), StateBytes: m.GetStateBytes(), InlineBytes: m.GetInlineBytes(),
		FileReferences: m.GetFileReferences(), States: all(m.GetStates(), fromStateSummary), Finished: m.GetFinished(), Keyed: m.GetKeyed(),
	}
}

func fromOperator(m *ckptdv1.Operator) Operator {
	return Operator{
		ID: m.GetId(), Name: m.GetUid(), Parallelism: m.GetParallelism(), MaxParallelism: m.GetMaxParallelism(), Triggered: m.GetTriggered(),
	}
}

func fromStateSummary(m *ckptdv1.StateSummary) StateSummary {
	return StateSummary{State: value(fromState(m.GetState())), Pieces: m.GetPieces(), Bytes: m.GetBytes()}
}

func fromFileSummary(m *ckptdv1.FileSummary) FileSummary {
	out := FileSummary{
		File: value(fromFile(m.GetFile())), InstanceNonce: m.GetInstanceNonce(), LocalName: m.GetLocalName(), References: m.GetReferences(),
		Presence: FilePresence(m.GetPresence()), FoundLength: m.GetFoundLength(), Pieces: all(m.GetPieces(), fromPieceSummary),
	}
	if m.GetScope() == ckptdv1.Scope_SCOPE_SHARED {
		out.Scope = Shared
	}
	return out
}

func fromPieceSummary(m *ckptdv1.PieceSummary) PieceSummary {
	return PieceSummary{Subtask: fromSubtask(m.GetSubtask()), State: value(fromState(m.GetState())), Segment: fromSegment(m.GetSegment())}
}

// value is what p points to, or the zero value.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

func fromPending(m *ckptdv1.PendingCheckpoint) PendingCheckpoint {
	return PendingCheckpoint{
		Checkpoint: m.GetCheckpointId(), TriggeredAt: fromTime(m.GetTriggeredAt()),
		Acknowledged: m.GetAcknowledged(), Subtasks: m.GetSubtasks(), State: PendingState(m.GetState()),
	}
}

func fromWorker(m *ckptdv1.WorkerState) WorkerState {
	return WorkerState{
		Nonce: m.GetNonce(), ExchangeAddress: m.GetExchangeAddress(), Attempt: m.GetAttempt(), Subtasks: all(m.GetSubtasks(), fromSubtask),
		LastHeard: fromTime(m.GetLastHeard()), Running: m.GetRunning(),
	}
}

func fromEvent(m *ckptdv1.JobEvent) JobEvent {
	out := JobEvent{
		Sequence: m.GetSequence(), Time: fromTime(m.GetTime()), Kind: JobEventKind(m.GetKind()),
		Checkpoint: m.GetCheckpointId(), Attempt: m.GetAttempt(), Text: m.GetText(),
	}
	if c := m.GetCheckpoint(); c != nil {
		completed := fromCheckpoint(c)
		out.Completed = &completed
	}
	return out
}

func fromCanceled(m *ckptdv1.CancelJobResponse) Canceled {
	return Canceled{Status: JobStatus(m.GetStatus()), Retained: all(m.GetRetained(), fromCheckpoint)}
}

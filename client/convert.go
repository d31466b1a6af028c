package client

import (
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

var reportKinds = map[ReportKind]ckptdv1.ReportRequest_Kind{
	ReportRunning:   ckptdv1.ReportRequest_KIND_RUNNING,
	ReportFailed:    ckptdv1.ReportRequest_KIND_FAILED,
	ReportEndOfData: ckptdv1.ReportRequest_KIND_END_OF_DATA,
	ReportCommitted: ckptdv1.ReportRequest_KIND_COMMITTED,
	ReportFinished:  ckptdv1.ReportRequest_KIND_FINISHED,
}

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
	out := Handle{Name: h.GetName(), InstanceNonce: h.GetInstanceNonce(), Inline: h.GetInline(), File: h.GetFile(), State: h.GetState()}
	if h.GetScope() == ckptdv1.Scope_SCOPE_SHARED {
		out.Scope = Shared
	}
	if k := h.GetKeyGroups(); k != nil {
		out.KeyGroups = &KeyGroups{Start: k.GetStart(), End: k.GetEnd()}
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
		return Trigger{Attempt: t.GetAttempt(), Epoch: t.GetEpoch(), Checkpoint: t.GetCheckpointId(), Time: t.GetTimestamp().AsTime()}
	case *ckptdv1.RegisterResponse_Complete:
		return Complete{Attempt: c.Complete.GetAttempt(), Epoch: c.Complete.GetEpoch(), Checkpoint: c.Complete.GetCheckpointId()}
	case *ckptdv1.RegisterResponse_Abort:
		a := c.Abort
		return Abort{
			Attempt: a.GetAttempt(), Epoch: a.GetEpoch(), Checkpoint: a.GetCheckpointId(),
			Reason: a.GetReason(), LatestComplete: a.GetLatestCompleteId(),
		}
	case *ckptdv1.RegisterResponse_Cancel:
		return Cancel{Status: c.Cancel.GetStatus(), Reason: c.Cancel.GetReason()}
	case *ckptdv1.RegisterResponse_Replaced:
		return Replaced{}
	}
	return nil
}

func fromStart(s *ckptdv1.Start) Start {
	out := Start{Attempt: s.GetAttempt(), Epoch: s.GetEpoch(), Restore: s.GetRestoreCheckpointId(), Config: s.GetConfig()}
	for _, r := range s.GetRoster() {
		out.Roster = append(out.Roster, RosterEntry{
			Subtask: fromSubtask(r.GetSubtask()), ExchangeAddress: r.GetExchangeAddress(), Nonce: r.GetNonce(),
		})
	}
	return out
}

// epochOf is the epoch and the attempt that a command names; 0, 0: the command names none.
func epochOf(c Command) (epoch, attempt uint64) {
	switch c := c.(type) {
	case Start:
		return c.Epoch, c.Attempt
	case Trigger:
		return c.Epoch, c.Attempt
	case Complete:
		return c.Epoch, c.Attempt
	case Abort:
		return c.Epoch, c.Attempt
	}
	return 0, 0
}

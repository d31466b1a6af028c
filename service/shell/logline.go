package shell

import (
	"context"
	"log/slog"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/api"
	"github.com/ckptd/ckptd/service/coordinator"
)

// levels are the levels of events in the log; an event without a row is INFO. ERROR: a person has to act. WARN: ckptd
// goes on by itself, and something is wrong. DEBUG: further lines of a checkpoint that has its one line.
var levels = map[ckptdv1.JobEventKind]slog.Level{
	ckptdv1.JobEventKind_JOB_EVENT_KIND_FAILED:      slog.LevelError,
	ckptdv1.JobEventKind_JOB_EVENT_KIND_TASK_FAILED: slog.LevelWarn,
	ckptdv1.JobEventKind_JOB_EVENT_KIND_FAILOVER:    slog.LevelWarn,
	ckptdv1.JobEventKind_JOB_EVENT_KIND_WORKER_LOST: slog.LevelWarn,
	ckptdv1.JobEventKind_JOB_EVENT_KIND_REPLACED:    slog.LevelWarn,
	ckptdv1.JobEventKind_JOB_EVENT_KIND_EXPIRED:     slog.LevelWarn,
	ckptdv1.JobEventKind_JOB_EVENT_KIND_REFUSED:     slog.LevelWarn,
	ckptdv1.JobEventKind_JOB_EVENT_KIND_DEGRADED:    slog.LevelWarn,
	ckptdv1.JobEventKind_JOB_EVENT_KIND_STORE_AWAY:  slog.LevelWarn,
	ckptdv1.JobEventKind_JOB_EVENT_KIND_NOT_BEGUN:   slog.LevelWarn,
	ckptdv1.JobEventKind_JOB_EVENT_KIND_BEGINS_ANEW: slog.LevelWarn,
	ckptdv1.JobEventKind_JOB_EVENT_KIND_ABORTED:     slog.LevelWarn,
	ckptdv1.JobEventKind_JOB_EVENT_KIND_TRIGGERED:   slog.LevelDebug,
	ckptdv1.JobEventKind_JOB_EVENT_KIND_COMMITTED:   slog.LevelDebug,
}

// levelOf is the level of an event.
func levelOf(k ckptdv1.JobEventKind) slog.Level { return levels[k] } // the zero level is INFO

// levelOfAbort is the level of a checkpoint that was aborted or refused. A failover, an end of the job and a newer
// checkpoint abort what is pending: that is no trouble of its own.
func levelOfAbort(r coordinator.Reason) slog.Level {
	switch r {
	case coordinator.ReasonFailover, coordinator.ReasonSubsumed, coordinator.ReasonShutdown, coordinator.ReasonSuspend,
		coordinator.ReasonNotAllRunning, coordinator.ReasonDeclinedTaskNotReady:
		return slog.LevelInfo
	}
	return slog.LevelWarn
}

// logEvent writes an event to the log. It leaves out what the event does not have.
func logEvent(log *slog.Logger, level slog.Level, e *ckptdv1.JobEvent) {
	ctx := context.Background()
	if !log.Enabled(ctx, level) {
		return
	}
	attrs := make([]slog.Attr, 0, 8)
	if id := e.GetCheckpointId(); id != 0 {
		attrs = append(attrs, slog.Uint64("checkpoint", id))
	}
	if attempt := e.GetAttempt(); attempt != 0 {
		attrs = append(attrs, slog.Uint64("attempt", attempt))
	}
	if c := e.GetCheckpoint(); c != nil {
		attrs = append(attrs, slog.Uint64("bytes", c.GetStateBytes()), slog.Uint64("new_bytes", c.GetNewBytes()),
			slog.Int64("duration_ms", c.GetDuration().AsDuration().Milliseconds()))
	}
	if text := e.GetText(); text != "" {
		attrs = append(attrs, slog.String("text", text))
	}
	log.LogAttrs(ctx, level, api.EventWord(e.GetKind()), attrs...)
}

package api

import (
	"errors"
	"fmt"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/coordinator"
	"github.com/ckptd/ckptd/service/owner"
)

// reasons is the only table of the owner machine's reasons. flink is Flink's name for the failure of a checkpoint. api
// is the API's reason of a Refused call. text is the message for people.
var reasons = map[owner.Reason]struct {
	flink coordinator.Reason
	api   ckptdv1.Refused_Reason
	text  string
}{
	owner.ReasonNoJob:         {coordinator.ReasonTriggerFailed, 0, "there is no such job"},
	owner.ReasonForeign:       {coordinator.ReasonTriggerFailed, 0, "the job's folder is not empty but has no journal: it may have been lost; `ckptd journal show` looks at it, nothing is changed"},
	owner.ReasonCorrupt:       {coordinator.ReasonTriggerFailed, 0, "the head of the journal is corrupt; nothing is changed"},
	owner.ReasonNewer:         {coordinator.ReasonTriggerFailed, 0, "the journal asks for a newer ckptd; nothing is changed"},
	owner.ReasonTerminal:      {coordinator.ReasonShutdown, ckptdv1.Refused_REASON_JOB_TERMINAL, "the job has ended: begin a new job id"},
	owner.ReasonNotTerminal:   {coordinator.ReasonShutdown, 0, "the job has not ended"},
	owner.ReasonReleased:      {coordinator.ReasonShutdown, 0, "nothing is left to do for this job"},
	owner.ReasonSilent:        {coordinator.ReasonSuspend, 0, "its owner does not answer, and may still run the job: start that daemon, or take the job over by --take-over"},
	owner.ReasonNotOwner:      {coordinator.ReasonSuspend, 0, "this daemon does not own the job"},
	owner.ReasonEpoch:         {coordinator.ReasonSuspend, ckptdv1.Refused_REASON_STALE_EPOCH, "the epoch is not the owner's: attach again"},
	owner.ReasonAttempt:       {coordinator.ReasonFailover, ckptdv1.Refused_REASON_STALE_ATTEMPT, "the attempt is not the journal's: follow the newest Start"},
	owner.ReasonNotOpen:       {coordinator.ReasonSubsumed, ckptdv1.Refused_REASON_NOT_OPEN, "the checkpoint is not open: it has not been triggered, has all its acknowledgements, or was aborted: drop it and wait for the next"},
	owner.ReasonNotPromised:   {coordinator.ReasonTriggerFailed, ckptdv1.Refused_REASON_UNKNOWN_HANDLE, "a file named by its number was not promised to this checkpoint: ask BeginSnapshot, or send the file"},
	owner.ReasonNotNamed:      {coordinator.ReasonTriggerFailed, ckptdv1.Refused_REASON_UNKNOWN_HANDLE, "an uploaded file is not named for this epoch and checkpoint: send it for this one"},
	owner.ReasonSubtasks:      {coordinator.ReasonTriggerFailed, ckptdv1.Refused_REASON_UNKNOWN_HANDLE, "the subtasks are not of the plan, or were acknowledged with others"},
	owner.ReasonNotRunning:    {coordinator.ReasonNotAllRunning, 0, "not all subtasks run"},
	owner.ReasonLoading:       {coordinator.ReasonNotAllRunning, 0, "the retained checkpoints are still being read"},
	owner.ReasonBusy:          {coordinator.ReasonTooManyRequests, 0, "a call like it is waiting already"},
	owner.ReasonFull:          {coordinator.ReasonTriggerFailed, 0, "the journal has no room for another retained checkpoint"},
	owner.ReasonStopping:      {coordinator.ReasonShutdown, 0, "the job is being released or ends"},
	owner.ReasonDegraded:      {coordinator.ReasonTriggerFailed, 0, "a retained _metadata is unreadable, so nothing is deleted: `ckptd verify` names the checkpoint, and `ckptd rm` removes it"},
	owner.ReasonPlan:          {coordinator.ReasonTriggerFailed, ckptdv1.Refused_REASON_PLAN_MISMATCH, "the plan is not the journal's"},
	owner.ReasonRegistered:    {coordinator.ReasonTriggerFailed, ckptdv1.Refused_REASON_CONFIG_MISMATCH, "workers are registered with it: stop all workers first, or attach with what is in effect"},
	owner.ReasonState:         {coordinator.ReasonTriggerFailed, ckptdv1.Refused_REASON_PLAN_MISMATCH, "a checkpoint holds state of these operators, and rescaling is not supported: attach with the plan in effect, or begin a new job id"},
	owner.ReasonImporting:     {coordinator.ReasonNotAllRunning, 0, "the checkpoint that the job begins from is still being imported"},
	owner.ReasonSource:        {coordinator.ReasonTriggerFailed, 0, "its job does not retain it any more"},
	owner.ReasonSourceDamaged: {coordinator.ReasonTriggerFailed, 0, "its _metadata is gone, damaged, or of a kind that this version does not restore"},
	owner.ReasonLender:        {coordinator.ReasonTriggerFailed, 0, "the journal of its job cannot be read, or asks for a newer ckptd"},
	owner.ReasonClaimRunning:  {coordinator.ReasonTriggerFailed, 0, "its job has not ended, so it cannot be claimed"},
	owner.ReasonClaimed:       {coordinator.ReasonTriggerFailed, 0, "another job has claimed it"},
	owner.ReasonPins:          {coordinator.ReasonTriggerFailed, 0, "too many jobs have it or another checkpoint of its job on loan"},
	owner.ReasonNoCheckpoint:  {coordinator.ReasonTriggerFailed, 0, "the job does not retain it"},
	owner.ReasonNewest:        {coordinator.ReasonTriggerFailed, 0, "the job has not ended, and would restore it after a failure: cancel the job first, or wait for a newer checkpoint"},
	owner.ReasonLent:          {coordinator.ReasonTriggerFailed, 0, "other jobs have borrowed it, as `ckptd who-uses` shows: with --hide it goes when they have returned it"},
	owner.ReasonTrashed:       {coordinator.ReasonTriggerFailed, 0, "it is in the trash already: with --now it is deleted at once"},
	owner.ReasonNotTrashed:    {coordinator.ReasonTriggerFailed, 0, "it is not in the trash"},
	owner.ReasonSavepoints:    {coordinator.ReasonTriggerFailed, 0, "32 savepoints of the job are unfinished: wait until one of them is done or cleaned"},
	owner.ReasonCleaned:       {coordinator.ReasonTriggerFailed, 0, "the savepoint came to nothing, and what was written of it is deleted"},
	owner.ReasonTags:          {coordinator.ReasonTriggerFailed, 0, "a job's journal holds 64 tags of 64 bytes each: use fewer or shorter ones"},
	owner.ReasonSubsumed:      {coordinator.ReasonSubsumed, 0, "a newer checkpoint completed first"},
	owner.ReasonMetadata:      {coordinator.ReasonFinalize, 0, "its _metadata could not be written"},
	owner.ReasonAttemptEnded:  {coordinator.ReasonFailover, 0, "a new attempt begins"},
	owner.ReasonExpired:       {coordinator.ReasonExpired, 0, "it took longer than the checkpoint timeout"},
	owner.ReasonDeclined:      {coordinator.ReasonDeclined, 0, "a subtask declined it"},
	owner.ReasonFailover:      {coordinator.ReasonFailover, 0, "the job fails over"},
	owner.ReasonOther:         {coordinator.ReasonDeclined, 0, "the checkpoint was given up"},
}

// ReasonOut returns Flink's name for a reason.
func ReasonOut(r owner.Reason) coordinator.Reason { return reasons[r].flink }

// ReasonText returns the message for a reason.
func ReasonText(r owner.Reason) string { return reasons[r].text }

// ReasonIn converts a reason of the coordinator to the owner machine's, which has fewer. The checkpoint's content keeps
// the exact reason.
func ReasonIn(r coordinator.Reason) owner.Reason {
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

// refusal returns the error of a call that the owner machine Refused; nil: it did not refuse the call.
func Refusal(job string, head *journal.Entry, op *owner.Op) error {
	switch op.Kind {
	case owner.TellFenced, owner.TellReleased:
		return NotAttached(job)
	case owner.TellRedirect:
		return NotOwner(job, op.URLs, op.Epoch)
	case owner.TellChangeRefused:
		return changeRefused(job, op)
	}
	if op.Reason == owner.ReasonNone {
		return nil
	}
	detail := &ckptdv1.Refused{Reason: reasons[op.Reason].api, Status: catalog.Status(op.Status)}
	if head != nil {
		detail.Epoch, detail.Attempt, detail.Status = head.Epoch, head.Attempt, catalog.Status(head.Status)
	}
	text := fmt.Sprintf("job %s: %s", job, ReasonText(op.Reason))
	switch op.Kind {
	case owner.TellBegun:
		text = fmt.Sprintf("begin snapshot of checkpoint %d of job %s: %s", op.ID, job, ReasonText(op.Reason))
	case owner.TellEdited:
		text = editRefused(job, op)
	case owner.TellAcked:
		text = fmt.Sprintf("%s: %s", Acknowledging(job, op.ID), ReasonText(op.Reason))
	}
	switch op.Reason {
	case owner.ReasonNoJob, owner.ReasonNoCheckpoint:
		return connect.NewError(connect.CodeNotFound, errors.New(text))
	case owner.ReasonCorrupt, owner.ReasonForeign:
		return connect.NewError(connect.CodeDataLoss, errors.New(text))
	case owner.ReasonLoading, owner.ReasonBusy, owner.ReasonStopping, owner.ReasonImporting:
		return connect.NewError(connect.CodeUnavailable, errors.New(text))
	case owner.ReasonNotOwner:
		return NotAttached(job)
	}
	return Refused(detail, "%s", text)
}

// editRefused is the text of a person's command that is refused.
func editRefused(job string, op *owner.Op) string {
	switch {
	case op.ID != 0:
		return fmt.Sprintf("checkpoint %d of job %s: %s", op.ID, job, ReasonText(op.Reason))
	case op.Reason == owner.ReasonNotTerminal:
		return fmt.Sprintf("job %s: the job has not ended: cancel it first", job)
	}
	return fmt.Sprintf("job %s: %s", job, ReasonText(op.Reason))
}

// Acknowledging is how the error of each refused acknowledgement begins.
func Acknowledging(job string, checkpoint uint64) string {
	return fmt.Sprintf("acknowledge checkpoint %d of job %s", checkpoint, job)
}

// changeRefused makes the error for a plan or configuration that cannot be applied. It names each difference.
func changeRefused(job string, op *owner.Op) error {
	plan, keys := differences(op)
	detail := &ckptdv1.Refused{
		Reason: ckptdv1.Refused_REASON_CONFIG_MISMATCH, Epoch: op.Head.Epoch, Attempt: op.Head.Attempt, Differences: append(plan, keys...),
	}
	what := "configuration"
	if len(plan) > 0 {
		detail.Reason, what = ckptdv1.Refused_REASON_PLAN_MISMATCH, "plan"
	}
	return Refused(detail, "job %s has another %s (%s), and %s", job, what, text(detail.Differences), ReasonText(op.Reason))
}

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

const (
	// pollEvery is how often the daemon is asked how things are.
	pollEvery = 50 * time.Millisecond
	// sayEvery is how long nothing may be printed while records flow.
	sayEvery = 2 * time.Second
	// reportEvery is a little more than the time after which all workers have reported how far they are.
	reportEvery = 1200 * time.Millisecond
	// phaseRunning is the phase of a job in which records flow.
	phaseRunning = ckptdv1.JobPhase_JOB_PHASE_RUNNING
)

// watch follows what the owner of the job tells, over its restarts.
type watch struct {
	// owner's life, and the last of its events that was read.
	owner string
	seen  uint64
	// records as last reported, and when; until known they are not what is reported, as not all workers have.
	records uint64
	at      time.Time
	known   time.Time
	atEnd   bool
	running bool
	epoch   uint64
	attempt uint64
	// begun is the attempt of the last beginning among the events.
	begun uint64
	// newest complete checkpoint, and whether it completed since the last kill.
	newest uint64
	fresh  bool
	// failed counts aborted checkpoints.
	failed int
	// ended is the terminal status of the job.
	ended ckptdv1.JobStatus
	cause string
	// blamed is the attempt whose first failure cause is, if it is a task's.
	blamed uint64
}

// poll asks how the job is, and prints what is new. nil: no daemon answers, or it does not own the job (yet, or any more).
func (d *demo) poll(ctx context.Context) *ckptdv1.JobState {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	w := &d.watch
	req := &ckptdv1.GetStatusRequest{JobId: d.id, EventsAfter: w.seen}
	res, err := d.people.GetStatus(ctx, req)
	if err == nil && len(res.GetJobs()) == 1 && res.GetJobs()[0].GetOwnerNonce() != w.owner {
		req.EventsAfter = 0 // another owner counts from the beginning
		res, err = d.people.GetStatus(ctx, req)
	}
	if err != nil || len(res.GetJobs()) != 1 {
		w.running = false
		if r := refusal(err); r.GetReason() == ckptdv1.Refused_REASON_JOB_TERMINAL {
			w.ended = r.GetStatus()
		}
		return nil
	}
	s := res.GetJobs()[0]
	w.owner = s.GetOwnerNonce()
	w.running = s.GetPhase() == phaseRunning
	w.epoch, w.attempt = s.GetSummary().GetEpoch(), s.GetSummary().GetAttempt()
	if status := s.GetSummary().GetStatus(); status > ckptdv1.JobStatus_JOB_STATUS_RUNNING {
		w.ended = status
	}
	if w.running && w.at.IsZero() {
		w.stand(0)
	}
	if n := s.GetRecords(); n != w.records && w.running && time.Now().After(w.known) {
		w.records, w.at = n, time.Now()
	}
	for _, e := range s.GetEvents() {
		w.seen = e.GetSequence()
		d.tell(s, e)
	}
	if w.running && d.say.silent() > sayEvery {
		d.say.event("%s%s", d.progress(), waiting(s))
	}
	return s
}

// refusal is the reason that a daemon gave.
func refusal(err error) *ckptdv1.Refused {
	var ce *connect.Error
	if !errors.As(err, &ce) {
		return nil
	}
	for _, detail := range ce.Details() {
		if m, err := detail.Value(); err == nil {
			if r, ok := m.(*ckptdv1.Refused); ok {
				return r
			}
		}
	}
	return nil
}

// tell prints an event of the job that a person wants to see.
func (d *demo) tell(s *ckptdv1.JobState, e *ckptdv1.JobEvent) {
	w := &d.watch
	switch e.GetKind() {
	case ckptdv1.JobEventKind_JOB_EVENT_KIND_ATTEMPT:
		w.atEnd, w.begun = false, e.GetAttempt()
		if d.strike == nil && !strings.HasPrefix(e.GetText(), "adopted") {
			d.say.event("attempt %d begins%s", e.GetAttempt(), from(e.GetCheckpointId()))
		}
		if d.strike != nil {
			d.strike.restored = e.GetCheckpointId()
		}
	case ckptdv1.JobEventKind_JOB_EVENT_KIND_COMPLETED:
		c := e.GetCheckpoint()
		w.newest, w.fresh = e.GetCheckpointId(), true
		d.say.event("checkpoint %d complete in %s: %s new, %s reused%s", c.GetCheckpointId(), durationText(c.GetDuration()),
			bytesText(c.GetNewBytes()), bytesText(c.GetReusedBytes()), d.position())
		d.strike.settle(e)
	case ckptdv1.JobEventKind_JOB_EVENT_KIND_ABORTED:
		w.failed++
		if !d.strike.settle(e) { // else it is said when the job has recovered
			d.say.event("checkpoint %d aborted: %s", e.GetCheckpointId(), e.GetText())
		}
	case ckptdv1.JobEventKind_JOB_EVENT_KIND_TASK_FAILED:
		if e.GetAttempt() < w.begun {
			return // its channels broke because the others were given up already
		}
		if d.strike == nil {
			d.say.event("a task failed: %s", e.GetText())
		}
		if w.blamed != e.GetAttempt() { // else it failed because the first one did
			w.cause, w.blamed = e.GetText(), e.GetAttempt()
		}
	case ckptdv1.JobEventKind_JOB_EVENT_KIND_STORE_AWAY, ckptdv1.JobEventKind_JOB_EVENT_KIND_STORE_BACK, ckptdv1.JobEventKind_JOB_EVENT_KIND_NOT_BEGUN:
		d.say.event("%s", e.GetText())
	case ckptdv1.JobEventKind_JOB_EVENT_KIND_END_OF_DATA:
		w.atEnd = true
		d.say.event("all of the input is read; barriers go on")
	case ckptdv1.JobEventKind_JOB_EVENT_KIND_FAILED, ckptdv1.JobEventKind_JOB_EVENT_KIND_CANCELED:
		d.say.event("the job is %s%s", eventText(e.GetKind()), because(e.GetText()))
		if e.GetText() != "" {
			w.cause = e.GetText()
		}
	}
}

func from(checkpoint uint64) string {
	if checkpoint == 0 {
		return " with empty state"
	}
	return fmt.Sprintf(" with checkpoint %d restored", checkpoint)
}

func because(cause string) string {
	if cause == "" {
		return ""
	}
	return ": " + cause
}

// stand has the estimate go on from a number of records until all workers have reported again.
func (w *watch) stand(records uint64) {
	w.records, w.at, w.known = records, time.Now(), time.Now().Add(reportEvery)
}

// estimate is about how many records are read at this moment: workers report only now and then.
func (d *demo) estimate() uint64 {
	w := &d.watch
	switch {
	case w.atEnd:
		return d.total
	case w.at.IsZero():
		return 0
	}
	since := min(time.Since(w.at), 2*reportEvery)
	if d.strike != nil {
		since = 0
	}
	return min(d.total, w.records+uint64(since.Seconds()*d.rate()))
}

func (d *demo) progress() string {
	n := d.estimate()
	return fmt.Sprintf("about %s of %s records (%d%%)", grouped(n), grouped(d.total), 100*n/max(1, d.total))
}

func (d *demo) position() string {
	if n := d.estimate(); n < d.total {
		return fmt.Sprintf("  (%d%% read)", 100*n/max(1, d.total))
	}
	return ""
}

// waiting says what a checkpoint in progress waits for.
func waiting(s *ckptdv1.JobState) string {
	for _, p := range s.GetPending() {
		return fmt.Sprintf(", checkpoint %d in progress: %d of %d subtasks have acknowledged", p.GetCheckpointId(), p.GetAcknowledged(), p.GetSubtasks())
	}
	return ""
}

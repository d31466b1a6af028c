package demo

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/cmd/ckptd/launch"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

const (
	// pollEvery is the interval at which the demo asks the daemon for the job's state.
	pollEvery = 50 * time.Millisecond
	// sayEvery is the longest time without a printed line while records flow.
	sayEvery = 2 * time.Second
	// reportEvery is a little longer than the time in which all workers report how many records they have read.
	reportEvery = 1200 * time.Millisecond
	// PhaseRunning is the phase of a job in which records flow.
	PhaseRunning = ckptdv1.JobPhase_JOB_PHASE_RUNNING
)

// Watch follows the state and the events of the job, over restarts of its owner.
type Watch struct {
	// owner identifies one life of the owner; seen is the last of its events that was read.
	owner string
	seen  uint64
	// Records is the last known number of records read, at the time at. Until the time known the owner's number does
	// not count, because not all workers have reported to it.
	Records uint64
	at      time.Time
	known   time.Time
	atEnd   bool
	Running bool
	Epoch   uint64
	Attempt uint64
	// before is the number above which those of a job in memory begin; 0: they begin at 1.
	before uint64
	// begun is the attempt in the last event that begins one.
	begun uint64
	// Newest is the newest complete checkpoint; fresh tells whether it completed after the last kill.
	Newest uint64
	fresh  bool
	// Failed counts aborted checkpoints.
	Failed int
	// ended is the terminal status of the job.
	ended ckptdv1.JobStatus
	cause string
	// Blamed is the attempt whose first failure is in cause, if that is the failure of a task.
	Blamed uint64
}

// Poll asks for the job's state and prints new events. It returns nil if no daemon answers, or if the daemon does not
// own the job.
func (d *Demo) Poll(ctx context.Context) *ckptdv1.JobState {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	w := &d.Watch
	res, err := d.Admin.JobStatus(ctx, d.ID, w.seen)
	if err == nil && len(res.GetJobs()) == 1 && res.GetJobs()[0].GetOwnerNonce() != w.owner {
		res, err = d.Admin.JobStatus(ctx, d.ID, 0) // another owner counts its events from 1
	}
	if err != nil || len(res.GetJobs()) != 1 {
		w.Running = false
		if status := client.EndedWith(err); status != 0 {
			w.ended = ckptdv1.JobStatus(status)
		}
		return nil
	}
	s := res.GetJobs()[0]
	w.owner = s.GetOwnerNonce()
	w.Running = s.GetPhase() == PhaseRunning
	if w.before == 0 && s.GetSummary().GetInMemory() {
		w.before = s.GetSummary().GetEpoch() - 1
	}
	w.Epoch, w.Attempt = s.GetSummary().GetEpoch(), s.GetSummary().GetAttempt()
	if status := s.GetSummary().GetStatus(); status > ckptdv1.JobStatus_JOB_STATUS_RUNNING && status != ckptdv1.JobStatus_JOB_STATUS_STOPPING {
		w.ended = status
	}
	if w.Running && w.at.IsZero() {
		w.stand(0)
	}
	if n := s.GetRecords(); n != w.Records && w.Running && time.Now().After(w.known) {
		w.Records, w.at = n, time.Now()
	}
	for _, e := range s.GetEvents() {
		w.seen = e.GetSequence()
		d.tell(s, e)
	}
	if w.Running && d.say.Silent() > sayEvery {
		d.say.Event("%s%s", d.progress(), waiting(s))
	}
	return s
}

// tell prints an event of the job if it is of interest to people.
func (d *Demo) tell(s *ckptdv1.JobState, e *ckptdv1.JobEvent) {
	w := &d.Watch
	switch e.GetKind() {
	case ckptdv1.JobEventKind_JOB_EVENT_KIND_ATTACHED:
		if epoch := s.GetSummary().GetEpoch(); epoch > 1 && d.strike == nil && !s.GetSummary().GetInMemory() { // else it is said with the kill
			d.say.Event("the daemon was gone; the next one owns the job: epoch %d", epoch)
		}
	case ckptdv1.JobEventKind_JOB_EVENT_KIND_ATTEMPT:
		w.atEnd, w.begun = false, e.GetAttempt()
		if d.strike == nil && !strings.HasPrefix(e.GetText(), "adopted") {
			d.say.Event("attempt %d begins%s", e.GetAttempt(), from(e.GetCheckpointId()))
		}
		if d.strike != nil {
			d.strike.restored = e.GetCheckpointId()
		}
	case ckptdv1.JobEventKind_JOB_EVENT_KIND_COMPLETED:
		c := e.GetCheckpoint()
		w.Newest, w.fresh = e.GetCheckpointId(), true
		d.say.Event("checkpoint %d complete in %s: %s new, %s reused%s", c.GetCheckpointId(), output.Duration(c.GetDuration()),
			output.Bytes(c.GetNewBytes()), output.Bytes(c.GetReusedBytes()), d.position())
		d.strike.settle(e)
	case ckptdv1.JobEventKind_JOB_EVENT_KIND_ABORTED:
		w.Failed++
		if !d.strike.settle(e) { // else recovered prints it when the job has recovered
			d.say.Event("checkpoint %d aborted: %s", e.GetCheckpointId(), e.GetText())
		}
	case ckptdv1.JobEventKind_JOB_EVENT_KIND_TASK_FAILED:
		if e.GetAttempt() < w.begun {
			return // a consequence: this worker's channels broke because the others had been given up
		}
		if d.strike == nil {
			d.say.Event("a task failed: %s", e.GetText())
		}
		if w.Blamed != e.GetAttempt() { // else this failure is a consequence of the first one
			w.cause, w.Blamed = e.GetText(), e.GetAttempt()
		}
	case ckptdv1.JobEventKind_JOB_EVENT_KIND_IN_MEMORY, ckptdv1.JobEventKind_JOB_EVENT_KIND_BEGINS_ANEW, ckptdv1.JobEventKind_JOB_EVENT_KIND_STORE_AWAY,
		ckptdv1.JobEventKind_JOB_EVENT_KIND_STORE_BACK, ckptdv1.JobEventKind_JOB_EVENT_KIND_NOT_BEGUN:
		d.say.Event("%s", e.GetText())
	case ckptdv1.JobEventKind_JOB_EVENT_KIND_END_OF_DATA:
		w.atEnd = true
		d.say.Event("all of the input is read; barriers go on")
	case ckptdv1.JobEventKind_JOB_EVENT_KIND_FAILED, ckptdv1.JobEventKind_JOB_EVENT_KIND_CANCELED:
		d.say.Event("the job is %s%s", output.Event(e.GetKind()), because(e.GetText()))
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

// stand makes the estimate start at a number of records, until all workers have reported again.
func (w *Watch) stand(records uint64) {
	w.Records, w.at, w.known = records, time.Now(), time.Now().Add(reportEvery)
}

// estimate is the approximate number of records read by now. It is an estimate because workers report only now and
// then.
func (d *Demo) estimate() uint64 {
	w := &d.Watch
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
	return min(d.total, w.Records+uint64(since.Seconds()*d.rate()))
}

func (d *Demo) progress() string {
	n := d.estimate()
	return fmt.Sprintf("about %s of %s records (%d%%)", launch.Grouped(n), launch.Grouped(d.total), 100*n/max(1, d.total))
}

func (d *Demo) position() string {
	if n := d.estimate(); n < d.total {
		return fmt.Sprintf("  (%d%% read)", 100*n/max(1, d.total))
	}
	return ""
}

// waiting describes the subtasks that a checkpoint in progress waits for.
func waiting(s *ckptdv1.JobState) string {
	for _, p := range s.GetPending() {
		return fmt.Sprintf(", checkpoint %d in progress: %d of %s acknowledged", p.GetCheckpointId(), p.GetAcknowledged(), output.Count(p.GetSubtasks(), "subtask"))
	}
	return ""
}

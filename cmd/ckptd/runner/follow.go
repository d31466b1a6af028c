package runner

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/cmd/ckptd/launch"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

const (
	// pollEvery is the interval at which the runner asks for the job's state.
	pollEvery = 100 * time.Millisecond
	// sayEvery is the longest time without a printed line while records flow.
	sayEvery = 5 * time.Second
	// lastAgain is how long the last checkpoint of a job may take until it is triggered again.
	lastAgain = 10 * time.Second
	// failuresSaid is how many failures of the last checkpoint are said in one line.
	failuresSaid = 5
)

// watch is what is known of the job.
type watch struct {
	owner string
	seen  uint64
	// ended is the terminal status; cause says why.
	ended ckptdv1.JobStatus
	cause string
	// blamed is the attempt whose first failure is in cause.
	blamed uint64
	begun  uint64
	// newest is the newest complete checkpoint.
	newest uint64
	// last is when the last checkpoint was triggered.
	last time.Time
	// failures are those of the last checkpoint, in a row.
	failures int
	// records were read in all at the time at.
	records uint64
	at      time.Time

	mu    sync.Mutex
	notes []string
}

// note keeps a line that another goroutine wants to be said.
func (w *watch) note(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.notes = append(w.notes, text)
}

func (w *watch) takeNotes() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	notes := w.notes
	w.notes = nil
	return notes
}

// follow watches the job to its end. It returns the cause of ctx if ctx ends first.
func (r *Runner) follow(ctx context.Context) error {
	for {
		s := r.poll(ctx)
		for _, text := range r.watch.takeNotes() {
			r.say.Event("%s", text)
		}
		if over, err := r.over(); over {
			return err
		}
		r.finish(ctx, s)
		if !launch.Sleep(ctx, pollEvery) {
			return context.Cause(ctx)
		}
	}
}

// over tells whether the job has ended, and is an error unless it is FINISHED.
func (r *Runner) over() (bool, error) {
	w := &r.watch
	switch w.ended {
	case ckptdv1.JobStatus_JOB_STATUS_UNSPECIFIED:
	case ckptdv1.JobStatus_JOB_STATUS_FINISHED:
		r.say.Event("the job is FINISHED")
		return true, nil
	default:
		text := "run: job " + r.o.Spec.ID + " is " + strings.TrimPrefix(w.ended.String(), "JOB_STATUS_")
		if w.cause != "" {
			text += ": " + w.cause
		}
		return true, errors.New(text)
	}
	for _, p := range r.worker {
		select {
		case <-p.Done():
		default:
			return false, nil
		}
	}
	return len(r.worker) > 0 && w.last.IsZero() && r.lostWorkers(), fmt.Errorf("run: other processes have taken the numbers of all workers of job %s", r.o.Spec.ID)
}

// lostWorkers tells whether all workers have ended for so long that the job's end would be known.
func (r *Runner) lostWorkers() bool {
	if r.watch.at.IsZero() {
		r.watch.at = time.Now()
	}
	return time.Since(r.watch.at) > sayEvery
}

// finish triggers the last checkpoint of a job whose sources have read all. The job is FINISHED with it.
func (r *Runner) finish(ctx context.Context, s *ckptdv1.JobState) {
	w := &r.watch
	if s == nil || s.GetPhase() != running || s.GetSources() == 0 || s.GetSourcesAtEnd() < s.GetSources() || time.Since(w.last) < lastAgain {
		return
	}
	w.last = time.Now()
	try, cancel := context.WithTimeout(ctx, lastAgain)
	defer cancel()
	if _, err := r.admin.Trigger(try, r.o.Spec.ID); err == nil {
		w.failures = 0
	} else {
		// An earlier checkpoint may have ended the job meanwhile, or the store may not answer for a moment.
		if w.failures++; w.failures%failuresSaid == 0 {
			r.say.Event("the last checkpoint is tried again: %v", err)
		}
		w.last = time.Now().Add(min(pollEvery<<w.failures, lastAgain) - lastAgain)
	}
}

// poll asks for the job's state and prints new events. It is nil if no daemon answers or owns the job.
func (r *Runner) poll(ctx context.Context) *ckptdv1.JobState {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	w, id := &r.watch, r.o.Spec.ID
	res, err := r.admin.JobStatus(ctx, id, w.seen)
	if err == nil && len(res.GetJobs()) == 1 && res.GetJobs()[0].GetOwnerNonce() != w.owner {
		res, err = r.admin.JobStatus(ctx, id, 0) // another owner counts its events from 1
	}
	if err != nil || len(res.GetJobs()) != 1 {
		if status := client.EndedWith(err); status != 0 {
			w.ended = ckptdv1.JobStatus(status)
		}
		return nil
	}
	s := res.GetJobs()[0]
	w.owner = s.GetOwnerNonce()
	if status := s.GetSummary().GetStatus(); status > ckptdv1.JobStatus_JOB_STATUS_RUNNING && status != ckptdv1.JobStatus_JOB_STATUS_STOPPING {
		w.ended = status
	}
	for _, e := range s.GetEvents() {
		w.seen = e.GetSequence()
		r.tell(s, e)
	}
	if s.GetPhase() == running && r.say.Silent() > sayEvery {
		r.say.Event("%s", r.progress(s))
	}
	return s
}

// progress says how many records are read.
func (r *Runner) progress(s *ckptdv1.JobState) string {
	w, n := &r.watch, s.GetRecords()
	if n == 0 {
		return "no record is reported yet"
	}
	text := launch.Grouped(n) + " records read"
	if !w.at.IsZero() && n > w.records {
		text += fmt.Sprintf(", %s a second", launch.Grouped(uint64(float64(n-w.records)/time.Since(w.at).Seconds())))
	}
	w.records, w.at = n, time.Now()
	return text
}

// tell prints an event of the job if it is of interest to people.
func (r *Runner) tell(s *ckptdv1.JobState, e *ckptdv1.JobEvent) {
	w := &r.watch
	switch e.GetKind() {
	case ckptdv1.JobEventKind_JOB_EVENT_KIND_ATTACHED:
		if epoch := s.GetSummary().GetEpoch(); epoch > 1 {
			r.say.Event("a daemon owns the job: epoch %d", epoch)
		}
	case ckptdv1.JobEventKind_JOB_EVENT_KIND_ATTEMPT:
		w.begun = e.GetAttempt()
		if strings.HasPrefix(e.GetText(), "adopted") {
			return
		}
		with := "empty state"
		if id := e.GetCheckpointId(); id != 0 {
			with = fmt.Sprintf("checkpoint %d restored", id)
		}
		r.say.Event("attempt %d begins with %s", e.GetAttempt(), with)
	case ckptdv1.JobEventKind_JOB_EVENT_KIND_COMPLETED:
		w.newest = e.GetCheckpointId()
		c := e.GetCheckpoint()
		r.say.Event("checkpoint %d complete in %s: %s new, %s reused; %s", c.GetCheckpointId(), output.Duration(c.GetDuration()),
			output.Bytes(c.GetNewBytes()), output.Bytes(c.GetReusedBytes()), r.progress(s))
	case ckptdv1.JobEventKind_JOB_EVENT_KIND_ABORTED:
		r.say.Event("checkpoint %d aborted: %s", e.GetCheckpointId(), e.GetText())
	case ckptdv1.JobEventKind_JOB_EVENT_KIND_TASK_FAILED:
		if e.GetAttempt() < w.begun || w.blamed == e.GetAttempt() {
			return // a consequence of the attempt's first failure
		}
		w.cause, w.blamed = e.GetText(), e.GetAttempt()
		r.say.Event("a task failed: %s", e.GetText())
	case ckptdv1.JobEventKind_JOB_EVENT_KIND_STORE_AWAY, ckptdv1.JobEventKind_JOB_EVENT_KIND_STORE_BACK, ckptdv1.JobEventKind_JOB_EVENT_KIND_NOT_BEGUN:
		r.say.Event("%s", e.GetText())
	case ckptdv1.JobEventKind_JOB_EVENT_KIND_END_OF_DATA:
		r.say.Event("all of the input is read: one more checkpoint, then the job is finished")
	case ckptdv1.JobEventKind_JOB_EVENT_KIND_FAILED, ckptdv1.JobEventKind_JOB_EVENT_KIND_CANCELED:
		if e.GetText() != "" {
			w.cause = e.GetText()
		}
	}
}

package shell

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/history"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

const (
	// historyEvery is how long a record waits for others before they are written, if they do not fill a segment. Each wait is up to a
	// quarter longer, so that the jobs of a daemon do not write at the same time.
	historyEvery = 10 * time.Minute
	// historyTimeout bounds one write of the history; lastHistoryTimeout bounds that of a job that is let go.
	historyTimeout     = 30 * time.Second
	lastHistoryTimeout = 5 * time.Second
	// historyAgain is when a write that has failed is tried again. It doubles, up to historyEvery.
	historyAgain = 30 * time.Second
)

// HistoryMetrics count what becomes of the records of a daemon's jobs. The methods are called from the goroutines of all jobs.
type HistoryMetrics interface {
	// HistoryWritten counts records that are in a segment.
	HistoryWritten(records int)
	// HistoryFailed counts a write that has failed.
	HistoryFailed()
	// HistoryLost counts records that were dropped because writes have failed for too long.
	HistoryLost(records int)
}

// planHistory plans when the history is written: at once if it fills a segment, else when historyEvery is over. After a failed write
// only its deadline counts.
func (j *Job) planHistory() {
	h := j.history
	now := time.Now()
	if h.due.IsZero() {
		h.due = now.Add(historyEvery + rand.N(historyEvery/4))
	}
	if h.failures == 0 && h.tail.Full(len(h.drafts)) {
		h.due = now
	}
	j.writeHistoryIfDue(now)
}

// writeHistoryIfDue begins to write the history if it is due and no write runs.
func (j *Job) writeHistoryIfDue(now time.Time) {
	h := j.history
	if h == nil || h.due.IsZero() || now.Before(h.due) || h.flight != nil {
		return
	}
	f := h.take(j.id)
	if h.closed || h.epoch == 0 {
		return
	}
	f.tidy = !h.tidy || h.untidied+1 >= history.MergeAt
	h.flight = f
	j.fly(f, historyTimeout, func() { j.do(func() { j.historyWritten(f) }) })
}

// writeHistoryNow writes the history although nothing fills a segment: the job has ended.
func (j *Job) writeHistoryNow() {
	if j.history != nil && !j.history.due.IsZero() {
		j.history.due = time.Now()
		j.writeHistoryIfDue(j.history.due)
	}
}

// writeLastHistory writes what is left when this daemon does not own the job any more. Nothing waits for it but the daemon's end.
func (j *Job) writeLastHistory() {
	h := j.history
	if h == nil || h.closed || h.epoch == 0 || h.due.IsZero() && h.flight == nil {
		return
	}
	f := h.take(j.id)
	if f.before = h.flight; f.before != nil {
		f.sequence, f.last = f.sequence+1, layout.HistoryName{}
	}
	j.fly(f, lastHistoryTimeout, func() {})
}

// fly writes a part of the history in a goroutine of its own, and calls then.
func (j *Job) fly(f *flight, timeout time.Duration, then func()) {
	env := j.env
	if f.limit = history.Limit; env.InMemory {
		f.limit = history.LimitInMemory
	}
	env.Background.Add(1)
	env.crew.run(env.Context, func() {
		defer env.Background.Done()
		if f.before != nil {
			<-f.before.done
		}
		ctx, cancel := context.WithTimeout(env.Context, timeout)
		defer cancel()
		f.write(ctx, env.Collect)
		if m := env.History; m != nil {
			if f.err == nil {
				m.HistoryWritten(f.tail.Len())
			} else {
				m.HistoryFailed()
			}
		}
		close(f.done)
		then()
	})
}

// historyWritten notes the end of a write. What could not be written is tried again later, with what has come since.
func (j *Job) historyWritten(f *flight) {
	h := j.history
	h.flight, h.sequence, h.stale = nil, f.sequence, f.stale[max(0, len(f.stale)-history.MaxSegments):]
	if f.err == nil {
		h.known, h.last, h.failures = f.sequence, f.last, 0
		if h.untidied++; f.tidy && f.tidyErr == nil {
			h.untidied, h.tidy = 0, true
		}
		if f.tidyErr != nil {
			j.warn(j.env.Context, "cannot tidy the history up", "error", f.tidyErr)
		}
		if !h.due.IsZero() {
			j.planHistory()
		}
		return
	}
	if h.failures == 0 {
		j.warn(j.env.Context, "cannot write the history", "error", f.err)
	}
	if lost := h.tail.Before(&f.tail); lost > 0 && j.env.History != nil {
		j.env.History.HistoryLost(lost)
	}
	h.last, h.due = layout.HistoryName{}, time.Now().Add(min(historyAgain<<min(h.failures, 10), historyEvery))
	h.failures++
}

// closeHistory ends the writing of the history of a job that is purged. The function that it returns deletes all segments.
func (j *Job) closeHistory() func(ctx context.Context) error {
	h := j.memory()
	h.closed, h.due = true, time.Time{}
	running, by := h.flight, j.audit.history
	return func(ctx context.Context) error {
		if running != nil {
			select {
			case <-running.done:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		var keys []string
		for info, err := range j.env.Collect.List(ctx, layout.HistoryPrefix(j.id)) {
			if err != nil {
				return err
			}
			if layout.ParseJobKey(info.Key[len(layout.JobPrefix(j.id)):]).Place == layout.PlaceHistory {
				keys = append(keys, info.Key)
			}
		}
		var entries []*ckptdv1.AuditEntry
		for _, key := range keys {
			if e := j.entry(by, by.by != nil, key); e != nil {
				entries = append(entries, e)
			}
		}
		if len(keys) == 0 {
			return nil
		}
		if !j.recorded(ctx, entries) {
			return errNotRecorded
		}
		return errors.Join(j.env.Collect.Delete(ctx, keys)...)
	}
}

var errNotRecorded = errors.New("the audit log could not be written")

package shell

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/ckptd/ckptd/layout/journal"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/coordinator"
)

// outage describes how long the store has refused to read or write a job's journal. The zero value means that the
// store answers.
type outage struct {
	since    time.Time // when the first failed try began
	tries    int       // failed tries since then
	cause    error     // error of the last try
	reported bool      // an event has reported it
}

const (
	// outageDoublings limits the backoff: a delay is at most its first value times 2^outageDoublings.
	outageDoublings = 4
	// outageReported is how long an outage lasts before the job's events report it.
	outageReported = 500 * time.Millisecond
)

// backoff returns the delay before the next try: first, doubled for each failure in a row.
func (a *outage) backoff(first time.Duration) time.Duration {
	return first << min(max(0, a.tries-1), outageDoublings)
}

// storeFailed tells the coordinator the store's error, if it has changed.
func (j *Job) storeFailed(before error) {
	text := func(err error) string {
		if err == nil {
			return ""
		}
		return err.Error()
	}
	if now := text(j.outage.cause); now != text(before) {
		j.coordinate(coordinator.StoreFailed{Cause: now})
	}
}

// String describes an outage that was reported, for the status. Without one it is empty.
func (a *outage) String() string {
	if !a.reported {
		return ""
	}
	return fmt.Sprintf("for %s: %v", time.Since(a.since).Round(time.Second), a.cause)
}

// answered records the result of an operation on the journal that began at the given time.
//
// One event reports that the owner waits for its store, and one that the store answers again. The log gets the first,
// second, fourth, eighth, … of the failures in a row, at WARN once the event has reported them.
func (a *outage) answered(log *slog.Logger, event func(kind ckptdv1.JobEventKind, format string, args ...any), began time.Time, outcome journal.Outcome, err error) {
	if err == nil || (outcome != journal.Unknown && outcome != journal.NotDone) {
		if err != nil && outcome != journal.Exists && outcome != journal.NotFound {
			log.Warn("the journal cannot be used", "error", err)
		}
		if a.reported {
			event(ckptdv1.JobEventKind_JOB_EVENT_KIND_STORE_BACK, "the store answers again, after %s (tries: %d)", time.Since(a.since).Round(time.Millisecond), a.tries)
		}
		*a = outage{}
		return
	}
	if a.tries == 0 {
		a.since = began
	}
	a.tries++
	a.cause = err
	if a.tries&(a.tries-1) == 0 {
		level := slog.LevelDebug
		if a.reported {
			level = slog.LevelWarn
		}
		log.Log(context.Background(), level, "the store does not answer for the journal", "tries", a.tries, "error", err)
	}
	if !a.reported && time.Since(a.since) >= outageReported {
		a.reported = true
		event(ckptdv1.JobEventKind_JOB_EVENT_KIND_STORE_AWAY, "the owner waits for its store, and no checkpoint can begin or complete before it answers: %v", err)
	}
}

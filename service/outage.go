package service

import (
	"fmt"
	"time"

	"github.com/ckptd/ckptd/layout/journal"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// outage is what a job's owner knows of a store that does not take or show journal entries. The zero value: it does.
type outage struct {
	since    time.Time // of the first try that failed
	tries    int       // that failed since then
	cause    error     // of the last
	reported bool      // people were
}

const (
	// outageDoublings: waits become longer with each failure, up to 2^outageDoublings times.
	outageDoublings = 4
	// outageReported is how long a store has to be away for people to be told.
	outageReported = 500 * time.Millisecond
)

// backoff is how long to wait instead of wait, which is meant for the first repetition.
func (a *outage) backoff(wait time.Duration) time.Duration {
	return wait << min(max(0, a.tries-1), outageDoublings)
}

// String is empty unless the store is waited for.
func (a *outage) String() string {
	if !a.reported {
		return ""
	}
	return fmt.Sprintf("for %s: %v", time.Since(a.since).Round(time.Second), a.cause)
}

// journalAnswered notes how an operation on the journal that began at some time went: people are told once that the owner waits for its store, and once that
// it does no more; the log has the first of 1, 2, 4, 8, … failures in a row.
func (j *job) journalAnswered(began time.Time, outcome journal.Outcome, err error) {
	a := &j.outage
	if err == nil || (outcome != journal.Unknown && outcome != journal.NotDone) {
		if err != nil && outcome != journal.Exists && outcome != journal.NotFound {
			j.log.Warn("journal", "err", err)
		}
		if a.reported {
			j.eventf(ckptdv1.JobEventKind_JOB_EVENT_KIND_STORE_BACK, "the store answers again, after %s and %d tries", time.Since(a.since).Round(time.Millisecond), a.tries)
		}
		*a = outage{}
		return
	}
	if j.ops.Err() != nil {
		return // let go: that is no news of the store
	}
	if a.tries == 0 {
		a.since = began
	}
	a.tries++
	a.cause = err
	if a.tries&(a.tries-1) == 0 {
		j.log.Warn("journal", "err", err, "tries", a.tries)
	}
	if !a.reported && time.Since(a.since) >= outageReported {
		a.reported = true
		j.eventf(ckptdv1.JobEventKind_JOB_EVENT_KIND_STORE_AWAY, "the owner waits for its store, and no checkpoint can begin or complete before it answers: %v", err)
	}
}

package clicks

import (
	"time"

	"github.com/ckptd/ckptd/runtime/state"
)

const (
	// nap is the longest that a limited source sleeps in one Next.
	nap = state.MaxWait * time.Millisecond / 2
	// credit is how much of a pause, by whatever, is made up for.
	credit = 100 * time.Millisecond
)

// limited hands out a source's records at a rate.
type limited struct {
	state.Source
	// rate in records a second.
	rate float64
	// since is when the records handed out began to count; allowed is how many may have been since, as of the last look at the clock.
	since   time.Time
	handed  uint64
	allowed uint64
}

// Next implements state.Source.
func (l *limited) Next(rec *state.Record) (state.Readiness, error) {
	if l.handed >= l.allowed && !l.wait() {
		return state.NotNow, nil
	}
	ready, err := l.Source.Next(rec)
	if ready == state.Ready {
		l.handed++
	}
	return ready, err
}

// wait says whether a record is allowed now, after a nap if need be.
func (l *limited) wait() bool {
	now := time.Now()
	if l.since.IsZero() {
		l.since = now
	}
	due := l.since.Add(time.Duration(float64(l.handed+1) / l.rate * float64(time.Second)))
	if late := now.Sub(due); late > credit {
		l.since = l.since.Add(late - credit)
	} else if late < 0 {
		time.Sleep(min(nap, -late))
		if now = time.Now(); now.Before(due) {
			return false
		}
	}
	l.allowed = max(l.handed+1, uint64(now.Sub(l.since).Seconds()*l.rate))
	return true
}

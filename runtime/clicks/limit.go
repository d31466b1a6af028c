package clicks

import (
	"time"

	"github.com/ckptd/ckptd/runtime/state"
)

const (
	// nap is the longest time that a limited source sleeps in one Next.
	nap = state.MaxWait * time.Millisecond / 2
	// credit is the longest delay, of any cause, that the source catches up with.
	credit = 100 * time.Millisecond
)

// limited passes on a source's records at a limited rate.
type limited struct {
	state.Source
	// rate in records a second.
	rate float64
	// since is when counting began. allowed is the number of records allowed since then, as of the last look at the
	// clock.
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

// wait reports whether a record is allowed now; it may sleep for a nap before.
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

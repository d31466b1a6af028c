package runtime

import "time"

// pacer limits the records a second, in steps of about paceStep.
type pacer struct {
	rate    float64
	every   int
	handed  int
	started time.Time
}

const paceStep = 5 * time.Millisecond

func newPacer(rate float64) *pacer {
	return &pacer{rate: rate, every: max(int(rate*paceStep.Seconds()), 1)}
}

// next counts a record and returns how long to wait before the next one.
func (p *pacer) next() time.Duration {
	if p.rate <= 0 {
		return 0
	}
	if p.handed++; p.handed%p.every != 0 {
		return 0
	}
	now := time.Now()
	if p.started.IsZero() {
		p.started = now
	}
	wait := time.Duration(float64(p.handed)/p.rate*float64(time.Second)) - now.Sub(p.started)
	if wait < -time.Second {
		// After a long delay the source must not catch up in a burst.
		p.started, p.handed = now, 0
	}
	return max(wait, 0)
}

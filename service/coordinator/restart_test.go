package coordinator

import (
	"testing"
	"time"
)

// Flink's FailureRateRestartBackoffTimeStrategy keeps the times of the last max-failures-per-interval + 1 failures, the
// newest included. It allows no restart if it has that many and the oldest is not longer ago than the interval.
func TestFailureRate(t *testing.T) {
	const ms = time.Millisecond
	for name, c := range map[string]struct {
		most     int
		interval time.Duration
		// at are the times of failures; the job ends with the failure of this index, or with none.
		at   []time.Duration
		ends int
	}{
		"as many failures as allowed are followed by restarts": {3, 10 * ms, []time.Duration{0, 0, 0}, -1},
		"one more within the interval ends the job":            {3, 10 * ms, []time.Duration{0, 0, 0, 0}, 3},
		"one failure each interval never ends it":              {1, ms, []time.Duration{0, 2 * ms, 4 * ms, 6 * ms}, -1},
		"exactly the interval is within it":                    {1, 10 * ms, []time.Duration{0, 10 * ms}, 1},
		"just longer than the interval is not":                 {1, 10 * ms, []time.Duration{0, 10*ms + 1, 20*ms + 2}, -1},
		"the oldest failures are forgotten":                    {2, 10 * ms, []time.Duration{0, 6 * ms, 11 * ms, 17 * ms, 20 * ms}, 4},
		"a burst after a quiet time":                           {2, 10 * ms, []time.Duration{0, time.Second, time.Second, time.Second}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			p := Restart{Strategy: FailureRate, Attempts: c.most, Interval: c.interval, Delay: ms}
			var r restarts
			began, ends := time.Unix(1, 0), -1
			for i, at := range c.at {
				now := began.Add(at)
				if !r.may(p, now) {
					ends = i
					break
				}
				if next := r.next(p, now, nil); next != now.Add(ms) {
					t.Errorf("failure %d is followed by a restart at %v, want after the delay", i, next.Sub(began))
				}
			}
			if ends != c.ends {
				t.Errorf("the job ends with failure %d, want %d", ends, c.ends)
			}
		})
	}
}

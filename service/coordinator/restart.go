package coordinator

import (
	"math"
	"math/rand/v2"
	"time"
)

// Strategy is one of Flink's restart strategies.
type Strategy uint8

// The strategies. NoRestart, the zero value, ends the job at its first failure.
const (
	NoRestart Strategy = iota
	// FixedDelay restarts the job Attempts times in all.
	FixedDelay
	// FailureRate restarts the job unless more than Attempts failures came within Interval.
	FailureRate
	// ExponentialDelay waits longer after each failure. It begins anew after an attempt that lasted.
	ExponentialDelay
)

// Restart says what follows the failure of an attempt. The zero value is the strategy NoRestart.
type Restart struct {
	Strategy Strategy
	// Attempts is how many failures are followed by a restart: in the job's life (FixedDelay), within Interval
	// (FailureRate), or in a row without a quiet time (ExponentialDelay). Never stands for any number.
	Attempts int
	// Delay is the time between a failure and the next attempt. With ExponentialDelay it is the first and shortest one.
	Delay time.Duration
	// Interval is the time within which FailureRate counts failures.
	Interval time.Duration

	// MaxDelay is ExponentialDelay's longest delay.
	MaxDelay time.Duration
	// Multiplier makes each delay of ExponentialDelay longer than the one before.
	Multiplier float64
	// Jitter is the share of a delay by which ExponentialDelay makes it longer or shorter at random.
	Jitter float64
	// ResetAfter is the quiet time after which ExponentialDelay begins anew. It counts from the end of the last delay.
	ResetAfter time.Duration
}

// restarts is what a restart strategy remembers of a job's failures.
type restarts struct {
	// used counts the failures that were followed by a restart. ExponentialDelay sets it to zero after a quiet time.
	used int
	// recent are the times of the last failures, the oldest first. Only FailureRate keeps them, at most Attempts.
	recent []time.Time
	// until is the end of the last delay.
	until time.Time
}

// may tells whether the strategy allows a restart after a failure at this time. It changes nothing.
func (r *restarts) may(p Restart, now time.Time) bool {
	switch p.Strategy {
	case FixedDelay:
		return r.used < p.Attempts || p.Attempts >= Never
	case FailureRate:
		return len(r.recent) < p.Attempts || p.Attempts > 0 && now.Sub(r.recent[len(r.recent)-p.Attempts]) > p.Interval
	case ExponentialDelay:
		return r.used < p.Attempts || p.Attempts >= Never || r.quiet(p, now)
	}
	return false
}

// quiet tells whether the job has run long enough since the last delay for ExponentialDelay to begin anew.
func (r *restarts) quiet(p Restart, now time.Time) bool { return now.Sub(r.until) >= p.ResetAfter }

// next counts a failure that may be followed by a restart, and returns the time of the restart.
func (r *restarts) next(p Restart, now time.Time, random *rand.PCG) time.Time {
	delay := p.Delay
	switch p.Strategy {
	case FailureRate:
		r.recent = append(r.recent, now)
		r.recent = r.recent[max(0, len(r.recent)-p.Attempts):]
		for len(r.recent) > 0 && now.Sub(r.recent[0]) > p.Interval {
			r.recent = r.recent[1:]
		}
	case ExponentialDelay:
		if r.quiet(p, now) {
			r.used = 0
		}
		delay = p.backoff(r.used, random)
	}
	r.used++
	r.until = now.Add(delay)
	return r.until
}

// backoff returns ExponentialDelay's delay after the given number of failures. It lies between Delay and MaxDelay.
func (p Restart) backoff(failures int, random *rand.PCG) time.Duration {
	longest := max(p.MaxDelay, p.Delay)
	exact := float64(p.Delay) * math.Pow(max(p.Multiplier, 1), float64(failures))
	if exact += exact * p.Jitter * (2*rand.New(random).Float64() - 1); exact >= float64(longest) {
		return longest
	}
	return max(p.Delay, time.Duration(exact))
}

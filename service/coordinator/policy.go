package coordinator

import (
	"cmp"
	"math"
	"time"
)

// Never is a number of tolerable failures or of restarts that is never used up (Flink: the largest int).
const Never = math.MaxInt32

// NoInterval is a BacklogInterval without periodic checkpoints.
const NoInterval time.Duration = -1

// DefaultTimeout is Flink's.
const DefaultTimeout = 10 * time.Minute

// Policy is what a job's configuration says about time and failures. Package config makes one from Flink's keys.
type Policy struct {
	// Interval is the base period of periodic checkpoints; 0: none.
	Interval time.Duration
	// Timeout is the time from the trigger of a checkpoint to its completion; 0 means DefaultTimeout.
	Timeout time.Duration
	// MinPause is the least time from a completion to the next periodic trigger. If it is larger than Interval, Interval is
	// raised to it.
	MinPause time.Duration
	// MaxConcurrent is how many checkpoints may be pending at a time; 0 means 1.
	MaxConcurrent int
	// BacklogInterval is the period while a source works off a backlog. 0: Interval; NoInterval: no periodic checkpoints meanwhile.
	BacklogInterval time.Duration
	// StopAfterFinish: no checkpoint begins in an attempt in which a subtask has finished.
	StopAfterFinish bool
	// TolerableFailures is how many consecutive counted failures are tolerated.
	TolerableFailures int
	// Restart says what follows a failed attempt.
	Restart Restart
}

// Times are the durations that no key of Flink's sets; 0 means the default. None decides more than whether to try.
type Times struct {
	// Grace is how long the same process may take to come back after its stream broke.
	Grace time.Duration
	// Ping is the time between two pings.
	Ping time.Duration
	// Silence is how long a worker whose stream stands may say nothing.
	Silence time.Duration
	// Registration is how long a new owner waits for the workers of the attempt it found.
	Registration time.Duration
}

// DefaultTimes are the times of a daemon that was told nothing else.
func DefaultTimes() Times {
	return Times{Grace: time.Second, Ping: time.Second, Silence: 5 * time.Second, Registration: 10 * time.Second}
}

// maxQueued is how many requests may wait for their turn.
const maxQueued = 1000

// normalized fills in what was left out.
func (p Policy) normalized() Policy {
	if p.MaxConcurrent <= 0 {
		p.MaxConcurrent = 1
	}
	if p.Timeout <= 0 {
		p.Timeout = DefaultTimeout
	}
	if p.Interval > 0 && p.Interval < p.MinPause {
		p.Interval = p.MinPause
	}
	if p.BacklogInterval > 0 {
		p.BacklogInterval = max(p.BacklogInterval, p.Interval)
	}
	return p
}

// normalized fills in what was left out.
func (t Times) normalized() Times {
	d := DefaultTimes()
	return Times{
		Grace:        cmp.Or(t.Grace, d.Grace),
		Ping:         cmp.Or(t.Ping, d.Ping),
		Silence:      cmp.Or(t.Silence, d.Silence),
		Registration: cmp.Or(t.Registration, d.Registration),
	}
}

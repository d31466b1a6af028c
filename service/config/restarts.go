package config

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/coordinator"
)

// Flink's keys about restarts.
const (
	keyRestart = "restart-strategy.type"

	fixedDelay  = "restart-strategy.fixed-delay."
	keyAttempts = fixedDelay + "attempts"
	keyDelay    = fixedDelay + "delay"

	failureRate     = "restart-strategy.failure-rate."
	keyMaxFailures  = failureRate + "max-failures-per-interval"
	keyRateInterval = failureRate + "failure-rate-interval"
	keyRateDelay    = failureRate + "delay"

	exponentialDelay  = "restart-strategy.exponential-delay."
	keyInitialBackoff = exponentialDelay + "initial-backoff"
	keyMaxBackoff     = exponentialDelay + "max-backoff"
	keyMultiplier     = exponentialDelay + "backoff-multiplier"
	keyResetAfter     = exponentialDelay + "reset-backoff-threshold"
	keyJitter         = exponentialDelay + "jitter-factor"
	keyResetAttempts  = exponentialDelay + "attempts-before-reset-backoff"
)

// Flink's defaults and limits of restarts.
const (
	defaultRestartDelay = time.Second
	defaultRateInterval = time.Minute
	defaultMaxBackoff   = time.Minute
	defaultMultiplier   = 1.5
	defaultResetAfter   = time.Hour
	defaultJitter       = 0.1
	// leastBackoff is the shortest back-off, quiet time and interval of failures.
	leastBackoff = time.Millisecond
)

// strategies are Flink's names of the restart strategies, the usual spelling first.
func strategies() map[ckptdv1.RestartStrategy_Type][]string {
	return map[ckptdv1.RestartStrategy_Type][]string{
		ckptdv1.RestartStrategy_TYPE_NONE:              {"none", "off", "disable"},
		ckptdv1.RestartStrategy_TYPE_FIXED_DELAY:       {"fixed-delay", "fixeddelay"},
		ckptdv1.RestartStrategy_TYPE_FAILURE_RATE:      {"failure-rate", "failurerate"},
		ckptdv1.RestartStrategy_TYPE_EXPONENTIAL_DELAY: {"exponential-delay", "exponentialdelay"},
	}
}

// setStrategy accepts Flink's names of the restart strategies.
func setStrategy(f *File, v string) error {
	for kind, names := range strategies() {
		for _, name := range names {
			if strings.EqualFold(v, name) {
				f.strategy().Type = kind
				return nil
			}
		}
	}
	return fmt.Errorf("%q is unknown; allowed is exponential-delay, fixed-delay, failure-rate or none", v)
}

// restarting returns the keys about restarts. Only the keys of the strategy in effect have a value.
func restarting() []option {
	types := map[coordinator.Strategy]ckptdv1.RestartStrategy_Type{
		coordinator.NoRestart: ckptdv1.RestartStrategy_TYPE_NONE, coordinator.FixedDelay: ckptdv1.RestartStrategy_TYPE_FIXED_DELAY,
		coordinator.FailureRate: ckptdv1.RestartStrategy_TYPE_FAILURE_RATE, coordinator.ExponentialDelay: ckptdv1.RestartStrategy_TYPE_EXPONENTIAL_DELAY,
	}
	only := func(s coordinator.Strategy, value func(r coordinator.Restart) any) func(string, Job) any {
		return func(_ string, j Job) any {
			if j.Policy.Restart.Strategy != s {
				return nil
			}
			return value(j.Policy.Restart)
		}
	}
	attempts := func(r coordinator.Restart) any { return r.Attempts }
	delay := func(r coordinator.Restart) any { return FormatDuration(r.Delay) }
	const exponential = coordinator.ExponentialDelay
	return []option{
		{key: keyRestart, old: []string{"restart-strategy"}, set: setStrategy,
			get: func(_ string, j Job) any { return strategies()[types[j.Policy.Restart.Strategy]][0] }},
		{key: keyAttempts, get: only(coordinator.FixedDelay, attempts),
			set: func(f *File, v string) (err error) {
				f.strategy().Attempts, err = number(v, 0, coordinator.Never)
				return err
			}},
		{key: keyDelay, get: only(coordinator.FixedDelay, delay),
			set: func(f *File, v string) (err error) {
				f.strategy().Delay, err = between(v, 0, longestDuration)
				return err
			}},
		{key: keyMaxFailures, get: only(coordinator.FailureRate, attempts),
			set: func(f *File, v string) (err error) {
				f.failureRate().MaxFailuresPerInterval, err = number(v, 1, coordinator.Never)
				return err
			}},
		{key: keyRateInterval, get: only(coordinator.FailureRate, func(r coordinator.Restart) any { return FormatDuration(r.Interval) }),
			set: func(f *File, v string) (err error) {
				f.failureRate().FailureRateInterval, err = between(v, leastBackoff, longestDuration)
				return err
			}},
		{key: keyRateDelay, get: only(coordinator.FailureRate, delay),
			set: func(f *File, v string) (err error) {
				f.failureRate().Delay, err = between(v, 0, longestDuration)
				return err
			}},
		{key: keyInitialBackoff, get: only(exponential, delay),
			set: func(f *File, v string) (err error) {
				f.exponentialDelay().InitialBackoff, err = between(v, leastBackoff, longestDuration)
				return err
			}},
		{key: keyMaxBackoff, get: only(exponential, func(r coordinator.Restart) any { return FormatDuration(r.MaxDelay) }),
			set: func(f *File, v string) (err error) {
				f.exponentialDelay().MaxBackoff, err = between(v, leastBackoff, longestDuration)
				return err
			}},
		{key: keyMultiplier, get: only(exponential, func(r coordinator.Restart) any { return r.Multiplier }),
			set: func(f *File, v string) (err error) {
				f.exponentialDelay().BackoffMultiplier, err = decimal(v, checkMultiplier)
				return err
			}},
		{key: keyResetAfter, get: only(exponential, func(r coordinator.Restart) any { return FormatDuration(r.ResetAfter) }),
			set: func(f *File, v string) (err error) {
				f.exponentialDelay().ResetBackoffThreshold, err = between(v, leastBackoff, longestDuration)
				return err
			}},
		{key: keyJitter, get: only(exponential, func(r coordinator.Restart) any { return r.Jitter }),
			set: func(f *File, v string) error {
				jitter, err := decimal(v, checkJitter)
				f.exponentialDelay().JitterFactor = &jitter
				return err
			}},
		{key: keyResetAttempts, get: only(exponential, attempts),
			set: func(f *File, v string) (err error) {
				f.exponentialDelay().AttemptsBeforeResetBackoff, err = number(v, 1, coordinator.Never)
				return err
			}},
	}
}

// strategy returns the restart strategy, an empty one if there was none.
func (f *File) strategy() *ckptdv1.RestartStrategy {
	if f.Job.RestartStrategy == nil {
		f.Job.RestartStrategy = &ckptdv1.RestartStrategy{}
	}
	return f.Job.RestartStrategy
}

func (f *File) failureRate() *ckptdv1.FailureRate {
	if f.strategy().FailureRate == nil {
		f.strategy().FailureRate = &ckptdv1.FailureRate{}
	}
	return f.strategy().FailureRate
}

func (f *File) exponentialDelay() *ckptdv1.ExponentialDelay {
	if f.strategy().ExponentialDelay == nil {
		f.strategy().ExponentialDelay = &ckptdv1.ExponentialDelay{}
	}
	return f.strategy().ExponentialDelay
}

// settleStrategy fills in what a file leaves out of its restart strategy. If the file gives keys of one strategy but no
// type, that strategy is meant. Flink would ignore the keys, which nobody who writes them intends.
func (f *File) settleStrategy(given map[string]pair) error {
	s := f.Job.RestartStrategy
	if s == nil {
		return nil
	}
	_, attempts := given[keyAttempts]
	_, delay := given[keyDelay]
	if s.Type == ckptdv1.RestartStrategy_TYPE_UNSPECIFIED {
		var meant []string
		for _, group := range []struct {
			given bool
			kind  ckptdv1.RestartStrategy_Type
		}{
			{attempts || delay, ckptdv1.RestartStrategy_TYPE_FIXED_DELAY},
			{s.FailureRate != nil, ckptdv1.RestartStrategy_TYPE_FAILURE_RATE},
			{s.ExponentialDelay != nil, ckptdv1.RestartStrategy_TYPE_EXPONENTIAL_DELAY},
		} {
			if group.given {
				s.Type, meant = group.kind, append(meant, strategies()[group.kind][0])
			}
		}
		if len(meant) > 1 {
			return fmt.Errorf("config: the file has keys of %s, but does not say which strategy is in effect: add %s: %s", strings.Join(meant, " and "),
				keyRestart, meant[0])
		}
		if delay && !attempts { // a delay alone does not limit the restarts
			s.Attempts = coordinator.Never
		}
		return nil
	}
	if s.Type == ckptdv1.RestartStrategy_TYPE_FIXED_DELAY && !attempts {
		s.Attempts = 1 // Flink's default
	}
	return nil
}

// restart returns the restart strategy in effect. Flink's default is the exponential delay for a job that takes
// checkpoints, and no restart for a job that takes none.
func restart(s *ckptdv1.RestartStrategy, checkpointing bool, duration durations) (coordinator.Restart, error) {
	e, rate := s.GetExponentialDelay(), s.GetFailureRate()
	fixed := coordinator.Restart{Strategy: coordinator.FixedDelay, Attempts: int(s.GetAttempts()),
		Delay: duration(keyDelay, s.GetDelay(), defaultRestartDelay, 0, longestDuration)}
	failures := coordinator.Restart{Strategy: coordinator.FailureRate, Attempts: int(or(rate.GetMaxFailuresPerInterval(), 1)),
		Interval: duration(keyRateInterval, rate.GetFailureRateInterval(), defaultRateInterval, leastBackoff, longestDuration),
		Delay:    duration(keyRateDelay, rate.GetDelay(), defaultRestartDelay, 0, longestDuration)}
	exponential := coordinator.Restart{Strategy: coordinator.ExponentialDelay, Attempts: int(or(e.GetAttemptsBeforeResetBackoff(), coordinator.Never)),
		Delay:      duration(keyInitialBackoff, e.GetInitialBackoff(), defaultRestartDelay, leastBackoff, longestDuration),
		MaxDelay:   duration(keyMaxBackoff, e.GetMaxBackoff(), defaultMaxBackoff, leastBackoff, longestDuration),
		ResetAfter: duration(keyResetAfter, e.GetResetBackoffThreshold(), defaultResetAfter, leastBackoff, longestDuration),
		Multiplier: or(e.GetBackoffMultiplier(), defaultMultiplier), Jitter: defaultJitter}
	if e != nil && e.JitterFactor != nil {
		exponential.Jitter = e.GetJitterFactor()
	}
	if err := checkRestarts(fixed, failures, exponential); err != nil {
		return coordinator.Restart{}, err
	}
	switch kind := kindOf(s, checkpointing); kind {
	case ckptdv1.RestartStrategy_TYPE_NONE:
		return coordinator.Restart{}, nil
	case ckptdv1.RestartStrategy_TYPE_FIXED_DELAY:
		if fixed.Attempts == 0 {
			return coordinator.Restart{}, nil // a job that is not restarted has no delay either
		}
		return fixed, nil
	case ckptdv1.RestartStrategy_TYPE_FAILURE_RATE:
		return failures, nil
	case ckptdv1.RestartStrategy_TYPE_EXPONENTIAL_DELAY:
		return exponential, nil
	default:
		return coordinator.Restart{}, fmt.Errorf("config: %s: unknown value %d: a newer ckptd may know it", keyRestart, kind)
	}
}

// kindOf returns the type of a restart strategy, with Flink's default for one without.
func kindOf(s *ckptdv1.RestartStrategy, checkpointing bool) ckptdv1.RestartStrategy_Type {
	switch {
	case s.GetType() != ckptdv1.RestartStrategy_TYPE_UNSPECIFIED:
		return s.GetType()
	case s.GetAttempts() > 0:
		return ckptdv1.RestartStrategy_TYPE_FIXED_DELAY
	case checkpointing:
		return ckptdv1.RestartStrategy_TYPE_EXPONENTIAL_DELAY
	}
	return ckptdv1.RestartStrategy_TYPE_NONE
}

// checkRestarts refuses numbers out of range, whichever strategy is in effect.
func checkRestarts(fixed, failures, exponential coordinator.Restart) error {
	var bad []error
	refuse := func(key string, err error) {
		if err != nil {
			bad = append(bad, fmt.Errorf("config: %s: %w", key, err))
		}
	}
	for _, n := range []struct {
		key             string
		attempts, least int
	}{{keyAttempts, fixed.Attempts, 0}, {keyMaxFailures, failures.Attempts, 1}, {keyResetAttempts, exponential.Attempts, 1}} {
		if n.attempts > coordinator.Never {
			refuse(n.key, fmt.Errorf("%d is out of range; allowed is %d to %d", n.attempts, n.least, coordinator.Never))
		}
	}
	refuse(keyMultiplier, checkMultiplier(exponential.Multiplier))
	refuse(keyJitter, checkJitter(exponential.Jitter))
	if exponential.Delay > exponential.MaxDelay {
		refuse(keyInitialBackoff, fmt.Errorf("%s is longer than %s, %s; raise the latter", FormatDuration(exponential.Delay), keyMaxBackoff,
			FormatDuration(exponential.MaxDelay)))
	}
	return errors.Join(bad...)
}

func checkMultiplier(v float64) error {
	if !(v > 1) || math.IsInf(v, 1) {
		return fmt.Errorf("%v is out of range; allowed is a number above 1, like %v", v, defaultMultiplier)
	}
	return nil
}

func checkJitter(v float64) error {
	if !(v >= 0 && v <= 1) {
		return fmt.Errorf("%v is out of range; allowed is 0 to 1, like %v", v, defaultJitter)
	}
	return nil
}

// durations reads one duration of the API: its key, the value, its default, the least and the most. It notes an error.
type durations func(key string, d *durationpb.Duration, def, least, most time.Duration) time.Duration

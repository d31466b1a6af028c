package config

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/ckptd/ckptd/layout/journal"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/coordinator"
)

// Flink's limits and defaults, and our own where Flink has none.
const (
	// leastDuration is the least interval and timeout.
	leastDuration = 10 * time.Millisecond
	// longestPause is where Flink caps the pause.
	longestPause = 365 * 24 * time.Hour
	// longestDuration bounds what is added to the time of day; far above anything that is meant.
	longestDuration = 100 * longestPause
	// defaultRestartDelay is Flink's restart-strategy.fixed-delay.delay.
	defaultRestartDelay = time.Second
	// mostRetained is what fits a journal entry.
	mostRetained = journal.MaxRetained
)

// Job is a job's configuration with every default filled in and every limit checked.
type Job struct {
	Mode        ckptdv1.CheckpointingMode
	Retention   ckptdv1.Retention
	NumRetained int
	// Policy is what the coordinator acts upon.
	Policy coordinator.Policy
}

// Effective fills in the defaults of a configuration that came in by the API and refuses what is out of range, naming Flink's key.
// Absent (nil) is a job without periodic checkpoints.
func Effective(c *ckptdv1.JobConfig) (Job, error) {
	var bad []error
	duration := func(key string, d *durationpb.Duration, def, least, most time.Duration) time.Duration {
		if d == nil {
			return def
		}
		v := d.AsDuration()
		if err := d.CheckValid(); err != nil {
			bad = append(bad, fmt.Errorf("config: %s: not a duration", key))
		} else if v < least || v > most {
			bad = append(bad, fmt.Errorf("config: %s: %s is out of range; allowed is %s to %s", key, v, FormatDuration(least), FormatDuration(most)))
		}
		return v
	}
	j := Job{
		Mode:        or(c.GetMode(), ckptdv1.CheckpointingMode_CHECKPOINTING_MODE_EXACTLY_ONCE),
		Retention:   or(c.GetRetention(), ckptdv1.Retention_RETENTION_NO_EXTERNALIZED_CHECKPOINTS),
		NumRetained: int(or(c.GetNumRetained(), 1)),
		Policy: coordinator.Policy{
			Interval:          duration(keyInterval, c.GetInterval(), 0, 0, longestDuration),
			Timeout:           duration(keyTimeout, c.GetTimeout(), coordinator.DefaultTimeout, leastDuration, longestDuration),
			MinPause:          duration(keyMinPause, c.GetMinPause(), 0, 0, longestPause),
			MaxConcurrent:     1,
			TolerableFailures: int(c.GetTolerableFailedCheckpoints()),
		},
	}
	if j.Policy.Interval < leastDuration {
		j.Policy.Interval = 0 // Flink: disabled
	}
	bad = append(bad, j.checkNumbers(), j.checkEnums())
	delay := duration(keyDelay, c.GetRestartStrategy().GetDelay(), defaultRestartDelay, 0, longestDuration)
	var err error
	j.Policy.Restart, err = restart(c.GetRestartStrategy(), delay, j.Policy.Interval > 0)
	if err := errors.Join(append(bad, err)...); err != nil {
		return Job{}, err
	}
	return j, nil
}

func (j Job) checkNumbers() error {
	if j.Policy.TolerableFailures > coordinator.Never {
		return fmt.Errorf("config: %s: %d is out of range; allowed is 0 to %d", keyTolerable, j.Policy.TolerableFailures, coordinator.Never)
	}
	if j.NumRetained > mostRetained {
		return fmt.Errorf("config: %s: %d is out of range; allowed is 1 to %d", keyNumRetained, j.NumRetained, mostRetained)
	}
	return nil
}

// checkEnums refuses values of a newer client.
func (j Job) checkEnums() error {
	if _, ok := ckptdv1.CheckpointingMode_name[int32(j.Mode)]; !ok {
		return fmt.Errorf("config: %s: unknown value %d", keyMode, j.Mode)
	}
	if _, ok := ckptdv1.Retention_name[int32(j.Retention)]; !ok {
		return fmt.Errorf("config: %s: unknown value %d", keyRetention, j.Retention)
	}
	return nil
}

// restart is the strategy in effect. Without one, a job that takes checkpoints is restarted after a second however often it
// fails, as in Flink, and a job that takes none is not.
func restart(s *ckptdv1.RestartStrategy, delay time.Duration, checkpointing bool) (coordinator.Restart, error) {
	if s.GetAttempts() > coordinator.Never {
		return coordinator.Restart{}, fmt.Errorf("config: %s: %d is out of range; allowed is 0 to %d", keyAttempts, s.GetAttempts(), coordinator.Never)
	}
	fixed := coordinator.Restart{Attempts: int(s.GetAttempts()), Delay: delay}
	switch s.GetType() {
	case ckptdv1.RestartStrategy_TYPE_NONE:
		fixed.Attempts = 0
	case ckptdv1.RestartStrategy_TYPE_FIXED_DELAY:
	case ckptdv1.RestartStrategy_TYPE_UNSPECIFIED:
		if fixed.Attempts == 0 && checkpointing {
			fixed.Attempts = coordinator.Never
		}
	default:
		return coordinator.Restart{}, fmt.Errorf("config: %s: unknown value %d", keyRestart, s.GetType())
	}
	if fixed.Attempts == 0 {
		return coordinator.Restart{}, nil // one spelling of "none"
	}
	return fixed, nil
}

// or is v unless it is absent.
func or[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

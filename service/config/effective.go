package config

import (
	"errors"
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/ckptd/ckptd/layout/journal"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/coordinator"
)

// Flink's limits and defaults, and ckptd's own where Flink has none.
const (
	// leastDuration is the shortest interval and timeout.
	leastDuration = 10 * time.Millisecond
	// longestPause is Flink's longest pause.
	longestPause = 365 * 24 * time.Hour
	// longestDuration is the longest interval, timeout and delay. It keeps sums of times from overflowing.
	longestDuration = 100 * longestPause
	// longestDir is the longest directory of savepoints, in bytes.
	longestDir = 900
	// mostConcurrent is the largest number of pending checkpoints: Flink's largest int.
	mostConcurrent = math.MaxInt32
	// mostRetained is the largest number of retained checkpoints. That many fit a journal entry.
	mostRetained = journal.MaxRetained
)

// Job is a job's configuration with every default filled in and every limit checked.
type Job struct {
	Mode        ckptdv1.CheckpointingMode
	Retention   ckptdv1.Retention
	NumRetained int
	// Trash is how long a removed checkpoint can be brought back; nil: as the daemon says.
	Trash *time.Duration
	// SavepointDir is where savepoints lie whose request names no directory; empty: as the daemon says.
	SavepointDir string
	// Periodic are the savepoints that the owner takes by itself.
	Periodic PeriodicSavepoints
	// InMemory: the checkpoints lie in the memory of the daemon. MaxState is then the largest piece of state in bytes; else 0.
	InMemory bool
	MaxState uint64
	// Policy holds the values that the coordinator acts upon.
	Policy coordinator.Policy
}

// Effective fills in the defaults of a configuration that came in by the API. It refuses values out of range; the error
// names Flink's key. nil is the configuration of a job without periodic checkpoints.
func Effective(c *ckptdv1.JobConfig) (Job, error) {
	var bad []error
	duration := func(key string, d *durationpb.Duration, def, least, most time.Duration) time.Duration {
		if d == nil {
			return def
		}
		v := d.AsDuration()
		if err := d.CheckValid(); err != nil {
			bad = append(bad, fmt.Errorf("config: %s: not a duration: want seconds and nanos in the range of google.protobuf.Duration", key))
		} else if v < least || v > most {
			bad = append(bad, fmt.Errorf("config: %s: %s is out of range; allowed is %s to %s", key, v, FormatDuration(least), FormatDuration(most)))
		}
		return v
	}
	j := Job{
		Mode:        or(c.GetMode(), ckptdv1.CheckpointingMode_CHECKPOINTING_MODE_EXACTLY_ONCE),
		Retention:   or(c.GetRetention(), ckptdv1.Retention_RETENTION_NO_EXTERNALIZED_CHECKPOINTS),
		NumRetained: int(or(c.GetNumRetained(), 1)), SavepointDir: c.GetSavepointDir(),
		InMemory: InMemory(c, nil),
		Policy: coordinator.Policy{
			Interval:          duration(keyInterval, c.GetInterval(), 0, 0, longestDuration),
			Timeout:           duration(keyTimeout, c.GetTimeout(), coordinator.DefaultTimeout, leastDuration, longestDuration),
			MinPause:          duration(keyMinPause, c.GetMinPause(), 0, 0, longestPause),
			MaxConcurrent:     int(or(c.GetMaxConcurrentCheckpoints(), 1)),
			StopAfterFinish:   c != nil && c.CheckpointsAfterTasksFinish != nil && !*c.CheckpointsAfterTasksFinish,
			TolerableFailures: int(c.GetTolerableFailedCheckpoints()),
		},
	}
	if _, ok := ckptdv1.Storage_name[int32(c.GetStorage())]; !ok {
		bad = append(bad, fmt.Errorf("config: %s: unknown value %d: a newer ckptd may know it", keyStorage, c.GetStorage()))
	}
	if j.InMemory {
		j.MaxState = or(c.GetMaxStateSize(), defaultMaxState)
	}
	if c.GetTrash() != nil {
		window := duration(keyTrash, c.GetTrash(), 0, 0, longestPause)
		j.Trash = &window
	}
	if j.Policy.Interval < leastDuration {
		j.Policy.Interval = 0 // as in Flink, such an interval disables periodic checkpoints
	}
	if c.GetIntervalDuringBacklog() != nil {
		j.Policy.BacklogInterval = duration(keyBacklog, c.GetIntervalDuringBacklog(), 0, 0, longestDuration)
		bad = append(bad, j.checkBacklog())
		if j.Policy.BacklogInterval == 0 {
			j.Policy.BacklogInterval = coordinator.NoInterval
		}
	}
	bad = append(bad, j.checkNumbers(), j.checkEnums())
	var err error
	if j.Periodic, err = periodic(c.GetSavepointInterval(), c.GetSavepointKeep()); err != nil {
		bad = append(bad, err)
	}
	j.Policy.Restart, err = restart(c.GetRestartStrategy(), j.Policy.Interval > 0, duration)
	if err := errors.Join(append(bad, err)...); err != nil {
		return Job{}, err
	}
	return j, nil
}

// trash is the job's own time in the trash; 0 if it has none.
func (j Job) trash() time.Duration {
	if j.Trash == nil {
		return 0
	}
	return *j.Trash
}

// checkBacklog refuses an interval during a backlog that is shorter than the interval.
func (j Job) checkBacklog() error {
	switch backlog, interval := j.Policy.BacklogInterval, j.Policy.Interval; {
	case backlog <= 0: // below 0 it is refused already
		return nil
	case backlog < leastDuration:
		return fmt.Errorf("config: %s: %w", keyBacklog, shortBacklog(backlog))
	case interval == 0:
		return fmt.Errorf("config: %s: %s cannot be, as the job has no %s; allowed is 0, or no value", keyBacklog, FormatDuration(backlog), keyInterval)
	case backlog < interval:
		return fmt.Errorf("config: %s: %s is shorter than %s, %s; allowed is that or more, or 0 for no periodic checkpoints during a backlog",
			keyBacklog, FormatDuration(backlog), keyInterval, FormatDuration(interval))
	}
	return nil
}

// checkNumbers refuses numbers out of range.
func (j Job) checkNumbers() error {
	if j.Policy.TolerableFailures > coordinator.Never {
		return fmt.Errorf("config: %s: %d is out of range; allowed is 0 to %d", keyTolerable, j.Policy.TolerableFailures, coordinator.Never)
	}
	if j.Policy.MaxConcurrent > mostConcurrent {
		return fmt.Errorf("config: %s: %d is out of range; allowed is 1 to %d", keyConcurrent, j.Policy.MaxConcurrent, mostConcurrent)
	}
	if n := len(j.SavepointDir); n > longestDir {
		return fmt.Errorf("config: %s: %d bytes; allowed is %d", keySavepoints, n, longestDir)
	}
	if j.MaxState > mostState {
		return fmt.Errorf("config: %s: %d is out of range; allowed is 1 to %d bytes", keyMaxState, j.MaxState, uint64(mostState))
	}
	if j.NumRetained > mostRetained {
		return fmt.Errorf("config: %s: %d is out of range; allowed is 1 to %d", keyNumRetained, j.NumRetained, mostRetained)
	}
	return nil
}

// checkEnums refuses values that only a newer client knows.
func (j Job) checkEnums() error {
	if _, ok := ckptdv1.CheckpointingMode_name[int32(j.Mode)]; !ok {
		return fmt.Errorf("config: %s: unknown value %d: a newer ckptd may know it", keyMode, j.Mode)
	}
	if _, ok := ckptdv1.Retention_name[int32(j.Retention)]; !ok {
		return fmt.Errorf("config: %s: unknown value %d: a newer ckptd may know it", keyRetention, j.Retention)
	}
	return nil
}

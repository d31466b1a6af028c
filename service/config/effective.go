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
		Policy: coordinator.Policy{
			Interval:          duration(keyInterval, c.GetInterval(), 0, 0, longestDuration),
			Timeout:           duration(keyTimeout, c.GetTimeout(), coordinator.DefaultTimeout, leastDuration, longestDuration),
			MinPause:          duration(keyMinPause, c.GetMinPause(), 0, 0, longestPause),
			MaxConcurrent:     1,
			TolerableFailures: int(c.GetTolerableFailedCheckpoints()),
		},
	}
	if c.GetTrash() != nil {
		window := duration(keyTrash, c.GetTrash(), 0, 0, longestPause)
		j.Trash = &window
	}
	if j.Policy.Interval < leastDuration {
		j.Policy.Interval = 0 // as in Flink, such an interval disables periodic checkpoints
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

// checkNumbers refuses numbers out of range.
func (j Job) checkNumbers() error {
	if j.Policy.TolerableFailures > coordinator.Never {
		return fmt.Errorf("config: %s: %d is out of range; allowed is 0 to %d", keyTolerable, j.Policy.TolerableFailures, coordinator.Never)
	}
	if n := len(j.SavepointDir); n > longestDir {
		return fmt.Errorf("config: %s: %d bytes; allowed is %d", keySavepoints, n, longestDir)
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

package config

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/coordinator"
)

// Flink's keys.
const (
	keyInterval    = "execution.checkpointing.interval"
	keyMode        = "execution.checkpointing.mode"
	keyTimeout     = "execution.checkpointing.timeout"
	keyMinPause    = "execution.checkpointing.min-pause"
	keyTolerable   = "execution.checkpointing.tolerable-failed-checkpoints"
	keyRetention   = "execution.checkpointing.externalized-checkpoint-retention"
	keyNumRetained = "execution.checkpointing.num-retained"
	keyStorage     = "execution.checkpointing.storage"
	keyConcurrent  = "execution.checkpointing.max-concurrent-checkpoints"
	keyBacklog     = "execution.checkpointing.interval-during-backlog"
	keyAfterFinish = "execution.checkpointing.checkpoints-after-tasks-finish"
	keyDir         = "execution.checkpointing.dir"
	keySavepoints  = "execution.checkpointing.savepoint-dir"
	// keyTrash and keyMaxState are ckptd's own. Flink sets the largest state in memory only by the constructor of its storage.
	keyTrash    = "ckptd.trash"
	keyMaxState = "ckptd.max-state-size"
)

// option is one key.
type option struct {
	key string
	old []string                          // earlier spellings
	set func(f *File, value string) error // sets the value in a file
	get func(dir string, j Job) any       // returns the value in effect; nil: nothing is printed
}

// named reports whether key is a spelling of the option's key.
func (o option) named(key string) bool { return o.key == key || slices.Contains(o.old, key) }

// options returns all keys, in the order in which they are printed. The table is made once: each attach asks for it several times.
// Nobody changes it.
var options = sync.OnceValue(func() []option {
	return slices.Concat(checkpointing(), saving(), restarting(), recovering(), constant(), s3Keys())
})

// checkpointing returns the keys about checkpoints.
func checkpointing() []option {
	return []option{
		{key: keyStorage, old: []string{"state.checkpoint-storage"},
			set: checkStorage,
			get: func(_ string, j Job) any { return storageName(j.InMemory) }},
		{key: keyMaxState,
			set: func(f *File, v string) (err error) { f.Job.MaxStateSize, err = size(v, 1, mostState); return err },
			get: func(_ string, j Job) any { return unless(!j.InMemory, j.MaxState) }},
		{key: keyDir, old: []string{"state.checkpoints.dir", "state.backend.fs.checkpointdir"},
			set: func(f *File, v string) error { f.Dir = v; return nil },
			get: func(dir string, _ Job) any { return unless(dir == "", dir) }},
		{key: keyInterval,
			set: setInterval,
			get: func(_ string, j Job) any { return FormatDuration(j.Policy.Interval) }},
		{key: keyBacklog,
			set: setBacklog,
			get: func(_ string, j Job) any {
				return unless(j.Policy.BacklogInterval == 0, FormatDuration(max(0, j.Policy.BacklogInterval)))
			}},
		{key: keyMode,
			set: func(f *File, v string) (err error) {
				f.Job.Mode, err = enum[ckptdv1.CheckpointingMode](v, "CHECKPOINTING_MODE_", ckptdv1.CheckpointingMode_value)
				return err
			},
			get: func(_ string, j Job) any { return strings.TrimPrefix(j.Mode.String(), "CHECKPOINTING_MODE_") }},
		{key: keyTimeout,
			set: func(f *File, v string) (err error) {
				f.Job.Timeout, err = between(v, leastDuration, longestDuration)
				return err
			},
			get: func(_ string, j Job) any { return FormatDuration(j.Policy.Timeout) }},
		{key: keyMinPause,
			set: func(f *File, v string) (err error) { f.Job.MinPause, err = between(v, 0, longestPause); return err },
			get: func(_ string, j Job) any { return FormatDuration(j.Policy.MinPause) }},
		{key: keyConcurrent,
			set: func(f *File, v string) (err error) {
				f.Job.MaxConcurrentCheckpoints, err = number(v, 1, mostConcurrent)
				return err
			},
			get: func(_ string, j Job) any { return j.Policy.MaxConcurrent }},
		{key: keyAfterFinish, old: []string{keyAfterFinish + ".enabled"},
			set: setAfterFinish,
			get: func(_ string, j Job) any { return !j.Policy.StopAfterFinish }},
		{key: keyTolerable,
			set: func(f *File, v string) (err error) {
				f.Job.TolerableFailedCheckpoints, err = number(v, 0, coordinator.Never)
				return err
			},
			get: func(_ string, j Job) any { return j.Policy.TolerableFailures }},
		{key: keyRetention,
			set: func(f *File, v string) (err error) {
				f.Job.Retention, err = enum[ckptdv1.Retention](v, "RETENTION_", ckptdv1.Retention_value)
				return err
			},
			get: func(_ string, j Job) any { return strings.TrimPrefix(j.Retention.String(), "RETENTION_") }},
		{key: keyNumRetained, old: []string{"state.checkpoints.num-retained"},
			set: func(f *File, v string) (err error) { f.Job.NumRetained, err = number(v, 1, mostRetained); return err },
			get: func(_ string, j Job) any { return j.NumRetained }},
		{key: keySavepoints, old: []string{"state.savepoints.dir", "savepoints.state.backend.fs.dir"},
			set: func(f *File, v string) error { f.Job.SavepointDir = v; return nil },
			get: func(_ string, j Job) any { return unless(j.SavepointDir == "", j.SavepointDir) }},
		{key: keyTrash,
			set: func(f *File, v string) (err error) { f.Job.Trash, err = between(v, 0, longestPause); return err },
			get: func(_ string, j Job) any { return unless(j.Trash == nil, FormatDuration(j.trash())) }},
	}
}

// unless returns v, or nil if nothing is set.
func unless(nothing bool, v any) any {
	if nothing {
		return nil
	}
	return v
}

// setInterval accepts 0, which means no periodic checkpoints. To Flink, any value below 10 ms means that. Such a value
// is a mistake, so setInterval refuses it.
func setInterval(f *File, v string) (err error) {
	if d, err := ParseDuration(v); err == nil && d > 0 && d < leastDuration {
		return fmt.Errorf("%s is out of range; allowed is %s to %s, or 0 for no periodic checkpoints",
			FormatDuration(d), FormatDuration(leastDuration), FormatDuration(longestDuration))
	}
	f.Job.Interval, err = between(v, 0, longestDuration)
	return err
}

// setBacklog accepts 0, which means no periodic checkpoints during a backlog. Effective compares the value with the interval.
func setBacklog(f *File, v string) (err error) {
	if d, err := ParseDuration(v); err == nil && d > 0 && d < leastDuration {
		return shortBacklog(d)
	}
	f.Job.IntervalDuringBacklog, err = between(v, 0, longestDuration)
	return err
}

func setAfterFinish(f *File, v string) error {
	switch strings.ToLower(v) {
	case "true", "false":
		after := strings.EqualFold(v, "true")
		f.Job.CheckpointsAfterTasksFinish = &after
		return nil
	}
	return fmt.Errorf("%q is unknown; allowed is true or false", v)
}

// enum parses one of Flink's constants. Upper and lower case are the same.
func enum[E ~int32](v, prefix string, values map[string]int32) (E, error) {
	if n := values[prefix+strings.ToUpper(v)]; n != 0 {
		return E(n), nil
	}
	allowed := make([]string, 0, len(values))
	for name, n := range values {
		if n != 0 {
			allowed = append(allowed, strings.TrimPrefix(name, prefix))
		}
	}
	slices.Sort(allowed)
	return 0, fmt.Errorf("%q is unknown; allowed is %s", v, strings.Join(allowed, " or "))
}

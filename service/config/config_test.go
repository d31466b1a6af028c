package config_test

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/config"
	"github.com/ckptd/ckptd/service/coordinator"
)

func all() *config.File {
	return &config.File{
		Dir: "file:///data/checkpoints",
		Job: &ckptdv1.JobConfig{
			Mode:                       ckptdv1.CheckpointingMode_CHECKPOINTING_MODE_EXACTLY_ONCE,
			Interval:                   durationpb.New(3 * time.Minute),
			Timeout:                    durationpb.New(time.Hour),
			MinPause:                   durationpb.New(500 * time.Millisecond),
			TolerableFailedCheckpoints: 3,
			Retention:                  ckptdv1.Retention_RETENTION_RETAIN_ON_CANCELLATION,
			NumRetained:                5,
			RestartStrategy: &ckptdv1.RestartStrategy{
				Type: ckptdv1.RestartStrategy_TYPE_FIXED_DELAY, Attempts: 10, Delay: durationpb.New(2 * time.Second),
			},
		},
	}
}

func TestParse(t *testing.T) {
	fixed := func(attempts uint32) *config.File {
		return &config.File{Job: &ckptdv1.JobConfig{RestartStrategy: &ckptdv1.RestartStrategy{
			Type: ckptdv1.RestartStrategy_TYPE_FIXED_DELAY, Attempts: attempts}}}
	}
	for name, c := range map[string]struct {
		text string
		want *config.File
	}{
		"flat": {`
execution.checkpointing.interval: 3min
execution.checkpointing.mode: EXACTLY_ONCE
execution.checkpointing.timeout: 1 h
execution.checkpointing.min-pause: 500ms
execution.checkpointing.tolerable-failed-checkpoints: 3
execution.checkpointing.externalized-checkpoint-retention: RETAIN_ON_CANCELLATION
execution.checkpointing.num-retained: 5
execution.checkpointing.dir: file:///data/checkpoints
restart-strategy.type: fixed-delay
restart-strategy.fixed-delay.attempts: 10
restart-strategy.fixed-delay.delay: 2 s
`, all()},
		"nested": {`
execution:
  checkpointing:
    interval: 180000   # milliseconds
    mode: exactly_once
    timeout: 60 minutes
    min-pause: 500
    tolerable-failed-checkpoints: "3"
    externalized-checkpoint-retention: retain_on_cancellation
    num-retained: 5
    dir: file:///data/checkpoints
restart-strategy:
  type: fixed-delay
  fixed-delay: {attempts: 10, delay: 2s}
`, all()},
		"mixed": {`
execution.checkpointing: {interval: 3min, mode: EXACTLY_ONCE, timeout: 1h}
execution:
  checkpointing.min-pause: 500ms
  checkpointing.tolerable-failed-checkpoints: 3
execution.checkpointing.externalized-checkpoint-retention: RETAIN_ON_CANCELLATION
execution.checkpointing.num-retained: 5
execution.checkpointing.dir: file:///data/checkpoints
restart-strategy.type: FixedDelay
restart-strategy.fixed-delay: {attempts: 10, delay: 2s}
`, all()},
		"JSON": {`{
	"execution.checkpointing.interval": "3min",
	"execution.checkpointing": {"mode": "EXACTLY_ONCE", "timeout": "1h", "min-pause": 500, "tolerable-failed-checkpoints": 3},
	"execution": {"checkpointing": {"externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION", "num-retained": 5}},
	"execution.checkpointing.dir": "file:///data/checkpoints",
	"restart-strategy": {"type": "fixed-delay", "fixed-delay.attempts": 10, "fixed-delay": {"delay": "2s"}}
}`, all()},
		"earlier spellings": {`
execution.checkpointing: {interval: 3min, mode: EXACTLY_ONCE, timeout: 1h, min-pause: 500ms, tolerable-failed-checkpoints: 3}
execution.checkpointing.externalized-checkpoint-retention: RETAIN_ON_CANCELLATION
state.checkpoints.num-retained: 5
state.checkpoints.dir: file:///data/checkpoints
restart-strategy: fixed-delay
restart-strategy.fixed-delay.attempts: 10
restart-strategy.fixed-delay.delay: 2s
`, all()},
		"the earliest spelling":     {"state.backend.fs.checkpointdir: /c", &config.File{Dir: "/c", Job: &ckptdv1.JobConfig{}}},
		"the root as the storage":   {"execution.checkpointing.storage: s3a://b/c", &config.File{Dir: "s3a://b/c", Job: &ckptdv1.JobConfig{Storage: ckptdv1.Storage_STORAGE_FILESYSTEM}}},
		"a path as the storage":     {"state.checkpoint-storage: /c", &config.File{Dir: "/c", Job: &ckptdv1.JobConfig{Storage: ckptdv1.Storage_STORAGE_FILESYSTEM}}},
		"the same root twice":       {"execution.checkpointing: {storage: 's3://b/c', dir: 's3://b/c'}", &config.File{Dir: "s3://b/c", Job: &ckptdv1.JobConfig{Storage: ckptdv1.Storage_STORAGE_FILESYSTEM}}},
		"the storage and a root":    {"execution.checkpointing: {storage: FileSystem, dir: /c}", &config.File{Dir: "/c", Job: &ckptdv1.JobConfig{Storage: ckptdv1.Storage_STORAGE_FILESYSTEM}}},
		"empty":                     {"", &config.File{Job: &ckptdv1.JobConfig{}}},
		"comments":                  {"# nothing\n", &config.File{Job: &ckptdv1.JobConfig{}}},
		"null":                      {"null", &config.File{Job: &ckptdv1.JobConfig{}}},
		"the strategy alone":        {"restart-strategy.type: fixed-delay", fixed(1)},
		"the attempts alone":        {"restart-strategy.fixed-delay.attempts: 4", fixed(4)},
		"the interval switched off": {"execution.checkpointing.interval: 0", &config.File{Job: &ckptdv1.JobConfig{Interval: durationpb.New(0)}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := config.Parse([]byte(c.text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, protocmp.Transform()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"an unknown key":           {"execution.checkpointing.intervall: 3min", "line 1: execution.checkpointing.intervall is unknown; did you mean execution.checkpointing.interval?"},
		"a bare key":               {"interval: 3min", "interval is unknown; did you mean execution.checkpointing.interval?"},
		"no beginning":             {"checkpointing.interval: 3min", "checkpointing.interval is unknown; did you mean execution.checkpointing.interval?"},
		"no beginning, either":     {"fixed-delay.attempts: 3", "fixed-delay.attempts is unknown; did you mean restart-strategy.fixed-delay.attempts?"},
		"a nested unknown key":     {"execution:\n  checkpointing:\n    time-out: 3min", "line 3: execution.checkpointing.time-out is unknown; did you mean execution.checkpointing.timeout?"},
		"a far-off key":            {"colour: blue", "colour is unknown"},
		"Flink's other keys":       {"execution.checkpointing.file-merging.max-file-size: 32mb", "execution.checkpointing.file-merging.max-file-size is an option of Flink that ckptd does not have"},
		"a short interval":         {"execution.checkpointing.interval: 9 ms", "execution.checkpointing.interval: 9 ms is out of range; allowed is 10 ms to"},
		"a short timeout":          {"execution.checkpointing.timeout: 0", "execution.checkpointing.timeout: 0 ms is out of range; allowed is 10 ms to"},
		"a long pause":             {"execution.checkpointing.min-pause: 366 d", "execution.checkpointing.min-pause: 366 d is out of range; allowed is 0 ms to 365 d"},
		"no duration":              {"execution.checkpointing.timeout: soon", `execution.checkpointing.timeout: "soon" is not a duration`},
		"a negative tolerance":     {"execution.checkpointing.tolerable-failed-checkpoints: -1", "-1 is out of range; allowed is 0 to 2147483647"},
		"a word for a number":      {"execution.checkpointing.num-retained: many", `"many" is not a whole number; allowed is 1 to 200`},
		"CS-12 none retained":      {"execution.checkpointing.num-retained: 0", "0 is out of range; allowed is 1 to 200"},
		"too many retained":        {"execution.checkpointing.num-retained: 201", "201 is out of range; allowed is 1 to 200"},
		"a number too large":       {"restart-strategy.fixed-delay.attempts: 99999999999999999999", "is not a whole number"},
		"an unknown mode":          {"execution.checkpointing.mode: twice", `execution.checkpointing.mode: "twice" is unknown; allowed is AT_LEAST_ONCE or EXACTLY_ONCE`},
		"no mode":                  {"execution.checkpointing.mode: unspecified", "is unknown"},
		"an unknown retention":     {"execution.checkpointing.externalized-checkpoint-retention: forever", "allowed is DELETE_ON_CANCELLATION or NO_EXTERNALIZED_CHECKPOINTS or RETAIN_ON_CANCELLATION"},
		"FS-31 an unknown storage": {"execution.checkpointing.storage: hdfs", `"hdfs" is unknown; allowed is filesystem, jobmanager, or a root like s3://`},
		"two roots":                {"execution.checkpointing.storage: s3://b/c\nstate.checkpoints.dir: /c", "line 1: execution.checkpointing.storage names another root than state.checkpoints.dir in line 2; say execution.checkpointing.storage: filesystem"},
		"another strategy":         {"restart-strategy.type: sometimes", `"sometimes" is unknown; allowed is exponential-delay, fixed-delay, failure-rate or none`},
		"a key twice":              {"execution.checkpointing.dir: a\nexecution:\n  checkpointing: {dir: b}", "line 3: execution.checkpointing.dir is given already, by execution.checkpointing.dir in line 1"},
		"both spellings":           {"execution.checkpointing.dir: a\nstate.checkpoints.dir: b", "line 2: state.checkpoints.dir is given already, by execution.checkpointing.dir in line 1"},
		"a list":                   {"execution.checkpointing.dir: [a]", "execution.checkpointing.dir: a single value is expected"},
		"no value":                 {"execution.checkpointing.dir:", "execution.checkpointing.dir: a single value is expected"},
		"an alias":                 {"a: &x {b: 1}\nexecution: *x", "execution: a single value is expected"},
		"a word":                   {"hello", "keys and values are expected"},
		"two documents":            {"execution.checkpointing.dir: a\n---\nexecution.checkpointing.dir: b", "more than one document"},
		"broken YAML":              {"a:\n  b: [", "config: yaml: line 2"},
		"broken JSON":              {`{"execution.checkpointing.dir": "a"`, "config: yaml: line 1"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := config.Parse([]byte(c.text))
			if err == nil || got != nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%+v, %v; want an error that says %s", got, err, c.want)
			}
		})
	}
	t.Run("everything at once", func(t *testing.T) {
		_, err := config.Parse([]byte("foo: 1\nexecution.checkpointing.timeout: 1 ms\nexecution.checkpointing.interval: x"))
		if err == nil || strings.Count(err.Error(), "\n") != 2 {
			t.Errorf("the error is %v, want one that names all three mistakes", err)
		}
	})
}

func TestEffective(t *testing.T) {
	defaults := config.Job{
		Mode:        ckptdv1.CheckpointingMode_CHECKPOINTING_MODE_EXACTLY_ONCE,
		Retention:   ckptdv1.Retention_RETENTION_NO_EXTERNALIZED_CHECKPOINTS,
		NumRetained: 1,
		Policy:      coordinator.Policy{Timeout: 10 * time.Minute, MaxConcurrent: 1},
	}
	strategy := func(s *ckptdv1.RestartStrategy) *ckptdv1.JobConfig { return &ckptdv1.JobConfig{RestartStrategy: s} }
	exponential := coordinator.Restart{Strategy: coordinator.ExponentialDelay, Attempts: coordinator.Never, Delay: time.Second, MaxDelay: time.Minute,
		Multiplier: 1.5, Jitter: 0.1, ResetAfter: time.Hour}
	with := func(f func(j *config.Job)) config.Job {
		j := defaults
		f(&j)
		return j
	}
	for name, c := range map[string]struct {
		in   *ckptdv1.JobConfig
		want config.Job
	}{
		"absent": {nil, defaults},
		"empty":  {&ckptdv1.JobConfig{}, defaults},
		"everything": {all().Job, config.Job{
			Mode:        ckptdv1.CheckpointingMode_CHECKPOINTING_MODE_EXACTLY_ONCE,
			Retention:   ckptdv1.Retention_RETENTION_RETAIN_ON_CANCELLATION,
			NumRetained: 5,
			Policy: coordinator.Policy{
				Interval: 3 * time.Minute, Timeout: time.Hour, MinPause: 500 * time.Millisecond, MaxConcurrent: 1, TolerableFailures: 3,
				Restart: coordinator.Restart{Strategy: coordinator.FixedDelay, Attempts: 10, Delay: 2 * time.Second},
			},
		}},
		"an interval below 10 ms is none": {&ckptdv1.JobConfig{Interval: durationpb.New(9 * time.Millisecond)}, defaults},
		"with checkpoints and no strategy, exponential delay": {&ckptdv1.JobConfig{Interval: durationpb.New(time.Second)},
			with(func(j *config.Job) { j.Policy.Interval, j.Policy.Restart = time.Second, exponential })},
		"exponential delay without checkpoints": {strategy(&ckptdv1.RestartStrategy{Type: ckptdv1.RestartStrategy_TYPE_EXPONENTIAL_DELAY}),
			with(func(j *config.Job) { j.Policy.Restart = exponential })},
		"exponential delay, every key": {strategy(&ckptdv1.RestartStrategy{Type: ckptdv1.RestartStrategy_TYPE_EXPONENTIAL_DELAY, Attempts: 7,
			ExponentialDelay: &ckptdv1.ExponentialDelay{InitialBackoff: durationpb.New(2 * time.Second), MaxBackoff: durationpb.New(time.Hour),
				BackoffMultiplier: 3, JitterFactor: new(0.0), ResetBackoffThreshold: durationpb.New(time.Minute), AttemptsBeforeResetBackoff: 4}}),
			with(func(j *config.Job) {
				j.Policy.Restart = coordinator.Restart{Strategy: coordinator.ExponentialDelay, Attempts: 4, Delay: 2 * time.Second, MaxDelay: time.Hour,
					Multiplier: 3, ResetAfter: time.Minute}
			})},
		"failure rate": {strategy(&ckptdv1.RestartStrategy{Type: ckptdv1.RestartStrategy_TYPE_FAILURE_RATE}),
			with(func(j *config.Job) {
				j.Policy.Restart = coordinator.Restart{Strategy: coordinator.FailureRate, Attempts: 1, Interval: time.Minute, Delay: time.Second}
			})},
		"failure rate, every key": {strategy(&ckptdv1.RestartStrategy{Type: ckptdv1.RestartStrategy_TYPE_FAILURE_RATE, FailureRate: &ckptdv1.FailureRate{
			MaxFailuresPerInterval: 5, FailureRateInterval: durationpb.New(time.Hour), Delay: durationpb.New(0)}}),
			with(func(j *config.Job) {
				j.Policy.Restart = coordinator.Restart{Strategy: coordinator.FailureRate, Attempts: 5, Interval: time.Hour}
			})},
		"none is none": {&ckptdv1.JobConfig{
			Interval:        durationpb.New(time.Second),
			RestartStrategy: &ckptdv1.RestartStrategy{Type: ckptdv1.RestartStrategy_TYPE_NONE, Attempts: 3},
		}, with(func(j *config.Job) { j.Policy.Interval = time.Second })},
		"attempts without a type": {&ckptdv1.JobConfig{RestartStrategy: &ckptdv1.RestartStrategy{Attempts: 3, Delay: durationpb.New(0)}},
			with(func(j *config.Job) {
				j.Policy.Restart = coordinator.Restart{Strategy: coordinator.FixedDelay, Attempts: 3}
			})},
		"never fail for checkpoints": {&ckptdv1.JobConfig{TolerableFailedCheckpoints: coordinator.Never},
			with(func(j *config.Job) { j.Policy.TolerableFailures = coordinator.Never })},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := config.Effective(c.in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEffectiveRefuses(t *testing.T) {
	minute := durationpb.New(time.Minute)
	exponential := func(e *ckptdv1.ExponentialDelay) *ckptdv1.JobConfig {
		return &ckptdv1.JobConfig{RestartStrategy: &ckptdv1.RestartStrategy{ExponentialDelay: e}}
	}
	for want, c := range map[string]*ckptdv1.JobConfig{
		"execution.checkpointing.interval: -1s is out of range":           {Interval: durationpb.New(-time.Second)},
		"execution.checkpointing.timeout: 1ms is out of range":            {Timeout: durationpb.New(time.Millisecond)},
		"execution.checkpointing.timeout: not a duration":                 {Timeout: &durationpb.Duration{Nanos: -1, Seconds: 1}},
		"execution.checkpointing.min-pause: 8784h0m0s is out of range":    {MinPause: durationpb.New(366 * 24 * time.Hour)},
		"tolerable-failed-checkpoints: 4294967295 is out of range":        {TolerableFailedCheckpoints: 1<<32 - 1},
		"num-retained: 201 is out of range; allowed is 1 to 200":          {NumRetained: 201},
		"max-concurrent-checkpoints: 4294967295 is out of range":          {MaxConcurrentCheckpoints: 1<<32 - 1},
		"interval-during-backlog: 5 ms is out of range; allowed is 10 ms": {Interval: minute, IntervalDuringBacklog: durationpb.New(5 * time.Millisecond)},
		"interval-during-backlog: -1s is out of range":                    {Interval: minute, IntervalDuringBacklog: durationpb.New(-time.Second)},
		"interval-during-backlog: 1 s is shorter than execution.checkpointing.interval, 1 min; allowed is that or more, or 0": {
			Interval: minute, IntervalDuringBacklog: durationpb.New(time.Second)},
		"interval-during-backlog: 1 s cannot be, as the job has no execution.checkpointing.interval; allowed is 0, or no value": {
			IntervalDuringBacklog: durationpb.New(time.Second)},
		"execution.checkpointing.mode: unknown value 9":                    {Mode: 9},
		"externalized-checkpoint-retention: unknown value 9":               {Retention: 9},
		"restart-strategy.type: unknown value 9":                           {RestartStrategy: &ckptdv1.RestartStrategy{Type: 9}},
		"restart-strategy.fixed-delay.attempts: 4294967295 is out of":      {RestartStrategy: &ckptdv1.RestartStrategy{Attempts: 1<<32 - 1}},
		"jitter-factor: 1.5 is out of range; allowed is 0 to 1":            exponential(&ckptdv1.ExponentialDelay{JitterFactor: new(1.5)}),
		"jitter-factor: NaN is out of range":                               exponential(&ckptdv1.ExponentialDelay{JitterFactor: new(math.NaN())}),
		"backoff-multiplier: 1 is out of range; allowed is a number above": exponential(&ckptdv1.ExponentialDelay{BackoffMultiplier: 1}),
		"backoff-multiplier: +Inf is out of range":                         exponential(&ckptdv1.ExponentialDelay{BackoffMultiplier: math.Inf(1)}),
		"initial-backoff: 2 min is longer than restart-strategy":           exponential(&ckptdv1.ExponentialDelay{InitialBackoff: durationpb.New(2 * time.Minute)}),
		"initial-backoff: 0s is out of range; allowed is 1 ms":             exponential(&ckptdv1.ExponentialDelay{InitialBackoff: durationpb.New(0)}),
		"attempts-before-reset-backoff: 4294967295 is out of":              exponential(&ckptdv1.ExponentialDelay{AttemptsBeforeResetBackoff: 1<<32 - 1}),
		"max-failures-per-interval: 4294967295 is out of":                  {RestartStrategy: &ckptdv1.RestartStrategy{FailureRate: &ckptdv1.FailureRate{MaxFailuresPerInterval: 1<<32 - 1}}},
		"restart-strategy.fixed-delay.delay: -1ns is out of range; allow":  {RestartStrategy: &ckptdv1.RestartStrategy{Delay: durationpb.New(-1)}},
	} {
		t.Run(want, func(t *testing.T) {
			if got, err := config.Effective(c); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%+v, %v; want an error that says %s", got, err, want)
			}
		})
	}
}

// Show prints the configuration in effect, and Parse reads the same configuration from the output.
func TestShow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawn(t)
		before := proto.CloneOf(c)
		want, err := config.Effective(c)
		if err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(before, c) {
			t.Fatal("Effective changed its argument")
		}
		var out bytes.Buffer
		dir := rapid.SampledFrom([]string{"", "/c", "s3://bucket/a: b #c", "'", "null"}).Draw(t, "dir")
		if err := config.Show(&out, dir, want); err != nil {
			t.Fatal(err)
		}
		f, err := config.Parse(out.Bytes())
		if err != nil {
			t.Fatalf("%v:\n%s", err, &out)
		}
		got, err := config.Effective(f.Job)
		if diff := cmp.Diff(want, got); diff != "" || err != nil || f.Dir != dir {
			t.Fatalf("%v: dir %q, %s\n%s", err, f.Dir, diff, &out)
		}
	})
}

// Any file is either read or refused. A configuration that was read can be put into effect.
func FuzzParse(f *testing.F) {
	f.Add("execution.checkpointing.interval: 3min\nrestart-strategy: {type: none}")
	f.Add(`{"execution": {"checkpointing": {"dir": "/c", "num-retained": 3}}}`)
	f.Add("a: &x [*x]\n? [b]\n: c\n<<: *x")
	f.Add("!!binary a: b")
	f.Fuzz(func(t *testing.T, text string) {
		file, err := config.Parse([]byte(text))
		if err != nil {
			return
		}
		if _, err := config.Effective(file.Job); err != nil {
			t.Fatalf("%q is read, but then: %v", text, err)
		}
	})
}

func ExampleShow() {
	f, err := config.Parse([]byte("execution.checkpointing: {interval: 60s, dir: /var/lib/ckptd}\nrestart-strategy: fixed-delay"))
	if err != nil {
		fmt.Println(err)
		return
	}
	job, err := config.Effective(f.Job)
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := config.Show(os.Stdout, f.Dir, job); err != nil {
		fmt.Println(err)
	}
	// Output:
	// execution.checkpointing.storage: filesystem
	// execution.checkpointing.dir: /var/lib/ckptd
	// execution.checkpointing.interval: 1 min
	// execution.checkpointing.mode: EXACTLY_ONCE
	// execution.checkpointing.timeout: 10 min
	// execution.checkpointing.min-pause: 0 ms
	// execution.checkpointing.max-concurrent-checkpoints: 1
	// execution.checkpointing.checkpoints-after-tasks-finish: true
	// execution.checkpointing.tolerable-failed-checkpoints: 0
	// execution.checkpointing.externalized-checkpoint-retention: NO_EXTERNALIZED_CHECKPOINTS
	// execution.checkpointing.num-retained: 1
	// restart-strategy.type: fixed-delay
	// restart-strategy.fixed-delay.attempts: 1
	// restart-strategy.fixed-delay.delay: 1 s
}

// TestSavepointDirectory: the key of Flink and its old names say where savepoints lie, and the journal keeps it.
func TestSavepointDirectory(t *testing.T) {
	for _, key := range []string{"execution.checkpointing.savepoint-dir", "state.savepoints.dir", "savepoints.state.backend.fs.dir"} {
		f, err := config.Parse([]byte(key + ": s3://bucket/savepoints?region=r\n"))
		if err != nil {
			t.Fatal(err)
		}
		stored, err := config.Encode(f.Job)
		if err != nil {
			t.Fatal(err)
		}
		if j, err := config.Interpret(stored); err != nil || j.SavepointDir != "s3://bucket/savepoints?region=r" {
			t.Errorf("%s: %q, %v", key, j.SavepointDir, err)
		}
	}
}

// TestPeriodicSavepoints: the keys of periodic savepoints, as the journal keeps them. Wrong values are refused, from a file and from the
// API: the error names the key, the value and what is allowed.
func TestPeriodicSavepoints(t *testing.T) {
	f, err := config.Parse([]byte("ckptd.savepoint.interval: 1h\nckptd.savepoint.keep: last=3, daily=7\n"))
	if err != nil {
		t.Fatal(err)
	}
	stored, err := config.Encode(f.Job)
	if err != nil {
		t.Fatal(err)
	}
	j, err := config.Interpret(stored)
	if err != nil || j.Periodic.Every != time.Hour || j.Periodic.Rules.Last != 3 || j.Periodic.Rules.Daily != 7 {
		t.Errorf("%+v, %v", j.Periodic, err)
	}
	for text, words := range map[string][]string{
		"ckptd.savepoint.interval: 5ms":                                         {"ckptd.savepoint.interval", "5 ms", "allowed is 10 ms"},
		"ckptd.savepoint.interval: often":                                       {"ckptd.savepoint.interval", "often"},
		"ckptd.savepoint.interval: 1h\nckptd.savepoint.keep: last":              {"ckptd.savepoint.keep", `"last"`, "allowed is last"},
		"ckptd.savepoint.interval: 1h\nckptd.savepoint.keep: daily=20, last=20": {"ckptd.savepoint.keep", "keeps 40", "24 together at most"},
		"ckptd.savepoint.keep: last=3":                                          {"ckptd.savepoint.keep", "last=3", "set ckptd.savepoint.interval"},
	} {
		f, err := config.Parse([]byte(text))
		if err == nil {
			_, err = config.Effective(f.Job)
		}
		for _, w := range words {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%q: %v, want %q in it", text, err, w)
			}
		}
	}
	_, err = config.Effective(&ckptdv1.JobConfig{SavepointInterval: durationpb.New(time.Hour), SavepointKeep: "x=1"})
	if err == nil || !strings.Contains(err.Error(), "ckptd.savepoint.keep") || !strings.Contains(err.Error(), "x=1") {
		t.Errorf("by the API: %v", err)
	}
}

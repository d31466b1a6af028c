package config_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	"github.com/ckptd/ckptd/layout/journal"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/retention"
	"github.com/ckptd/ckptd/service/config"
	"github.com/ckptd/ckptd/service/coordinator"
	"github.com/ckptd/ckptd/service/owner"
)

func encode(t interface{ Fatal(...any) }, c *ckptdv1.JobConfig) *journal.Config {
	stored, err := config.Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

func raw(t *testing.T, c *ckptdv1.JobConfig) *journal.Config {
	b, err := proto.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return journal.NewConfig(b)
}

// TestStoredMeansTheSame: the journal's configuration means what the caller asked for, names every default, and fits an
// entry.
func TestStoredMeansTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawn(t)
		want, err := config.Effective(c)
		if err != nil {
			t.Fatal(err)
		}
		stored := encode(t, c)
		if len(stored.Bytes) > journal.MaxConfig {
			t.Fatalf("%d bytes, want at most %d", len(stored.Bytes), journal.MaxConfig)
		}
		got, err := config.Interpret(stored)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Fatalf("the stored configuration reads as another one: %v %s", err, diff)
		}
		full, err := config.InEffect(stored)
		if err != nil {
			t.Fatal(err)
		}
		if again := encode(t, full); again.Hash != stored.Hash {
			t.Fatalf("what is in effect, encoded again, is another configuration:\n%s", cmp.Diff(c, full, protocmp.Transform()))
		}
		if full.Mode == 0 || full.Timeout == nil || full.NumRetained == 0 || full.Retention == 0 || full.RestartStrategy.GetType() == 0 {
			t.Fatalf("%v, want every default filled in", full)
		}
	})
}

func TestStoredRefusesWhatIsOutOfRange(t *testing.T) {
	if c, err := config.Encode(&ckptdv1.JobConfig{NumRetained: 201}); err == nil || !strings.Contains(err.Error(), "num-retained") {
		t.Errorf("%v, %v; want an error that names num-retained", c, err)
	}
}

// TestPolicyOfTheOwner: the owner machine gets the number of retained checkpoints and the retention.
func TestPolicyOfTheOwner(t *testing.T) {
	for r, want := range map[ckptdv1.Retention]retention.Policy{
		0: retention.Nothing,
		ckptdv1.Retention_RETENTION_NO_EXTERNALIZED_CHECKPOINTS: retention.Nothing,
		ckptdv1.Retention_RETENTION_DELETE_ON_CANCELLATION:      retention.OnFailure,
		ckptdv1.Retention_RETENTION_RETAIN_ON_CANCELLATION:      retention.OnCancellation,
	} {
		got, ok := config.Policies(0)(encode(t, &ckptdv1.JobConfig{Retention: r, NumRetained: 7}))
		if (got != owner.Policy{NumRetained: 7, Retention: want}) || !ok {
			t.Errorf("%v: %+v %v, want 7 retained and policy %d", r, got, ok, want)
		}
	}
	if got, ok := config.Policies(0)(encode(t, nil)); got.NumRetained != 1 || !ok {
		t.Errorf("no configuration: %+v %v, want 1 retained", got, ok)
	}
}

// TestConfigurationOfANewerVersion: a configuration with an unknown value is not understood. An unknown key has no
// effect and stays in the journal.
func TestConfigurationOfANewerVersion(t *testing.T) {
	for name, c := range map[string]*ckptdv1.JobConfig{
		"retention": {Retention: 9}, "mode": {Mode: 9}, "restart strategy": {RestartStrategy: &ckptdv1.RestartStrategy{Type: 9}},
		"number": {NumRetained: 100_000},
	} {
		if p, ok := config.Policies(0)(raw(t, c)); ok {
			t.Errorf("an unknown %s: %+v, want the configuration not understood", name, p)
		}
	}
	if p, ok := config.Policies(0)(journal.NewConfig([]byte{0xff})); ok {
		t.Errorf("bytes that are no message: %+v, want the configuration not understood", p)
	}
	b := protowire.AppendVarint(protowire.AppendTag(raw(t, &ckptdv1.JobConfig{NumRetained: 3}).Bytes, 1000, protowire.VarintType), 1)
	if p, ok := config.Policies(0)(journal.NewConfig(b)); !ok || p.NumRetained != 3 {
		t.Errorf("an unknown key: %+v %v, want 3 retained", p, ok)
	}
}

// TestDifferencesByMeaning: two configurations differ in their values in effect, not in how they are written.
func TestDifferencesByMeaning(t *testing.T) {
	second := durationpb.New(time.Second)
	for name, test := range map[string]struct {
		a, b *ckptdv1.JobConfig
		want []config.Difference
	}{
		"the same":                  {all().Job, all().Job, nil},
		"absent, and every default": {nil, &ckptdv1.JobConfig{Timeout: durationpb.New(10 * time.Minute), NumRetained: 1}, nil},
		"an interval that is off":   {nil, &ckptdv1.JobConfig{Interval: durationpb.New(time.Millisecond)}, nil},
		"attempts without a type":   {&ckptdv1.JobConfig{RestartStrategy: &ckptdv1.RestartStrategy{Attempts: 3, Delay: second}}, &ckptdv1.JobConfig{RestartStrategy: &ckptdv1.RestartStrategy{Type: ckptdv1.RestartStrategy_TYPE_FIXED_DELAY, Attempts: 3}}, nil},
		"two numbers and a strategy": {&ckptdv1.JobConfig{NumRetained: 2, TolerableFailedCheckpoints: 1}, &ckptdv1.JobConfig{NumRetained: 3, RestartStrategy: &ckptdv1.RestartStrategy{Attempts: 4}}, []config.Difference{
			{Key: "execution.checkpointing.tolerable-failed-checkpoints", InEffect: "1", Asked: "0"},
			{Key: "execution.checkpointing.num-retained", InEffect: "2", Asked: "3"},
			{Key: "restart-strategy.type", InEffect: "none", Asked: "fixed-delay"},
			{Key: "restart-strategy.fixed-delay.attempts", Asked: "4"},
			{Key: "restart-strategy.fixed-delay.delay", Asked: "1 s"},
		}},
		"an interval": {&ckptdv1.JobConfig{Interval: second}, &ckptdv1.JobConfig{Interval: durationpb.New(500 * time.Millisecond)}, []config.Difference{
			{Key: "execution.checkpointing.interval", InEffect: "1 s", Asked: "500 ms"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := config.Differences(encode(t, test.a), encode(t, test.b))
			if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
				t.Errorf("%v %s", err, diff)
			}
			// An older version writes fewer keys. Its configuration means the same.
			got, err = config.Differences(raw(t, test.a), encode(t, test.b))
			if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
				t.Errorf("with fewer keys: %v %s", err, diff)
			}
		})
	}
	if _, err := config.Differences(raw(t, &ckptdv1.JobConfig{Mode: 9}), encode(t, nil)); err == nil {
		t.Error("a comparison with a configuration that is not understood succeeds, want an error")
	}
}

// drawn returns a random configuration within the limits.
func drawn(t *rapid.T) *ckptdv1.JobConfig {
	ms := func(label string, least, most int) *durationpb.Duration {
		if rapid.Bool().Draw(t, label+" absent") {
			return nil
		}
		return durationpb.New(time.Duration(rapid.IntRange(least, most).Draw(t, label)) * time.Millisecond)
	}
	interval := ms("interval", 0, 1e9)
	var backlog *durationpb.Duration
	switch rapid.IntRange(0, 2).Draw(t, "backlog") {
	case 1:
		backlog = durationpb.New(0)
	case 2:
		if interval.AsDuration() >= 10*time.Millisecond {
			backlog = durationpb.New(interval.AsDuration() + time.Duration(rapid.IntRange(0, 1e3).Draw(t, "longer"))*time.Millisecond)
		}
	}
	return &ckptdv1.JobConfig{
		Mode:                     ckptdv1.CheckpointingMode(rapid.IntRange(0, 2).Draw(t, "mode")),
		Interval:                 interval,
		IntervalDuringBacklog:    backlog,
		MaxConcurrentCheckpoints: rapid.Uint32Max(9).Draw(t, "concurrent"),

		CheckpointsAfterTasksFinish: rapid.SampledFrom([]*bool{nil, new(true), new(false)}).Draw(t, "after finish"),
		Timeout:                     ms("timeout", 10, 1e9),
		MinPause:                    ms("pause", 0, 1e9),
		TolerableFailedCheckpoints:  rapid.Uint32Max(coordinator.Never).Draw(t, "tolerable"),
		Retention:                   ckptdv1.Retention(rapid.IntRange(0, 3).Draw(t, "retention")),
		NumRetained:                 rapid.Uint32Max(200).Draw(t, "retained"),
		RestartStrategy: &ckptdv1.RestartStrategy{
			Type:     ckptdv1.RestartStrategy_Type(rapid.IntRange(0, 4).Draw(t, "strategy")),
			Attempts: rapid.Uint32Max(3).Draw(t, "attempts"),
			Delay:    ms("delay", 0, 1e9),
			FailureRate: &ckptdv1.FailureRate{
				MaxFailuresPerInterval: rapid.Uint32Max(3).Draw(t, "failures"), FailureRateInterval: ms("within", 1, 1e9), Delay: ms("delay", 0, 1e9),
			},
			ExponentialDelay: &ckptdv1.ExponentialDelay{
				InitialBackoff: ms("initial", 1, 1e3), MaxBackoff: ms("longest", 1e3, 1e9), ResetBackoffThreshold: ms("reset", 1, 1e9),
				BackoffMultiplier:          rapid.SampledFrom([]float64{0, 1.1, 1.5, 2, 1e21}).Draw(t, "multiplier"),
				JitterFactor:               rapid.SampledFrom([]*float64{nil, new(0.0), new(0.25), new(1.0)}).Draw(t, "jitter"),
				AttemptsBeforeResetBackoff: rapid.Uint32Max(3).Draw(t, "attempts in a row"),
			},
		},
	}
}

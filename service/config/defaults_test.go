package config_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/config"
)

// parse reads Flink's keys; "" is no configuration at all.
func parse(t *testing.T, keys string) *ckptdv1.JobConfig {
	t.Helper()
	if keys == "" {
		return nil
	}
	f, err := config.Parse([]byte(keys))
	if err != nil {
		t.Fatal(err)
	}
	return f.Job
}

const (
	interval = "execution.checkpointing.interval: "
	retained = "execution.checkpointing.num-retained: "
	kept     = "execution.checkpointing.externalized-checkpoint-retention: "
	fixed    = "restart-strategy: fixed-delay\nrestart-strategy.fixed-delay.attempts: 7\n"
)

func TestWithDefaults(t *testing.T) {
	for name, c := range map[string]struct{ asked, defaults, want string }{
		"no defaults":                         {interval + "1s", "", interval + "1s"},
		"no configuration":                    {"", interval + "1s\n" + retained + "3", interval + "1s\n" + retained + "3"},
		"the job wins":                        {interval + "2s", interval + "1s\n" + retained + "3", interval + "2s\n" + retained + "3"},
		"a strategy is taken as a whole":      {"restart-strategy: none", fixed, "restart-strategy: none"},
		"a strategy is taken where none is":   {interval + "2s", fixed, interval + "2s\n" + fixed},
		"nothing is asked and nothing is set": {"", "", ""},
	} {
		got := config.WithDefaults(parse(t, c.asked), parse(t, c.defaults))
		if diff := cmp.Diff(parse(t, c.want), got, protocmp.Transform()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// The defaults of a daemon change under a job that was created with others: what the job leaves out stays in effect.
func TestKeepDefaulted(t *testing.T) {
	inEffect := parse(t, interval+"1s\n"+retained+"3\n"+kept+"RETAIN_ON_CANCELLATION")
	for name, c := range map[string]struct{ asked, defaults, want string }{
		"no defaults":       {interval + "1s", "", interval + "1s"},
		"the same defaults": {interval + "1s", retained + "3", interval + "1s\n" + retained + "3"},
		"other defaults":    {interval + "1s", retained + "5", interval + "1s\n" + retained + "3"},
		"the job asks":      {retained + "9", retained + "5", retained + "9"},
		"a key with a default for the first time": {interval + "1s", kept + "DELETE_ON_CANCELLATION", interval + "1s\n" + kept + "RETAIN_ON_CANCELLATION"},
	} {
		got := config.KeepDefaulted(parse(t, c.asked), parse(t, c.defaults), inEffect)
		if diff := cmp.Diff(parse(t, c.want), got, protocmp.Transform()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

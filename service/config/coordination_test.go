package config_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/ckptd/ckptd/service/config"
	"github.com/ckptd/ckptd/service/coordinator"
)

// TestCoordinationKeys reads the keys of the coordinator in YAML and JSON, under all their names, and follows them through the journal.
func TestCoordinationKeys(t *testing.T) {
	const c = "execution.checkpointing."
	base := coordinator.Policy{Interval: time.Minute, Timeout: coordinator.DefaultTimeout, MaxConcurrent: 1}
	with := func(f func(*coordinator.Policy)) coordinator.Policy { p := base; f(&p); return p }
	for text, want := range map[string]coordinator.Policy{
		c + "max-concurrent-checkpoints: 3":                                   with(func(p *coordinator.Policy) { p.MaxConcurrent = 3 }),
		c + "max-concurrent-checkpoints: 2147483647":                          with(func(p *coordinator.Policy) { p.MaxConcurrent = 1<<31 - 1 }),
		`{"execution": {"checkpointing": {"max-concurrent-checkpoints": 4}}}`: with(func(p *coordinator.Policy) { p.MaxConcurrent = 4 }),
		c + "interval-during-backlog: 0":                                      with(func(p *coordinator.Policy) { p.BacklogInterval = coordinator.NoInterval }),
		c + "interval-during-backlog: 5 min":                                  with(func(p *coordinator.Policy) { p.BacklogInterval = 5 * time.Minute }),
		c + "interval-during-backlog: 1 min":                                  with(func(p *coordinator.Policy) { p.BacklogInterval = time.Minute }),
		c + "checkpoints-after-tasks-finish: false":                           with(func(p *coordinator.Policy) { p.StopAfterFinish = true }),
		c + "checkpoints-after-tasks-finish.enabled: FALSE":                   with(func(p *coordinator.Policy) { p.StopAfterFinish = true }),
		c + "checkpoints-after-tasks-finish: true":                            base,
		c + "timeout: 10min":                                                  base,
	} {
		sep := "\n"
		if strings.HasPrefix(text, "{") {
			text, sep = strings.TrimSuffix(text, "}")+", ", `"`+c+`interval": "1min"}`
		} else {
			sep += c + "interval: 1min"
		}
		f, err := config.Parse([]byte(text + sep))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		stored, err := config.Encode(f.Job)
		if err != nil {
			t.Fatal(err)
		}
		j, err := config.Interpret(stored)
		if j.Policy.Restart = (coordinator.Restart{}); err != nil || j.Policy != want {
			t.Errorf("%s: %+v, %v; want %+v", text, j.Policy, err, want)
		}
		var out bytes.Buffer
		if err := config.Show(&out, "", j); err != nil {
			t.Fatal(err)
		}
		if key, value, _ := strings.Cut(text, ": "); strings.HasPrefix(text, c) && !strings.Contains(out.String(), strings.TrimSuffix(key, ".enabled")+": "+strings.ToLower(value)) {
			switch value {
			case "0": // printed as a duration
				value = "0 ms"
			case "10min":
				value = "10 min"
			}
			if !strings.Contains(out.String(), key+": "+value+"\n") {
				t.Errorf("%s is not printed:\n%s", text, &out)
			}
		}
	}
	for text, want := range map[string]string{
		"interval: 10 min\n" + c + "interval-during-backlog: 1 min": "interval-during-backlog: 1 min is shorter than execution.checkpointing.interval, 10 min; allowed is that or more, or 0",
		"interval: 0\n" + c + "interval-during-backlog: 1 min":      "interval-during-backlog: 1 min cannot be, as the job has no execution.checkpointing.interval; allowed is 0, or no value",
		"max-concurrent-checkpoints: -1":                            "max-concurrent-checkpoints: -1 is out of range; allowed is 1 to 2147483647",
		"max-concurrent-checkpoints: two":                           `max-concurrent-checkpoints: "two" is not a whole number; allowed is 1 to 2147483647`,
		"min-pause: -1":                                             "min-pause",
		"checkpoints-after-tasks-finish: 1":                         `"1" is unknown; allowed is true or false`,
		"checkpoints-after-tasks-finish: true\n" + c + "checkpoints-after-tasks-finish.enabled: true": "is given already",
	} {
		if f, err := config.Parse([]byte(c + text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v; want an error that says %q", text, f, err, want)
		}
	}
}

package config_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/ckptd/ckptd/service/config"
)

func TestParseDuration(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"3min": 3 * time.Minute, "3 m": 3 * time.Minute, "1 minute": time.Minute, "5 minutes": 5 * time.Minute,
		"30 s": 30 * time.Second, "30s": 30 * time.Second, "2sec": 2 * time.Second, "2 secs": 2 * time.Second, "9 SECONDS": 9 * time.Second,
		"500ms": 500 * time.Millisecond, "500": 500 * time.Millisecond, "7 millis": 7 * time.Millisecond, " 8  milliseconds ": 8 * time.Millisecond,
		"1 h": time.Hour, "2 hours": 2 * time.Hour, "1d": 24 * time.Hour, "10 days": 240 * time.Hour,
		"4µs": 4 * time.Microsecond, "4 μs": 4 * time.Microsecond, "4 micros": 4 * time.Microsecond, "6 ns": 6, "6nanoseconds": 6,
		"0": 0, "007 s": 7 * time.Second, "9223372036854775807 ns": math.MaxInt64,
	} {
		got, err := config.ParseDuration(s)
		if err != nil || got != want {
			t.Errorf("%q: %v, %v; want %v", s, got, err, want)
		}
	}
	for s, why := range map[string]string{
		"": "does not begin with a number", "  ": "does not begin with a number", "min": "does not begin with a number",
		"-3min": "does not begin with a number", "+3min": "does not begin with a number", "PT3M": "does not begin with a number",
		"3.5min": `unknown unit ".5min"`, "3 weeks": `unknown unit "weeks"; the units are d, h, min, s, ms, µs, ns`,
		"1h30min": `unknown unit "h30min"`, "99999999999999999999 s": "too large", "9223372036854775807": "longer than 292 years",
		"106752 d": "longer than 292 years",
	} {
		if got, err := config.ParseDuration(s); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v, %v; want an error that says %q", s, got, err, why)
		}
	}
}

func FuzzDuration(f *testing.F) {
	for _, s := range []string{"3min", "30 s", "500ms", "1 h", "2d", "17", "4µs", "-1", "9223372036854775807ns", "1h30m", "３min"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := config.ParseDuration(s)
		if err != nil {
			return
		}
		if d < 0 {
			t.Fatalf("%q: negative: %d", s, d)
		}
		printed := config.FormatDuration(d)
		if again, err := config.ParseDuration(printed); err != nil || again != d {
			t.Fatalf("%q is %d, printed as %q, which is %d, %v", s, d, printed, again, err)
		}
	})
}

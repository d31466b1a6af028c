package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// unit is one of Flink's units of time with all its spellings. The first spelling is printed.
type unit struct {
	length time.Duration
	labels []string
}

// units are Flink's units of time, the largest first.
func units() []unit {
	return []unit{
		{24 * time.Hour, []string{"d", "day", "days"}},
		{time.Hour, []string{"h", "hour", "hours"}},
		{time.Minute, []string{"min", "m", "minute", "minutes"}},
		{time.Second, []string{"s", "sec", "secs", "second", "seconds"}},
		{time.Millisecond, []string{"ms", "milli", "millis", "millisecond", "milliseconds"}},
		{time.Microsecond, []string{"µs", "μs", "micro", "micros", "microsecond", "microseconds"}},
		{time.Nanosecond, []string{"ns", "nano", "nanos", "nanosecond", "nanoseconds"}},
	}
}

// ParseDuration parses a duration in Flink's form: a whole number and a unit, with or without a space ("3min", "30 s",
// "500ms"). A number without a unit counts milliseconds. Case does not matter. Signs, fractions and sums are refused.
func ParseDuration(s string) (time.Duration, error) {
	text := strings.TrimSpace(s)
	digits := len(text) - len(strings.TrimLeft(text, "0123456789"))
	if digits == 0 {
		return 0, fmt.Errorf("%q is not a duration: it does not begin with a number; write it as 3min, 30s or 500ms", s)
	}
	n, err := strconv.ParseInt(text[:digits], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration: the number is too large; the longest duration is 292 years", s)
	}
	length, err := parseUnit(strings.ToLower(strings.TrimSpace(text[digits:])))
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration: %w", s, err)
	}
	if n > math.MaxInt64/int64(length) {
		return 0, fmt.Errorf("%q is not a duration: it is longer than 292 years", s)
	}
	return time.Duration(n) * length, nil
}

func parseUnit(label string) (time.Duration, error) {
	if label == "" {
		return time.Millisecond, nil
	}
	printed := make([]string, 0, len(units()))
	for _, u := range units() {
		for _, l := range u.labels {
			if l == label {
				return u.length, nil
			}
		}
		printed = append(printed, u.labels[0])
	}
	return 0, fmt.Errorf("unknown unit %q; the units are %s", label, strings.Join(printed, ", "))
}

// FormatDuration is the inverse of ParseDuration. It prints a whole number of the largest unit that fits. The duration
// must not be negative.
func FormatDuration(d time.Duration) string {
	if d == 0 {
		return "0 ms"
	}
	for _, u := range units() {
		if d%u.length == 0 {
			return fmt.Sprintf("%d %s", d/u.length, u.labels[0])
		}
	}
	return d.String() // not reached: every duration is a whole number of nanoseconds
}

package config

import (
	"fmt"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
)

// between parses a duration and refuses one out of range.
func between(v string, least, most time.Duration) (*durationpb.Duration, error) {
	d, err := ParseDuration(v)
	if err != nil {
		return nil, err
	}
	if d < least || d > most {
		return nil, fmt.Errorf("%s is out of range; allowed is %s to %s", FormatDuration(d), FormatDuration(least), FormatDuration(most))
	}
	return durationpb.New(d), nil
}

// number parses a whole number and refuses one out of range.
func number(v string, least, most int64) (uint32, error) {
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a whole number; allowed is %d to %d", v, least, most)
	}
	if n < least || n > most {
		return 0, fmt.Errorf("%d is out of range; allowed is %d to %d", n, least, most)
	}
	return uint32(n), nil
}

// shortBacklog is the error for an interval during a backlog below the shortest one.
func shortBacklog(d time.Duration) error {
	return fmt.Errorf("%s is out of range; allowed is %s to %s, and not less than %s, or 0 for no periodic checkpoints during a backlog",
		FormatDuration(d), FormatDuration(leastDuration), FormatDuration(longestDuration), keyInterval)
}

// or returns v, or def if v is zero.
func or[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// decimal parses a number with a fraction.
func decimal(v string, check func(float64) error) (float64, error) {
	n, err := strconv.ParseFloat(v, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number; write it like %v", v, defaultMultiplier)
	}
	return n, check(n)
}

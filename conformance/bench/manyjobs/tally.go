package main

import (
	"slices"
	"sync"
	"time"
)

// A tally is how long checkpoints took, from their triggers at the worker to Complete. It is safe for concurrent use.
type tally struct {
	mu        sync.Mutex
	durations []time.Duration
	aborted   int
}

func (t *tally) complete(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.durations = append(t.durations, d)
}

func (t *tally) abort() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.aborted++
}

// counts returns what has been counted so far.
func (t *tally) counts() counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	return counts{slices.Clone(t.durations), t.aborted}
}

// counts are checkpoints of some time.
type counts struct {
	durations []time.Duration
	aborted   int
}

// since returns what was counted after before.
func (c counts) since(before counts) counts {
	return counts{c.durations[len(before.durations):], c.aborted - before.aborted}
}

// at returns the quantile q of the durations in ms; 0 if there are none.
func (c counts) at(q float64) float64 {
	if len(c.durations) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(c.durations))
	return sorted[int(q*float64(len(sorted)-1))].Seconds() * 1000
}

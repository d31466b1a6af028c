// Package limit bounds how many requests a store gets at a time, for each class of work, and sends fewer while the
// store throttles.
//
// It owns the classes, their budgets and their order. Each class has a budget of its own, so that a flood of one
// class never keeps another waiting. Collecting garbage yields to commits. After a throttle everything but commits is
// slowed down. The package must not know what the objects mean, nor which driver the store is.
package limit

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/ckptd/ckptd/layout/storage"
)

// Class is a kind of work. The lower class goes first.
type Class int

const (
	// Commit is the work that the end of a checkpoint, or a take-over, waits for: the journal and _metadata.
	Commit Class = iota
	// Restore is reading state, which a failed job waits for.
	Restore
	// Upload is writing state.
	Upload
	// Collect is the work that nobody waits for: sweeps, deletes, trims.
	Collect
	classes = iota
)

// String names the class.
func (c Class) String() string { return [...]string{"commit", "restore", "upload", "collect"}[c] }

// Budgets is the largest number of requests that a store gets at a time, by class. An object being written, an object
// being read and a listing each count as one request from begin to end. 0 means the default.
type Budgets struct {
	// Commit: 32 by default. It is never lowered.
	Commit int
	// Restore: 64 by default. After a throttle it is halved, down to 1.
	Restore int
	// Upload: 64 by default. After a throttle it is halved, down to 1.
	Upload int
	// Collect: 4 by default, each of up to 1,000 deletes. It is 1 while a commit runs or waits, and after a throttle.
	Collect int
}

func (b Budgets) withDefaults() [classes]int {
	or := func(n, other int) int {
		if n > 0 {
			return n
		}
		return other
	}
	return [classes]int{Commit: or(b.Commit, 32), Restore: or(b.Restore, 64), Upload: or(b.Upload, 64), Collect: or(b.Collect, 4)}
}

// The pauses after a throttle, during which only commits begin. Each pause is about twice the one before, until a
// request that had to wait succeeds.
const (
	firstPause = 50 * time.Millisecond
	maxPause   = 5 * time.Second
)

// Limiter is the limit of one store. It is safe for concurrent use.
type Limiter struct {
	mu    sync.Mutex
	lines [classes]line
	// round counts the bursts of throttles. Requests that began in the same round cause only one reaction.
	round  int
	paused bool
	pauses backoff.ExponentialBackOff
}

// line is the requests of one class: those that run, and those that wait, first come, first served.
type line struct {
	budget  int
	allowed float64 // 1 <= allowed <= budget: down with throttles, up with successes
	running int
	waiting []*waiter
}

type waiter struct {
	turn  chan struct{} // closed when the request runs
	round int           // in which the request began; set before turn is closed
}

// New returns a limiter.
func New(b Budgets) *Limiter {
	l := &Limiter{pauses: backoff.ExponentialBackOff{
		InitialInterval: firstPause, MaxInterval: maxPause, Multiplier: 2, RandomizationFactor: 0.5,
	}}
	for c, n := range b.withDefaults() {
		l.lines[c] = line{budget: n, allowed: float64(n)}
	}
	return l
}

// Line is what a class is doing.
type Line struct{ Running, Waiting, Allowed int }

// Line returns what a class is doing now.
func (l *Limiter) Line(c Class) Line {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Line{Running: l.lines[c].running, Waiting: len(l.lines[c].waiting), Allowed: l.allowedLocked(c)}
}

// enter waits for the turn of a request, and returns the round in which the request begins. The caller must call
// leave, unless enter returned an error.
func (l *Limiter) enter(ctx context.Context, c Class) (round int, err error) {
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	l.mu.Lock()
	line := &l.lines[c]
	if len(line.waiting) == 0 && line.running < l.allowedLocked(c) {
		line.running++
		defer l.mu.Unlock()
		return l.round, nil
	}
	w := &waiter{turn: make(chan struct{})}
	line.waiting = append(line.waiting, w)
	l.mu.Unlock()
	select {
	case <-w.turn:
		return w.round, nil
	case <-ctx.Done():
		l.giveUp(c, w)
		return 0, context.Cause(ctx)
	}
}

// giveUp withdraws a request that waits, or whose turn has come meanwhile.
func (l *Limiter) giveUp(c Class, w *waiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := &l.lines[c]
	if i := slices.Index(line.waiting, w); i >= 0 {
		line.waiting = slices.Delete(line.waiting, i, i+1)
	} else {
		line.running--
	}
	l.admitLocked()
}

// leave ends a request; err is its error, or nil.
func (l *Limiter) leave(c Class, round int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines[c].running--
	if round == l.round {
		switch {
		case errors.Is(err, storage.ErrThrottled):
			l.slowDownLocked()
		case err == nil && c != Commit: // commits may succeed while the store throttles the rest
			l.lines[c].allowed = min(float64(l.lines[c].budget), l.lines[c].allowed+1/l.lines[c].allowed)
			l.pauses.Reset()
		}
	}
	l.admitLocked()
}

// Repeated takes note of a request that the driver repeats by itself. If the store throttled, the limiter slows down,
// although no request failed. One pause answers all throttles of its burst.
func (l *Limiter) Repeated(cause error) {
	if !errors.Is(cause, storage.ErrThrottled) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.paused {
		l.slowDownLocked()
	}
}

// slowDownLocked reacts to a burst of throttles.
func (l *Limiter) slowDownLocked() {
	l.round++
	l.lines[Restore].allowed = max(1, l.lines[Restore].allowed/2)
	l.lines[Upload].allowed = max(1, l.lines[Upload].allowed/2)
	l.lines[Collect].allowed = 1
	if l.paused {
		return // a pause is never extended, or a restore could wait for ever while commits are throttled
	}
	l.paused = true
	time.AfterFunc(l.pauses.NextBackOff(), func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.paused = false
		l.admitLocked()
	})
}

// allowedLocked returns how many requests of a class may run now.
func (l *Limiter) allowedLocked(c Class) int {
	commits := &l.lines[Commit]
	switch {
	case c == Commit:
		return commits.budget
	case l.paused:
		return 0
	case c == Collect && commits.running+len(commits.waiting) > 0:
		return 1
	}
	return int(l.lines[c].allowed)
}

// admitLocked starts the waiting requests that may run now.
func (l *Limiter) admitLocked() {
	for c := range l.lines {
		line := &l.lines[c]
		for len(line.waiting) > 0 && line.running < l.allowedLocked(Class(c)) {
			w := line.waiting[0]
			line.waiting = line.waiting[1:]
			line.running++
			w.round = l.round
			close(w.turn)
		}
	}
}

package coordinator_test

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	. "github.com/ckptd/ckptd/service/coordinator"
)

// TestPolicyProperties drives the machine with arbitrary events, in orders that no sane shell would produce too, and holds it to
// what it promises whatever comes.
func TestPolicyProperties(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := Policy{
			Interval:          time.Duration(rapid.SampledFrom([]int{0, 10, 50, 1000}).Draw(rt, "interval")) * time.Millisecond,
			Timeout:           time.Duration(rapid.IntRange(10, 500).Draw(rt, "timeout")) * time.Millisecond,
			MinPause:          time.Duration(rapid.SampledFrom([]int{0, 0, 20, 200}).Draw(rt, "pause")) * time.Millisecond,
			MaxConcurrent:     rapid.IntRange(1, 3).Draw(rt, "concurrent"),
			TolerableFailures: rapid.IntRange(0, 3).Draw(rt, "tolerable"),
			BacklogInterval:   rapid.SampledFrom([]time.Duration{0, NoInterval, time.Second}).Draw(rt, "backlog"),
			StopAfterFinish:   rapid.Bool().Draw(rt, "stop after finish"),
			Restart: Restart{
				Strategy:   rapid.SampledFrom([]Strategy{NoRestart, FixedDelay, FailureRate, ExponentialDelay}).Draw(rt, "strategy"),
				Interval:   100 * time.Millisecond,
				MaxDelay:   200 * time.Millisecond,
				Multiplier: 2,
				Jitter:     rapid.SampledFrom([]float64{0, 0.5}).Draw(rt, "jitter"),
				ResetAfter: time.Second,
				Attempts:   rapid.IntRange(0, 4).Draw(rt, "restarts"),
				Delay:      time.Duration(rapid.SampledFrom([]int{0, 30}).Draw(rt, "delay")) * time.Millisecond,
			},
		}
		seed := rapid.Uint64().Draw(rt, "seed")
		c := newChecked(rt, p, seed)
		c.step(Tick{})
		for range rapid.IntRange(1, 120).Draw(rt, "events") {
			c.now = c.now.Add(time.Duration(rapid.SampledFrom([]int{0, 0, 0, 1, 5, 30, 400, -5}).Draw(rt, "ms")) * time.Millisecond)
			c.step(c.draw())
		}
		c.step(Fenced{})
		if len(c.waiting) > 0 {
			rt.Fatalf("never answered: %v", c.waiting)
		}
		c.replay(p, seed)
	})
}

// checked is a machine beside a plain record of what was said, against which each decision is checked.
type checked struct {
	t   *rapid.T
	p   Policy
	m   *Machine
	now time.Time
	at  time.Time // the latest now

	running, starting, over bool
	backlog, finished       bool
	cleaning, saving        int
	cleanedAt               time.Time // when cleaning rose above the limit
	given                   bool      // FailJob or the end
	restartAt               time.Time
	attempt                 uint64
	triggering              bool
	lastID                  uint64
	pending                 map[uint64]*record
	completedAt             time.Time
	callers                 uint64
	waiting                 map[uint64]bool
	log                     []said
}

type record struct {
	at                  time.Time
	aborted, unresolved bool
}

type said struct {
	now time.Time
	e   Event
	d   []Decision
}

func newChecked(t *rapid.T, p Policy, seed uint64) *checked {
	now := time.Unix(1_000_000, 0)
	return &checked{t: t, p: p, m: New(p, DefaultTimes(), seed), now: now, at: now, pending: map[uint64]*record{}, waiting: map[uint64]bool{}}
}

// draw picks an event. Rough ones are rarer, or no attempt would live long enough for anything to happen.
func (c *checked) draw() Event {
	ids := make([]uint64, 0, len(c.pending)+1)
	for id := range c.pending {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	id := rapid.SampledFrom(append(ids, 999)).Draw(c.t, "id")
	w := rapid.SampledFrom([]string{"w0", "w1", "w2"}).Draw(c.t, "worker")
	reason := rapid.SampledFrom([]Reason{ReasonDeclined, ReasonIO, ReasonSubsumed, ReasonDeclinedTaskNotReady}).Draw(c.t, "reason")
	c.callers++
	calm := []Event{
		Tick{}, Request{Caller: c.callers}, Request{Caller: c.callers}, Alive{"w0"}, Alive{"w1"}, WorkerUp{w}, AllAtEnd{c.attempt},
		SavepointRequest{Caller: c.callers}, Backlog{c.attempt, w == "w0"}, Cleaning{Checkpoints: int(c.callers % 5)}, SavepointAnswered{},
		Declined{Checkpoint: id, Reason: reason}, Unresolved{id}, Completed{id}, Aborted{Checkpoint: id, Reason: reason},
	}
	rough := []Event{
		WorkerGone{w}, WorkerDead{Worker: w}, WorkerLeft{w}, SubtasksFinished{c.attempt}, WorkerFinished{w, c.attempt}, WorkerFailed{Worker: w, Attempt: c.attempt}, NewAttempt{Attempt: c.attempt},
		Attached{Attempt: c.attempt}, AttemptStarting{Attempt: c.attempt + 1, Workers: []string{"w0", "w1"}}, AllRunning{Attempt: c.attempt},
		Fenced{}, Terminal{},
	}
	next := AttemptStarting{Attempt: c.attempt + 1, Workers: []string{"w0", "w1"}}
	switch dice := rapid.IntRange(0, 99).Draw(c.t, "dice"); {
	case dice < 4:
		return rapid.SampledFrom(rough).Draw(c.t, "rough")
	case dice < 60 && c.triggering:
		return rapid.SampledFrom([]Event{TriggerAccepted{c.lastID + 1}, TriggerAccepted{c.lastID + 1}, TriggerRefused{Reason: reason}}).Draw(c.t, "reply")
	case dice < 60 && c.starting:
		return AllRunning{Attempt: c.attempt}
	case dice < 60 && !c.running:
		return next
	default:
		return rapid.SampledFrom(calm).Draw(c.t, "calm")
	}
}

func (c *checked) step(e Event) {
	if c.now.After(c.at) {
		c.at = c.now
	}
	c.note(e)
	d := c.m.Step(c.now, e)
	c.log = append(c.log, said{c.now, e, d})
	for _, d := range d {
		c.check(d)
	}
	if len(c.pending) > c.p.MaxConcurrent {
		c.t.Fatalf("%d pending, at most %d may be", len(c.pending), c.p.MaxConcurrent)
	}
	for id, r := range c.pending {
		if !r.aborted && !r.unresolved && !c.at.Before(r.at.Add(c.p.Timeout)) {
			c.t.Fatalf("checkpoint %d has expired unnoticed", id)
		}
	}
	next, ok := c.m.NextDeadline()
	if ok && !next.After(c.at) {
		c.t.Fatalf("the next deadline %s is not ahead of %s", next, c.at)
	}
	if ok && c.over {
		c.t.Fatalf("a deadline after the end")
	}
	stopped := c.finished && c.p.StopAfterFinish || c.backlog && c.p.BacklogInterval == NoInterval
	if c.running && c.p.Interval > 0 && c.m.State().NextPeriodic.IsZero() && !stopped {
		c.t.Fatalf("running without a plan for the next checkpoint")
	}
}

// note records what an event means before the machine has seen it.
func (c *checked) note(e Event) {
	switch e := e.(type) {
	case Request:
		c.waiting[e.Caller] = true
	case SavepointRequest:
		c.waiting[e.Caller] = true
	case SavepointAnswered:
		c.saving = max(0, c.saving-1)
	case Cleaning:
		if e.Checkpoints > c.p.MaxConcurrent && c.cleaning <= c.p.MaxConcurrent {
			c.cleanedAt = c.at
		}
		c.cleaning = e.Checkpoints
	case Backlog:
		c.backlog = e.On
	case SubtasksFinished:
		c.finished = true
	case AttemptStarting:
		if !c.given {
			c.backlog, c.finished = false, false
			c.attempt, c.starting, c.running = e.Attempt, true, false
			c.triggering, c.restartAt = false, time.Time{}
		}
	case AllRunning:
		c.running = c.running || (c.starting && e.Attempt == c.attempt)
		c.starting = c.starting && !c.running
	case TriggerAccepted:
		c.triggering, c.lastID = false, e.Checkpoint
		if !c.over {
			c.pending[e.Checkpoint] = &record{at: c.at}
		}
	case TriggerRefused:
		c.triggering = false
	case Unresolved:
		if r := c.pending[e.Checkpoint]; r != nil {
			r.unresolved = true
		}
	case Completed:
		c.completedAt = c.at
		delete(c.pending, e.Checkpoint)
	case Aborted:
		delete(c.pending, e.Checkpoint)
	case Fenced, Terminal:
		c.running, c.starting, c.over, c.given, c.triggering = false, false, true, true, false
		clear(c.pending)
	}
}

// check holds one decision against the record.
func (c *checked) check(d Decision) {
	if _, answer := d.(Answer); c.over && !answer {
		c.t.Fatalf("%T after the end", d)
	}
	switch d := d.(type) {
	case Trigger:
		c.checkTrigger(d)
	case TriggerSavepoint:
		if !c.waiting[d.Caller] || c.running && (c.triggering || c.held()) {
			c.t.Fatalf("a savepoint for %d, triggering %v, %d are cleaned", d.Caller, c.triggering, c.cleaning)
		}
		delete(c.waiting, d.Caller)
		c.saving++
	case Abort:
		r := c.pending[d.Checkpoint]
		if r == nil || r.aborted || r.unresolved {
			c.t.Fatalf("abort of %d: %+v", d.Checkpoint, r)
		}
		r.aborted = true
	case Answer:
		if !c.waiting[d.Caller] {
			c.t.Fatalf("%d answered twice, or never asked", d.Caller)
		}
		delete(c.waiting, d.Caller)
	case Failover:
		if !c.running && !c.starting {
			c.t.Fatal("failover without an attempt")
		}
		c.running, c.starting, c.restartAt = false, false, d.At
	case FailJob:
		if !c.running && !c.starting {
			c.t.Fatal("job failed without an attempt")
		}
		c.running, c.starting, c.given = false, false, true
	case StartAttempt:
		if c.given || c.at.Before(c.restartAt) && !c.asksForAttempt() {
			c.t.Fatalf("attempt begun at %s, planned for %s", c.at, c.restartAt)
		}
		if d.Attempt != c.attempt {
			c.t.Fatalf("asks for the attempt after %d; the last one was %d", d.Attempt, c.attempt)
		}
		c.running, c.starting, c.restartAt = false, false, time.Time{}
	}
}

// held reports whether too many checkpoints are being deleted.
func (c *checked) held() bool {
	return c.cleaning > c.p.MaxConcurrent && c.at.Before(c.cleanedAt.Add(c.p.Timeout))
}

func (c *checked) asksForAttempt() bool {
	switch c.log[len(c.log)-1].e.(type) {
	case NewAttempt, WorkerLeft:
		return true
	}
	return false
}

func (c *checked) checkTrigger(d Trigger) {
	switch {
	case !c.running:
		c.t.Fatal("triggered while the attempt does not run")
	case c.held():
		c.t.Fatalf("triggered while %d checkpoints are cleaned", c.cleaning)
	case c.finished && c.p.StopAfterFinish:
		c.t.Fatal("triggered after a subtask has finished")
	case c.saving > 0:
		c.t.Fatal("triggered while a savepoint has no answer")
	case c.triggering:
		c.t.Fatal("triggered while another trigger has no answer")
	case len(c.pending) >= c.p.MaxConcurrent:
		c.t.Fatalf("triggered beside %d pending", len(c.pending))
	case !d.Manual && c.log[len(c.log)-1].e != (AllAtEnd{c.attempt}) && !c.endQueued() &&
		!c.completedAt.IsZero() && c.at.Before(c.completedAt.Add(c.p.MinPause)):
		c.t.Fatalf("a periodic trigger %s after a completion", c.at.Sub(c.completedAt))
	}
	for id, r := range c.pending {
		if r.unresolved {
			c.t.Fatalf("triggered while %d is unresolved", id)
		}
	}
	c.triggering = true
}

// endQueued reports whether an end of data of this attempt may have a request in the queue, to which the pause does not apply.
func (c *checked) endQueued() bool {
	return slices.ContainsFunc(c.log, func(s said) bool { return s.e == (AllAtEnd{c.attempt}) })
}

// replay tells the same to a second machine.
func (c *checked) replay(p Policy, seed uint64) {
	m := New(p, DefaultTimes(), seed)
	for i, s := range c.log {
		if d := m.Step(s.now, s.e); !reflect.DeepEqual(d, s.d) {
			c.t.Fatalf("event %d, %T: %v the first time, %v the second", i, s.e, s.d, d)
		}
	}
}

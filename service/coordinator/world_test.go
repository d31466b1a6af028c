package coordinator_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	. "github.com/ckptd/ckptd/service/coordinator"
)

// world is a coordinator with what is around it: an owner that counts acknowledgements, and two workers, w0 and w1, that run
// the five tasks a to e. It writes down what the coordinator decides and what comes of it.
type world struct {
	t      *testing.T
	m      *Machine
	out    strings.Builder
	begin  time.Time
	now    time.Time
	events []Event // not yet handed over

	lastID  uint64
	attempt uint64
	open    []*checkpoint
	refuse  Reason   // how the owner answers the next Trigger
	slow    bool     // the owner answers a Trigger only when told to
	waiting *Trigger // waits for that
	late    bool     // the owner aborts only when told to
	hold    bool     // the owner does not learn how the publication of an entry ended
	up      []string
	mute    map[string]bool // workers that do not answer pings
}

type checkpoint struct {
	id         uint64
	acked      []string
	unresolved bool
	savepoint  bool
}

const tasks = "abcde"

func newWorld(t *testing.T, p Policy, seed uint64) *world {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return &world{t: t, m: New(p, DefaultTimes(), seed), begin: begin, now: begin, mute: map[string]bool{}}
}

func (w *world) printf(format string, args ...any) {
	fmt.Fprintf(&w.out, "%9s  %s\n", w.now.Sub(w.begin), fmt.Sprintf(format, args...))
}

// step hands an event over, and then all that follow from it.
func (w *world) step(e Event) {
	w.events = append(w.events, e)
	for len(w.events) > 0 {
		e := w.events[0]
		w.events = w.events[1:]
		for _, d := range w.m.Step(w.now, e) {
			w.carryOut(d)
		}
		if at, ok := w.m.NextDeadline(); ok && !at.After(w.now) {
			w.t.Fatalf("after %T the next deadline %s does not lie ahead of %s", e, at, w.now)
		}
	}
}

func (w *world) carryOut(d Decision) {
	switch d := d.(type) {
	case Trigger:
		w.trigger(d)
	case TriggerSavepoint:
		w.savepoint(d)
	case Abort:
		w.printf("abort %d: %s%s", d.Checkpoint, d.Reason, because(d.Cause))
		if !w.late {
			w.abort(d.Checkpoint, d.Reason, d.Cause)
		}
	case NotBegun:
		w.printf("not begun: %s%s", d.Reason, because(d.Cause))
	case Answer:
		if d.Reason == "" {
			w.printf("answer %d: checkpoint %d is complete", d.Caller, d.Checkpoint)
		} else {
			w.printf("answer %d: %s%s", d.Caller, d.Reason, because(d.Cause))
		}
	case Failover:
		w.printf("failover of attempt %d%s; the next at %s", d.Attempt, because(d.Cause), d.At.Sub(w.begin))
	case StartAttempt:
		w.printf("start attempt %d%s", d.Attempt+1, because(d.Cause))
	case FailJob:
		w.printf("fail the job%s", because(d.Cause))
	case Ping:
		for _, n := range w.up {
			if !w.mute[n] {
				w.events = append(w.events, Alive{Worker: n})
			}
		}
	case WorkerLost:
		w.printf("worker %s lost%s", d.Worker, because(d.Cause))
		w.drop(d.Worker)
	case RegistrationsExpired:
		w.printf("the registrations of attempt %d expired", d.Attempt)
	}
}

func because(cause string) string {
	if cause == "" {
		return ""
	}
	return " (" + cause + ")"
}

func (w *world) trigger(d Trigger) {
	switch {
	case w.refuse != "":
		w.printf("trigger: the owner refuses with %s", w.refuse)
		w.events = append(w.events, TriggerRefused{Reason: w.refuse, Cause: "as told"})
		w.refuse = ""
	case w.slow:
		w.printf("trigger: the owner takes its time")
		w.waiting = &d
	default:
		w.accept(d.Manual)
	}
}

// savepoint begins a savepoint.
func (w *world) savepoint(d TriggerSavepoint) {
	w.lastID++
	w.printf("savepoint %d for %d", w.lastID, d.Caller)
	w.open = append(w.open, &checkpoint{id: w.lastID, savepoint: true})
	w.events = append(w.events, SavepointAnswered{Checkpoint: w.lastID}, SavepointBegun{Checkpoint: w.lastID})
}

func (w *world) accept(manual bool) {
	w.lastID++
	kind := "periodic"
	if manual {
		kind = "manual"
	}
	w.printf("trigger %d (%s)", w.lastID, kind)
	w.open = append(w.open, &checkpoint{id: w.lastID})
	w.events = append(w.events, TriggerAccepted{Checkpoint: w.lastID})
}

func (w *world) find(id uint64) *checkpoint {
	for _, c := range w.open {
		if c.id == id {
			return c
		}
	}
	return nil
}

func (w *world) abort(id uint64, r Reason, cause string) {
	c := w.find(id)
	if c == nil || c.unresolved {
		w.printf("  owner: %d is not open", id)
		return
	}
	w.close(c)
	w.events = append(w.events, Aborted{Checkpoint: id, Reason: r, Cause: cause})
}

func (w *world) close(c *checkpoint) {
	w.open = slices.DeleteFunc(w.open, func(o *checkpoint) bool { return o == c })
}

// ack is one task's acknowledgement; the last one completes the checkpoint, unless the outcome is held back.
func (w *world) ack(id uint64, task string) {
	c := w.find(id)
	if c == nil || c.unresolved {
		w.printf("  owner: %s's acknowledgement of %d refused, it is not open", task, id)
		return
	}
	if !slices.Contains(c.acked, task) {
		c.acked = append(c.acked, task)
	}
	switch {
	case len(c.acked) < len(tasks):
		return
	case w.hold:
		c.unresolved = true
		w.printf("  owner: %d is unresolved", id)
		w.step(Unresolved{Checkpoint: id})
	default:
		w.complete(c)
	}
}

func (w *world) complete(c *checkpoint) {
	w.printf("  owner: %d is complete", c.id)
	w.close(c)
	if c.savepoint {
		w.step(SavepointDone{Checkpoint: c.id})
		return
	}
	w.events = append(w.events, Completed{Checkpoint: c.id})
	for _, o := range slices.Clone(w.open) {
		if o.id < c.id && !o.savepoint {
			w.printf("  owner: %d is subsumed", o.id)
			w.abort(o.id, ReasonSubsumed, "")
		}
	}
	w.step(Tick{})
}

func (w *world) drop(worker string) {
	w.up = slices.DeleteFunc(w.up, func(n string) bool { return n == worker })
}

// advance lets time pass, with a Tick at each deadline.
func (w *world) advance(d time.Duration) {
	until := w.now.Add(d)
	for {
		at, ok := w.m.NextDeadline()
		if !ok || at.After(until) {
			w.now = until
			return
		}
		w.now = at
		w.step(Tick{})
	}
}

// start begins the next attempt on the workers that are up.
func (w *world) start() {
	w.attempt++
	for _, c := range slices.Clone(w.open) {
		w.abort(c.id, ReasonFailover, "")
	}
	w.waiting = nil
	w.printf("  owner: attempt %d begins", w.attempt)
	w.step(AttemptStarting{Attempt: w.attempt, Workers: slices.Clone(w.up)})
}

// bringUp registers both workers, begins an attempt and lets all tasks run.
func (w *world) bringUp() {
	for _, n := range []string{"w0", "w1"} {
		if !slices.Contains(w.up, n) {
			w.up = append(w.up, n)
		}
		w.step(WorkerUp{Worker: n})
	}
	w.start()
	w.step(AllRunning{Attempt: w.attempt})
}

// flush answers what was written down since the last call.
func (w *world) flush() string {
	s := w.out.String()
	w.out.Reset()
	if s == "" {
		return "nothing\n"
	}
	return s
}

func policyOf(t *testing.T, d *datadriven.TestData) (p Policy, seed uint64) {
	p = Policy{Interval: 10 * time.Second, Timeout: time.Minute, MaxConcurrent: 1}
	for _, a := range d.CmdArgs {
		dur := func() time.Duration {
			v, err := time.ParseDuration(a.Vals[0])
			if err != nil {
				d.Fatalf(t, "%s: %v", a.Key, err)
			}
			return v
		}
		switch a.Key {
		case "interval":
			p.Interval = dur()
		case "timeout":
			p.Timeout = dur()
		case "min-pause":
			p.MinPause = dur()
		case "delay":
			p.Restart.Delay = dur()
		case "within":
			p.Restart.Interval = dur()
		case "max-delay":
			p.Restart.MaxDelay = dur()
		case "reset":
			p.Restart.ResetAfter = dur()
		case "multiplier":
			a.Scan(t, 0, &p.Restart.Multiplier)
		case "jitter":
			a.Scan(t, 0, &p.Restart.Jitter)
		case "concurrent":
			a.Scan(t, 0, &p.MaxConcurrent)
		case "tolerable":
			a.Scan(t, 0, &p.TolerableFailures)
		case "restarts", "failures", "attempts": // fixed delay, failure rate, exponential delay
			p.Restart.Strategy = map[string]Strategy{"restarts": FixedDelay, "failures": FailureRate, "attempts": ExponentialDelay}[a.Key]
			if p.Restart.Attempts = Never; a.Vals[0] != "any" {
				a.Scan(t, 0, &p.Restart.Attempts)
			}
		case "seed":
			a.Scan(t, 0, &seed)
		default:
			d.Fatalf(t, "unknown argument %s", a.Key)
		}
	}
	return p, seed
}

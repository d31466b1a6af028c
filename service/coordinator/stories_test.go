package coordinator_test

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	. "github.com/ckptd/ckptd/service/coordinator"
)

// TestStories runs the text stories of testdata/stories. Rewrite them with -rewrite.
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata/stories", func(t *testing.T, path string) {
		var w *world
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd == "new" {
				p, seed := policyOf(t, d)
				w = newWorld(t, p, seed)
				return "ok\n"
			}
			w.t = t
			tell(t, w, d)
			return w.flush()
		})
	})
}

// tell carries out one line of a story.
func tell(t *testing.T, w *world, d *datadriven.TestData) {
	words := make([]string, 0, len(d.CmdArgs))
	for _, a := range d.CmdArgs {
		if len(a.Vals) == 0 {
			words = append(words, a.Key)
		}
	}
	arg := func(key, def string) string {
		for _, a := range d.CmdArgs {
			if a.Key == key && len(a.Vals) > 0 {
				return a.Vals[0]
			}
		}
		return def
	}
	id := func() uint64 {
		n, err := strconv.ParseUint(words[0], 10, 64)
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		return n
	}
	switch d.Cmd {
	case "advance": // DURATION
		v, err := time.ParseDuration(words[0])
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		w.advance(v)
	case "ack": // CHECKPOINT TASKS, e.g. "ack 1 abc"
		for _, task := range words[1] {
			w.ack(id(), string(task))
		}
	case "decline": // CHECKPOINT TASK [reason=R]
		w.step(Declined{Checkpoint: id(), Reason: ParseReason(arg("reason", "")), Cause: "task " + words[1]})
	case "request": // CALLER
		w.step(Request{Caller: id()})
	default:
		tellWorkers(t, w, d, words, arg)
	}
}

// tellWorkers carries out the lines that are about workers, attempts and the owner.
func tellWorkers(t *testing.T, w *world, d *datadriven.TestData, words []string, arg func(key, def string) string) {
	switch d.Cmd {
	case "attach": // attempt=N
		n, _ := strconv.ParseUint(arg("attempt", "0"), 10, 64)
		w.attempt = n
		w.step(Attached{Attempt: n})
	case "adopt":
		w.step(AttemptStarting{Attempt: w.attempt, Workers: slices.Clone(w.up)})
	case "bring-up":
		w.bringUp()
	case "start":
		w.start()
	case "new-attempt": // CAUSE
		w.step(NewAttempt{Attempt: w.attempt, Cause: words[0]})
	case "all-running":
		w.step(AllRunning{Attempt: w.attempt})
	case "all-at-end":
		w.step(AllAtEnd{Attempt: w.attempt})
	case "up": // WORKER
		delete(w.mute, words[0])
		if !slices.Contains(w.up, words[0]) {
			w.up = append(w.up, words[0])
		}
		w.step(WorkerUp{Worker: words[0]})
	case "gone": // WORKER
		w.drop(words[0])
		w.step(WorkerGone{Worker: words[0]})
	case "dead": // WORKER [cause=C]
		w.drop(words[0])
		w.step(WorkerDead{Worker: words[0], Cause: arg("cause", "")})
	case "goodbye": // WORKER
		w.drop(words[0])
		w.step(WorkerLeft{Worker: words[0]})
	case "finished": // WORKER
		w.step(WorkerFinished{Worker: words[0], Attempt: w.attempt})
	case "failed": // WORKER [attempt=N] [cause=C]
		n, _ := strconv.ParseUint(arg("attempt", fmt.Sprint(w.attempt)), 10, 64)
		w.step(WorkerFailed{Worker: words[0], Attempt: n, Cause: arg("cause", "")})
	case "mute": // WORKER
		w.mute[words[0]] = true
	default:
		tellOwner(t, w, d, words, arg)
	}
}

// tellOwner carries out the lines that are about the owner.
func tellOwner(t *testing.T, w *world, d *datadriven.TestData, words []string, arg func(key, def string) string) {
	switch d.Cmd {
	case "owner": // refuses=REASON | slow | answers | aborts-late | aborts CHECKPOINT | holds | learns CHECKPOINT (won | lost)
		w.refuse = Reason(arg("refuses", ""))
		if len(words) == 0 {
			return
		}
		switch words[0] {
		case "slow":
			w.slow = true
		case "answers":
			w.slow = false
			if asked := w.waiting; asked != nil {
				w.waiting = nil
				w.trigger(*asked)
				w.step(Tick{})
			}
		case "aborts-late":
			w.late = true
		case "aborts":
			n, _ := strconv.ParseUint(words[1], 10, 64)
			w.abort(n, ReasonDeclined, "")
			w.step(Tick{})
		case "holds":
			w.hold = true
		case "learns":
			w.hold = false
			n, _ := strconv.ParseUint(words[1], 10, 64)
			c := w.find(n)
			c.unresolved = false
			if words[2] == "won" {
				w.complete(c)
			} else {
				w.close(c)
				w.step(Aborted{Checkpoint: n, Reason: ReasonFinalize, Cause: "disk full"})
			}
		}
	case "fenced":
		w.step(Fenced{})
	case "terminal":
		w.step(Terminal{})
	case "clock": // back DURATION: a worker is heard of while the clock is wrong
		v, _ := time.ParseDuration(words[1])
		w.now = w.now.Add(-v)
		w.step(Alive{Worker: "w0"})
		w.now = w.now.Add(v)
	case "sleep": // DURATION: the daemon itself stands still, then its timer fires
		v, _ := time.ParseDuration(words[0])
		w.now = w.now.Add(v)
		w.step(Tick{})
	case "state":
		s := w.m.State()
		w.printf("%s, attempt %d, %d failed in a row, %d restarts, %d queued", s.Phase, s.Attempt, s.ConsecutiveFailures, s.Restarts, s.Queued)
		if !s.NextPeriodic.IsZero() {
			w.printf("next periodic checkpoint planned for %s", s.NextPeriodic.Sub(w.begin))
		}
		if at, ok := w.m.NextDeadline(); ok {
			w.printf("next deadline %s", at.Sub(w.begin))
		}
	default:
		d.Fatalf(t, "unknown command %s", d.Cmd)
	}
}

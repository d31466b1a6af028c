package postgres

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

const storyRows = 16

// nightly reports whether a test tries everything, which takes minutes; full, whether it tries more than a few.
func nightly() bool { return os.Getenv("CKPTD_NIGHTLY") == "1" }

func full() bool { return os.Getenv("CKPTD_TEST_FULL") == "1" || nightly() }

// count returns the number of the three that fits the run: plain, full or nightly.
func count(plain, more, all int) int {
	switch {
	case nightly():
		return all
	case full():
		return more
	}
	return plain
}

// stride leaves messages out.
func stride() int { return count(4, 1, 1) }

// Each message to the server is lost, or its reply is, or the connection breaks while the server works on it. The
// process goes on or is dead.
func TestCutAtEachMessage(t *testing.T) {
	p := newPlace(t, server(t))
	variants := []string{"lost request", "lost reply", "cut"}
	stories, failed := 0, 0
	for at, ended := 0, false; !ended; at += stride() {
		ended = true
		for v := range 2 * len(variants) {
			if !nightly() && v != at/stride()%(2*len(variants)) {
				continue // one variant for each message
			}
			w := newWorld(t, p)
			wire := &wire{at: at, harm: variants[v/2], dead: v%2 == 1}
			r := w.assign(t, wire)
			err := w.story(r, &sync.Mutex{})
			r.sink.Close()
			w.exact(t, storyRows)
			if err != nil {
				failed++
			}
			if err != nil && !wire.dead && r.begun && !r.sink.restored {
				t.Errorf("message %d, %s: restore: %v, want another try", at, wire.harm, err)
			}
			if stories++; wire.reached() {
				ended = false
			}
		}
	}
	t.Logf("%d stories, %d attempts ended by the cut", stories, failed)
	if stories < 15 || failed == stories {
		t.Errorf("%d stories, %d attempts ended: want more stories, and some that go on", stories, failed)
	}
}

// A process is suspended before each message, or after it. Meanwhile its attempt is replaced. When it wakes, it changes
// nothing.
func TestSuspendedAtEachMessage(t *testing.T) {
	p := newPlace(t, server(t))
	for at, ended := 0, false; !ended; at += stride() {
		ended = true
		for v, harm := range []string{"hold", "hold reply"} {
			if !nightly() && v != at/stride()%2 {
				continue
			}
			w := newWorld(t, p)
			wire := holding(at, harm)
			a := w.assign(t, wire)
			var mu sync.Mutex
			result := make(chan error, 1)
			go func() { result <- w.story(a, &mu) }()
			select {
			case <-wire.held:
				ended = false
			case err := <-result:
				check(t, err)
				close(wire.release)
				result <- nil
			}
			mu.Lock()
			w.exact(t, storyRows)
			mu.Unlock()
			if wire.reached() {
				close(wire.release)
			}
			err := <-result // the sink may notice, or have nothing more to do
			w.compare(t, storyRows)
			if err == nil && wire.reached() {
				if _, err := a.sink.PreCommit(1000); err == nil && a.sink.Write(record(0)) == nil {
					if _, err := a.sink.PreCommit(1001); err == nil {
						t.Errorf("message %d, %s: a replaced attempt takes a checkpoint", at, harm)
					}
				}
				w.compare(t, storyRows)
			}
			a.sink.Close()
		}
	}
}

// Any number of attempts live at once, and act in any order that the facts allow.
func TestZombies(t *testing.T) {
	p := newPlace(t, server(t))
	for seed := range count(3, 10, 100) {
		random := rand.New(rand.NewPCG(uint64(seed), 1))
		w := newWorld(t, p)
		w.assign(t, nil)
		for step := range 60 {
			r := w.runs[random.IntN(len(w.runs))]
			if random.IntN(2) == 0 {
				r = w.runs[len(w.runs)-1]
			}
			var err error
			action := random.IntN(10)
			switch {
			case action == 0:
				w.assign(t, nil)
			case !r.begun:
				err = w.restore(r)
			case action < 5:
				if r.position < 60 {
					err = w.write(r)
				}
			case action < 7:
				err = w.preCommit(r)
			case action < 8:
				w.finish(r)
			case action < 9:
				err = r.sink.Commit(r.told)
			case !w.current(r):
				err = r.sink.Close()
			}
			// A call of a replaced attempt may fail. A call of the current attempt must not.
			if err != nil && w.current(r) {
				t.Fatalf("seed %d, step %d, attempt %d: %v, want no error", seed, step, r.attempt, err)
			}
		}
		w.exact(t, 60)
		for _, r := range w.runs {
			r.sink.Close()
		}
		w.compare(t, 60)
	}
}

// A new attempt takes over while the old one prepares and commits: at each message of the new one the old one does so,
// before the message, after it, or beside it. Once the fence is raised, nothing of the old attempt is left, and nothing
// comes.
func TestTakeOverRace(t *testing.T) {
	p := newPlace(t, server(t))
	stopped, rounds := 0, 0
	for at, ended := 0, false; !ended; at++ {
		ended = true
		for v, harm := range []string{"hold", "hold reply", "pass"} {
			if !nightly() && v != at%3 {
				continue
			}
			w := newWorld(t, p)
			a := w.assign(t, nil)
			check(t, w.restore(a))
			check(t, w.write(a))
			check(t, w.preCommit(a))
			w.finish(a)
			check(t, w.write(a))
			check(t, w.preCommit(a))
			for range 4 {
				check(t, w.write(a))
			}
			wire := holding(at, harm)
			b := w.assign(t, wire)
			restored := make(chan error, 1)
			go func() { restored <- w.restore(b) }()
			var errB error
			select {
			case <-wire.held:
				ended = false
			case errB = <-restored:
				restored <- errB
			}
			_, errA := a.sink.PreCommit(100)
			errA = errors.Join(errA, a.sink.Commit(a.told))
			close(wire.release)
			if err := <-restored; err != nil {
				t.Fatalf("message %d, %s: %v, want that the new attempt takes over", at, harm, err)
			}
			if rounds++; errA != nil {
				stopped++
			}
			if left := w.leftOver(t); len(left) > 0 {
				t.Fatalf("message %d, %s: prepared transactions %q after the old attempt (%v), want none", at, harm, left, errA)
			}
			a.sink.Close()
			b.sink.Close()
			w.exact(t, 6)
		}
	}
	t.Logf("%d of %d old attempts were stopped", stopped, rounds)
	if stopped == 0 || stopped == rounds {
		t.Errorf("%d of %d old attempts were stopped, want some", stopped, rounds)
	}
}

// The server crashes at a message of the sink, and starts again: with the same settings, without prepared transactions,
// or with too few.
func TestServerRestarts(t *testing.T) {
	s := server(t)
	defer func() {
		s.Stop()
		check(t, s.Start())
	}()
	p := newPlace(t, s)
	ats := []int{20}
	if full() {
		ats = nil
		for at := 0; at < 40; at += count(0, 7, 1) {
			ats = append(ats, at)
		}
	}
	for i, at := range ats {
		w := newWorld(t, p)
		wire := holding(at, []string{"hold", "hold reply"}[i%2])
		a := w.assign(t, wire)
		result := make(chan error, 1)
		go func() { result <- w.story(a, &sync.Mutex{}) }()
		select {
		case <-wire.held:
		case err := <-result:
			t.Fatalf("the story ends before message %d: %v", at, err)
		}
		s.Crash()
		check(t, s.Start())
		close(wire.release)
		err := <-result
		p.dial(t)
		if err == nil {
			check(t, w.write(a)) // no transaction is open, so the sink connects again
		}
		a.sink.Close()
		w.exact(t, storyRows+1)
		t.Logf("message %d: %v", at, err)
	}
	for _, c := range []struct {
		have, parallelism int
		why               string
	}{
		{0, 1, "max_prepared_transactions is 0: set it to 2 or more in postgresql.conf and restart the server, or choose mode upsert"},
		{1, 2, "max_prepared_transactions is 1: set it to 4 or more"},
	} {
		s.Stop()
		check(t, s.Start(fmt.Sprint("max_prepared_transactions=", c.have)))
		sink, err := NewSink(p.options, Subtask{Job: p.job, Operator: "sink", Parallelism: c.parallelism})
		check(t, err)
		if err := sink.Restore(100, 0, nil); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("max_prepared_transactions %d, parallelism %d: %v, want %q", c.have, c.parallelism, err, c.why)
		}
		sink.Close()
	}
	p.dial(t)
	sink := p.begin(t, 101, 0, nil)
	write(t, sink, 1)
	preCommit(t, sink, 100)
	write(t, sink, 2)
	if _, err := sink.PreCommit(101); err == nil || !strings.Contains(err.Error(), "raise max_prepared_transactions") {
		t.Errorf("a second transaction: %v, want that max_prepared_transactions is too small", err)
	}
}

// A reply that is lost does not end the attempt, if the server can tell what it did.
func TestLostReplies(t *testing.T) {
	p := newPlace(t, server(t))
	for _, c := range []struct {
		harm, message string
		survives      bool
	}{
		{"lost request", "BEGIN", true}, {"lost reply", "BEGIN", true}, {"lost request", "COPY", false}, {"lost request", "PREPARE TRANSACTION", false},
		{"lost reply", "PREPARE TRANSACTION", true}, {"lost request", "COMMIT PREPARED", true}, {"lost reply", "COMMIT PREPARED", true}, {"lost reply", "DELETE", true},
	} {
		w := newWorld(t, p)
		r := w.assign(t, &wire{harm: c.harm, message: c.message})
		check(t, w.restore(r))
		err := w.write(r)
		if err == nil {
			err = w.preCommit(r)
		}
		if err == nil {
			w.finish(r)
			err = r.sink.Commit(r.told)
		}
		if (err == nil) != c.survives {
			t.Errorf("%s, %s: %v, want that the attempt goes on: %v", c.message, c.harm, err, c.survives)
		}
		if !r.wire.reached() {
			t.Errorf("%s, %s: no such message was sent", c.message, c.harm)
		}
		if c.survives {
			w.compare(t, 1)
			check(t, errors.Join(w.write(r), w.preCommit(r)))
		}
		r.sink.Close()
		w.exact(t, 3)
	}
}

// A transaction that ended behind the sink's back is not taken for a prepared one.
func TestTransactionEnded(t *testing.T) {
	p := newPlace(t, server(t))
	s := p.begin(t, 1, 0, nil, func(o *Options) { o.BatchSize = 1 })
	write(t, s, 1)
	w := s.writer.(*inserts)
	check(t, w.wait())
	_, err := w.conn.Exec(t.Context(), "ROLLBACK").ReadAll()
	check(t, err)
	if _, err := s.PreCommit(1); err == nil {
		t.Error("pre-commit: no error")
	}
	if got := p.rows(t, "SELECT checkpoint FROM "+p.options.FenceTable); len(got) != 1 {
		t.Errorf("fence %v, want no row of a transaction", got)
	}
}

// A lock on the fence's row, which nobody gives up, keeps Restore waiting for LockTimeout.
func TestLocked(t *testing.T) {
	p := newPlace(t, server(t))
	p.begin(t, 1, 0, nil).Close()
	p.exec(t, "BEGIN; SELECT FROM "+p.options.FenceTable+" FOR UPDATE")
	defer p.exec(t, "ROLLBACK")
	err := p.sink(t, func(o *Options) { o.LockTimeout = 10 * time.Millisecond }).Restore(2, 0, nil)
	if err == nil || !strings.Contains(err.Error(), "pg_locks") {
		t.Errorf("restore: %v, want where to look for the lock", err)
	}
}

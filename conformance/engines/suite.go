package engines

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ckptd/ckptd/conformance/daemontest"
	"github.com/ckptd/ckptd/layout/storage/mem"
)

// Options change what Run does. The zero value is a good one.
type Options struct {
	// Rounds is how often each fault strikes; 0: 3.
	Rounds int
	// Quick leaves the frozen daemon out: it takes seconds until an engine notices one.
	Quick bool
	// Patience is how long the job may take to complete a checkpoint after a fault; 0: a minute.
	Patience time.Duration
}

// jobID is the id of the engine's job.
const jobID = "conformance"

const frozenDaemon = "the daemon is frozen"

// Run runs the engine through every fault, each in a subtest with daemons of its own. The engine has to configure its
// job with a short interval, and with a restart strategy that allows as many restarts as faults.
func Run(t *testing.T, s Subject, o *Options) {
	t.Helper()
	options := Options{}
	if o != nil {
		options = *o
	}
	if options.Rounds == 0 {
		options.Rounds = 3
	}
	if options.Patience == 0 {
		options.Patience = time.Minute
	}
	for _, c := range []struct {
		name string
		run  func(*trial)
		ends bool // the job is over afterwards
	}{
		{"the engine is killed", (*trial).killed, false},
		{"the engine is stopped", (*trial).stopped, false},
		{"the daemon is killed", (*trial).daemonKilled, false},
		{"the engine is restarted while the daemon is down", (*trial).bothDown, false},
		{"another daemon takes over", (*trial).takenOver, false},
		{frozenDaemon, (*trial).frozen, false},
		{"replies are lost", (*trial).repliesLost, false},
		{"checkpoints are aborted", (*trial).aborted, false},
		{"E2E-5 a file cannot be stored", (*trial).unstored, false},
		{"the job stops with a savepoint", (*trial).stoppedWithSavepoint, true},
		{"the engine is killed while the job stops", (*trial).killedWhileStopping, true},
	} {
		if options.Quick && c.name == frozenDaemon {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			x := &trial{t: t, subject: s, Options: options, out: newRecorder()}
			log := daemontest.WithLog(slog.New(slog.NewTextHandler(&x.log, nil)))
			first := daemontest.Start(t, log)
			x.daemons = []*daemontest.Daemon{first, first.Beside(log)}
			t.Cleanup(x.show)
			x.start()
			x.progress()
			c.run(x)
			if !c.ends {
				x.progress()
				x.process.Kill()
			}
			x.judge()
		})
	}
}

// trial is one subtest: an engine, two daemons over one root, and what the engine has printed.
type trial struct {
	t       *testing.T
	subject Subject
	Options
	daemons []*daemontest.Daemon
	out     *recorder
	log     log
	process Process
}

func (x *trial) start() {
	x.t.Helper()
	var urls []string
	for _, d := range x.daemons {
		urls = append(urls, d.URL())
	}
	x.process = x.subject(x.t, urls, jobID, x.out)
}

// progress waits until a checkpoint is complete that was not before. The engine must be alive meanwhile.
func (x *trial) progress() {
	x.t.Helper()
	before, _, changed := x.out.now()
	timer := time.NewTimer(x.Patience)
	defer timer.Stop()
	for now := before; now <= before; {
		select {
		case <-changed:
		case <-x.process.Done():
			x.t.Fatal("the engine has ended, want it to run until the job ends")
		case <-timer.C:
			x.t.Fatalf("no checkpoint after %d is complete within %v: the job stands still", before, x.Patience)
		}
		now, _, changed = x.out.now()
	}
}

// judge reports what was wrong with the engine's restores.
func (x *trial) judge() {
	x.t.Helper()
	x.out.mu.Lock()
	defer x.out.mu.Unlock()
	for _, f := range x.out.faults {
		x.t.Error(f)
	}
}

// show prints what the engine has printed, if the subtest has failed.
func (x *trial) show() {
	if x.t.Failed() {
		x.out.mu.Lock()
		defer x.out.mu.Unlock()
		x.t.Logf("the engine printed:\n%s", x.out.all.String())
		x.log.mu.Lock()
		defer x.log.mu.Unlock()
		x.t.Logf("the daemons logged:\n%s", x.log.String())
	}
}

// log is what both daemons log.
type log struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(p)
}

// restored waits until the engine has restored a newer attempt than before.
func (x *trial) restored(before uint64) {
	x.t.Helper()
	timer := time.NewTimer(x.Patience)
	defer timer.Stop()
	for {
		_, attempt, changed := x.out.now()
		if attempt > before {
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			x.t.Fatalf("no attempt after %d is restored within %v", before, x.Patience)
		}
	}
}

func (x *trial) killed() {
	for range x.Rounds {
		_, attempt, _ := x.out.now()
		x.process.Kill()
		x.start()
		x.restored(attempt)
		x.progress()
	}
}

func (x *trial) stopped() {
	for range x.Rounds {
		_, attempt, _ := x.out.now()
		x.process.Stop()
		x.start()
		x.restored(attempt)
		x.progress()
	}
}

// daemonKilled kills and restarts the only daemon that is up. The engine must go on without a restore.
func (x *trial) daemonKilled() {
	x.daemons[1].Kill()
	for range x.Rounds {
		x.progress()
		_, attempt, _ := x.out.now()
		x.daemons[0].Restart()
		x.progress()
		if _, now, _ := x.out.now(); now != attempt {
			x.t.Errorf("attempt %d became %d when the daemon was restarted, want the attempt to go on", attempt, now)
		}
	}
}

// bothDown replaces the engine while no daemon is there.
func (x *trial) bothDown() {
	for i := range x.Rounds {
		_, attempt, _ := x.out.now()
		for _, d := range x.daemons {
			d.Kill()
		}
		if i%2 == 0 {
			x.process.Kill()
		} else {
			x.process.Stop()
		}
		x.start()
		for _, d := range x.daemons {
			d.Restart()
		}
		x.restored(attempt)
		x.progress()
	}
}

func (x *trial) takenOver() {
	for i := range x.Rounds {
		d := x.daemons[i%2]
		d.Kill()
		x.progress()
		d.Restart()
	}
}

// frozen suspends the daemon that owns the job. The engine notices its silence after some seconds, and goes on at the
// other one, where nobody was frozen. A long run then does it the other way round.
func (x *trial) frozen() {
	for i := range max(1, min(2, x.Rounds/10)) {
		d := x.daemons[i]
		x.daemons[1-i].Kill() // so that this one owns the job
		x.progress()
		x.daemons[1-i].Restart()
		d.Freeze()
		x.progress()
		d.Thaw()
		x.progress()
	}
}

// repliesLost loses the reply of every fifth call of the engine, and breaks every seventh before it is carried out.
func (x *trial) repliesLost() {
	x.daemons[1].Kill() // else the job would move each time that a daemon cannot be asked
	x.progress()
	var calls atomic.Uint64
	x.daemons[0].SetCalls(func(string) daemontest.CallFault {
		switch n := calls.Add(1); {
		case n%5 == 0:
			return daemontest.ReplyLost
		case n%7 == 0:
			return daemontest.NotCarriedOut
		}
		return daemontest.Answered
	})
	for range x.Rounds {
		x.progress()
	}
	x.daemons[0].SetCalls(nil)
	if calls.Load() < 7 {
		x.t.Errorf("%d calls were made, want faults in some", calls.Load())
	}
}

// aborted lets checkpoints fail at the store when the engine has acknowledged them.
func (x *trial) aborted() {
	for range x.Rounds {
		var failed atomic.Bool
		for _, d := range x.daemons {
			d.SetStore(func(m mem.Mutation) mem.Outcome {
				if m.Op == mem.OpCommit && strings.HasSuffix(m.Key, "_metadata") && failed.CompareAndSwap(false, true) {
					return mem.Failed()
				}
				return mem.Done()
			})
		}
		x.progress()
		for !failed.Load() {
			x.progress()
		}
		for _, d := range x.daemons {
			d.SetStore(nil)
		}
		x.progress()
	}
}

// unstored lets a file of a checkpoint fail at the store. The engine must decline the checkpoint: otherwise the owner
// waits for the checkpoint's time-out. An engine whose state is only inline notices nothing.
func (x *trial) unstored() {
	for range x.Rounds {
		var failed atomic.Bool
		for _, d := range x.daemons {
			d.SetStore(func(m mem.Mutation) mem.Outcome {
				state := !strings.HasSuffix(m.Key, "_metadata") && !strings.Contains(m.Key, "/_journal/")
				if m.Op == mem.OpCommit && state && failed.CompareAndSwap(false, true) {
					return mem.Failed()
				}
				return mem.Done()
			})
		}
		x.progress()
		x.progress()
		for _, d := range x.daemons {
			d.SetStore(nil)
		}
		x.progress()
	}
}

package main

import (
	"path/filepath"
	"testing"
	"time"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/runtime/launcher"
)

// second starts another daemon over the same root; workers are told of both.
func (r *rig) second() {
	r.t.Helper()
	url := "unix:" + filepath.Join(r.tmp, "second.sock")
	_, err := r.child("daemon-2", launcher.Always, "serve", "--root", r.root, "--listen", url)
	r.must(err)
	r.servers = append(r.servers, url)
}

// Two daemons over one root: the one that owns the job is stopped, the other takes the job over, the first is woken. Nobody restores, and
// the woken daemon changes nothing.
func TestStoppedDaemonIsReplaced(t *testing.T) {
	t.Parallel()
	r := newRig(t, demoOptions{records: 60_000})
	r.must(r.count(r.ctx))
	r.must(r.startDaemon(r.ctx))
	r.second()
	r.must(r.startJob(r.ctx))
	r.awaitCheckpoints(3)
	first := r.daemon
	t0 := time.Now()
	_, err := first.Pause()
	r.must(err)
	people, hangUp, err := dialServer(r.servers[1])
	r.must(err)
	r.hangUp()
	r.people, r.hangUp = people, hangUp
	r.await("the second daemon owns the job", func(s *ckptdv1.JobState) bool { return r.watch.running && r.watch.epoch == 2 })
	t.Log("taken over after", time.Since(t0))
	r.awaitCheckpoints(2)
	_, err = first.Resume()
	r.must(err)
	r.awaitCheckpoints(2)
	r.finish()
	if h := r.head(); h.GetEpoch() != 2 || h.GetAttempt() != 1 {
		t.Errorf("epoch %d, attempt %d", h.GetEpoch(), h.GetAttempt())
	}
}

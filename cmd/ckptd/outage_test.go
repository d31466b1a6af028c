package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/ckptd/ckptd/cmd/ckptd/demo"
	"github.com/ckptd/ckptd/cmd/ckptd/launch"
	"github.com/ckptd/ckptd/conformance/servers"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/shell"
)

// awayTime is how long a server is away.
func awayTime() time.Duration {
	switch {
	case os.Getenv("CKPTD_NIGHTLY") != "":
		return time.Minute
	case os.Getenv("CKPTD_TEST_FULL") != "":
		return 5 * time.Second
	}
	return 3 * time.Second
}

// newAwayRig is a job whose input lasts a good while longer than the server is away.
func newAwayRig(t *testing.T, server *servers.S3, root string, away time.Duration) *rig {
	t.Helper()
	r := newRigFor(t, away+2*time.Minute, demo.Options{
		Root: server.URL(root, "max_attempts=1"), Interval: "200ms", Rate: 1000, Records: 2000 * uint64((away + 4*time.Second).Seconds()),
	})
	r.tolerant()
	r.Config.Job.Timeout = durationpb.New(time.Second)
	r.begin()
	r.awaitCheckpoints(3)
	return r
}

// The server does not answer. Checkpoints fail, are counted and tolerated, records flow on, and status and events name
// the cause. When the server is back, checkpoints complete again, and no worker has restored.
func TestServerAway(t *testing.T) {
	t.Parallel()
	server, away := servers.StartS3(t, servers.Versitygw, false), awayTime()
	r := newAwayRig(t, server, "away", away)
	server.Kill()
	left := time.Now()
	r.await("a checkpoint fails", func(s *ckptdv1.JobState) bool { return s.GetConsecutiveFailures() > 0 })
	newest, records := r.Watch.Newest, r.Watch.Records
	r.await("records flow", func(s *ckptdv1.JobState) bool { return s.GetRecords() > records })
	r.await("it says that the store is away", func(s *ckptdv1.JobState) bool { return strings.Contains(s.GetWaitingForStore(), "connection refused") })
	r.await("one that cannot even begin is counted", func(*ckptdv1.JobState) bool { return strings.Contains(r.out.String(), "not begun after 1s") })
	var failures uint32
	var most uint64
	for time.Since(left) < away {
		if s := r.Poll(r.ctx); s != nil {
			failures, most = max(failures, s.GetConsecutiveFailures()), max(most, s.GetRecords())
		}
		launch.Sleep(r.ctx, pollEvery)
	}
	t.Logf("away for %s: %d checkpoints in a row failed, %d records were read meanwhile", time.Since(left), failures, most-records)
	if r.Watch.Newest != newest {
		t.Errorf("checkpoint %d completed without a server", r.Watch.Newest)
	}
	r.must(server.Start())
	back := time.Now()
	r.awaitCheckpoints(1)
	t.Logf("a checkpoint %s after its return", time.Since(back))
	r.await("it says that the store is back", func(s *ckptdv1.JobState) bool {
		return s.GetWaitingForStore() == "" && s.GetConsecutiveFailures() == 0
	})
	r.finish()
	if h := r.head(); h.GetEpoch() != 1 || h.GetAttempt() != 1 {
		t.Errorf("epoch %d, attempt %d", h.GetEpoch(), h.GetAttempt())
	}
}

// The daemon dies while the server does not answer. It says why it cannot start, and is started again until it can. No
// worker has restored.
func TestDaemonRestartsWhileServerIsAway(t *testing.T) {
	t.Parallel()
	server, away := servers.StartS3(t, servers.Versitygw, false), awayTime()
	r := newAwayRig(t, server, "restart", away)
	server.Kill()
	left := time.Now()
	_, err := r.Daemon.Kill()
	r.must(err)
	for r.Daemon.Starts() < 3 {
		if !launch.Sleep(r.ctx, pollEvery) {
			t.Fatal("the daemon is not started again")
		}
	}
	log, err := os.ReadFile(r.Daemon.Log())
	r.must(err)
	if !strings.Contains(string(log), "ckptd: s3: open "+r.Root) || !strings.Contains(string(log), "connection refused") {
		t.Error("the daemon does not say why it cannot start")
	}
	launch.Sleep(r.ctx, away-time.Since(left))
	r.must(server.Start())
	r.await("the job runs again", func(*ckptdv1.JobState) bool { return r.Watch.Running && r.Watch.Epoch == 2 })
	r.awaitCheckpoints(1)
	r.finish()
	if h := r.head(); h.GetEpoch() != 2 || h.GetAttempt() != 1 {
		t.Errorf("epoch %d, attempt %d", h.GetEpoch(), h.GetAttempt())
	}
}

// The server dies in the middle of a commit: after the _metadata is written and before the entry; or after the entry is
// published and before the owner has checked that it counts. When the server is back, the commit ends and the
// checkpoint is complete.
func TestServerDiesInCommit(t *testing.T) {
	t.Parallel()
	for _, step := range []string{shell.StepMetadata, shell.StepCommit} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			server := servers.StartS3(t, servers.Versitygw, false)
			held := filepath.Join(t.TempDir(), "held")
			r := newRig(t, demo.Options{Root: server.URL("commit", "max_attempts=1")}, fmt.Sprintf("%s=%s:4:%s", holdVariable, step, held))
			r.tolerant()
			r.begin()
			r.await("the step", func(*ckptdv1.JobState) bool { _, err := os.Stat(held); return err == nil })
			committing := r.Poll(r.ctx).GetPending()[0].GetCheckpointId()
			server.Kill()
			r.must(os.WriteFile(held+".go", nil, 0o666))
			r.await("it says that the store is away", func(s *ckptdv1.JobState) bool { return s.GetWaitingForStore() != "" })
			r.must(server.Start())
			r.await("the commit ends", func(s *ckptdv1.JobState) bool { return len(s.GetPending()) == 0 || r.Watch.Newest >= committing })
			if r.Watch.Newest < committing {
				t.Errorf("checkpoint %d was being committed; the newest is %d", committing, r.Watch.Newest)
			}
			r.finish()
			if h := r.head(); h.GetEpoch() != 1 || h.GetAttempt() != 1 {
				t.Errorf("epoch %d, attempt %d", h.GetEpoch(), h.GetAttempt())
			}
		})
	}
}

// The server is killed, again and again, while checkpoints follow one another closely.
func TestServerKilledAgainAndAgain(t *testing.T) {
	t.Parallel()
	kinds, kills := []string{servers.Versitygw}, 3
	if os.Getenv("CKPTD_NIGHTLY") != "" {
		kinds, kills = append(kinds, servers.MinIO), 50
	}
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			server := servers.StartS3(t, kind, false)
			r := newRigFor(t, 5*time.Minute, demo.Options{
				Root: server.URL("kills", "max_attempts=1"), Interval: "20ms", Rate: 500, Records: uint64(kills) * 1000,
			})
			r.tolerant()
			r.begin()
			rng := rand.New(rand.NewPCG(uint64(kills), 0))
			for range kills {
				r.awaitCheckpoints(2)
				launch.Sleep(r.ctx, time.Duration(rng.IntN(40))*time.Millisecond)
				server.Kill()
				launch.Sleep(r.ctx, time.Duration(rng.IntN(300))*time.Millisecond)
				r.must(server.Start())
			}
			r.finish()
		})
	}
}

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ckptd/ckptd/cmd/ckptd/demo"
	"github.com/ckptd/ckptd/cmd/ckptd/launch"
	"github.com/ckptd/ckptd/conformance/servers"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/runtime/launcher"
)

// second starts another daemon over the same root; workers are told of both.
func (r *rig) second() *launcher.Process {
	r.t.Helper()
	url := "unix:" + filepath.Join(r.Tmp, "second.sock")
	p, err := r.Child("daemon-2", launcher.Always, "serve", "--root", r.Root, "--listen", url)
	r.must(err)
	r.Servers = append(r.Servers, url)
	return p
}

// Two daemons serve one root. The owner of the job is suspended, the other daemon takes the job over, and the first one
// is woken. No worker restores, and the woken daemon changes nothing.
func TestStoppedDaemonIsReplaced(t *testing.T) {
	t.Parallel()
	r := newRig(t, demo.Options{Records: 60_000})
	r.must(r.Count(r.ctx))
	r.must(r.StartDaemon(r.ctx))
	r.second()
	r.must(r.StartJob(r.ctx))
	r.awaitCheckpoints(3)
	first := r.Daemon
	t0 := time.Now()
	_, err := first.Pause()
	r.must(err)
	c, admin, err := adminOf(r.Servers[1])
	r.must(err)
	defer c.Close()
	r.Admin = admin.Messages()
	r.await("the second daemon owns the job", func(s *ckptdv1.JobState) bool { return r.Watch.Running && r.Watch.Epoch == 2 })
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

// Two daemons over one root on S3 are stopped, woken and killed at random, and so are the workers. Whichever daemon
// owns the job, the counts are exact, no complete checkpoint is lost, and no garbage is left.
func TestTwoDaemonsAtRandom(t *testing.T) {
	t.Parallel()
	kinds, seeds, harms := []string{servers.Versitygw}, 1, 2
	switch {
	case os.Getenv("CKPTD_NIGHTLY") != "":
		kinds, seeds, harms = append(kinds, servers.MinIO), 5, 20
	case os.Getenv("CKPTD_TEST_FULL") != "":
		harms = 4
	}
	for _, kind := range kinds {
		for seed := range uint64(seeds) {
			t.Run(fmt.Sprintf("%s, seed %d", kind, seed), func(t *testing.T) {
				t.Parallel()
				twoDaemons(t, servers.StartS3(t, kind, false), seed, harms)
			})
		}
	}
}

func twoDaemons(t *testing.T, server *servers.S3, seed uint64, harms int) {
	r := newRigFor(t, 5*time.Minute, demo.Options{
		Seed: seed, Root: server.URL("two", ""), Rate: 1000, Records: uint64(harms) * 4000,
	})
	r.tolerant()
	r.must(r.Count(r.ctx))
	r.must(r.StartDaemon(r.ctx))
	second := r.second()
	c, other, err := adminOf(r.Servers[1])
	r.must(err)
	defer c.Close()
	r.Admin = either{r.Admin, other.Messages()}
	r.must(r.StartJob(r.ctx))
	followed := make(chan error, 1)
	go func() { followed <- r.Follow(r.ctx) }()
	rng := rand.New(rand.NewPCG(seed, 0x74776f))
	victims := []*launcher.Process{r.Daemon, second, r.Daemon, second, r.Workers[0], r.Workers[1]}
	for range harms {
		victim, long := victims[rng.IntN(len(victims))], time.Duration(rng.IntN(6000))*time.Millisecond
		if rng.IntN(3) == 0 {
			_, _ = victim.Kill() // it may just be dead
			long /= 10
		} else if _, err := victim.Pause(); err == nil {
			launch.Sleep(r.ctx, long)
			_, err := victim.Resume()
			r.must(err)
		}
		launch.Sleep(r.ctx, long/4)
	}
	r.must(<-followed)
	r.end()
}

// either is the one of two daemons that gives an answer.
type either struct{ first, other demo.Admin }

// firstAnswer asks one after the other; one that is stopped does not answer.
func firstAnswer[Res any](ctx context.Context, e either, call func(demo.Admin, context.Context) (Res, error)) (res Res, err error) {
	for _, a := range []demo.Admin{e.first, e.other} {
		try, cancel := context.WithTimeout(ctx, 2*time.Second)
		res, err = call(a, try)
		cancel()
		if err == nil {
			break
		}
	}
	return res, err
}

func (e either) Status(ctx context.Context) (*ckptdv1.GetStatusResponse, error) {
	return firstAnswer(ctx, e, demo.Admin.Status)
}

func (e either) JobStatus(ctx context.Context, job string, after uint64) (*ckptdv1.GetStatusResponse, error) {
	return firstAnswer(ctx, e, func(a demo.Admin, ctx context.Context) (*ckptdv1.GetStatusResponse, error) {
		return a.JobStatus(ctx, job, after)
	})
}

func (e either) Trigger(ctx context.Context, job string) (*ckptdv1.TriggerCheckpointResponse, error) {
	return firstAnswer(ctx, e, func(a demo.Admin, ctx context.Context) (*ckptdv1.TriggerCheckpointResponse, error) {
		return a.Trigger(ctx, job)
	})
}

func (e either) Cancel(ctx context.Context, job string) (*ckptdv1.CancelJobResponse, error) {
	return firstAnswer(ctx, e, func(a demo.Admin, ctx context.Context) (*ckptdv1.CancelJobResponse, error) { return a.Cancel(ctx, job) })
}

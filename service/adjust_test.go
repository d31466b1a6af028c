package service_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/ckptd/ckptd/client"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service"
	"github.com/ckptd/ckptd/service/config"
	"github.com/ckptd/ckptd/service/coordinator"
)

// attaches calls AttachJob with a plan and a configuration; nil: the call names none.
func (d *daemon) attaches(t *testing.T, id string, plan *ckptdv1.Plan, c *ckptdv1.JobConfig) (*ckptdv1.AttachJobResponse, error) {
	t.Helper()
	return d.engineService().AttachJob(t.Context(), &ckptdv1.AttachJobRequest{JobId: id, Plan: plan, Config: c})
}

// changed is the harness's configuration with a change.
func changed(change func(*ckptdv1.JobConfig)) *ckptdv1.JobConfig {
	c := defaultConfig(0)
	c.RestartStrategy.Delay = nil
	change(c)
	return c
}

// differences lists the differences that a refused call names, one a line.
func differences(err error) string {
	var lines []string
	for _, d := range detail[*ckptdv1.Refused](err).GetDifferences() {
		lines = append(lines, d.GetKey()+": "+d.GetInEffect()+" -> "+d.GetAsked())
	}
	return strings.Join(lines, "\n")
}

// TestConfigurationInEffectIsAnswered: AttachJob returns the configuration in effect, and Start brings it to workers,
// with every default.
func TestConfigurationInEffectIsAnswered(t *testing.T) {
	d := startDaemon(t, newRoot(), "")
	check := func(what string, c *ckptdv1.JobConfig) {
		t.Helper()
		if c.GetNumRetained() != 2 || c.GetTimeout().AsDuration() != 10*time.Minute || c.GetRestartStrategy().GetAttempts() != 3 ||
			c.GetRestartStrategy().GetDelay().AsDuration() != time.Second || c.GetMode() != ckptdv1.CheckpointingMode_CHECKPOINTING_MODE_EXACTLY_ONCE {
			t.Errorf("%s brings %v, want 2 retained, 3 restarts, and every default", what, c)
		}
	}
	check("the attach that begins the job", d.attach(t, "j", onePlan(), twoRetained).GetConfig())
	res, err := d.attaches(t, "j", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	check("an attach that names none", res.GetConfig())
	w := d.register(t, "j", "w", 0, subtask("count"))
	check("the start", w.begin().GetConfig())
	if res, err = d.attaches(t, "j", onePlan(), nil); err != nil {
		t.Fatalf("an attach that names the plan only: %v, want no error", err)
	}
	check("it", res.GetConfig())
	if _, err = d.attaches(t, "j", onePlan(), res.GetConfig()); err != nil {
		t.Errorf("an attach with what is in effect: %v, want no error", err)
	}
}

// TestAnotherConfigurationComesWithTheNextAttempt: while no worker is registered, an attach can change the
// configuration. The coordinator acts upon it, too.
func TestAnotherConfigurationComesWithTheNextAttempt(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	d.attach(t, "j", onePlan(), nil)
	for retained := uint32(3); retained < 5; retained++ {
		before := head(t, root, "j").Attempt
		res, err := d.attaches(t, "j", nil, changed(func(c *ckptdv1.JobConfig) {
			c.NumRetained, c.Interval = retained, durationpb.New(20*time.Millisecond)
		}))
		if err != nil || res.GetConfig().GetNumRetained() != retained || res.GetAttempt() != before+1 {
			t.Fatalf("%v, %v; want the new configuration in attempt %d", res, err, before+1)
		}
		e := head(t, root, "j")
		if p, ok := config.Policies(0)(e.Config); !ok || p.NumRetained != retained || e.Attempt != before+1 {
			t.Fatalf("the journal has %+v in attempt %d, want %d retained in attempt %d", p, e.Attempt, retained, before+1)
		}
	}
	w := d.register(t, "j", "w", 0, subtask("count"))
	if s := w.begin(); s.GetConfig().GetNumRetained() != 4 || s.GetAttempt() != head(t, root, "j").Attempt {
		t.Errorf("start %v, want the newest configuration", s)
	}
	w.triggered() // the job had no periodic checkpoints when it was attached
}

// TestAnotherConfigurationIsRefusedWhileWorkersRun: the error names the difference, key by key, and nothing changes.
func TestAnotherConfigurationIsRefusedWhileWorkersRun(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	w := oneWorker(t, d, "j", twoRetained)
	w.checkpoint(inlineState)
	other := changed(func(c *ckptdv1.JobConfig) {
		c.NumRetained, c.TolerableFailedCheckpoints = 5, 1
	})
	const want = "execution.checkpointing.tolerable-failed-checkpoints: 0 -> 1\nexecution.checkpointing.num-retained: 2 -> 5"
	unchanged(t, root.Store, func() {
		_, err := d.attaches(t, "j", onePlan(), other)
		wantRefused(t, err, ckptdv1.Refused_REASON_CONFIG_MISMATCH)
		if got := differences(err); got != want {
			t.Errorf("the difference is\n%s\nwant\n%s", got, want)
		}
		if !strings.Contains(err.Error(), "execution.checkpointing.num-retained: 2 is in effect, 5 is asked for") {
			t.Errorf("%v, want the difference in the text", err)
		}
	})
	w.checkpoint(inlineState) // the worker is not disturbed
	w.leave()
	w.ended()
	eventually(t, "the worker is gone", func() bool {
		res, err := d.attaches(t, "j", onePlan(), other)
		return err == nil && res.GetConfig().GetNumRetained() == 5
	})
	if s := d.register(t, "j", "w2", 0, subtask("count")).begin(); s.GetRestoreCheckpointId() == 0 || s.GetConfig().GetNumRetained() != 5 {
		t.Errorf("start %v, want the checkpoint restored with the other configuration", s)
	}
}

// TestAnotherConfigurationAtANewOwner: the workers of the attempt that the new owner found may still run, so the caller
// waits. If they come back, the caller is refused. If their time is over, the configuration comes with the next
// attempt.
func TestAnotherConfigurationAtANewOwner(t *testing.T) {
	for name, back := range map[string]bool{"the worker comes back": true, "the worker does not come back": false} {
		t.Run(name, func(t *testing.T) {
			root := newRoot()
			d := startDaemon(t, root, "")
			w := oneWorker(t, d, "j", twoRetained)
			w.checkpoint(inlineState)
			d.kill()
			wait := 200 * time.Millisecond
			if back {
				wait = time.Hour
			}
			d = startDaemonWith(t, root, "", service.Options{Times: coordinator.Times{Registration: wait}})
			if _, err := d.attaches(t, "j", nil, nil); err != nil {
				t.Fatal(err)
			}
			answer := make(chan error, 2)
			for range cap(answer) { // both callers bring the same
				go func() {
					res, err := d.attaches(t, "j", nil, changed(func(c *ckptdv1.JobConfig) { c.NumRetained = 5 }))
					if err == nil && res.GetConfig().GetNumRetained() != 5 {
						err = fmt.Errorf("answered %v, want 5 retained", res)
					}
					answer <- err
				}()
			}
			if !back {
				for range cap(answer) {
					if err := <-answer; err != nil {
						t.Errorf("no worker came back: %v, want the other configuration", err)
					}
				}
				return
			}
			select {
			case err := <-answer:
				t.Errorf("answered with %v before the worker could come back, want the caller to wait", err)
			case <-time.After(50 * time.Millisecond):
			}
			again := d.register(t, "j", w.nonce, w.attempt, w.subtasks...)
			for range cap(answer) {
				wantRefused(t, <-answer, ckptdv1.Refused_REASON_CONFIG_MISMATCH)
			}
			again.epoch = 2
			again.report(ckptdv1.ReportRequest_KIND_RUNNING, nil)
			again.checkpoint(inlineState) // in the same attempt
			if e := head(t, root, "j"); e.Attempt != w.attempt {
				t.Errorf("attempt %d, want %d: no worker was disturbed", e.Attempt, w.attempt)
			}
		})
	}
}

// TestAnotherPlanAtAttach: another plan comes with the next attempt, unless a worker is registered or a checkpoint
// could not be restored with it.
func TestAnotherPlanAtAttach(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	d.attach(t, "j", twoPlan(), nil)
	if _, err := d.attaches(t, "j", onePlan(), nil); err != nil {
		t.Fatalf("no worker is there, and no checkpoint: %v, want no error", err)
	}
	w := d.register(t, "j", "w", 0, subtask("count"))
	w.begin()
	refuse := func(plan *ckptdv1.Plan, want string) {
		t.Helper()
		unchanged(t, root.Store, func() {
			_, err := d.attaches(t, "j", plan, nil)
			wantRefused(t, err, ckptdv1.Refused_REASON_PLAN_MISMATCH)
			if got := differences(err); got != want {
				t.Errorf("the difference is\n%s\nwant\n%s", got, want)
			}
		})
	}
	refuse(twoPlan(), "plan: operator count: parallelism 1 of 128 -> \nplan: operator source:  -> parallelism 1 of 128\n"+
		"plan: operator sink:  -> parallelism 1 of 128")
	last := w.checkpoint(inlineState)
	w.leave()
	w.ended()
	eventually(t, "the worker is gone", func() bool { return len(d.status(t, "j").GetWorkers()) == 0 })
	rescaled := onePlan()
	rescaled.Operators[0].Parallelism, rescaled.Operators[0].Uid = 2, "counts"
	refuse(rescaled, "plan: operator count: parallelism: 1 -> 2\nplan: operator count: uid:  -> counts")
	refuse(twoPlan(), "plan: operator count: parallelism 1 of 128 -> \nplan: operator source:  -> parallelism 1 of 128\n"+
		"plan: operator sink:  -> parallelism 1 of 128")
	longer := onePlan()
	longer.Operators = append(longer.Operators, &ckptdv1.Operator{Id: "sink", Parallelism: 1, MaxParallelism: 128})
	if _, err := d.attaches(t, "j", longer, nil); err != nil {
		t.Fatalf("one more operator: %v, want no error", err)
	}
	if s := d.register(t, "j", "w2", 0, subtask("count"), subtask("sink")).begin(); s.GetRestoreCheckpointId() != last {
		t.Errorf("start %v, want checkpoint %d restored", s, last)
	}
}

// TestWhatDoesNotFitIsRefusedAtAttach: the error names the field and the limit, and nothing is written.
func TestWhatDoesNotFitIsRefusedAtAttach(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	unchanged(t, root.Store, func() {
		_, err := d.engineService().AttachJob(t.Context(), &ckptdv1.AttachJobRequest{
			JobId: "clicks", Plan: onePlan(), Labels: map[string]string{"name": strings.Repeat("x", 100_690-4-8)},
		})
		const want = "job clicks: labels: 100,690 bytes; a journal entry holds 64 KiB: use fewer or shorter labels"
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	})
}

// TestWhyAJobEndedIsKept: after the daemon has released the job, the journal says when and why it ended.
func TestWhyAJobEndedIsKept(t *testing.T) {
	for name, end := range map[string]struct {
		by   func(t *testing.T, d *daemon, w *worker)
		want string
	}{
		"canceled": {func(t *testing.T, d *daemon, _ *worker) { d.cancel(t, "j") }, "canceled on request"},
		"failed": {func(t *testing.T, _ *daemon, w *worker) {
			w.report(ckptdv1.ReportRequest_KIND_FAILED, func(r *ckptdv1.ReportRequest) {
				r.Cause = "record 7: not a number" + strings.Repeat("!", 100_000)
			})
		}, "record 7: not a number"},
	} {
		t.Run(name, func(t *testing.T) {
			root := newRoot()
			d := startDaemon(t, root, "")
			w := oneWorker(t, d, "j", func(c *ckptdv1.JobConfig) { c.RestartStrategy = &ckptdv1.RestartStrategy{} })
			before := time.Now().Truncate(time.Millisecond)
			end.by(t, d, w)
			w.ended()
			d.waitReleased(t)
			jobs, err := d.jobService().ListJobs(t.Context(), &ckptdv1.ListJobsRequest{})
			if err != nil || len(jobs.GetJobs()) != 1 {
				t.Fatal(jobs, err)
			}
			s := jobs.GetJobs()[0]
			if at := s.GetEndedAt().AsTime(); !strings.Contains(s.GetEndReason(), end.want) || at.Before(before) || at.After(time.Now()) {
				t.Errorf("ended at %v: %.100q; want a time since %v, and %q", at, s.GetEndReason(), before, end.want)
			}
			_, err = d.jobService().GetStatus(t.Context(), &ckptdv1.GetStatusRequest{JobId: "j"})
			wantRefused(t, err, ckptdv1.Refused_REASON_JOB_TERMINAL)
			if want := name + " since 2"; !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), end.want) {
				t.Errorf("the status says %.200q, want %q and %q", err, want, end.want)
			}
		})
	}
}

// TestConfigurationReachesAnEngine: the SDK passes on the configuration in effect, and the differences of a refused
// one.
func TestConfigurationReachesAnEngine(t *testing.T) {
	d := startDaemon(t, newRoot(), "")
	c, err := client.New([]string{d.http.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	job, err := c.AttachJob(t.Context(), client.JobSpec{ID: "j", Plan: sdkPlan(onePlan()), Config: client.ConfigFrom(changed(twoRetained))})
	if err != nil {
		t.Fatal(err)
	}
	if in := job.Config(); in.NumRetained != 2 || in.Timeout != 10*time.Minute {
		t.Errorf("attached with %v, want 2 retained and every default", in)
	}
	s, err := job.Register(t.Context(), client.Registration{Subtasks: []client.Subtask{{Operator: "count"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	command, err := s.Next(t.Context())
	if start, ok := command.(client.Start); !ok || err != nil || start.Config.NumRetained != 2 {
		t.Fatalf("%+v, %v; want a start with 2 retained", command, err)
	}
	_, err = c.AttachJob(t.Context(), client.JobSpec{ID: "j", Config: client.ConfigFrom(changed(func(c *ckptdv1.JobConfig) { c.NumRetained = 3 }))})
	if !errors.Is(err, client.ErrConfigMismatch) || !strings.Contains(err.Error(), "num-retained: 2 is in effect, 3 is asked for") {
		t.Errorf("%v, want ErrConfigMismatch with the difference", err)
	}
}

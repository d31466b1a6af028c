package main

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

const (
	// firstWait is how long a command waits for an answer in silence.
	firstWait = time.Second
	// nextWait is the time between the lines that follow.
	nextWait = 30 * time.Second
)

// waiting says on a writer what a command waits for. Nothing is said about an answer that comes at once.
type waiting struct {
	verb, job string
	// asked is set when a daemon has been asked; before that the command reads the journal of the job.
	asked atomic.Pointer[askedDaemon]
	stop  func()
}

type askedDaemon struct {
	admin *client.Admin
	id    string
}

// sayWaiting begins to wait. The caller calls stop before it prints anything else.
func sayWaiting(ctx context.Context, w io.Writer, verb, job string) *waiting {
	ctx, cancel := context.WithCancel(ctx)
	x, ended := &waiting{verb: verb, job: job}, make(chan struct{})
	x.stop = func() { cancel(); <-ended }
	go func() {
		defer close(ended)
		for next := firstWait; ; next = nextWait {
			select {
			case <-time.After(next):
			case <-ctx.Done():
				return
			}
			if why := x.why(ctx); ctx.Err() == nil {
				fmt.Fprintf(w, "ckptd: %s: still waiting: %s\n", verb, output.Clean(why))
			}
		}
	}()
	return x
}

// on notes which daemon is asked about which job.
func (x *waiting) on(admin *client.Admin, id string) { x.asked.Store(&askedDaemon{admin, id}) }

// why says what the command waits for, as the job's owner knows it.
func (x *waiting) why(ctx context.Context) string {
	asked := x.asked.Load()
	if asked == nil {
		return "the store has not shown the journal of " + x.job + " yet"
	}
	ctx, cancel := context.WithTimeout(ctx, firstWait)
	defer cancel()
	res, err := asked.admin.Messages().JobStatus(ctx, asked.id, 0)
	if err != nil || len(res.GetJobs()) == 0 {
		return "the daemon has not answered yet"
	}
	return waitsFor(res.GetJobs()[0])
}

// waitsFor says why the answer of a call about a job takes long.
func waitsFor(j *ckptdv1.JobState) string {
	id := j.GetSummary().GetJobId()
	if away := j.GetWaitingForStore(); away != "" {
		return fmt.Sprintf("the owner of job %s waits for its store %s", id, away)
	}
	for _, p := range j.GetPending() {
		return fmt.Sprintf("checkpoint %d: %d of %s acknowledged", p.GetCheckpointId(), p.GetAcknowledged(), output.Count(p.GetSubtasks(), "subtask"))
	}
	return fmt.Sprintf("the owner of job %s has not answered yet (%s)", id, phaseText(j))
}

// told adds to the error of an interrupted call what may still happen.
func (x *waiting) told(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil || x.asked.Load() == nil {
		return err
	}
	return fmt.Errorf("%s: interrupted before the daemon had answered; it may still carry the call out: `ckptd status %s` says: %w",
		x.verb, output.ShellWord(x.job), context.Canceled)
}

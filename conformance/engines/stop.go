package engines

import (
	"context"
	"time"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/conformance/daemontest"
)

// These trials end the job, so they have no round after the first.

// stop begins a savepoint that stops the job. The answer comes when the job is FINISHED, or with an error.
func (x *trial) stop(ctx context.Context) (admin *client.Admin, ended <-chan error) {
	x.t.Helper()
	c, err := client.New([]string{x.daemons[0].URL()})
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() { _ = c.Close() })
	done := make(chan error, 1)
	go func() {
		_, err := c.Admin().Stop(ctx, jobID, client.SavepointWish{Directory: "mem:/" + jobID + "/savepoints"})
		done <- err
	}()
	return c.Admin(), done
}

// awaitStopped waits for the end of the job and of the engine.
func (x *trial) awaitStopped(ended <-chan error) {
	x.t.Helper()
	if err := <-ended; err != nil {
		x.t.Fatalf("the job does not stop: %v; the engine has to report FINISHED after a Complete, and after a Start, that says ends", err)
	}
	select {
	case <-x.process.Done():
	case <-time.After(x.Patience):
		x.t.Fatal("the engine runs on, and its job is FINISHED")
	}
}

// stoppedWithSavepoint stops the job by a savepoint.
func (x *trial) stoppedWithSavepoint() {
	ctx, cancel := context.WithTimeout(x.t.Context(), x.Patience)
	defer cancel()
	x.daemons[1].Kill() // so that the other one owns the job
	x.progress()
	_, ended := x.stop(ctx)
	x.awaitStopped(ended)
}

// killedWhileStopping kills the engine when the savepoint is done and before it has reported that it has finished. The next process has to
// restore the savepoint, and to finish with it.
func (x *trial) killedWhileStopping() {
	ctx, cancel := context.WithTimeout(x.t.Context(), x.Patience)
	defer cancel()
	x.daemons[1].Kill()
	x.progress()
	x.daemons[0].SetCalls(func(procedure string) daemontest.CallFault {
		if procedure == "Report" {
			return daemontest.NotCarriedOut
		}
		return daemontest.Answered
	})
	admin, ended := x.stop(ctx)
	for stopping := false; !stopping; {
		jobs, _ := admin.Jobs(ctx)
		stopping = len(jobs) > 0 && jobs[0].Status == client.StatusStopping
		select {
		case err := <-ended:
			x.t.Fatalf("the stop has ended: %v; want the job to be STOPPING while no report arrives", err)
		case <-ctx.Done():
			x.t.Fatal("the savepoint that stops the job does not complete")
		case <-time.After(time.Millisecond):
		}
	}
	x.process.Kill()
	x.daemons[0].SetCalls(nil)
	x.start()
	x.awaitStopped(ended)
}

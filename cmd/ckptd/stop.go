package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

func newStopCmd() *cobra.Command {
	var dir, request string
	var drain bool
	cmd := &cobra.Command{
		Use:   "stop JOB --savepoint DIR [--drain]",
		Short: "Take a savepoint of a job, commit its sinks, and end the job as FINISHED",
		Long: `Take a savepoint of a job, and stop the job exactly there: its sources read nothing more, its sinks commit what the savepoint holds, and the
job is FINISHED. A new job goes on from the savepoint (-s FOLDER), and no record is lost or counted twice.

DIR is as for ` + "`ckptd savepoint`" + `. --savepoint= takes the daemon's default.

With --drain the job first does its end-of-data work, as if all input were read: windows emit what they hold. Such a job has ended for good,
and a new one should not go on from its savepoint.

Once the savepoint is done, the job is STOPPING: whatever dies then, every later attempt restores the savepoint, commits and ends. If no
savepoint comes to be, the job runs on, and the exit code is 1; the error names what exists.`,
		Example: `  ckptd stop clicks --savepoint file:///var/lib/savepoints --server unix:/run/ckptd.sock
  ckptd stop file:///var/lib/ckptd/clicks --savepoint=
  ckptd stop clicks --savepoint= --drain`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeJobs,
		RunE: func(cmd *cobra.Command, args []string) error {
			req := &ckptdv1.TriggerSavepointRequest{RequestId: request, Stop: ckptdv1.SavepointStop_SAVEPOINT_STOP_SUSPEND}
			if drain {
				req.Stop = ckptdv1.SavepointStop_SAVEPOINT_STOP_DRAIN
			}
			if dir != "" {
				place, err := drivers.Normal(dir)
				if err != nil {
					return exit.Usagef("stop: %w", err)
				}
				req.Directory = place
			}
			return stopJob(cmd, args[0], req)
		},
	}
	cmd.Flags().StringVarP(&dir, "savepoint", "p", "", "`directory` below which the savepoint's folder is made")
	cmd.Flags().BoolVarP(&drain, "drain", "d", false, "do the end-of-data work first: the job has ended for good")
	cmd.Flags().StringVar(&request, "request-id", "", "`name` of this wish: a repeated command with the same name takes no second savepoint")
	cobra.CheckErr(cmd.MarkFlagRequired("savepoint"))
	serverFlags(cmd)
	jsonFlag(cmd, "Savepoint")
	return cmd
}

// stopJob takes the savepoint that stops a job, and waits for the job's end.
func stopJob(cmd *cobra.Command, job string, req *ckptdv1.TriggerSavepointRequest) error {
	ctx := cmd.Context()
	wait := sayWaiting(ctx, cmd.ErrOrStderr(), "stop", job)
	defer wait.stop()
	var saved *ckptdv1.Savepoint
	err := onOwner(ctx, daemonsOf(cmd), job, true, func(a *client.Admin, id string) (err error) {
		wait.on(a, id)
		req.JobId = id
		if saved, err = a.Messages().Savepoint(ctx, req); err != nil {
			return err
		}
		if saved, err = awaitSavepoint(ctx, a, id, job, saved); err != nil {
			return err
		}
		switch {
		case saved.GetOutcome() == ckptdv1.SavepointOutcome_SAVEPOINT_OUTCOME_CLEANED:
			return fmt.Errorf("job %s runs on, and nothing is left of its savepoint: `ckptd status %s` says why: %w", id, output.ShellWord(job), errSavepoint)
		case saved.GetStop() == ckptdv1.SavepointStop_SAVEPOINT_STOP_UNSPECIFIED && req.GetRequestId() != "":
			return fmt.Errorf("the savepoint of this --request-id is whole, and did not stop job %s: it was not asked to, or its owner died before: stop the job under another name", id)
		case saved.GetStop() == ckptdv1.SavepointStop_SAVEPOINT_STOP_UNSPECIFIED:
			return fmt.Errorf("job %s runs on: its owner died before it could stop; the savepoint is whole and did not stop the job", id)
		}
		return awaitFinished(ctx, a, id, job)
	})
	wait.stop()
	if before, head := savedBefore(err, req.GetRequestId()); before.GetOutcome() == ckptdv1.SavepointOutcome_SAVEPOINT_OUTCOME_DONE && head.Status == journal.StatusFinished {
		saved, req.JobId, err = before, head.About.Job, nil
	}
	switch {
	case err != nil && saved.GetPath() != "":
		return fmt.Errorf("stop: savepoint %s: %w", saved.GetPath(), err)
	case err != nil:
		return wait.told(ctx, err)
	}
	return answer(cmd, saved, func(w io.Writer) {
		printSavepoint(w, saved)
		fmt.Fprintf(w, "job %s: finished\n", output.Clean(req.GetJobId()))
	})
}

// awaitFinished waits for the end of a job that is stopping. The daemon may end with the job: then the journal of ROOT/JOB, if arg
// names one, tells.
func awaitFinished(ctx context.Context, a *client.Admin, job, arg string) error {
	for away := 0; ; away++ {
		res, err := a.Messages().Jobs(ctx)
		switch {
		case err == nil:
			away = 0
		case !errors.Is(err, client.ErrUnavailable) || away == pollsWithoutDaemon:
			return fmt.Errorf("the job is stopping with it: %w", err)
		case layout.ValidateJobID(arg) != nil:
			if head, err := headOnStorage(ctx, arg); err == nil {
				res = &ckptdv1.ListJobsResponse{Jobs: []*ckptdv1.JobSummary{catalog.Job(head)}}
			}
		}
		for _, j := range res.GetJobs() {
			switch s := j.GetStatus(); {
			case j.GetJobId() != job, s == ckptdv1.JobStatus_JOB_STATUS_STOPPING, s == ckptdv1.JobStatus_JOB_STATUS_RUNNING:
			case s == ckptdv1.JobStatus_JOB_STATUS_FINISHED:
				return nil
			default:
				return fmt.Errorf("job %s is %s: %s", job, output.Enum(s, "JOB_STATUS_"), j.GetEndReason())
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(savepointPoll):
		}
	}
}

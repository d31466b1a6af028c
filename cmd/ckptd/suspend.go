package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	"github.com/ckptd/ckptd/layout/catalog"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

func newSuspendCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "suspend JOB",
		Short: "End the workers of a job, but not the job: it goes on when they are started again",
		Long: `End the work of a job's workers and of its owner. The job itself does not end: all its checkpoints stay, and whoever starts its workers
again, with the same job id, goes on from the last complete one. What the workers have processed since then is processed again; their
sinks have not committed it.

To end a job at a savepoint instead, use ` + "`ckptd stop`" + `; to end it for good, ` + "`ckptd cancel`" + `.

If some workers have not registered with the owner, the command waits 10 seconds for them. A job that a savepoint is stopping is refused. A job that is suspended already is left as it is. A worker that does not end within 5 seconds,
because it is frozen, begins the job again when it wakes.`,
		Example: `  ckptd suspend file:///var/lib/ckptd/clicks
  ckptd suspend clicks --server unix:/run/ckptd.sock`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeJobs,
		RunE: func(cmd *cobra.Command, args []string) error {
			wait := sayWaiting(cmd.Context(), cmd.ErrOrStderr(), "suspend", args[0])
			defer wait.stop()
			err := onOwner(cmd.Context(), daemonsOf(cmd), args[0], true, func(a *client.Admin, id string) error {
				wait.on(a, id)
				res, err := a.Messages().Suspend(cmd.Context(), id)
				if wait.stop(); err != nil {
					return wait.told(cmd.Context(), err)
				}
				return printSuspended(cmd, id, res)
			})
			if head, ok := suspendedJob(err); ok {
				res := &ckptdv1.SuspendJobResponse{Status: catalog.HeadStatus(head)}
				if c, ok := head.Checkpoint(head.Newest()); ok {
					res.Checkpoint = catalog.Checkpoint(head.About.Job, &c)
				}
				return printSuspended(cmd, head.About.Job, res)
			}
			return err
		},
	}
	serverFlags(cmd)
	jsonFlag(cmd, "SuspendJobResponse")
	return cmd
}

func printSuspended(cmd *cobra.Command, id string, res *ckptdv1.SuspendJobResponse) error {
	return answer(cmd, res, func(w io.Writer) {
		if res.GetCheckpoint() == nil {
			fmt.Fprintf(w, "job %s: suspended; it has no checkpoint and begins anew\n", output.Clean(id))
			return
		}
		fmt.Fprintf(w, "job %s: suspended\n", output.Clean(id))
		printKept(w, "goes on from", res.GetCheckpoint())
	})
}

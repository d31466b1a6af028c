package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

func newTriggerCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "trigger JOB",
		Short: "Take a checkpoint of a running job now",
		Long:  "Take a checkpoint of a running job now, and wait until it is complete. Exit code 1 if it does not complete, with the reason.",
		Example: `  ckptd trigger file:///var/lib/ckptd/clicks
  ckptd trigger clicks --server unix:/run/ckptd.sock`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return onOwner(cmd.Context(), serverOf(cmd), args[0], func(a *client.Admin, id string) error {
				res, err := a.Trigger(cmd.Context(), id)
				if err != nil {
					return err
				}
				return answer(cmd, res, func(w io.Writer) { printKept(w, "complete", res.GetCheckpoint()) })
			})
		},
	}
	serverFlag(cmd)
	jsonFlag(cmd, "TriggerCheckpointResponse")
	return cmd
}

func newCancelCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cancel JOB",
		Short: "End a job; its configuration says what is kept",
		Long: `End a job. Its workers stop, and its checkpoints are kept (RETAIN_ON_CANCELLATION) or deleted, as the job's
execution.checkpointing.externalized-checkpoint-retention says. A canceled job id cannot run again.

To cancel twice changes nothing. When no daemon owns the job any more, a JOB with a root is refused with that reason (exit code 1);
with --server the daemon answers what was kept.`,
		Example: `  ckptd cancel file:///var/lib/ckptd/clicks
  ckptd cancel clicks --server unix:/run/ckptd.sock`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return onOwner(cmd.Context(), serverOf(cmd), args[0], func(a *client.Admin, id string) error {
				res, err := a.Cancel(cmd.Context(), id)
				if err != nil {
					return err
				}
				return answer(cmd, res, func(w io.Writer) {
					fmt.Fprintf(w, "job %s: %s, %d checkpoints kept\n", output.Clean(id), output.Enum(res.GetStatus(), "JOB_STATUS_"), len(res.GetRetained()))
					for _, c := range res.GetRetained() {
						printKept(w, "kept", c)
					}
				})
			})
		},
	}
	serverFlag(cmd)
	jsonFlag(cmd, "CancelJobResponse")
	return cmd
}

// answer prints a call's answer, for people or as JSON.
func answer(cmd *cobra.Command, res proto.Message, people func(io.Writer)) error {
	if wantsJSON(cmd) {
		return printJSON(cmd.OutOrStdout(), res)
	}
	people(cmd.OutOrStdout())
	return nil
}

func printKept(w io.Writer, verb string, c *ckptdv1.CheckpointSummary) {
	fmt.Fprintf(w, "checkpoint %d %s: %s, %s of state (%s new, %s reused)\n", c.GetCheckpointId(), verb, output.Clean(c.GetPath()),
		output.Bytes(c.GetStateBytes()), output.Bytes(c.GetNewBytes()), output.Bytes(c.GetReusedBytes()))
}

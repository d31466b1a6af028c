package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

func newTriggerCmd() *cobra.Command {
	var kind checkpointKind
	cmd := &cobra.Command{
		Use:     "trigger JOB",
		Aliases: []string{"checkpoint"},
		Short:   "Take a checkpoint of a running job now",
		Long: `Take a checkpoint of a running job now, and wait until it is complete. Exit code 1 if it does not complete, with the reason.

A full checkpoint reuses no file of an earlier checkpoint: all state is sent anew. An incremental one sends only what no earlier
checkpoint has, and so does a configured one, unless the engine sends more by itself.`,
		Example: `  ckptd trigger file:///var/lib/ckptd/clicks
  ckptd trigger clicks --server unix:/run/ckptd.sock
  ckptd checkpoint clicks --kind full --server unix:/run/ckptd.sock`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeJobs,
		RunE: func(cmd *cobra.Command, args []string) error {
			wait := sayWaiting(cmd.Context(), cmd.ErrOrStderr(), "trigger", args[0])
			defer wait.stop()
			return onOwner(cmd.Context(), daemonsOf(cmd), args[0], true, func(a *client.Admin, id string) error {
				wait.on(a, id)
				res, err := a.Messages().TriggerCheckpoint(cmd.Context(), &ckptdv1.TriggerCheckpointRequest{JobId: id, Kind: ckptdv1.CheckpointKind(kind)})
				if wait.stop(); err != nil {
					return wait.told(cmd.Context(), err)
				}
				return answer(cmd, res, func(w io.Writer) { printKept(w, "complete", res.GetCheckpoint()) })
			})
		},
	}
	cmd.Flags().Var(&kind, "kind", "which state is sent: configured, full or incremental")
	_ = cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions(checkpointKinds, cobra.ShellCompDirectiveNoFileComp))
	serverFlags(cmd)
	jsonFlag(cmd, "TriggerCheckpointResponse")
	return cmd
}

// checkpointKind is the value of --kind.
type checkpointKind ckptdv1.CheckpointKind

// checkpointKinds are the words for the kinds, in the order of their numbers, which count from 1.
var checkpointKinds = []cobra.Completion{"configured", "full", "incremental"}

func (k *checkpointKind) String() string { return checkpointKinds[max(0, *k-1)] }

func (k *checkpointKind) Type() string { return "kind" }

func (k *checkpointKind) Set(v string) error {
	i := slices.Index(checkpointKinds, v)
	if i < 0 {
		return fmt.Errorf("want one of %s", strings.Join(checkpointKinds, ", "))
	}
	*k = checkpointKind(i + 1)
	return nil
}

func newCancelCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cancel JOB",
		Short: "End a job; its configuration says what is kept",
		Long: `End a job. Its workers stop, and its checkpoints are kept (RETAIN_ON_CANCELLATION) or deleted, as the job's
execution.checkpointing.externalized-checkpoint-retention says. A canceled job id cannot run again.

To cancel a job that has ended changes nothing: the answer says how the job ended and what is kept, and the exit code is 0.

While the store is away, cancel waits for it, and says so on the standard error. Ctrl-C ends the waiting with exit code 130; the
daemon may still end the job.`,
		Example: `  ckptd cancel file:///var/lib/ckptd/clicks
  ckptd cancel clicks --server unix:/run/ckptd.sock`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeJobs,
		RunE: func(cmd *cobra.Command, args []string) error {
			wait := sayWaiting(cmd.Context(), cmd.ErrOrStderr(), "cancel", args[0])
			defer wait.stop()
			err := onOwner(cmd.Context(), daemonsOf(cmd), args[0], true, func(a *client.Admin, id string) error {
				wait.on(a, id)
				res, err := a.Messages().Cancel(cmd.Context(), id)
				if wait.stop(); err != nil {
					return wait.told(cmd.Context(), err)
				}
				return printCanceled(cmd, id, res)
			})
			if head, ok := endedJob(err); ok {
				return printCanceled(cmd, head.About.Job, &ckptdv1.CancelJobResponse{Status: catalog.Status(head.Status), Retained: keptOf(head)})
			}
			return err
		},
	}
	serverFlags(cmd)
	jsonFlag(cmd, "CancelJobResponse")
	return cmd
}

// keptOf lists the checkpoints that a journal entry keeps, without those that are being deleted.
func keptOf(head *journal.Entry) (kept []*ckptdv1.CheckpointSummary) {
	for i := range head.Retained {
		if c := &head.Retained[i]; c.State == journal.StateKept {
			kept = append(kept, catalog.Checkpoint(head.About.Job, c))
		}
	}
	return kept
}

func printCanceled(cmd *cobra.Command, id string, res *ckptdv1.CancelJobResponse) error {
	return answer(cmd, res, func(w io.Writer) {
		fmt.Fprintf(w, "job %s: %s, %s kept\n", output.Clean(id), output.Enum(res.GetStatus(), "JOB_STATUS_"), output.Count(len(res.GetRetained()), "checkpoint"))
		for _, c := range res.GetRetained() {
			printKept(w, "kept", c)
		}
	})
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

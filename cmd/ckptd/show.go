package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

func newShowCmd() *cobra.Command {
	var plan string
	var allow bool
	cmd := &cobra.Command{
		Use:   "show CHECKPOINT",
		Short: "Describe a checkpoint",
		Long: `Describe a checkpoint: when it was taken, by which attempt, how large the state of each operator is, how much of it was new,
and what kinds of state it consists of.

With --diff-plan it tells which of the operators of a new job would get which state, before the start, and exits with code 4 if the job would be
refused. PLAN is a file with the plan as AttachJob takes it (a ckptd.v1.Plan as JSON, or the whole request), or a job that has the plan.

It reads the _metadata whole, checks every checksum in it, and compares it with the journal where there is one. It needs no daemon;
with --server it asks that one, and CHECKPOINT is <job id>/chk-<number>.`,
		Example: `  ckptd show file:///var/lib/ckptd/clicks/chk-42
  ckptd show ./backup/chk-42/_metadata
  ckptd show clicks/chk-42 --server http://127.0.0.1:7420 --json
  ckptd show ./data/clicks/chk-42 --diff-plan ./data/clicks`,
		Args:              wantArgs(1, 1),
		ValidArgsFunction: completeCheckpoints,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			t, err := openCheckpoint(cmd.Context(), daemonsOf(cmd), args[0])
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, t.close()) }()
			show, err := t.view.Show(cmd.Context(), t.job, t.id)
			if err != nil && t.root != "" && exitCode(cmd.Context(), err) == exit.Damage {
				err = fmt.Errorf("%w. Which checkpoints of the job are whole: ckptd verify %s", err, output.ShellWord(drivers.Below(t.root, t.job)))
			}
			if err != nil {
				return err
			}
			switch {
			case plan != "":
				return diffPlan(cmd, show, plan, allow)
			case allow:
				return exit.Usagef("show: --allow-non-restored-state says something about --diff-plan, which is not given")
			case wantsJSON(cmd):
				return printJSON(cmd.OutOrStdout(), show)
			}
			return printShow(cmd.OutOrStdout(), show)
		},
	}
	serverFlags(cmd)
	cmd.Flags().StringVar(&plan, "diff-plan", "", "compare with this `PLAN`, a file or a job: what would a new job restore?")
	cmd.Flags().BoolVarP(&allow, "allow-non-restored-state", "n", false, "with --diff-plan: state whose operator the plan does not have may be left out")
	commandLineOnly(cmd.Flags(), "allow-non-restored-state")
	jsonFlag(cmd, "ShowCheckpointResponse, with --diff-plan a ckptd.v1.PlanDiff,")
	return cmd
}

func printShow(w io.Writer, s *ckptdv1.ShowCheckpointResponse) error {
	c := s.GetSummary()
	facts := output.NewTable(w)
	if c.GetSavepoint() {
		facts.Row("savepoint", fmt.Sprintf("of job %s, as its checkpoint %d", output.Clean(s.GetJobId()), c.GetCheckpointId()))
	} else {
		facts.Row("checkpoint", c.GetPath())
	}
	if s.GetState() != ckptdv1.CheckpointState_CHECKPOINT_STATE_UNSPECIFIED {
		facts.Row("journal", output.Enum(s.GetState(), "CHECKPOINT_STATE_"))
	}
	facts.Row("completed", fmt.Sprintf("%s, after %s", output.Time(c.GetCompletedAt()), output.Duration(c.GetDuration())))
	facts.Row("taken by", fmt.Sprintf("attempt %d, in epoch %d", s.GetAttempt(), s.GetEpoch()))
	if labels := labelsText(s.GetLabels()); labels != "" {
		facts.Row("labels", labels)
	}
	facts.Row("state", fmt.Sprintf("%s: %s new, %s reused", output.Bytes(c.GetStateBytes()), output.Bytes(c.GetNewBytes()), output.Bytes(c.GetReusedBytes())))
	facts.Row("files", len(s.GetFiles()))
	facts.Row("_metadata", fmt.Sprintf("%s, format %d, CRC32C %08x", output.Bytes(s.GetMetadataBytes()), s.GetFormatVersion(), s.GetMetadataCrc32C()))
	if err := facts.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	ops := output.NewTable(w)
	ops.Row("OPERATOR", "NAME", "PARALLELISM", "STATE", "INLINE", "FILE REFERENCES")
	for _, o := range s.GetOperators() {
		op := o.GetOperator()
		parallelism := fmt.Sprintf("%d of %d", op.GetParallelism(), op.GetMaxParallelism())
		if n := o.GetFinished(); n > 0 {
			parallelism += fmt.Sprintf(", %d finished", n)
		}
		ops.Row(op.GetId(), orDash(op.GetUid()), parallelism, output.Bytes(o.GetStateBytes()), output.Bytes(o.GetInlineBytes()), o.GetFileReferences())
	}
	if err := ops.Flush(); err != nil {
		return err
	}
	return printStates(w, s.GetOperators())
}

// printStates lists what the operators' state consists of.
func printStates(w io.Writer, operators []*ckptdv1.OperatorSummary) error {
	t := output.NewTable(w)
	t.Row("OPERATOR", "KIND OF STATE", "STATE", "SERIALIZER", "SCHEMA", "PIECES", "BYTES")
	states := 0
	for _, o := range operators {
		for _, sum := range o.GetStates() {
			s := sum.GetState()
			t.Row(o.GetOperator().GetId(), output.Enum(s.GetKind(), "STATE_KIND_"), orDash(s.GetName()), orDash(s.GetSerializer()), orDash(s.GetSchemaVersion()),
				sum.GetPieces(), output.Bytes(sum.GetBytes()))
			states++
		}
	}
	if states == 0 {
		return nil
	}
	fmt.Fprintln(w)
	return t.Flush()
}

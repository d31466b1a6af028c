package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	"github.com/ckptd/ckptd/layout"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

func newJournalCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "journal",
		Short: "Look at a job's journal, the last resort",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newJournalShowCmd())
	return cmd
}

func newJournalShowCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show JOB",
		Short: "Print the entries of a job's journal that are still there",
		Long: `Print the entries of a job's journal that are still there, oldest first. Each entry holds the whole small state of the job. The last
entry, the head, is the state in force; older entries are history and are kept for a while. If an entry cannot be read, ckptd prints
the reason and exits with code 4.`,
		Example: `  ckptd journal show file:///var/lib/ckptd/clicks
  ckptd journal show clicks --server unix:/run/ckptd.sock --json`,
		Args:              wantArgs(1, 1),
		ValidArgsFunction: completeJobs,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			t, err := openJob(cmd.Context(), daemonsOf(cmd), args[0])
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, t.close()) }()
			j, err := t.view.Journal(cmd.Context(), t.job)
			if err != nil {
				return err
			}
			if wantsJSON(cmd) {
				err = printJSON(cmd.OutOrStdout(), j)
			} else {
				err = printJournal(cmd.OutOrStdout(), j)
			}
			if err != nil {
				return err
			}
			return judgeJournal(j)
		},
	}
	serverFlags(cmd)
	jsonFlag(cmd, "ShowJournalResponse")
	return cmd
}

func printJournal(w io.Writer, j *ckptdv1.ShowJournalResponse) error {
	t := output.NewTable(w)
	t.Row("SLOT", "KIND", "STATUS", "EPOCH", "ATTEMPT", "RESTORES", "RETAINED", "IDS UP TO", "OWNER")
	for _, e := range j.GetEntries() {
		if e.GetError() != "" {
			t.Row(e.GetSlot(), "-", "-", "-", "-", "-", "-", "-", "cannot be read: "+e.GetError())
			continue
		}
		var retained []string
		for _, r := range e.GetRetained() {
			text := layout.CheckpointDir(r.GetSummary().GetCheckpointId())
			if r.GetState() != ckptdv1.CheckpointState_CHECKPOINT_STATE_KEPT {
				text += " (" + output.Enum(r.GetState(), "CHECKPOINT_STATE_") + ")"
			}
			retained = append(retained, text)
		}
		restores := "-"
		if id := e.GetRestoreCheckpointId(); id != 0 {
			restores = layout.CheckpointDir(id)
		}
		t.Row(e.GetSlot(), e.GetKind(), output.Enum(e.GetStatus(), "JOB_STATUS_"), e.GetEpoch(), e.GetAttempt(), restores,
			orDash(strings.Join(retained, " ")), e.GetReserved(), orDash(strings.Join(e.GetOwnerUrls(), " ")))
	}
	return t.Flush()
}

// judgeJournal is an error if an entry cannot be read.
func judgeJournal(j *ckptdv1.ShowJournalResponse) error {
	bad := 0
	for _, e := range j.GetEntries() {
		if e.GetError() != "" {
			bad++
		}
	}
	if bad > 0 {
		return exit.With(exit.Damage, fmt.Errorf("journal show: cannot read %d of %s", bad, output.Count(len(j.GetEntries()), "entry", "entries")))
	}
	return nil
}

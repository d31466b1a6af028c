package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	"github.com/ckptd/ckptd/layout"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

func newWhoUsesCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "who-uses CHECKPOINT",
		Short: "List the jobs that need a checkpoint",
		Long: `List the jobs that began from a checkpoint and have no checkpoint of their own yet. Each has a pin on it: until the last pin is returned, the
checkpoint's files stay, whatever its own job does.`,
		Example: `  ckptd who-uses file:///var/lib/ckptd/clicks/chk-42
  ckptd who-uses clicks/chk-42 --server unix:/run/ckptd.sock --json`,
		Args:              wantArgs(1, 1),
		ValidArgsFunction: completeCheckpoints,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			t, err := openCheckpoint(cmd.Context(), daemonsOf(cmd), args[0])
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, t.close()) }()
			if t.job == "" {
				return fmt.Errorf("who-uses %q: %w: want <root>/<job>/chk-<number>, as the job's journal lists the pins", args[0], layout.ErrNotRoot)
			}
			j, err := t.view.Journal(cmd.Context(), t.job)
			if err != nil {
				return err
			}
			res, err := usesOf(j, t.job, t.id)
			if err != nil {
				return err
			}
			return answer(cmd, res, func(w io.Writer) { printUses(w, res) })
		},
	}
	serverFlags(cmd)
	jsonFlag(cmd, "WhoUsesResponse")
	return cmd
}

// usesOf collects the pins on a checkpoint from the head of its job's journal.
func usesOf(j *ckptdv1.ShowJournalResponse, job string, id uint64) (*ckptdv1.WhoUsesResponse, error) {
	head := j.GetEntries()[len(j.GetEntries())-1]
	if head.GetError() != "" {
		return nil, exit.With(exit.Damage, fmt.Errorf("who-uses: the head of the journal of job %s cannot be read: %s", job, head.GetError()))
	}
	res := &ckptdv1.WhoUsesResponse{JobId: job, CheckpointId: id, State: ckptdv1.CheckpointState_CHECKPOINT_STATE_NOT_RETAINED}
	for _, c := range head.GetRetained() {
		if c.GetSummary().GetCheckpointId() == id {
			res.State = c.GetState()
		}
	}
	for _, p := range head.GetLent() {
		if p.GetCheckpointId() == id {
			res.Pins = append(res.Pins, p)
		}
	}
	return res, nil
}

func printUses(w io.Writer, res *ckptdv1.WhoUsesResponse) {
	name := res.GetJobId() + "/" + layout.CheckpointDir(res.GetCheckpointId())
	if len(res.GetPins()) == 0 {
		fmt.Fprintf(w, "no other job needs %s (%s)\n", name, output.Enum(res.GetState(), "CHECKPOINT_STATE_"))
		return
	}
	t := output.NewTable(w)
	t.Row("JOB", "MODE", "ITS EPOCH", "PIN")
	for _, p := range res.GetPins() {
		t.Row(p.GetJobId(), output.Enum(p.GetMode(), "CLAIM_MODE_"), p.GetHolderEpoch(), p.GetPin())
	}
	_ = t.Flush() // as with other answers, the terminal may be gone
}

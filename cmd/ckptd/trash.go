package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/api"
)

func newTrashCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "trash [ROOT | JOB]",
		Short: "List what lies in the trash, and when it goes",
		Long: `List the checkpoints that were removed and can still be brought back by ` + "`ckptd undelete`" + `, and when each is deleted: by the store's clock, at
the next sweep of its job after that time. Jobs whose purge waits for other jobs are listed, too.

Exit codes: 0 all jobs were looked at, 3 some journals cannot be read.`,
		Example: `  ckptd trash file:///var/lib/ckptd
  ckptd trash ./data/ended --json | jq '.jobs[].checkpoints'`,
		Args:              wantArgs(0, 1),
		ValidArgsFunction: completeJobs,
		RunE: func(cmd *cobra.Command, args []string) error {
			heads, bad, err := headsOf(cmd, strings.Join(args, ""))
			if err != nil {
				return err
			}
			report := &ckptdv1.TrashReport{}
			for _, head := range heads {
				trash := api.Retention(head, func(c *journal.Checkpoint) bool { return c.State == journal.StateTrashed })
				purge := head.PurgeWanted && head.Status != journal.StatusRemoved
				if len(trash.GetCheckpoints()) > 0 || purge {
					report.Jobs = append(report.Jobs, &ckptdv1.TrashedJob{JobId: head.About.Job, Status: trash.GetStatus(), Checkpoints: trash.GetCheckpoints(), PurgeWanted: purge})
				}
			}
			for _, b := range bad {
				report.Jobs = append(report.Jobs, &ckptdv1.TrashedJob{JobId: b.job, Problem: b.err.Error()})
			}
			if err := answer(cmd, report, func(w io.Writer) { printTrash(w, report) }); err != nil || len(bad) == 0 {
				return err
			}
			return exit.With(exit.Part, fmt.Errorf("trash: %s cannot be read", output.Count(len(bad), "journal")))
		},
	}
	serverFlags(cmd)
	jsonFlag(cmd, "TrashReport")
	return cmd
}

func printTrash(w io.Writer, r *ckptdv1.TrashReport) {
	t := output.NewTable(w)
	t.Row("CHECKPOINT", "COMPLETED", "NEW BYTES", "REMOVED", "GOES", "TAGS")
	n := 0
	for _, j := range r.GetJobs() {
		for _, c := range j.GetCheckpoints() {
			n++
			t.Row(c.GetSummary().GetPath(), output.Time(c.GetSummary().GetCompletedAt()), output.Bytes(c.GetSummary().GetNewBytes()),
				output.Time(c.GetTrashedAt()), output.Time(c.GetTrashUntil()), orDash(strings.Join(c.GetTags(), ",")))
		}
	}
	if n > 0 {
		_ = t.Flush()
	}
	for _, j := range r.GetJobs() {
		switch {
		case j.GetProblem() != "":
			fmt.Fprintf(w, "job %s: %s\n", output.Clean(j.GetJobId()), output.Clean(j.GetProblem()))
		case j.GetPurgeWanted():
			fmt.Fprintf(w, "job %s is removed when other jobs have returned what they borrowed\n", output.Clean(j.GetJobId()))
		}
	}
	if len(r.GetJobs()) == 0 {
		fmt.Fprintln(w, "the trash is empty")
	}
}

// unread is a job whose journal cannot be read.
type unread struct {
	job string
	err error
}

// headsOf reads the heads of one job, or of all jobs of a root.
func headsOf(cmd *cobra.Command, arg string) (heads []*journal.Entry, bad []unread, err error) {
	t, err := openRootOrJob(cmd.Context(), daemonsOf(cmd), arg)
	if err == nil {
		t, err = t.onStorage(cmd.Context())
	}
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	return readHeads(cmd, t)
}

func readHeads(cmd *cobra.Command, t *target) (heads []*journal.Entry, bad []unread, err error) {
	ids := []string{t.job}
	if t.job == "" {
		if ids, err = catalog.New(t.store).JobIDs(cmd.Context()); err != nil {
			return nil, nil, err
		}
	}
	for _, id := range ids {
		switch head, err := catalog.Head(cmd.Context(), t.store, id); {
		case cmd.Context().Err() != nil:
			return nil, nil, cmd.Context().Err()
		case err == nil:
			heads = append(heads, head)
		case t.job != "":
			return nil, nil, err
		case !errors.Is(err, catalog.ErrNoJob): // that is an empty folder
			bad = append(bad, unread{id, err})
		}
	}
	return heads, bad, nil
}

package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/api"
	"github.com/ckptd/ckptd/service/config"
	"github.com/ckptd/ckptd/service/owner"
)

const byWhom = `A job whose owner answers is changed by that owner; the caller needs the role delete there. A job that has ended, or that nobody owns, is
changed by this command; another one only with --take-over.`

func newRmCmd() *cobra.Command {
	var yes, now, hide bool
	cmd := &cobra.Command{
		Use:   "rm JOB | CHECKPOINT",
		Short: "Remove a checkpoint, or all that a job keeps; a plan only, unless --yes",
		Long: `Remove a checkpoint, or all checkpoints that an ended job keeps. They go into the job's trash, if there is one (` + "`ckptd serve --trash`" + `, or the
job's ckptd.trash), and are deleted when their time there is over; else they are deleted at once. Files that other checkpoints name stay.
The newest checkpoint of a job that has not ended is refused, and so is one that other jobs have borrowed.

` + byWhom + `

Exit codes: 0 done or planned, 1 refused or failed, with the reason; nothing was changed then.`,
		Example: `  ckptd rm file:///var/lib/ckptd/clicks/chk-41
  ckptd rm ./data/clicks/chk-41 --now --json | jq .checkpoints
  ckptd rm ./data/clicks/chk-41 --trash 7d --yes --take-over`,
		Args:              wantArgs(1, 1),
		ValidArgsFunction: completeCheckpoints,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := subjectOf(cmd, args[0])
			if err != nil {
				return err
			}
			return onHead(cmd, s, yes, func(c *changer, head *journal.Entry) error {
				e := &owner.Edit{Kind: owner.EditRemove, IDs: []uint64{s.id}, Now: now, Lent: hide}
				if s.id == 0 {
					e.IDs = removable(head, now)
				}
				if err := refusal(head, e); err != nil {
					return fmt.Errorf("rm: %w", err)
				}
				if len(e.IDs) == 0 {
					return fmt.Errorf("rm: job %s keeps no checkpoint: `ckptd purge` removes the job itself", s.job)
				}
				if !yes {
					return answer(cmd, planned(head, e.IDs), func(w io.Writer) { printRemoval(w, head, e, windowOf(head, trashOf(cmd))) })
				}
				change, err := c.edit(cmd.Context(), s.job, e)
				if err != nil {
					return err
				}
				return answer(cmd, change, func(w io.Writer) { printChange(w, s.job, e.IDs, change) })
			})
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "remove; without it, only the plan is shown")
	cmd.Flags().BoolVar(&now, "now", false, "do not use the trash, and take out of it what lies there")
	commandLineOnly(cmd.Flags(), "yes", "now")
	cmd.Flags().BoolVar(&hide, "hide", false, "also what other jobs have borrowed: it goes when they have returned it")
	trashFlag(cmd)
	takeOverFlag(cmd)
	serverFlags(cmd)
	jsonFlag(cmd, "RetentionChange")
	return cmd
}

// removable is the checkpoints of a job that rm JOB removes.
func removable(head *journal.Entry, now bool) (ids []uint64) {
	for i := range head.Retained {
		if c := &head.Retained[i]; c.State == journal.StateKept || now && c.State == journal.StateTrashed {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

// planned is what the journal says of the checkpoints before a change.
func planned(head *journal.Entry, ids []uint64) *ckptdv1.RetentionChange {
	return api.Retention(head, func(c *journal.Checkpoint) bool {
		for _, id := range ids {
			if id == c.ID {
				return true
			}
		}
		return false
	})
}

func printRemoval(w io.Writer, head *journal.Entry, e *owner.Edit, window time.Duration) {
	t := output.NewTable(w)
	t.Row("CHECKPOINT", "COMPLETED", "NEW BYTES", "WOULD")
	for _, c := range planned(head, e.IDs).GetCheckpoints() {
		would := "be deleted at once"
		switch {
		case window > 0 && !e.Now:
			would = "go into the trash for " + config.FormatDuration(window)
		case len(c.GetBorrowers()) > 0:
			would = "be hidden until " + strings.Join(c.GetBorrowers(), ", ") + " returned it"
		case !e.Now && !head.Owner.IsZero() && len(head.URLs) > 0: // only the owner knows its --trash
			would = "be deleted at once, unless the daemon that owns the job has a trash"
		}
		t.Row(c.GetSummary().GetPath(), output.Time(c.GetSummary().GetCompletedAt()), output.Bytes(c.GetSummary().GetNewBytes()), would)
	}
	_ = t.Flush()
	fmt.Fprintln(w, "nothing was changed: --yes removes")
}

func newPurgeCmd() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "purge JOB",
		Short: "Remove an ended job with all that it keeps, past the trash; a plan only, unless --yes",
		Long: `Remove a job that has ended, with all that it keeps and with what lies in its trash. Checkpoints that other jobs have borrowed stay until they
have returned them: the purge waits for that, and daemons finish it. Then only a small tombstone is left of the job, so that its id can be
used again safely.

` + byWhom + `

Exit codes: 0 done or planned, 3 it waits for other jobs, 1 refused or failed.`,
		Example: `  ckptd purge file:///var/lib/ckptd/ended
  ckptd purge ./data/ended --json`,
		Args:              wantArgs(1, 1),
		ValidArgsFunction: completeJobs,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := subjectOf(cmd, args[0])
			switch {
			case err != nil:
				return err
			case s.id != 0:
				return exit.Usagef("purge %q: want a JOB: `ckptd rm` removes one checkpoint", args[0])
			}
			return onHead(cmd, s, yes, func(c *changer, head *journal.Entry) error {
				e := &owner.Edit{Kind: owner.EditPurge}
				if err := refusal(head, e); err != nil {
					return fmt.Errorf("purge: %w", err)
				}
				if !yes {
					plan := api.Retention(head, func(*journal.Checkpoint) bool { return true })
					return answer(cmd, plan, func(w io.Writer) {
						fmt.Fprintf(w, "job %s would be removed, with %s; nothing was changed: --yes removes\n", output.Clean(s.job), output.Count(len(plan.GetCheckpoints()), "checkpoint"))
					})
				}
				change, err := c.edit(cmd.Context(), s.job, e)
				if err != nil {
					return err
				}
				return purged(cmd, c, s.job, change)
			})
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "remove; without it, only the plan is shown")
	commandLineOnly(cmd.Flags(), "yes")
	takeOverFlag(cmd)
	serverFlags(cmd)
	jsonFlag(cmd, "RetentionChange")
	return cmd
}

// purged says how far a purge has come.
func purged(cmd *cobra.Command, c *changer, job string, change *ckptdv1.RetentionChange) error {
	if head, err := catalog.Head(cmd.Context(), c.opened.Store, job); err == nil {
		change.Status = catalog.Status(head.Status)
	}
	waits := change.GetStatus() != ckptdv1.JobStatus_JOB_STATUS_REMOVED && len(change.GetBorrowers()) > 0
	err := answer(cmd, change, func(w io.Writer) {
		switch {
		case waits:
			fmt.Fprintf(w, "job %s is removed when these jobs have returned what they borrowed: %s\n", output.Clean(job), output.Clean(strings.Join(change.GetBorrowers(), ", ")))
		case change.GetStatus() == ckptdv1.JobStatus_JOB_STATUS_REMOVED:
			fmt.Fprintf(w, "job %s is removed\n", output.Clean(job))
		default:
			fmt.Fprintf(w, "job %s is being removed by its owner\n", output.Clean(job))
		}
	})
	if err == nil && waits {
		err = exit.With(exit.Part, fmt.Errorf("purge: job %s waits for %s: `ckptd unlock` shows their pins", job, output.Count(len(change.GetBorrowers()), "other job")))
	}
	return err
}

func newUndeleteCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "undelete CHECKPOINT",
		Short: "Bring a checkpoint back from the trash",
		Long: `Bring a checkpoint back from the trash of its job. From then on it is kept: no policy drops it, only ` + "`ckptd rm`" + ` does. ` + "`ckptd trash`" + ` lists
what can be brought back.

` + byWhom + `

Exit codes: 0 done, 1 refused or failed.`,
		Example:           `  ckptd undelete ./data/clicks/chk-41 --take-over`,
		Args:              wantArgs(1, 1),
		ValidArgsFunction: completeCheckpoints,
		RunE: func(cmd *cobra.Command, args []string) error {
			return editOne(cmd, args[0], &owner.Edit{Kind: owner.EditUndelete})
		},
	}
	takeOverFlag(cmd)
	serverFlags(cmd)
	jsonFlag(cmd, "RetentionChange")
	return cmd
}

// editOne carries out a command about one checkpoint.
func editOne(cmd *cobra.Command, arg string, e *owner.Edit) error {
	s, err := subjectOf(cmd, arg)
	switch {
	case err != nil:
		return err
	case s.id == 0:
		return exit.Usagef("%s %q: want a CHECKPOINT: <root>/<job>/%s", cmd.Name(), arg, layout.CheckpointDir(42))
	}
	e.IDs = []uint64{s.id}
	return onHead(cmd, s, true, func(c *changer, head *journal.Entry) error {
		if err := refusal(head, e); err != nil {
			return fmt.Errorf("%s: %w", cmd.Name(), err)
		}
		change, err := c.edit(cmd.Context(), s.job, e)
		if err != nil {
			return err
		}
		return answer(cmd, change, func(w io.Writer) { printChange(w, s.job, e.IDs, change) })
	})
}

func newTagCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tag CHECKPOINT add|remove TAG...",
		Short: "Add tags to a checkpoint, or take them away",
		Long: `Add tags to a checkpoint, or take them away. ` + "`ckptd forget --keep-tag`" + ` keeps what has them. A tag is 1 to 64 bytes; all checkpoints of a job
together have at most 64.

` + byWhom + `

Exit codes: 0 done, 1 refused or failed.`,
		Example: `  ckptd tag ./data/clicks/chk-42 add before-the-move --take-over
  ckptd tag ./data/clicks/chk-42 remove before-the-move --take-over --json`,
		Args:              cobra.MinimumNArgs(3),
		ValidArgsFunction: completeCheckpoints,
		RunE: func(cmd *cobra.Command, args []string) error {
			e := &owner.Edit{Kind: owner.EditTag, Tags: args[2:]}
			switch args[1] {
			case "add":
			case "remove":
				e.Kind = owner.EditUntag
			default:
				return exit.Usagef("tag: %q: want add or remove", args[1])
			}
			for _, t := range e.Tags {
				if t == "" || len(t) > journal.MaxTag {
					return exit.Usagef("tag: %q: a tag is 1 to %d bytes", t, journal.MaxTag)
				}
			}
			return editOne(cmd, args[0], e)
		},
	}
	takeOverFlag(cmd)
	serverFlags(cmd)
	jsonFlag(cmd, "RetentionChange")
	return cmd
}
